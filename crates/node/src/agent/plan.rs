//! How a machine leaves: which steps, in which order, and how much of the time each may take.
//!
//! A worker is cordoned and emptied. A control-plane machine also hands over what it alone has: a snapshot goes to
//! the store, its address leaves DNS where others remain, etcd stops, and its volume is unmounted and detached, so
//! that the next machine need not wait until this one is gone.
//!
//! Draining gets what the steps after it do not need. Nothing waits for ever, and nothing is left out because
//! something before it failed: a machine that goes anyway does as much as it can.

use std::fmt;

use kcl_node_config::Role;
use time::{Duration, OffsetDateTime};

/// A step of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing new is placed here.
    Cordon,
    /// Pods go elsewhere.
    Drain,
    /// etcd's content goes to the store.
    Snapshot,
    /// The API's names lead to the other machines only.
    Withdraw,
    /// etcd stops.
    StopEtcd,
    /// Its volume is written to its end and unmounted.
    Unmount,
    /// Its volume is free for another machine.
    Detach,
}

impl Step {
    /// Its name, as in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cordon => "cordon",
            Self::Drain => "drain",
            Self::Snapshot => "snapshot",
            Self::Withdraw => "withdraw",
            Self::StopEtcd => "stop-etcd",
            Self::Unmount => "unmount",
            Self::Detach => "detach",
        }
    }

    /// How long it usually takes at most, with a machine that is busy: so much is kept for it.
    fn share(self) -> Duration {
        match self {
            // A request that may have to be made twice, and a disk that may be busy.
            Self::Cordon | Self::Detach | Self::Unmount => Duration::seconds(10),
            Self::Withdraw => Duration::seconds(5),
            // What is left.
            Self::Drain => Duration::ZERO,
            // A database of 100 MB, over a small machine's network.
            Self::Snapshot => Duration::seconds(20),
            // The kubelet looks at its folder at once, and etcd ends when it is told to.
            Self::StopEtcd => Duration::seconds(15),
        }
    }

    /// How long it may try when the time is over already. The volume is what the next machine waits for.
    fn least(self) -> Duration {
        match self {
            Self::Cordon | Self::Drain | Self::Withdraw => Duration::seconds(2),
            Self::Snapshot => Duration::seconds(5),
            Self::StopEtcd | Self::Unmount | Self::Detach => Duration::seconds(10),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps of a machine, in their order.
pub fn steps(role: Role) -> &'static [Step] {
    match role {
        Role::Node => &[Step::Cordon, Step::Drain],
        Role::ControlPlane => &[
            Step::Cordon,
            Step::Drain,
            Step::Snapshot,
            Step::Withdraw,
            Step::StopEtcd,
            Step::Unmount,
            Step::Detach,
        ],
    }
}

/// When a step that begins now has to be over, on a machine that is gone at `end`. What is left of the time is
/// draining's.
pub fn until(role: Role, step: Step, end: OffsetDateTime, now: OffsetDateTime) -> OffsetDateTime {
    let later = steps(role).iter().skip_while(|other| **other != step).skip(1);
    let reserved = later.fold(Duration::ZERO, |sum, later| sum + later.share());
    let latest = if step == Step::Cordon { now + step.share() } else { end };
    (end - reserved).min(latest).max(now + step.least())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);

    /// Seconds until each step has to be over, if each takes all that it may.
    fn seconds(role: Role, left: i64) -> Vec<(&'static str, i64)> {
        let end = NOW + Duration::seconds(left);
        let mut now = NOW;
        let mut all = Vec::new();
        for step in steps(role) {
            now = until(role, *step, end, now);
            all.push((step.as_str(), (now - NOW).whole_seconds()));
        }
        all
    }

    #[test]
    fn a_worker_drains_to_the_end() {
        assert_eq!(seconds(Role::Node, 115), [("cordon", 10), ("drain", 115)]);
        assert_eq!(seconds(Role::Node, 0), [("cordon", 2), ("drain", 4)]);
    }

    #[test]
    fn the_control_plane_keeps_time_for_its_volume() {
        let wanted = [
            ("cordon", 10),
            ("drain", 55),
            ("snapshot", 75),
            ("withdraw", 80),
            ("stop-etcd", 95),
            ("unmount", 105),
            ("detach", 115),
        ];
        assert_eq!(seconds(Role::ControlPlane, 115), wanted);
    }

    #[test]
    fn without_time_it_still_tries_what_the_next_machine_needs() {
        let wanted = [
            ("cordon", 2),
            ("drain", 4),
            ("snapshot", 9),
            ("withdraw", 11),
            ("stop-etcd", 21),
            ("unmount", 31),
            ("detach", 41),
        ];
        assert_eq!(seconds(Role::ControlPlane, 0), wanted);
    }

    #[test]
    fn etcd_is_saved_before_it_stops_and_the_volume_is_free_last() {
        let all = steps(Role::ControlPlane);
        let at = |step| all.iter().position(|other| *other == step).unwrap();
        assert!(at(Step::Snapshot) < at(Step::StopEtcd));
        assert!(at(Step::StopEtcd) < at(Step::Unmount) && at(Step::Unmount) < at(Step::Detach));
        assert!(all.starts_with(steps(Role::Node)));
    }
}
