//! [`Rollouts`]: a stand-in for controller manager, scheduler and kubelets at once.
//!
//! A fake, for tests that have to wait for rollouts many times and look at nothing of them: it says of each workload,
//! as soon as it sees it, that all of it runs. No pod is ever made. [`super::Cluster`] is for real rollouts.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::proxy::Way;
use crate::error::Error;
use crate::front::runtime;

/// Much more often than kcl looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

const KINDS: [&str; 3] = ["daemonsets", "deployments", "statefulsets"];

/// Goes on until it is dropped.
pub(crate) struct Rollouts(AbortHandle);

impl Rollouts {
    /// Begins; each DaemonSet is to have a pod on so many `nodes`.
    pub(super) fn start(way: Arc<Way>, nodes: usize) -> Result<Self, Error> {
        let work = async move {
            loop {
                for kind in KINDS {
                    // A server that is away is asked again.
                    drop(roll_out(&way, kind, nodes).await);
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        Ok(Self(runtime()?.spawn(work).abort_handle()))
    }
}

impl Drop for Rollouts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn roll_out(way: &Way, kind: &str, nodes: usize) -> Result<(), Error> {
    for live in way.list(&format!("/apis/apps/v1/{kind}")).await? {
        let (metadata, status) = (&live["metadata"], status(kind, &live, nodes));
        if live["status"]["observedGeneration"] == metadata["generation"] {
            continue;
        }
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let path = format!("/apis/apps/v1/namespaces/{}/{kind}/{}/status", text("namespace"), text("name"));
        let change = json!({ "status": status });
        way.json(Method::PATCH, &path, Some(("application/merge-patch+json", &change))).await?;
    }
    Ok(())
}

/// All of it runs.
fn status(kind: &str, live: &Value, nodes: usize) -> Value {
    let seen = &live["metadata"]["generation"];
    if kind == "daemonsets" {
        return json!({ "observedGeneration": seen, "currentNumberScheduled": nodes, "desiredNumberScheduled": nodes,
            "updatedNumberScheduled": nodes, "numberReady": nodes, "numberAvailable": nodes,
            "numberMisscheduled": 0 });
    }
    let count = live["spec"]["replicas"].as_u64().unwrap_or(1);
    json!({ "observedGeneration": seen, "replicas": count, "updatedReplicas": count, "readyReplicas": count,
        "availableReplicas": count })
}
