//! Somebody else changes the same thing just now, or AWS is still busy with the last change: refused before anything was
//! done, and worth another try, as IAM's documentation says of these codes; the SDK gives up at once.
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html>.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

/// As the codes begin: EventBridge's ends with `Exception`.
const CODES: [&str; 2] = ["ConcurrentModification", "EntityTemporarilyUnmodifiable"];

/// Has the SDK try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy;

impl ClassifyRetry for Busy {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let is_busy = context.response().filter(|response| response.status().is_client_error()).is_some_and(
            |response| {
                let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                CODES.iter().any(|code| body.contains(code))
            },
        );
        if is_busy { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "Busy"
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::interceptors::context::Input;
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn action(status: u16, body: &'static str) -> RetryAction {
        let mut context = InterceptorContext::new(Input::erase(()));
        let status = StatusCode::try_from(status).expect("a status");
        context.set_response(HttpResponse::new(status, SdkBody::from(body)));
        Busy.classify_retry(&context)
    }

    #[test]
    fn what_is_busy_is_asked_again_and_nothing_else() {
        let iam = "<ErrorResponse><Error><Code>ConcurrentModification</Code></Error></ErrorResponse>";
        let unmodifiable = "<Error><Code>EntityTemporarilyUnmodifiable</Code></Error>";
        let events = r#"{"__type":"ConcurrentModificationException","message":"rule"}"#;
        for (status, body) in [(409, iam), (409, unmodifiable), (400, events)] {
            assert_eq!(action(status, body), RetryAction::transient_error(), "{body}");
        }
        let there = "<Error><Code>EntityAlreadyExists</Code></Error>";
        assert_eq!(action(409, there), RetryAction::NoActionIndicated);
        assert_eq!(action(200, iam), RetryAction::NoActionIndicated, "an answer may hold any word");
    }
}
