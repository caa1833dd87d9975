//! Hears what each service answers: how often it says that there are too many calls, and, for the log, to which call.
//!
//! The SDK tries such a call again by itself, so that nobody else would learn of it; whoever decides how much is
//! done at a time has to. It is tried more often than what failed for other reasons: nothing was done, and of some
//! hundreds of calls in a busy account one is refused several times running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;

use crate::error::{THROTTLED, body};
use crate::kind::Service;

/// How often a call is tried that was refused, so that at one refused in five hardly any run meets its end: 0.2^8 for each
/// of its calls.
pub(crate) const ATTEMPTS: u32 = 8;
/// The longest pause between two of them: all together take less than what a lock has left when its renewal begins, so
/// that one that is refused again and again leaves time for another.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often, by service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<[AtomicU64; Service::ALL.len()]>);

impl Refusals {
    /// How often `service` has refused a call so far.
    pub(crate) fn count(&self, service: Service) -> u64 {
        self.0[service.place()].load(Ordering::Relaxed)
    }

    /// What hears it of the calls of one client.
    pub(crate) fn listener(&self, service: Service) -> Listener {
        Listener { refusals: self.clone(), service }
    }
}

/// Looks at each answer, each try's.
#[derive(Debug)]
pub(crate) struct Listener {
    refusals: Refusals,
    service: Service,
}

impl Intercept for Listener {
    fn name(&self) -> &'static str {
        "Refusals"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let call = config.load::<Metadata>().map(Metadata::name).unwrap_or_default();
        let status = context.response().map(|response| response.status().as_u16());
        tracing::trace!(service = ?self.service, call, status, "call to AWS");
        if context.response().is_some_and(is_refusal) {
            self.refusals.0[self.service.place()].fetch_add(1, Ordering::Relaxed);
            // Whoever tries by itself has told the SDK to try once.
            let retries = config.load::<RetryConfig>().filter(|retries| retries.max_attempts() > 1).cloned();
            if let Some(retries) = retries {
                config
                    .interceptor_state()
                    .store_put(retries.with_max_attempts(ATTEMPTS).with_max_backoff(LONGEST_PAUSE));
            }
        }
        Ok(())
    }
}

/// Whether it says that there are too many calls. Each protocol has the code in another place, and none of the
/// codes means anything else.
fn is_refusal(response: &HttpResponse) -> bool {
    if response.status().is_success() {
        return false;
    }
    let body = body(response);
    response.status().as_u16() == 429 || THROTTLED.iter().any(|code| body.contains(code))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::config::Builder;
    use kcl_testkit::{Decision, Fault, Point, Response, When};

    use super::*;
    use crate::store::{self, S3Store, Store as _};
    use crate::testing::{self, World};

    #[tokio::test]
    async fn refusals_are_heard_though_the_call_succeeds() {
        let world = World::start().await;
        let point = |service: &str, action: &str| Point {
            service: service.to_owned(),
            action: action.to_owned(),
            nth: 1,
        };
        world.local.inject(Fault::Throttled, When::At(point("ec2", "DescribeVpcs")), 0);
        world.local.inject(Fault::Throttled, When::At(point("iam", "ListRoles")), 0);
        assert_eq!(world.aws.refusals.count(Service::Ec2), 0);
        world.aws.ec2.describe_vpcs().send().await.expect("the next try succeeds");
        assert_eq!(world.aws.refusals.count(Service::Ec2), 1);
        assert_eq!(world.aws.refusals.count(Service::Iam), 0);
        world.aws.iam.list_roles().send().await.expect("the next try succeeds");
        assert_eq!(world.aws.refusals.count(Service::Iam), 1);
        let missing = world.aws.ec2.describe_vpcs().vpc_ids("vpc-0").send().await;
        assert!(missing.is_err());
        assert_eq!(world.aws.refusals.count(Service::Ec2), 1, "no other error counts");
    }

    /// How often a call is tried that always has this answer, where the SDK tries as `retries` says.
    async fn tries(status: u16, code: &'static str, retries: RetryConfig) -> usize {
        let world = World::start().await;
        world.local.before(move |call| {
            Decision::Respond(Response::error(call.protocol, status, code, "please wait and try again"))
        });
        let config = Builder::from(&testing::sdk_config(&world.local))
            .retry_config(retries.with_initial_backoff(Duration::from_millis(1)))
            .interceptor(world.aws.refusals.listener(Service::Ec2));
        let client = aws_sdk_ec2::Client::from_conf(config.build());
        assert!(client.describe_vpcs().send().await.is_err());
        world.local.count("ec2", "DescribeVpcs")
    }

    #[tokio::test]
    async fn what_is_refused_is_tried_more_often_than_what_fails() {
        let five = || RetryConfig::standard().with_max_attempts(5);
        assert_eq!(tries(503, "RequestLimitExceeded", five()).await, 8);
        assert_eq!(tries(500, "InternalError", five()).await, 5);
        assert_eq!(tries(503, "RequestLimitExceeded", RetryConfig::disabled()).await, 1);
    }

    #[tokio::test]
    async fn refusals_of_the_state_store_are_heard() {
        let world = World::start().await;
        let bucket = world.bucket("state", "eu-north-1").await;
        let client = store::client(&testing::sdk_config(&world.local), &world.aws.refusals);
        let store = S3Store::new(client, bucket, String::new());
        let point = Point { service: "s3".to_owned(), action: "GetObject".to_owned(), nth: 1 };
        world.local.inject(Fault::Throttled, When::At(point), 0);
        assert!(store.get("c/config").await.expect("the next try succeeds").is_none());
        assert_eq!(world.aws.refusals.count(Service::Other), 1);
    }

    #[test]
    fn every_service_has_a_place_of_its_own() {
        let places = Service::ALL.map(Service::place);
        assert_eq!(places, std::array::from_fn(|place| place));
    }
}
