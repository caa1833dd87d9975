//! Somebody else changes the same thing just now, or AWS is still busy with the last change: refused before anything was
//! done, and worth another try, as IAM's documentation says of these codes; the SDK gives up at once.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html>.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::error::body;

/// As the codes begin: EventBridge's ends with `Exception`.
const CODES: [&str; 2] = ["ConcurrentModification", "EntityTemporarilyUnmodifiable"];

/// Has the SDK try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy;

impl ClassifyRetry for Busy {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().is_client_error() && is_busy(&body(response)) => {
                RetryAction::transient_error()
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Busy"
    }
}

fn is_busy(error: &str) -> bool {
    CODES.iter().any(|code| error.contains(code))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use kcl_testkit::{Decision, Protocol, Response};

    use crate::testing::World;

    /// How often the first changes are asked for when `code` is the answer the first two times.
    async fn tries(protocol: Protocol, status: u16, code: &'static str) -> usize {
        let world = World::start().await;
        let left = AtomicI32::new(2);
        world.local.before(move |call| {
            if call.mutating && left.fetch_sub(1, Ordering::Relaxed) > 0 {
                return Decision::Respond(Response::error(
                    protocol,
                    status,
                    code,
                    "please wait and try again",
                ));
            }
            Decision::Forward
        });
        if protocol == Protocol::Json {
            let rule = world.aws.events.put_rule().name("drain").schedule_expression("rate(1 day)");
            drop(rule.send().await);
            return world.local.count("events", "PutRule");
        }
        let role = world.aws.iam.create_role().role_name("masters").assume_role_policy_document("{}");
        drop(role.send().await);
        world.local.count("iam", "CreateRole")
    }

    #[tokio::test]
    async fn what_is_busy_is_asked_again_and_nothing_else() {
        assert_eq!(tries(Protocol::Query, 409, "ConcurrentModification").await, 3);
        assert_eq!(tries(Protocol::Query, 409, "EntityTemporarilyUnmodifiable").await, 3);
        assert_eq!(tries(Protocol::Json, 400, "ConcurrentModificationException").await, 3);
        assert_eq!(tries(Protocol::Query, 409, "EntityAlreadyExists").await, 1);
    }
}
