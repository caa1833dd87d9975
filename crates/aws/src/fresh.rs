//! What was made a moment ago may not be known everywhere in AWS yet: a call that names it is told that there is no
//! such thing. That is worth another try, and only that: whatever else is not found stays so.
//!
//! Creating calls and their answers are kept for a while. Where a call fails because something is not found, and one of
//! those names that thing, the SDK tries again, as after any other trouble that passes:
//! <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>. Waits that are longer than that stand
//! where the call is made (see [`crate::wait`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use crate::error::body;
use crate::wait::PROPAGATION;

/// Creating calls with their answers, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fresh(Arc<Mutex<VecDeque<(Instant, String)>>>);

/// How creating calls are called.
const CREATING: [&str; 3] = ["Create", "Allocate", "Import"];

/// How AWS says that something is not there: by a part of the code;
/// Auto Scaling, which has no code for it, in words.
const MISSING: [&str; 6] =
    ["NotFound", "NoSuchEntity", "NonExistent", "DoesNotExist", "name not found", "does not exist"];

/// Shorter words of a message are no names.
const SHORTEST_NAME: usize = 8;

impl Fresh {
    fn answers(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, answer: String) {
        let mut answers = self.answers();
        while answers.front().is_some_and(|(since, _)| since.elapsed() > PROPAGATION) {
            answers.pop_front();
        }
        answers.push_back((Instant::now(), answer));
    }

    /// Whether an error says of something just made that it is not there.
    pub(crate) fn is_about(&self, error: &str) -> bool {
        // A role's policy is looked for where the role is known.
        let is_of_policy = error.to_ascii_lowercase().contains("policy");
        MISSING.iter().any(|mark| error.contains(mark)) && !is_of_policy && self.is_named_in(message(error))
    }

    /// Whether a message names something just made.
    pub(crate) fn is_named_in(&self, message: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        // Whatever stands around it is the same in all answers.
        let mut names = message
            .split(|c| !is_part(c))
            // Names hold digits or dots; what is left are words.
            .map(|word| word.trim_matches(['.', ':', '/']))
            .filter(|word| {
                word.len() >= SHORTEST_NAME && word.contains(|c: char| c.is_ascii_digit() || c == '.')
            });
        let answers = self.answers();
        let is_recent = |since: &Instant| since.elapsed() <= PROPAGATION;
        names.any(|name| answers.iter().any(|(since, answer)| is_recent(since) && answer.contains(name)))
    }
}

/// The words of an error for people: where the answer is XML, an element of its own.
fn message(error: &str) -> &str {
    let inner = error.split_once("<Message>").map(|(_, rest)| rest);
    inner.map_or(error, |rest| rest.split_once("</Message>").map_or(rest, |(message, _)| message))
}

/// What a creating call asks for, until its answer is there: some answers do not name what was made.
#[derive(Debug)]
struct Asked(String);

impl Storable for Asked {
    type Storer = StoreReplace<Self>;
}

fn is_creating(config: &ConfigBag) -> bool {
    let creates = |name: &str| CREATING.iter().any(|begins| name.starts_with(begins));
    config.load::<Metadata>().is_some_and(|call| creates(call.name()))
}

impl Intercept for Fresh {
    fn name(&self) -> &'static str {
        "Fresh"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if is_creating(config)
            && let Some(bytes) = context.request().body().bytes()
        {
            let asked = Asked(String::from_utf8_lossy(bytes).into_owned());
            config.interceptor_state().store_put(asked);
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if is_creating(config)
            && let Some(response) = context.response().filter(|response| response.status().is_success())
        {
            let asked = config.load::<Asked>().map_or("", |asked| asked.0.as_str());
            self.keep(format!("{asked}\n{}", body(response)));
        }
        Ok(())
    }
}

impl ClassifyRetry for Fresh {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().is_client_error() && self.is_about(&body(response)) => {
                RetryAction::transient_error()
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Fresh"
    }
}

#[cfg(test)]
mod tests {
    use kcl_testkit::{Fault, When};

    use super::*;
    use crate::testing::World;

    #[test]
    fn only_what_was_made_a_moment_ago() {
        let fresh = Fresh::default();
        fresh.keep("<groupId>sg-0123456789abcdef0</groupId>".to_owned());
        fresh.keep("<RoleName>masters.k8s.example.com</RoleName>".to_owned());
        let missing = |id: &str| {
            format!("<Code>InvalidGroup.NotFound</Code><Message>The ID '{id}' does not exist</Message>")
        };
        assert!(fresh.is_about(&missing("sg-0123456789abcdef0")));
        assert!(!fresh.is_about(&missing("sg-0aaaaaaaaaaaaaaaa")));
        let role = "<Code>NoSuchEntity</Code><Message>The role with name masters.k8s.example.com cannot be found.</Message>";
        assert!(fresh.is_about(role));
        assert!(
            !fresh.is_about("<Code>NoSuchEntity</Code> The role policy with name masters.k8s.example.com")
        );
        fresh.keep(
            "Action=CreateAutoScalingGroup&AutoScalingGroupName=nodes.k8s.example.com&MinSize=1\n".to_owned(),
        );
        let group =
            "<Code>ValidationError</Code><Message>AutoScalingGroup name not found - nodes.k8s.example.com";
        assert!(fresh.is_about(group));
        fresh.keep("<launchTemplateId>lt-0123456789abcdef0</launchTemplateId>".to_owned());
        let template = "<Code>ValidationError</Code><Message>The specified launch template, with template ID \
                        lt-0123456789abcdef0, does not exist.</Message>";
        assert!(fresh.is_about(template));
        assert!(!fresh.is_about("<Code>DependencyViolation</Code> sg-0123456789abcdef0"));
    }

    #[tokio::test]
    async fn what_is_new_is_asked_for_again() {
        let world = World::start().await;
        let vpc = world.aws.ec2.create_vpc().cidr_block("10.0.0.0/16").send().await.expect("a VPC");
        let vpc = vpc.vpc().and_then(|vpc| vpc.vpc_id()).expect("its id").to_owned();
        world.local.inject(Fault::NotSeenYet { reads: 1 }, When::Always, 0);
        let subnet = world.aws.ec2.create_subnet().vpc_id(vpc).cidr_block("10.0.0.0/24").send().await;
        let subnet = subnet.expect("a subnet").subnet.and_then(|subnet| subnet.subnet_id).expect("its id");
        world.local.take_calls();
        world.aws.ec2.describe_subnets().subnet_ids(subnet).send().await.expect("the next try finds it");
        assert_eq!(world.local.count("ec2", "DescribeSubnets"), 2);
        let other = world.aws.ec2.describe_subnets().subnet_ids("subnet-0aaaaaaaaaaaaaaaa").send().await;
        assert!(other.is_err());
        assert_eq!(world.local.count("ec2", "DescribeSubnets"), 3, "what was never made is asked for once");
    }
}
