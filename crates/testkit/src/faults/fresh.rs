//! What was just created and is not known everywhere yet.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>. A new thing is missing from
//! lists and not found by its id for some looks; each look that would show it counts.

use std::collections::HashMap;

use crate::call::Call;
use crate::wire::Response;
use crate::xml::{Edits, Element};

/// What is created by which call, and how it is read.
struct Made {
    service: &'static str,
    create: &'static str,
    /// Where the answer has its id; empty: it is the parameter [`Made::id`] of the call.
    path: &'static str,
    /// How lists call the id of their items.
    id: &'static str,
    /// What is said of one that is not there.
    missing: &'static str,
}

const fn made(
    service: &'static str,
    create: &'static str,
    path: &'static str,
    id: &'static str,
    missing: &'static str,
) -> Made {
    Made { service, create, path, id, missing }
}

const ELB: &str = "elasticloadbalancing";

const MADE: [Made; 17] = [
    made("ec2", "CreateVpc", "vpc/vpcId", "vpcId", "InvalidVpcID.NotFound"),
    made(
        "ec2",
        "CreateDhcpOptions",
        "dhcpOptions/dhcpOptionsId",
        "dhcpOptionsId",
        "InvalidDhcpOptionID.NotFound",
    ),
    made("ec2", "CreateSubnet", "subnet/subnetId", "subnetId", "InvalidSubnetID.NotFound"),
    made(
        "ec2",
        "CreateInternetGateway",
        "internetGateway/internetGatewayId",
        "internetGatewayId",
        "InvalidInternetGatewayID.NotFound",
    ),
    made(
        "ec2",
        "CreateRouteTable",
        "routeTable/routeTableId",
        "routeTableId",
        "InvalidRouteTableID.NotFound",
    ),
    made("ec2", "CreateSecurityGroup", "groupId", "groupId", "InvalidGroup.NotFound"),
    made("ec2", "CreateVolume", "volumeId", "volumeId", "InvalidVolume.NotFound"),
    made(
        "ec2",
        "CreateLaunchTemplate",
        "launchTemplate/launchTemplateId",
        "launchTemplateId",
        "InvalidLaunchTemplateId.NotFound",
    ),
    made("ec2", "CreateNatGateway", "natGateway/natGatewayId", "natGatewayId", "NatGatewayNotFound"),
    made("ec2", "AllocateAddress", "allocationId", "allocationId", "InvalidAllocationID.NotFound"),
    made(
        ELB,
        "CreateLoadBalancer",
        "CreateLoadBalancerResult/LoadBalancers/member/LoadBalancerArn",
        "LoadBalancerArn",
        "LoadBalancerNotFound",
    ),
    made(
        ELB,
        "CreateTargetGroup",
        "CreateTargetGroupResult/TargetGroups/member/TargetGroupArn",
        "TargetGroupArn",
        "TargetGroupNotFound",
    ),
    made(
        ELB,
        "CreateListener",
        "CreateListenerResult/Listeners/member/ListenerArn",
        "ListenerArn",
        "ListenerNotFound",
    ),
    made("iam", "CreateRole", "", "RoleName", "NoSuchEntity"),
    made("iam", "CreateInstanceProfile", "", "InstanceProfileName", "NoSuchEntity"),
    made(
        "iam",
        "CreateOpenIDConnectProvider",
        "CreateOpenIDConnectProviderResult/OpenIDConnectProviderArn",
        "OpenIDConnectProviderArn",
        "NoSuchEntity",
    ),
    made("autoscaling", "CreateAutoScalingGroup", "", "AutoScalingGroupName", "ValidationError"),
];

/// New things, by their id.
#[derive(Debug, Default)]
pub(super) struct Fresh(HashMap<String, New>);

#[derive(Debug)]
struct New {
    service: &'static str,
    /// How lists call its id.
    id: &'static str,
    missing: &'static str,
    /// Looks that still miss it.
    left: u64,
}

impl Fresh {
    /// Remembers what `call` created, to be missed by as many looks as `looks` says of its id. Whether it did.
    pub(super) fn created(
        &mut self,
        call: &Call,
        response: &Response,
        looks: impl FnOnce(&str) -> u64,
    ) -> bool {
        let Some(made) = MADE.iter().find(|made| call.is(made.service, made.create)) else { return false };
        let id = match made.path {
            "" => call.param(made.id).to_owned(),
            path => Element::parse(&response.text()).value(path).to_owned(),
        };
        if id.is_empty() {
            return false;
        }
        let left = looks(&id);
        self.0.insert(id, New { service: made.service, id: made.id, missing: made.missing, left });
        true
    }

    /// What is said instead to a call that names one of them: that there is no such thing.
    pub(super) fn missing(&mut self, call: &Call) -> Option<Response> {
        let named = self.0.iter_mut().filter(|(_, new)| new.service == call.service && new.left > 0);
        let mut named = named.filter(|(id, _)| call.params.values().any(|value| value == *id));
        let (id, new) = named.next()?;
        // A filter finds nothing rather than failing: it is the answer that lacks it.
        let is_filter = call.params.iter().any(|(name, value)| value == id && name.starts_with("Filter."));
        // Auto Scaling's reads leave out what they do not know.
        if is_filter || (new.service == "autoscaling" && !call.mutating) {
            return None;
        }
        new.left -= 1;
        let message = match new.service {
            "iam" => {
                let what =
                    if new.id == "InstanceProfileName" { "Instance Profile" } else { "The role with name" };
                format!("{what} {id} cannot be found.")
            }
            "autoscaling" => format!("AutoScalingGroup name not found - {id}"),
            _ => format!("The ID '{id}' does not exist"),
        };
        let status = if new.service == "iam" { 404 } else { 400 };
        Some(Response::error(call.protocol, status, new.missing, &message))
    }

    /// The answer of a read without them, and whether it lacks one now.
    pub(super) fn without(&mut self, call: &Call, response: Response) -> (Response, bool) {
        if self.0.values().all(|new| new.left == 0 || new.service != call.service) {
            return (response, false);
        }
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        for (id, new) in self.0.iter_mut().filter(|(_, new)| new.left > 0 && new.service == call.service) {
            let mut shown = Vec::new();
            items(&root, new.id, id, &mut shown);
            if !shown.is_empty() {
                new.left -= 1;
            }
            for item in shown {
                edits.remove(item);
            }
        }
        if edits.is_empty() { (response, false) } else { (response.with_body(edits.apply()), true) }
    }
}

/// Items of lists whose own id it is, the outermost ones.
fn items<'e>(element: &'e Element, name: &str, id: &str, found: &mut Vec<&'e Element>) {
    for child in &element.children {
        let is_item = matches!(child.name.as_str(), "item" | "member");
        if is_item && child.children.first().is_some_and(|_| child.value(name) == id) && owns(child, name) {
            found.push(child);
        } else {
            items(child, name, id, found);
        }
    }
}

/// Whether the item is what the id names, and not something that refers to it: a route table has the VPC's id, too.
fn owns(item: &Element, name: &str) -> bool {
    const REFERENCES: [(&str, &[&str]); 5] = [
        ("dhcpOptionsId", &["vpcId"]),
        (
            "vpcId",
            &[
                "subnetId",
                "routeTableId",
                "groupId",
                "natGatewayId",
                "networkInterfaceId",
                "instanceId",
                "state",
            ],
        ),
        ("subnetId", &["natGatewayId", "networkInterfaceId", "instanceId", "routeTableAssociationId"]),
        ("groupId", &["securityGroupRuleId", "userId"]),
        ("LoadBalancerArn", &["ListenerArn"]),
    ];
    let others = REFERENCES.iter().find(|(id, _)| *id == name).map_or(&[][..], |(_, others)| others);
    !others.iter().any(|other| item.get(other).is_some() && !is_vpc(item, name))
}

/// A VPC has a state of its own, an attachment of a gateway only says that of the attachment.
fn is_vpc(item: &Element, name: &str) -> bool {
    name == "vpcId" && item.get("cidrBlock").is_some() && item.get("subnetId").is_none()
}
