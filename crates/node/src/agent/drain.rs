//! Empties this machine: asks what is on it, does with each pod what [`pods::action`] says, and again, until nothing
//! is left or the time is over.

use std::time::Duration;

use futures::StreamExt as _;
use kcl_http::chain;
use time::OffsetDateTime;

use super::kubelet::{Kubelet, KubeletError, Sent, name};
use super::pods::{self, Action, Pod, Times};

/// So many pods are sent away at the same time: an API server that all machines of a group ask at once has to do
/// other things too.
const AT_ONCE: usize = 8;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pods that are still here and should not be.
    pub left: usize,
    /// Those of them that may not go now, each with the reason.
    pub held: Vec<String>,
    /// What the API server could not be asked.
    pub failed: Option<String>,
}

/// Empties the machine until `end`, which may come closer while it does; says what is left then, which is nothing
/// if all went well.
///
/// At least once everything is told to go, however little time there is.
pub async fn drain(
    kubelet: &Kubelet,
    end: impl Fn() -> OffsetDateTime,
    pace: Duration,
    mut tell: impl FnMut(&Progress),
) -> Progress {
    let mut told = None;
    loop {
        let times = Times::until(end());
        let progress = match round(kubelet, times).await {
            Ok(progress) => progress,
            Err(error) => Progress { failed: Some(chain(&error)), ..told.clone().unwrap_or_default() },
        };
        if told.as_ref() != Some(&progress) {
            tell(&progress);
            told = Some(progress.clone());
        }
        let done = progress.left == 0 && progress.failed.is_none();
        let now = OffsetDateTime::now_utc();
        if done || now >= times.end {
            return progress;
        }
        // The moments from which on something else is right are not slept over.
        let next = [times.force, times.end].into_iter().map(|at| at - now).filter(|left| left.is_positive());
        let next = next.filter_map(|left| Duration::try_from(left).ok()).min().unwrap_or(pace);
        tokio::time::sleep(pace.min(next)).await;
    }
}

/// Looks once, and does what is right at that moment.
async fn round(kubelet: &Kubelet, times: Times) -> Result<Progress, KubeletError> {
    let pods = kubelet.pods().await?;
    let now = OffsetDateTime::now_utc();
    let mut progress =
        Progress { left: pods.iter().filter(|pod| !pods::stays(pod)).count(), ..Progress::default() };
    let sending = pods.iter().map(|pod| async move { (pod, send(kubelet, pod, times, now).await) });
    let mut sending = futures::stream::iter(sending).buffer_unordered(AT_ONCE);
    while let Some((pod, sent)) = sending.next().await {
        match sent {
            Ok(Sent::Yes) => {}
            Ok(Sent::NotNow(why)) => progress.held.push(format!("{}: {why}", name(pod))),
            Err(error) => progress.failed = Some(chain(&error)),
        }
    }
    progress.held.sort();
    Ok(progress)
}

async fn send(kubelet: &Kubelet, pod: &Pod, times: Times, now: OffsetDateTime) -> Result<Sent, KubeletError> {
    match pods::action(pod, times, now) {
        Action::Leave | Action::Wait => Ok(Sent::Yes),
        Action::Evict { grace } => kubelet.evict(pod, grace).await,
        Action::Delete { grace } => kubelet.delete(pod, grace).await,
    }
}
