//! What is in use stays: security groups, subnets, VPCs, addresses, internet gateways, interfaces.
//!
//! AWS answers `DependencyViolation` and friends where moto deletes. (moto refuses by itself: route tables with
//! associations, attached internet gateways, DHCP options in use, attached volumes, VPCs with subnets.)
//! Everything is asked of moto at the time of the call; only what is still going away is remembered
//! (see `leaving`).

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::{Leaving, Thing};
use super::{Decision, Reply, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::{Edits, Element};

const DEPENDENCY: &str = "DependencyViolation";

const PYTHON_STATE: &str = "{'State': 'associated'}";

pub(super) struct Vpcs {
    leaving: Arc<Leaving>,
}

impl Vpcs {
    pub(super) fn new(leaving: Arc<Leaving>) -> Self {
        Self { leaving }
    }
}

impl Rule for Vpcs {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if call.service != "ec2" {
                return Decision::Forward;
            }
            decided(match call.action.as_str() {
                "DeleteSecurityGroup" => self.security_group(call, ask).await,
                "DeleteSubnet" => self.subnet(call, ask).await,
                "DeleteVpc" => self.vpc(call, ask).await,
                "DetachInternetGateway" => self.internet_gateway(call, ask).await,
                "DisassociateVpcCidrBlock" => block(call, ask).await,
                "ReleaseAddress" => self.address(call, ask).await,
                "AttachInternetGateway" => second_gateway(call, ask).await,
                "AssociateRouteTable" => second_table(call, ask).await,
                "DeleteNetworkInterface" => interface(call, ask).await,
                "DescribeNetworkInterfaces" => {
                    self.leaving.look(ask, |departure| matches!(departure.thing, Thing::Interface(_))).await;
                    Ok(())
                }
                _ => Ok(()),
            })
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            if call.service != "ec2" || !response.status.is_success() {
                return Reply::Send(response);
            }
            Reply::Send(match call.action.as_str() {
                "DescribeNetworkInterfaces" => dressed(response, ask).await,
                "CreateSubnet" | "DescribeSubnets" | "AssociateSubnetCidrBlock" => plain_state(response),
                _ => response,
            })
        }
        .boxed()
    }
}

impl Vpcs {
    /// Network interfaces that a filter finds, once those have gone whose time has come.
    async fn interfaces(&self, ask: &Ask, filter: &str, value: &str) -> Result<Vec<Element>, Response> {
        let found = interfaces(ask, filter, value).await?;
        if found.is_empty() {
            return Ok(found);
        }
        let ids: Vec<&str> = found.iter().map(|one| one.value("networkInterfaceId")).collect();
        self.leaving
            .look(ask, |departure| departure.interfaces.iter().any(|id| ids.contains(&id.as_str())))
            .await;
        interfaces(ask, filter, value).await
    }

    async fn security_group(&self, call: &Call, ask: &Ask) -> Verdict {
        let id = call.param("GroupId");
        if id.is_empty() {
            return Ok(());
        }
        let answer = ask.ec2("DescribeSecurityGroups", &[("GroupId.1", id)]).await?;
        let Some(group) = answer.get("securityGroupInfo/item") else { return Ok(()) };
        if group.value("groupName") == "default" {
            let message =
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
            return Err(refusal(call, "CannotDelete", &message));
        }
        let message = format!("resource {id} has a dependent object");
        if !self.interfaces(ask, "group-id", id).await?.is_empty() {
            return Err(refusal(call, DEPENDENCY, &message));
        }
        let vpc = group.value("vpcId");
        let all = ask
            .ec2("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)])
            .await?;
        let refers = |other: &&Element| {
            ["ipPermissions", "ipPermissionsEgress"]
                .iter()
                .any(|set| other.values(&format!("{set}/item/groups/item/groupId")).contains(&id))
        };
        let others = all.all("securityGroupInfo/item");
        if others.into_iter().filter(|other| other.value("groupId") != id).any(|other| refers(&other)) {
            return Err(refusal(call, DEPENDENCY, &message));
        }
        Ok(())
    }

    async fn subnet(&self, call: &Call, ask: &Ask) -> Verdict {
        let id = call.param("SubnetId");
        if self.interfaces(ask, "subnet-id", id).await?.is_empty() {
            return Ok(());
        }
        let message = format!("The subnet '{id}' has dependencies and cannot be deleted.");
        Err(refusal(call, DEPENDENCY, &message))
    }

    async fn vpc(&self, call: &Call, ask: &Ask) -> Verdict {
        let id = call.param("VpcId");
        let in_use = || {
            let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
            refusal(call, DEPENDENCY, &message)
        };
        if !self.interfaces(ask, "vpc-id", id).await?.is_empty() {
            return Err(in_use());
        }
        let questions = [
            ("DescribeInternetGateways", "attachment.vpc-id", "internetGatewaySet/item/internetGatewayId"),
            ("DescribeSecurityGroups", "vpc-id", "securityGroupInfo/item/groupName"),
            ("DescribeVpcEndpoints", "vpc-id", "vpcEndpointSet/item/state"),
            ("DescribeEgressOnlyInternetGateways", "", "egressOnlyInternetGatewaySet/item"),
        ];
        for (action, filter, path) in questions {
            let params = [("Filter.1.Name", filter), ("Filter.1.Value.1", id)];
            let answer = ask.ec2(action, if filter.is_empty() { &[] } else { &params }).await?;
            let blocks = |found: &&Element| match action {
                "DescribeSecurityGroups" => found.text != "default",
                "DescribeVpcEndpoints" => found.text != "deleted",
                "DescribeEgressOnlyInternetGateways" => {
                    found.values("attachmentSet/item/vpcId").contains(&id)
                }
                _ => true,
            };
            if answer.all(path).iter().any(blocks) {
                return Err(in_use());
            }
        }
        Ok(())
    }

    /// <https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html>: not while something in the
    /// VPC has a public address.
    async fn internet_gateway(&self, call: &Call, ask: &Ask) -> Verdict {
        let vpc = call.param("VpcId");
        let public = ask.elb("DescribeLoadBalancers", &[]).await?;
        let classic = ask.classic_elb("DescribeLoadBalancers", &[]).await?;
        let public: Vec<String> = public
            .all("DescribeLoadBalancersResult/LoadBalancers/member")
            .into_iter()
            .chain(classic.all("DescribeLoadBalancersResult/LoadBalancerDescriptions/member"))
            .filter(|balancer| balancer.value("Scheme") == "internet-facing")
            .map(|balancer| balancer.value("LoadBalancerName").to_owned())
            .collect();
        let has_public_address = |interface: &Element| {
            // `ELB net/<name>/<id>`; that of a classic one is `ELB <name>`.
            let of_balancer = interface.value("description").strip_prefix("ELB ");
            let of_public_balancer = of_balancer
                .map(|path| path.split('/').nth(1).unwrap_or(path))
                .is_some_and(|name| public.iter().any(|p| p == name));
            !interface.value("association/publicIp").is_empty()
                || of_public_balancer
                || self.leaving.is_public(interface.value("networkInterfaceId"))
        };
        if !self.interfaces(ask, "vpc-id", vpc).await?.iter().any(has_public_address) {
            return Ok(());
        }
        let message = format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before \
             detaching the gateway."
        );
        Err(refusal(call, DEPENDENCY, &message))
    }

    async fn address(&self, call: &Call, ask: &Ask) -> Verdict {
        let id = call.param("AllocationId");
        if id.is_empty() {
            return Ok(());
        }
        let read = || async {
            let answer = ask.ec2("DescribeAddresses", &[("AllocationId.1", id)]).await?;
            Ok::<_, Response>(!answer.value("addressesSet/item/associationId").is_empty())
        };
        if !read().await? {
            return Ok(());
        }
        self.leaving.look(ask, |departure| departure.addresses.iter().any(|address| address == id)).await;
        if !read().await? {
            return Ok(());
        }
        // It hangs on an interface of Amazon's then, which nobody else may touch.
        let gateways = ask.ec2("DescribeNatGateways", &[]).await?;
        let held = gateways.all("natGatewaySet/item").into_iter().any(|gateway| {
            let addresses = gateway.values("natGatewayAddressSet/item/allocationId");
            gateway.value("state") != "deleted" && addresses.contains(&id)
        });
        if held {
            let message = "You do not have permission to access the specified resource.";
            return Err(refusal(call, "AuthFailure", message));
        }
        Err(refusal(call, "InvalidIPAddress.InUse", &format!("Address with allocation id {id} is in use.")))
    }
}

async fn interfaces(ask: &Ask, filter: &str, value: &str) -> Result<Vec<Element>, Response> {
    let params = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
    let answer = ask.ec2("DescribeNetworkInterfaces", &params).await?;
    Ok(answer.all("networkInterfaceSet/item").into_iter().cloned().collect())
}

async fn second_gateway(call: &Call, ask: &Ask) -> Verdict {
    let vpc = call.param("VpcId");
    let params = [("Filter.1.Name", "attachment.vpc-id"), ("Filter.1.Value.1", vpc)];
    let answer = ask.ec2("DescribeInternetGateways", &params).await?;
    let attached = answer.values("internetGatewaySet/item/internetGatewayId");
    if attached.is_empty() || attached.contains(&call.param("InternetGatewayId")) {
        // The same one again: moto answers as AWS does.
        return Ok(());
    }
    let message = format!("Network {vpc} already has an internet gateway attached");
    Err(refusal(call, "InvalidParameterValue", &message))
}

/// A block that subnets stand on stays.
async fn block(call: &Call, ask: &Ask) -> Verdict {
    let id = call.param("AssociationId");
    let vpcs = ask.ec2("DescribeVpcs", &[]).await?;
    for vpc in vpcs.all("vpcSet/item") {
        let blocks = vpc.all("cidrBlockAssociationSet/item");
        let Some(block) = blocks.into_iter().find(|block| block.value("associationId") == id) else {
            continue;
        };
        let params = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.value("vpcId"))];
        let subnets = ask.ec2("DescribeSubnets", &params).await?;
        let subnets = subnets.values("subnetSet/item/cidrBlock");
        if subnets.into_iter().any(|subnet| is_within(subnet, block.value("cidrBlock"))) {
            let message = format!(
                "The vpc CIDR block with association ID {id} may not be disassociated. There are subnets in it."
            );
            return Err(refusal(call, "InvalidCidrBlock.InUse", &message));
        }
    }
    Ok(())
}

/// Whether one IPv4 network lies within another.
fn is_within(inner: &str, outer: &str) -> bool {
    let parse = |text: &str| {
        let (address, length) = text.split_once('/')?;
        let address = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
        Some((address, length.parse::<u32>().ok()?))
    };
    let (Some((inner, longer)), Some((outer, length))) = (parse(inner), parse(outer)) else { return false };
    let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
    longer >= length && inner & mask == outer & mask
}

/// A subnet has one route table. moto says yes and changes nothing.
async fn second_table(call: &Call, ask: &Ask) -> Verdict {
    let subnet = call.param("SubnetId");
    if subnet.is_empty() {
        return Ok(());
    }
    let params = [("Filter.1.Name", "association.subnet-id"), ("Filter.1.Value.1", subnet)];
    let answer = ask.ec2("DescribeRouteTables", &params).await?;
    if answer.all("routeTableSet/item").is_empty() {
        return Ok(());
    }
    let message = format!(
        "the specified association for route table {} conflicts with an existing association",
        call.param("RouteTableId")
    );
    Err(refusal(call, "Resource.AlreadyAssociated", &message))
}

/// What a machine, a load balancer or a NAT gateway uses cannot be deleted by itself.
async fn interface(call: &Call, ask: &Ask) -> Verdict {
    let id = call.param("NetworkInterfaceId");
    let answer = ask.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", id)]).await?;
    let Some(interface) = answer.get("networkInterfaceSet/item") else { return Ok(()) };
    let nat = owners(ask).await;
    let used = interface.get("attachment/instanceId").is_some()
        || interface.value("description").starts_with("ELB ")
        || nat.iter().any(|(_, used)| used == id);
    if used {
        let message = format!("Network interface '{id}' is currently in use.");
        return Err(refusal(call, "InvalidParameterValue", &message));
    }
    Ok(())
}

/// NAT gateways and their interfaces.
async fn owners(ask: &Ask) -> Vec<(String, String)> {
    let Ok(answer) = ask.ec2("DescribeNatGateways", &[]).await else { return Vec::new() };
    answer
        .all("natGatewaySet/item")
        .into_iter()
        .flat_map(|gateway| {
            gateway
                .values("natGatewayAddressSet/item/networkInterfaceId")
                .into_iter()
                .map(|interface| (gateway.value("natGatewayId").to_owned(), interface.to_owned()))
        })
        .collect()
}

/// Interfaces of load balancers and NAT gateways say whose they are.
async fn dressed(response: Response, ask: &Ask) -> Response {
    let text = response.text();
    let root = Element::parse(&text);
    let mut edits = Edits::of(&text);
    let found = root.all("networkInterfaceSet/item");
    let bare =
        |one: &&Element| one.value("description").is_empty() && one.get("attachment/instanceId").is_none();
    let nat = if found.iter().any(bare) { owners(ask).await } else { Vec::new() };
    for interface in found {
        let id = interface.value("networkInterfaceId");
        let kind = if interface.value("description").starts_with("ELB ") {
            edits.set_child(interface, "requesterId", "amazon-elb");
            if interface.value("description").contains('/') { "network_load_balancer" } else { "interface" }
        } else if let Some((gateway, _)) = nat.iter().find(|(_, used)| used == id) {
            edits.set_child(interface, "description", &format!("Interface for NAT Gateway {gateway}"));
            "nat_gateway"
        } else {
            continue;
        };
        edits.set_child(interface, "interfaceType", kind);
        edits.set_child(interface, "requesterManaged", "true");
        edits.set_child(interface, "status", "in-use");
    }
    if edits.is_empty() { response } else { response.with_body(edits.apply()) }
}

/// moto writes a subnet's IPv6 association state as Python would.
fn plain_state(response: Response) -> Response {
    let text = response.text();
    if !text.contains(PYTHON_STATE) {
        return response;
    }
    response.with_body(text.replace(PYTHON_STATE, "associated"))
}
