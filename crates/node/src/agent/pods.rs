//! What becomes of the pods of a machine that is emptied, as a function of what they are and of the time.
//!
//! What a controller starts again on this very machine is left alone (daemon sets), and so is what is no object of
//! the API server in truth (static pods) and what has ended. All others are evicted, which honours disruption
//! budgets. When the time that is left is only enough for an end with a short grace, they are deleted.

use std::collections::BTreeMap;

use serde::Deserialize;
use time::{Duration, OffsetDateTime};

/// The grace of a pod that is deleted because the time is over: enough to close connections.
pub const SHORT_GRACE: Duration = Duration::seconds(8);

/// The grace of a pod that names none (Kubernetes API reference, `PodSpec`).
const DEFAULT_GRACE: i64 = 30;

/// The pods of an answer, and where the rest of them is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodList {
    /// What is needed to go on.
    #[serde(default)]
    pub metadata: ListMetadata,
    /// The pods.
    #[serde(default)]
    pub items: Vec<Pod>,
}

/// Where a list goes on.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ListMetadata {
    /// Empty at its end.
    #[serde(default, rename = "continue")]
    pub next: String,
}

/// A pod, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pod {
    /// Which one it is.
    pub metadata: Metadata,
    /// How it wants to end.
    #[serde(default)]
    pub spec: Spec,
    /// How far it is.
    #[serde(default)]
    pub status: Status,
}

/// Which pod it is, and whose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Which pod of that name it is.
    #[serde(default)]
    pub uid: String,
    /// Marks.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Whose it is.
    #[serde(default)]
    pub owner_references: Vec<Owner>,
    /// When it is to be gone, if it ends already (RFC 3339).
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
}

/// Whose a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Owner {
    /// The owner's kind.
    pub kind: String,
    /// Whether it is the one that keeps the pod alive.
    #[serde(default)]
    pub controller: bool,
}

/// How a pod wants to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Seconds between being told and being killed.
    #[serde(default)]
    pub termination_grace_period_seconds: Option<i64>,
}

/// How far a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// `Running`, `Succeeded`, …
    #[serde(default)]
    pub phase: String,
}

/// The times that count for the pods of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From when on pods that may not be evicted are deleted.
    pub force: OffsetDateTime,
    /// When the last one should be gone.
    pub end: OffsetDateTime,
}

impl Times {
    /// Those of a machine whose pods have to be gone by `end`.
    pub fn until(end: OffsetDateTime) -> Self {
        Self { force: end - SHORT_GRACE, end }
    }
}

/// What to do about a pod now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, and nobody waits for it.
    Leave,
    /// It ends already.
    Wait,
    /// It is evicted; with another grace than its own where that would take too long.
    Evict {
        /// In seconds.
        grace: Option<i64>,
    },
    /// It is deleted.
    Delete {
        /// In seconds.
        grace: i64,
    },
}

/// What to do about a pod at a time.
pub fn action(pod: &Pod, times: Times, now: OffsetDateTime) -> Action {
    if stays(pod) {
        return Action::Leave;
    }
    let left = seconds(times.end - now);
    if let Some(end) = &pod.metadata.deletion_timestamp {
        // A deletion with less grace shortens one that is under way.
        let end = OffsetDateTime::parse(end, &time::format_description::well_known::Rfc3339);
        let late = now >= times.force && end.is_ok_and(|end| end > times.end);
        return if late { Action::Delete { grace: left } } else { Action::Wait };
    }
    if now >= times.force {
        return Action::Delete { grace: left };
    }
    let own = pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
    Action::Evict { grace: (own > left).then_some(left) }
}

/// At least one: a grace of zero takes a pod out of the API server without waiting for it to end.
fn seconds(left: Duration) -> i64 {
    left.whole_seconds().max(1)
}

/// Whether a pod is none of those that are sent elsewhere.
pub fn stays(pod: &Pod) -> bool {
    let Pod { metadata, status, .. } = pod;
    let of_daemon_set = metadata.owner_references.iter().any(|own| own.controller && own.kind == "DaemonSet");
    let of_kubelet = metadata.annotations.contains_key("kubernetes.io/config.mirror");
    of_daemon_set || of_kubelet || matches!(status.phase.as_str(), "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);

    fn pod() -> Pod {
        Pod::default()
    }

    fn owned(kind: &str, controller: bool) -> Pod {
        let mut pod = pod();
        pod.metadata.owner_references = vec![Owner { kind: kind.to_owned(), controller }];
        pod
    }

    #[test]
    fn what_comes_back_or_is_over_is_left_alone() {
        let times = Times::until(NOW + Duration::MINUTE);
        let mut mirror = pod();
        mirror.metadata.annotations.insert("kubernetes.io/config.mirror".to_owned(), "hash".to_owned());
        let phase = |phase: &str| Pod { status: Status { phase: phase.to_owned() }, ..pod() };
        for (pod, left) in [
            (owned("DaemonSet", true), true),
            (mirror, true),
            (phase("Succeeded"), true),
            (phase("Failed"), true),
            (phase("Running"), false),
            (phase("Pending"), false),
            (owned("DaemonSet", false), false),
            (owned("ReplicaSet", true), false),
            (pod(), false),
        ] {
            let late = Times { force: NOW, end: NOW };
            for times in [times, late] {
                assert_eq!(action(&pod, times, NOW) == Action::Leave, left, "{pod:?}");
            }
            assert_eq!(stays(&pod), left, "{pod:?}");
        }
    }

    #[test]
    fn a_pod_has_its_own_grace_while_there_is_time_for_it() {
        let times = Times::until(NOW + Duration::seconds(100));
        let grace = |own| {
            let spec = Spec { termination_grace_period_seconds: own };
            action(&Pod { spec, ..pod() }, times, NOW)
        };
        assert_eq!(grace(None), Action::Evict { grace: None });
        assert_eq!(grace(Some(100)), Action::Evict { grace: None });
        assert_eq!(grace(Some(3600)), Action::Evict { grace: Some(100) });
        assert_eq!(grace(Some(0)), Action::Evict { grace: None });
    }

    #[test]
    fn when_the_time_is_over_it_is_deleted_and_never_at_once() {
        let times = Times::until(NOW + SHORT_GRACE);
        assert_eq!(action(&pod(), times, NOW), Action::Delete { grace: 8 });
        assert_eq!(action(&pod(), times, NOW + Duration::MINUTE), Action::Delete { grace: 1 });
        assert_eq!(action(&pod(), times, NOW - Duration::SECOND), Action::Evict { grace: Some(9) });
    }

    #[test]
    fn what_ends_is_waited_for_unless_it_takes_too_long() {
        let times = Times::until(NOW + SHORT_GRACE);
        let ends = |at: &str| {
            let mut pod = pod();
            pod.metadata.deletion_timestamp = Some(at.to_owned());
            pod
        };
        let (soon, late) = (ends("2026-03-01T12:00:05Z"), ends("2026-03-01T12:01:00Z"));
        assert_eq!(action(&soon, times, NOW), Action::Wait);
        assert_eq!(action(&late, times, NOW), Action::Delete { grace: 8 });
        assert_eq!(action(&late, times, NOW - Duration::SECOND), Action::Wait);
        assert_eq!(action(&ends("soon"), times, NOW), Action::Wait);
        assert!(!stays(&soon));
    }

    #[test]
    fn pods_are_read_from_what_the_api_server_says() {
        let text = "{\"kind\": \"PodList\", \"metadata\": {\"resourceVersion\": \"1\", \"continue\": \"x\"}, \"items\": \
                    [{\"metadata\": {\"name\": \"a\", \"namespace\": \"b\", \"ownerReferences\": [{\"kind\": \
                    \"DaemonSet\", \"controller\": true, \"name\": \"c\"}]}, \"spec\": {\"nodeName\": \"n\"}}]}";
        let list: PodList = serde_json::from_str(text).unwrap();
        assert_eq!(list.metadata.next, "x");
        assert!(list.items.iter().all(stays));
    }
}
