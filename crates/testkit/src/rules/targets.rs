//! Health of the targets of network load balancers.
//!
//! The machines here run nothing, and so nothing is really checked: a registered machine that runs is healthy, as
//! moto says too, unless a test says otherwise of its target group.
//!
//! - Targets of a group that no listener forwards to are `unused`; nobody checks them.
//! - Machines of an Auto Scaling group that is going are `draining`.
//! - The port of a health check is a number: where it is the traffic's, that of the target.
//!
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::Leaving;
use super::{Reply, Rule};
use crate::call::Call;
use crate::front::locked;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::{Edits, Element};

/// What health checks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// The target answers.
    Healthy,
    /// It has been registered just now.
    Initial,
    /// It does not answer.
    Unhealthy,
}

/// State, reason and description, as AWS has them.
type Health = (&'static str, &'static str, &'static str);

const UNUSED: Health =
    ("unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer");
const DRAINING: Health =
    ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress");

impl TargetState {
    fn health(self) -> Option<Health> {
        match self {
            Self::Healthy => None,
            Self::Initial => {
                Some(("initial", "Elb.RegistrationInProgress", "Target registration is in progress"))
            }
            Self::Unhealthy => Some(("unhealthy", "Target.FailedHealthChecks", "Health checks failed")),
        }
    }
}

/// What tests say of target groups, by how their names begin.
pub(crate) type Said = Arc<Mutex<BTreeMap<String, TargetState>>>;

pub(super) struct TargetHealth {
    pub(super) said: Said,
    pub(super) leaving: Arc<Leaving>,
}

impl Rule for TargetHealth {
    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            if !call.is("elasticloadbalancing", "DescribeTargetHealth") || !response.status.is_success() {
                return Reply::Send(response);
            }
            let arn = call.param("TargetGroupArn");
            let said = self.said(arn);
            let of_all = if is_used(arn, ask).await { said } else { Some(UNUSED) };
            Reply::Send(show(response, of_all, &self.leaving.instances(ask)))
        }
        .boxed()
    }
}

impl TargetHealth {
    fn said(&self, arn: &str) -> Option<Health> {
        let name = arn.split('/').nth(1).unwrap_or_default();
        let said = locked(&self.said);
        // Of two beginnings the longer one counts, which is the later one in this order.
        let state = said.iter().rev().find(|(beginning, _)| name.starts_with(beginning.as_str()));
        state.and_then(|(_, state)| state.health())
    }
}

/// Whether a load balancer forwards to the group.
async fn is_used(arn: &str, ask: &Ask) -> bool {
    let path = "DescribeTargetGroupsResult/TargetGroups/member/LoadBalancerArns/member";
    match ask.elb("DescribeTargetGroups", &[("TargetGroupArns.member.1", arn)]).await {
        Ok(answer) => !answer.all(path).is_empty(),
        Err(_) => true,
    }
}

fn show(response: Response, of_all: Option<Health>, going: &[String]) -> Response {
    let text = response.text();
    let root = Element::parse(&text);
    let mut edits = Edits::of(&text);
    for target in root.all("DescribeTargetHealthResult/TargetHealthDescriptions/member") {
        if target.value("HealthCheckPort") == "traffic-port" {
            edits.set_child(target, "HealthCheckPort", target.value("Target/Port"));
        }
        let Some(found) = target.get("TargetHealth") else { continue };
        // What moto itself says of a machine that does not run, or is not registered, stays.
        if found.value("State") != "healthy" {
            continue;
        }
        let is_going = going.iter().any(|id| id == target.value("Target/Id"));
        if let Some((state, reason, description)) = if is_going { Some(DRAINING) } else { of_all } {
            edits.set_child(found, "State", state);
            edits.set_child(found, "Reason", reason);
            edits.set_child(found, "Description", description);
        }
    }
    if edits.is_empty() { response } else { response.with_body(edits.apply()) }
}
