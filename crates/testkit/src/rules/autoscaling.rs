//! Auto Scaling groups.
//!
//! - A second group of the same name is refused (moto overwrites the first):
//!   <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html>.
//! - A group with machines goes with `ForceDelete` only (`ResourceInUse`), and its machines take their time:
//!   the group says "Delete in progress", the machines `shutting-down`, their network interfaces are in the
//!   way of security groups and subnets.
//! - Lifecycle hooks given at creation are made (moto ignores them), and hooks without a target show none
//!   (moto invents one). Their names have few characters to choose from (moto takes any):
//!   <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHookSpecification.html>.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::{Departure, Leaving, Thing};
use super::{Decision, Reply, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::local_aws::FrontConfig;
use crate::upstream::Ask;
use crate::wire::{Response, escape};
use crate::xml::{Edits, Element};

pub(super) struct Groups {
    leaving: Arc<Leaving>,
    asks: u32,
}

impl Groups {
    pub(super) fn new(config: &FrontConfig, leaving: Arc<Leaving>) -> Self {
        Self { leaving, asks: config.group_asks }
    }
}

impl Rule for Groups {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            let name = call.param("AutoScalingGroupName");
            match (call.service.as_str(), call.action.as_str()) {
                ("autoscaling", "CreateAutoScalingGroup") => decided(match hook_names(call) {
                    Ok(()) => self.is_new(call, ask, name).await,
                    refused => refused,
                }),
                ("autoscaling", "PutLifecycleHook") => decided(hook_names(call)),
                ("autoscaling", "DeleteAutoScalingGroup") => match self.delete(call, ask, name).await {
                    Ok(decision) => decision,
                    Err(response) => Decision::Respond(response),
                },
                ("autoscaling", "UpdateAutoScalingGroup" | "SetDesiredCapacity")
                    if self.leaving.has(&group(name), ask) =>
                {
                    let message = format!("AutoScalingGroup {name} is pending delete");
                    Decision::Respond(refusal(call, "ValidationError", &message))
                }
                ("autoscaling", "DescribeAutoScalingGroups") | ("ec2", "DescribeInstances") => {
                    self.leaving.look(ask, |departure| matches!(departure.thing, Thing::Group(_))).await;
                    Decision::Forward
                }
                _ => Decision::Forward,
            }
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            if !response.status.is_success() {
                return Reply::Send(response);
            }
            Reply::Send(match (call.service.as_str(), call.action.as_str()) {
                ("autoscaling", "CreateAutoScalingGroup") => match hooks(call, ask).await {
                    Ok(()) => response,
                    Err(response) => response,
                },
                ("autoscaling", "DescribeAutoScalingGroups") => self.show_groups(response, ask),
                ("autoscaling", "DescribeLifecycleHooks") => without_invented_targets(response),
                ("ec2", "DescribeInstances") => self.show_machines(response, ask),
                _ => response,
            })
        }
        .boxed()
    }
}

impl Groups {
    async fn is_new(&self, call: &Call, ask: &Ask, name: &str) -> Verdict {
        let pending = if self.leaving.has(&group(name), ask) { " and is pending delete" } else { "" };
        if find(ask, name).await?.is_none() {
            return Ok(());
        }
        let message = format!(
            "AutoScalingGroup by this name already exists - A group with the name {name} already exists{pending}"
        );
        Err(refusal(call, "AlreadyExists", &message))
    }

    async fn delete(&self, call: &Call, ask: &Ask, name: &str) -> Result<Decision, Response> {
        let done = || {
            Decision::Respond(Response::xml(
                "<DeleteAutoScalingGroupResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
                 <ResponseMetadata><RequestId>kcl-local-aws</RequestId></ResponseMetadata>\
                 </DeleteAutoScalingGroupResponse>",
            ))
        };
        if self.leaving.has(&group(name), ask) {
            return Ok(done());
        }
        let Some(found) = find(ask, name).await? else { return Ok(Decision::Forward) };
        let instances: Vec<String> =
            found.values("Instances/member/InstanceId").into_iter().map(str::to_owned).collect();
        if instances.is_empty() {
            return Ok(Decision::Forward);
        }
        if !call.param("ForceDelete").eq_ignore_ascii_case("true") {
            let message = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance \
                           request(s) still in the group.";
            return Err(refusal(call, "ResourceInUse", message));
        }
        let mut departure = Departure::new(group(name), ask, self.asks);
        departure.interfaces = interfaces(ask, &instances).await?;
        departure.instances = instances;
        self.leaving.start(departure, ask).await;
        Ok(done())
    }

    fn show_groups(&self, response: Response, ask: &Ask) -> Response {
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        for member in root.all("DescribeAutoScalingGroupsResult/AutoScalingGroups/member") {
            if !self.leaving.has(&group(member.value("AutoScalingGroupName")), ask) {
                continue;
            }
            edits.add(member, "<Status>Delete in progress</Status>");
            edits.set_child(member, "DesiredCapacity", "0");
            for state in member.all("Instances/member/LifecycleState") {
                edits.set(state, "Terminating");
            }
        }
        if edits.is_empty() { response } else { response.with_body(edits.apply()) }
    }

    fn show_machines(&self, response: Response, ask: &Ask) -> Response {
        let going = self.leaving.instances(ask);
        if going.is_empty() {
            return response;
        }
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        for item in root.all("reservationSet/item/instancesSet/item") {
            if going.iter().any(|id| id == item.value("instanceId"))
                && let Some(state) = item.get("instanceState")
            {
                edits.set_child(state, "code", "32");
                edits.set_child(state, "name", "shutting-down");
            }
        }
        response.with_body(edits.apply())
    }
}

fn group(name: &str) -> Thing {
    Thing::Group(name.to_owned())
}

/// All groups of the account, pages read to the end.
pub(super) async fn groups(ask: &Ask) -> Result<Vec<Element>, Response> {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = if token.is_empty() { vec![] } else { vec![("NextToken", token.as_str())] };
        let answer = ask.autoscaling("DescribeAutoScalingGroups", &page).await?;
        let members = answer.all("DescribeAutoScalingGroupsResult/AutoScalingGroups/member");
        found.extend(members.into_iter().cloned());
        answer.value("DescribeAutoScalingGroupsResult/NextToken").clone_into(&mut token);
        if token.is_empty() {
            return Ok(found);
        }
    }
}

async fn find(ask: &Ask, name: &str) -> Result<Option<Element>, Response> {
    let params = [("AutoScalingGroupNames.member.1", name)];
    let answer = ask.autoscaling("DescribeAutoScalingGroups", &params).await?;
    Ok(answer.get("DescribeAutoScalingGroupsResult/AutoScalingGroups/member").cloned())
}

async fn interfaces(ask: &Ask, instances: &[String]) -> Result<Vec<String>, Response> {
    let names: Vec<String> = (1..=instances.len()).map(|index| format!("InstanceId.{index}")).collect();
    let params: Vec<(&str, &str)> =
        names.iter().zip(instances).map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let answer = ask.ec2("DescribeInstances", &params).await?;
    let path = "reservationSet/item/instancesSet/item/networkInterfaceSet/item/networkInterfaceId";
    Ok(answer.values(path).into_iter().map(str::to_owned).collect())
}

/// The names of hooks, given with a group or by themselves.
fn hook_names(call: &Call) -> Verdict {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    let mut names = call.params.iter().filter(|(key, _)| key.rsplit('.').next() == Some("LifecycleHookName"));
    let Some((_, name)) = names.find(|(_, name)| name.len() > 255 || !name.chars().all(fits)) else {
        return Ok(());
    };
    let message = format!(
        "1 validation error detected: Value '{name}' at 'lifecycleHookName' failed to satisfy constraint: Member \
         must satisfy regular expression pattern: [A-Za-z0-9\\-_\\/]+"
    );
    Err(refusal(call, "ValidationError", &message))
}

async fn hooks(call: &Call, ask: &Ask) -> Verdict {
    const FIELDS: [&str; 7] = [
        "LifecycleHookName",
        "LifecycleTransition",
        "HeartbeatTimeout",
        "DefaultResult",
        "NotificationTargetARN",
        "RoleARN",
        "NotificationMetadata",
    ];
    for index in 1.. {
        let prefix = format!("LifecycleHookSpecificationList.member.{index}");
        if call.param(&format!("{prefix}.LifecycleHookName")).is_empty() {
            break;
        }
        let mut params = vec![("AutoScalingGroupName", call.param("AutoScalingGroupName"))];
        for field in FIELDS {
            let value = call.param(&format!("{prefix}.{field}"));
            if !value.is_empty() {
                params.push((field, value));
            }
        }
        ask.autoscaling("PutLifecycleHook", &params).await?;
    }
    Ok(())
}

/// moto's stand-ins for a target that was not given.
fn without_invented_targets(response: Response) -> Response {
    let text = response.text();
    let root = Element::parse(&text);
    let mut edits = Edits::of(&text);
    for hook in root.all("DescribeLifecycleHooksResult/LifecycleHooks/member") {
        for (field, invented) in [
            ("NotificationTargetARN", "arn:aws:sqs:us-east-1:123456789012:my-queue"),
            ("RoleARN", "arn:aws:iam::1234567890:role/my-auto-scaling-role"),
        ] {
            if let Some(element) = hook.get(field).filter(|element| element.text == escape(invented)) {
                edits.remove(element);
            }
        }
    }
    if edits.is_empty() { response } else { response.with_body(edits.apply()) }
}
