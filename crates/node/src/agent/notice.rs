//! What is coming for this machine, as a function of what its metadata says.
//!
//! | document | what follows |
//! | --- | --- |
//! | `spot/instance-action` | the spot market takes it back: leave by the time it names |
//! | `autoscaling/target-lifecycle-state` is `Terminated` | its group ends it: leave at once |
//! | `events/maintenance/scheduled`: a stop or retirement that is close | leave by then |
//! | the same further ahead, a reboot, maintenance | told, and nothing else: the machine stays, or comes back |
//! | `events/recommendations/rebalance` | told; nothing new is placed on it if the cluster wants that |
//!
//! A recommendation to rebalance comes for whole pools at a time, often hours before an interruption and often
//! without one. Emptying the machine for it would move every pod of a small cluster at once, perhaps for nothing. Even
//! a cordon leaves a small cluster no place for new pods when all its machines are of that pool, for as long as AWS
//! recommends it: only a cluster that says so gets one. The two minutes of an interruption are enough to leave.
//!
//! EC2 user guide, "Spot Instance interruption notices", "EC2 instance rebalance recommendations", "Scheduled
//! events for your instances"; EC2 Auto Scaling user guide, "Retrieve the target lifecycle state through instance
//! metadata".

use std::fmt;

use kcl_node_config::{NodeConfig, Role, rfc3339};
use serde::Deserialize;
use time::format_description::StaticFormatDescription;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// The documents, by their paths below `/latest/`.
pub const SPOT: &str = "meta-data/spot/instance-action";
/// Whether another machine would be better.
pub const REBALANCE: &str = "meta-data/events/recommendations/rebalance";
/// What AWS has planned for the hardware.
pub const MAINTENANCE: &str = "meta-data/events/maintenance/scheduled";
/// What the auto scaling group has in mind.
pub const LIFECYCLE: &str = "meta-data/autoscaling/target-lifecycle-state";

/// The time that a machine has when nobody says how much: what the spot market gives.
const NOTICE: Duration = Duration::minutes(2);

/// So long before a stop or a retirement a machine begins to leave. AWS keeps to the minute that it names; ten are
/// enough to honour most disruption budgets of what a worker runs. What a control-plane machine leaves without is the
/// cluster's API, as long as nobody has taken its place.
fn ahead(role: Role) -> Duration {
    match role {
        Role::Node => Duration::minutes(10),
        Role::ControlPlane => NOTICE,
    }
}

/// `21 Jan 2019 09:00:43 GMT`.
const EVENT_TIME: StaticFormatDescription =
    format_description!("[day padding:none] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// What the metadata says, document by document; nothing where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// [`SPOT`].
    pub spot: Option<String>,
    /// [`REBALANCE`].
    pub rebalance: Option<String>,
    /// [`MAINTENANCE`].
    pub maintenance: Option<String>,
    /// [`LIFECYCLE`].
    pub lifecycle: Option<String>,
}

/// Why a machine goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The spot market takes it back; `terminate`, `stop` or `hibernate`.
    Spot(String),
    /// Its auto scaling group ends it.
    Group,
    /// Its hardware retires, or it is stopped; AWS' word for it, and the event's id.
    Event(String, String),
    /// It is turned off, and nobody announced it.
    PowerOff,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spot(action) => write!(f, "spot interruption ({action})"),
            Self::Group => f.write_str("termination by the auto scaling group"),
            Self::Event(code, id) => write!(f, "scheduled event {code} ({id})"),
            Self::PowerOff => f.write_str("power-off"),
        }
    }
}

/// What decides beside the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the machine is.
    pub role: Role,
    /// Whether a recommendation to rebalance keeps new pods away.
    pub cordon_on_rebalance: bool,
}

impl Policy {
    /// A machine's that is told this.
    pub fn of(config: &NodeConfig) -> Self {
        Self { role: config.role, cordon_on_rebalance: config.cordon_on_rebalance }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing.
    #[default]
    Stay,
    /// Nothing new is placed here.
    Cordon,
    /// Everything goes elsewhere.
    Leave {
        /// Why.
        cause: Cause,
        /// When the machine may be gone.
        at: OffsetDateTime,
    },
}

#[derive(Deserialize)]
struct SpotAction {
    action: String,
    time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    code: String,
    #[serde(rename = "EventId")]
    id: String,
    not_before: String,
    #[serde(default)]
    state: String,
}

/// What follows from the documents at a time, for a machine of this policy. Of several things the one that comes first.
pub fn outlook(documents: &Documents, policy: Policy, now: OffsetDateTime) -> Outlook {
    let Documents { spot, rebalance, maintenance, lifecycle } = documents;
    let mut leaving: Vec<(OffsetDateTime, Cause)> = Vec::new();
    leaving.extend(spot.as_deref().map(|text| interruption(text, now)));
    if lifecycle.as_deref().is_some_and(ends) {
        leaving.push((now + NOTICE, Cause::Group));
    }
    for (event, at) in events(maintenance.as_deref()) {
        if leaves(&event) && at <= now + ahead(policy.role) {
            // One that is due may happen at any moment; a moment is no time to leave in.
            leaving.push((at.max(now + NOTICE), Cause::Event(event.code, event.id)));
        }
    }
    match leaving.into_iter().min_by_key(|(at, _)| *at) {
        Some((at, cause)) => Outlook::Leave { cause, at },
        None if rebalance.is_some() && policy.cordon_on_rebalance => Outlook::Cordon,
        None => Outlook::Stay,
    }
}

/// What people should know of, in words.
pub fn announced(documents: &Documents, policy: Policy) -> Vec<String> {
    let mut said: Vec<String> = events(documents.maintenance.as_deref())
        .map(|(event, at)| format!("AWS announces {} for {} (event {})", event.code, rfc3339(at), event.id))
        .collect();
    if documents.rebalance.is_some() {
        let follows =
            if policy.cordon_on_rebalance { "nothing new is placed here" } else { "this one stays as it is" };
        said.push(format!("AWS recommends another machine; {follows}"));
    }
    said
}

/// Where there is an announcement, the machine goes, even if its time cannot be read.
fn interruption(text: &str, now: OffsetDateTime) -> (OffsetDateTime, Cause) {
    let read: Result<SpotAction, _> = serde_json::from_str(text);
    let Ok(SpotAction { action, time }) = read else {
        return (now + NOTICE, Cause::Spot("unreadable".to_owned()));
    };
    let at = OffsetDateTime::parse(&time, &Rfc3339).unwrap_or(now + NOTICE);
    (at, Cause::Spot(plain(&action)))
}

/// A group's machine on its way out; one that goes back into a warm pool stays a member.
fn ends(state: &str) -> bool {
    matches!(state.trim(), "Terminated" | "Warmed:Terminated")
}

/// The events that are still to come, with their times. Completed and cancelled ones stay listed for a while.
fn events(text: Option<&str>) -> impl Iterator<Item = (Event, OffsetDateTime)> {
    let events: Vec<Event> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    events.into_iter().filter_map(|event| {
        let at = PrimitiveDateTime::parse(&event.not_before, EVENT_TIME).ok()?.assume_utc();
        let event = Event { code: plain(&event.code), id: plain(&event.id), ..event };
        matches!(event.state.as_str(), "active" | "").then_some((event, at))
    })
}

/// Whether the machine is not there afterwards. After a reboot it is, and its pods start again on it.
fn leaves(event: &Event) -> bool {
    matches!(event.code.as_str(), "instance-stop" | "instance-retirement")
}

/// Somebody else's word, as it may stand in a log.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(60).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);
    const WORKER: Policy = Policy { role: Role::Node, cordon_on_rebalance: false };

    fn event(code: &str, not_before: &str, state: &str) -> String {
        format!(
            "[{{\"NotBefore\": \"{not_before}\", \"Code\": \"{code}\", \"Description\": \"scheduled\", \
             \"EventId\": \"instance-event-1\", \"NotAfter\": \"2 Mar 2026 09:17:23 GMT\", \"State\": \"{state}\"}}]"
        )
    }

    fn leave(documents: &Documents) -> Option<(String, OffsetDateTime)> {
        match outlook(documents, WORKER, NOW) {
            Outlook::Leave { cause, at } => Some((cause.to_string(), at)),
            _ => None,
        }
    }

    #[test]
    fn without_documents_it_stays() {
        let empty = Documents { maintenance: Some("[]".to_owned()), ..Documents::default() };
        assert_eq!(outlook(&empty, WORKER, NOW), Outlook::Stay);
        let lifecycle = Some("InService".to_owned());
        assert_eq!(outlook(&Documents { lifecycle, ..empty.clone() }, WORKER, NOW), Outlook::Stay);
        for broken in ["", "{", "[{}]", "[{\"Code\": 1}]"] {
            let maintenance = Some(broken.to_owned());
            assert_eq!(
                outlook(&Documents { maintenance, ..empty.clone() }, WORKER, NOW),
                Outlook::Stay,
                "{broken}"
            );
        }
    }

    #[test]
    fn a_recommendation_alone_keeps_new_pods_away_where_that_is_wanted() {
        let rebalance = Some("{\"noticeTime\": \"2026-03-01T11:59:00Z\"}".to_owned());
        let documents = Documents { rebalance, ..Documents::default() };
        let cordons = Policy { cordon_on_rebalance: true, ..WORKER };
        assert_eq!(outlook(&documents, WORKER, NOW), Outlook::Stay);
        assert_eq!(outlook(&documents, cordons, NOW), Outlook::Cordon);
        let said = |policy| announced(&documents, policy).join("\n");
        assert_eq!(said(WORKER), "AWS recommends another machine; this one stays as it is");
        assert_eq!(said(cordons), "AWS recommends another machine; nothing new is placed here");
        let spot = Some("{\"action\": \"terminate\", \"time\": \"2026-03-01T12:02:00Z\"}".to_owned());
        let at = datetime!(2026-03-01 12:02:00 UTC);
        let wanted = Some(("spot interruption (terminate)".to_owned(), at));
        assert_eq!(leave(&Documents { spot, ..documents }), wanted);
    }

    #[test]
    fn an_interruption_that_cannot_be_read_is_one() {
        for text in ["", "terminate", "{\"action\": \"stop\", \"time\": \"soon\"}"] {
            let documents = Documents { spot: Some(text.to_owned()), ..Documents::default() };
            assert_eq!(leave(&documents).unwrap().1, NOW + NOTICE, "{text}");
        }
    }

    #[test]
    fn a_group_ends_its_machine() {
        for (state, goes) in [
            ("Terminated", true),
            ("Warmed:Terminated", true),
            ("Detached", false),
            ("Standby", false),
            ("Warmed:Stopped", false),
        ] {
            let documents = Documents { lifecycle: Some(state.to_owned()), ..Documents::default() };
            assert_eq!(leave(&documents).is_some(), goes, "{state}");
        }
    }

    #[test]
    fn events_matter_when_they_are_close_and_the_machine_goes() {
        let close = "1 Mar 2026 12:09:00 GMT";
        for (code, at, state, goes) in [
            ("instance-stop", close, "active", true),
            ("instance-retirement", close, "active", true),
            ("instance-retirement", "15 Mar 2026 12:00:00 GMT", "active", false),
            ("instance-retirement", close, "completed", false),
            ("instance-stop", close, "canceled", false),
            ("instance-stop", "at noon", "active", false),
            ("system-reboot", close, "active", false),
            ("instance-reboot", close, "active", false),
            ("system-maintenance", close, "active", false),
        ] {
            let maintenance = Some(event(code, at, state));
            let documents = Documents { maintenance, ..Documents::default() };
            assert_eq!(leave(&documents).is_some(), goes, "{code} {at} {state}");
        }
        let maintenance = Some(event("instance-stop", close, "active"));
        let documents = Documents { maintenance, ..Documents::default() };
        let outlook = |now| outlook(&documents, Policy { role: Role::ControlPlane, ..WORKER }, now);
        assert_eq!(outlook(NOW), Outlook::Stay, "the API is needed until it is time");
        assert!(matches!(outlook(NOW + Duration::minutes(7)), Outlook::Leave { .. }));
        let maintenance = Some(event("system-reboot", "15 Mar 2026 12:00:00 GMT", "active"));
        let said = announced(&Documents { maintenance, ..Documents::default() }, WORKER);
        assert_eq!(said, ["AWS announces system-reboot for 2026-03-15T12:00:00Z (event instance-event-1)"]);
    }

    #[test]
    fn of_two_things_the_first_counts_and_what_is_overdue_leaves_some_time() {
        let spot = Some("{\"action\": \"terminate\", \"time\": \"2026-03-01T12:01:30Z\"}".to_owned());
        let maintenance = Some(event("instance-stop", "1 Mar 2026 11:00:00 GMT", "active"));
        let documents = Documents { spot, maintenance, ..Documents::default() };
        assert_eq!(leave(&documents).unwrap().1, datetime!(2026-03-01 12:01:30 UTC));
        let documents = Documents { spot: None, ..documents };
        assert_eq!(leave(&documents).unwrap().1, NOW + NOTICE);
    }
}
