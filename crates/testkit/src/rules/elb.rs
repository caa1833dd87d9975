//! Network load balancers.
//!
//! - A second one of the same name: the same settings give the first one, others `DuplicateLoadBalancerName`:
//!   <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html>.
//! - It is `provisioning` for a while.
//! - It has a network interface per subnet, with its security groups ("ELB net/name/id"); these stay for a
//!   while after it is deleted, which nobody but AWS can hasten. moto has none: the front makes them.
//! - A protected one cannot be deleted. A port has one listener.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::{Departure, Leaving, Thing};
use super::{Decision, Reply, Rule, Verdict, classic_elb, decided, refusal};
use crate::call::Call;
use crate::front::locked;
use crate::local_aws::FrontConfig;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::{Edits, Element};

const MEMBERS: &str = "LoadBalancers/member";
const XMLNS: &str = "xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"";

pub(super) struct LoadBalancers {
    leaving: Arc<Leaving>,
    asks: u32,
    interface_asks: u32,
    /// Looks that still see it provisioning, by ARN.
    provisioning: Mutex<HashMap<String, u32>>,
    /// Interfaces of one that a DeleteLoadBalancer is under way for, by ARN, and whether they are public.
    deleting: Mutex<HashMap<String, (Vec<String>, bool)>>,
}

impl LoadBalancers {
    pub(super) fn new(config: &FrontConfig, leaving: Arc<Leaving>) -> Self {
        Self {
            leaving,
            asks: config.load_balancer_asks,
            interface_asks: config.interface_asks,
            provisioning: Mutex::default(),
            deleting: Mutex::default(),
        }
    }
}

impl Rule for LoadBalancers {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if call.service != "elasticloadbalancing" || classic_elb::is_classic(call) {
                return Decision::Forward;
            }
            match call.action.as_str() {
                "CreateLoadBalancer" => existing(call, ask).await,
                "CreateListener" => decided(port_is_free(call, ask).await),
                "DeleteLoadBalancer" => decided(self.delete(call, ask).await),
                _ => Decision::Forward,
            }
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            let is_other = call.service != "elasticloadbalancing" || classic_elb::is_classic(call);
            if is_other || !response.status.is_success() {
                return Reply::Send(response);
            }
            let arn = call.param("LoadBalancerArn");
            match call.action.as_str() {
                "CreateLoadBalancer" => self.created(&response, ask).await,
                "DescribeLoadBalancers" => return Reply::Send(self.show(response)),
                "SetSecurityGroups" | "SetSubnets" => refit(arn, ask).await,
                "DeleteLoadBalancer" => self.deleted(arn, ask).await,
                _ => {}
            }
            Reply::Send(response)
        }
        .boxed()
    }
}

impl LoadBalancers {
    async fn created(&self, response: &Response, ask: &Ask) {
        let root = Element::parse(&response.text());
        for balancer in root.all(&format!("CreateLoadBalancerResult/{MEMBERS}")) {
            make_interfaces(balancer, ask).await;
            if self.asks > 0 {
                locked(&self.provisioning).insert(balancer.value("LoadBalancerArn").to_owned(), self.asks);
            }
        }
    }

    fn show(&self, response: Response) -> Response {
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        let mut provisioning = locked(&self.provisioning);
        for balancer in root.all(&format!("DescribeLoadBalancersResult/{MEMBERS}")) {
            let arn = balancer.value("LoadBalancerArn");
            let Some(left) = provisioning.get_mut(arn) else { continue };
            if let Some(state) = balancer.get("State") {
                edits.set_child(state, "Code", "provisioning");
            }
            *left -= 1;
            if *left == 0 {
                provisioning.remove(arn);
            }
        }
        if edits.is_empty() { response } else { response.with_body(edits.apply()) }
    }

    async fn delete(&self, call: &Call, ask: &Ask) -> Verdict {
        let arn = call.param("LoadBalancerArn");
        let Ok(attributes) = ask.elb("DescribeLoadBalancerAttributes", &[("LoadBalancerArn", arn)]).await
        else {
            // Unknown: moto answers as AWS does, with success.
            return Ok(());
        };
        let is_protected = attributes
            .all("DescribeLoadBalancerAttributesResult/Attributes/member")
            .iter()
            .any(|one| one.value("Key") == "deletion_protection.enabled" && one.value("Value") == "true");
        if is_protected {
            let message =
                format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
            return Err(refusal(call, "OperationNotPermitted", &message));
        }
        let ids = interfaces(arn, ask).await;
        let ids = ids.iter().map(|one| one.value("networkInterfaceId").to_owned()).collect();
        let balancer = ask.elb("DescribeLoadBalancers", &[("LoadBalancerArns.member.1", arn)]).await?;
        let scheme = balancer.value(&format!("DescribeLoadBalancersResult/{MEMBERS}/Scheme"));
        locked(&self.deleting).insert(arn.to_owned(), (ids, scheme == "internet-facing"));
        Ok(())
    }

    async fn deleted(&self, arn: &str, ask: &Ask) {
        locked(&self.provisioning).remove(arn);
        let (ids, is_public) = locked(&self.deleting).remove(arn).unwrap_or_default();
        leave(&self.leaving, ids, is_public, self.interface_asks, ask).await;
    }
}

/// The interfaces of a deleted load balancer stay for a while.
pub(super) async fn leave(leaving: &Leaving, interfaces: Vec<String>, is_public: bool, asks: u32, ask: &Ask) {
    for id in interfaces {
        let mut departure = Departure::new(Thing::Interface(id.clone()), ask, asks);
        departure.interfaces = vec![id];
        departure.is_public = is_public;
        leaving.start(departure, ask).await;
    }
}

/// What AWS writes on the interfaces of a load balancer.
fn description(arn: &str) -> String {
    format!("ELB {}", arn.split(":loadbalancer/").nth(1).unwrap_or(arn))
}

async fn make_interfaces(balancer: &Element, ask: &Ask) {
    let description = description(balancer.value("LoadBalancerArn"));
    let subnets = balancer.values("AvailabilityZones/member/SubnetId");
    make_described(&description, &subnets, &balancer.values("SecurityGroups/member"), ask).await;
}

/// An interface in each subnet.
pub(super) async fn make_described(description: &str, subnets: &[&str], groups: &[&str], ask: &Ask) {
    for subnet in subnets {
        let names: Vec<String> = (1..=groups.len()).map(|index| format!("SecurityGroupId.{index}")).collect();
        let mut params = vec![("SubnetId", *subnet), ("Description", description)];
        params.extend(names.iter().map(String::as_str).zip(groups.iter().copied()));
        if let Err(response) = ask.ec2("CreateNetworkInterface", &params).await {
            tracing::warn!(answer = response.text(), "a load balancer's interface could not be made");
        }
    }
}

async fn interfaces(arn: &str, ask: &Ask) -> Vec<Element> {
    described(&description(arn), ask).await
}

/// The interfaces with that description.
pub(super) async fn described(description: &str, ask: &Ask) -> Vec<Element> {
    let params = [("Filter.1.Name", "description"), ("Filter.1.Value.1", description)];
    match ask.ec2("DescribeNetworkInterfaces", &params).await {
        Ok(answer) => answer.all("networkInterfaceSet/item").into_iter().cloned().collect(),
        Err(_) => Vec::new(),
    }
}

/// New subnets or security groups: new interfaces.
async fn refit(arn: &str, ask: &Ask) {
    for interface in interfaces(arn, ask).await {
        let id = interface.value("networkInterfaceId");
        drop(ask.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", id)]).await);
    }
    if let Ok(answer) = ask.elb("DescribeLoadBalancers", &[("LoadBalancerArns.member.1", arn)]).await {
        for balancer in answer.all(&format!("DescribeLoadBalancersResult/{MEMBERS}")) {
            make_interfaces(balancer, ask).await;
        }
    }
}

async fn existing(call: &Call, ask: &Ask) -> Decision {
    let name = call.param("Name");
    // None of that name is an error in moto.
    let Ok(answer) = ask.elb("DescribeLoadBalancers", &[("Names.member.1", name)]).await else {
        return Decision::Forward;
    };
    let Some(found) = answer.get(&format!("DescribeLoadBalancersResult/{MEMBERS}")) else {
        return Decision::Forward;
    };
    let sorted = |mut values: Vec<String>| {
        values.sort_unstable();
        values
    };
    let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut subnets = owned(call.list("Subnets"));
    for index in 1.. {
        let subnet = call.param(&format!("SubnetMappings.member.{index}.SubnetId"));
        if subnet.is_empty() {
            break;
        }
        subnets.push(subnet.to_owned());
    }
    let or =
        |value: &str, default: &str| if value.is_empty() { default.to_owned() } else { value.to_owned() };
    let same = or(call.param("Type"), "application") == found.value("Type")
        && or(call.param("Scheme"), "internet-facing") == found.value("Scheme")
        && sorted(subnets) == sorted(owned(found.values("AvailabilityZones/member/SubnetId")))
        && sorted(owned(call.list("SecurityGroups"))) == sorted(owned(found.values("SecurityGroups/member")));
    if !same {
        let message =
            format!("A load balancer with the same name '{name}' exists, but with different settings");
        return Decision::Respond(refusal(call, "DuplicateLoadBalancerName", &message));
    }
    Decision::Respond(first_one(call, ask, found.value("LoadBalancerArn")).await)
}

/// The answer of CreateLoadBalancer for one that exists.
async fn first_one(call: &Call, ask: &Ask, arn: &str) -> Response {
    let body = format!("Action=DescribeLoadBalancers&Version=2015-12-01&LoadBalancerArns.member.1={arn}");
    let path = format!("/?{}", body.replace(':', "%3A").replace('/', "%2F"));
    match ask.rest("elasticloadbalancing", hyper::Method::GET, &path, "").await {
        Err(response) => response,
        Ok(response) => {
            let text = response.text();
            let root = Element::parse(&text);
            match root.get("DescribeLoadBalancersResult/LoadBalancers") {
                None => refusal(call, "KclLocalAwsRule", "the load balancer of that name could not be read"),
                Some(list) => Response::xml(format!(
                    "<CreateLoadBalancerResponse {XMLNS}><CreateLoadBalancerResult>{}</CreateLoadBalancerResult>\
                     <ResponseMetadata><RequestId>kcl-local-aws</RequestId></ResponseMetadata>\
                     </CreateLoadBalancerResponse>",
                    &text[list.range.clone()]
                )),
            }
        }
    }
}

async fn port_is_free(call: &Call, ask: &Ask) -> Verdict {
    let arn = call.param("LoadBalancerArn");
    let Ok(answer) = ask.elb("DescribeListeners", &[("LoadBalancerArn", arn)]).await else { return Ok(()) };
    let ports = answer.values("DescribeListenersResult/Listeners/member/Port");
    if ports.contains(&call.param("Port")) {
        let message = "A listener already exists on this port for this load balancer";
        return Err(refusal(call, "DuplicateListener", message));
    }
    Ok(())
}
