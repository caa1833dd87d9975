//! Nothing is changed without the lock.
//!
//! A run that has lost its lock starts nothing more, but a step under way may hold several calls, and the SDK sends a
//! call again for minutes: by then somebody else may be at work. So each try of each call that changes something looks
//! whether the lock is certainly held, and is an error where it is not.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::error::{Error, ErrorKind};
use crate::store::lock::Fence;

/// What an error says that comes from here.
pub(crate) const LOCK_LOST: &str = "nothing more is changed: the lock of the cluster is not held any more";

/// How calls are called that change nothing.
const READS: [&str; 5] = ["Describe", "Get", "List", "Head", "Assume"];

/// Looks at each try. Without a fence everything passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Arc<Mutex<Option<Fence>>>);

impl Guard {
    pub(crate) fn set(&self, fence: Fence) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fence);
    }

    fn is_closed(&self) -> bool {
        let fence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fence.as_ref().is_some_and(Fence::is_closed)
    }

    /// An error of `action` where nothing may be changed any more.
    pub(crate) fn check(&self, action: &str) -> Result<(), Error> {
        if self.is_closed() { Err(Error::new(ErrorKind::LockLost, action, LOCK_LOST)) } else { Ok(()) }
    }
}

impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "Guard"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let call = config.load::<Metadata>().map(Metadata::name).unwrap_or_default();
        let changes = !READS.iter().any(|begins| call.starts_with(begins));
        if changes && self.is_closed() { Err(LOCK_LOST.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::{During, ErrorKind};
    use crate::store::{FileStore, Store};
    use crate::testing::{World, lock, lose};

    #[tokio::test]
    async fn nothing_is_changed_without_the_lock() {
        let world = World::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = Arc::new(FileStore::new(folder.path().to_owned()));
        let lock = lock(&store, "k").await;
        world.aws.change_under(lock.fence());
        let create = || world.aws.ec2.create_vpc().cidr_block("10.0.0.0/16").send();
        create().await.expect("the lock is held");

        lose(&lock, store.as_ref(), "k").await;
        world.local.take_calls();
        let error = create().await.during("ec2:CreateVpc").expect_err("the lock is lost");
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::LockLost, LOCK_LOST));
        world.aws.ec2.describe_vpcs().send().await.expect("who only looks may");
        assert_eq!(world.local.calls().len(), 1, "{:?}", world.local.calls());
    }
}
