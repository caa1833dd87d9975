//! Classic load balancers, which share service and action names with the others and differ in the API's version.
//!
//! One has a network interface per subnet, with its security groups ("ELB name"); these stay for a while after it
//! is deleted. moto has none: the front makes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::Leaving;
use super::{Decision, Reply, Rule, elb};
use crate::call::Call;
use crate::front::locked;
use crate::local_aws::FrontConfig;
use crate::upstream::{Ask, CLASSIC_ELB};
use crate::wire::Response;

pub(super) struct ClassicLoadBalancers {
    leaving: Arc<Leaving>,
    interface_asks: u32,
    /// Interfaces of one that a DeleteLoadBalancer is under way for, by name, and whether they are public.
    deleting: Mutex<HashMap<String, (Vec<String>, bool)>>,
}

impl ClassicLoadBalancers {
    pub(super) fn new(config: &FrontConfig, leaving: Arc<Leaving>) -> Self {
        Self { leaving, interface_asks: config.interface_asks, deleting: Mutex::default() }
    }
}

/// Whether a call of Elastic Load Balancing is about classic ones.
pub(super) fn is_classic(call: &Call) -> bool {
    call.service == "elasticloadbalancing" && call.param("Version") == CLASSIC_ELB
}

fn description(name: &str) -> String {
    format!("ELB {name}")
}

impl Rule for ClassicLoadBalancers {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if is_classic(call) && call.action == "DeleteLoadBalancer" {
                self.delete(call.param("LoadBalancerName"), ask).await;
            }
            Decision::Forward
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            if is_classic(call) && response.status.is_success() {
                let name = call.param("LoadBalancerName");
                match call.action.as_str() {
                    "CreateLoadBalancer" => {
                        let (subnets, groups) = (call.list("Subnets"), call.list("SecurityGroups"));
                        elb::make_described(&description(name), &subnets, &groups, ask).await;
                    }
                    "DeleteLoadBalancer" => {
                        let (ids, is_public) = locked(&self.deleting).remove(name).unwrap_or_default();
                        elb::leave(&self.leaving, ids, is_public, self.interface_asks, ask).await;
                    }
                    _ => {}
                }
            }
            Reply::Send(response)
        }
        .boxed()
    }
}

impl ClassicLoadBalancers {
    async fn delete(&self, name: &str, ask: &Ask) {
        let params = [("LoadBalancerNames.member.1", name)];
        // None of that name is an error there, and none when it is deleted.
        let Ok(found) = ask.classic_elb("DescribeLoadBalancers", &params).await else { return };
        let scheme = found.value("DescribeLoadBalancersResult/LoadBalancerDescriptions/member/Scheme");
        let interfaces = elb::described(&description(name), ask).await;
        let ids = interfaces.iter().map(|one| one.value("networkInterfaceId").to_owned()).collect();
        locked(&self.deleting).insert(name.to_owned(), (ids, scheme != "internal"));
    }
}
