//! What is tried again, how often, and after how long: the one place that decides it.
//!
//! Every request of this crate may be sent twice without harm: it reads, it is a dry run, it applies (the same
//! manifest gives the same object), or it deletes one object by its uid.
//!
//! What the server says of who may do what is final, but for a server that is not ready: it knows no roles yet, and
//! forbids everything to everybody. Whether it is, [`Connection::doubts`](crate::connect::Connection::doubts) asks it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use crate::error::Cause;

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause: an API server that comes back is noticed soon, and one that is overloaded is not asked
/// more often than this.
const LONGEST: Duration = Duration::from_secs(8);

/// The longest pause that a server may ask for: what is left of half a minute is for the tries after it.
const LONGEST_ASKED: Duration = Duration::from_secs(20);

/// How often an internal error is tried: what passes passes in seconds (an election of etcd's leader), and the
/// rest, a webhook that nobody serves, stays.
const INTERNAL_ERROR_TRIES: u32 = 5;

/// What the system says where not the name is wrong, but nobody could be asked about it (EAI_AGAIN).
const RESOLVER_AWAY: &str = "Temporary failure in name resolution";

/// What the server says where an object was written between its own read and write of it, as often as it tried
/// (k8s.io/apiserver/pkg/registry/generic/registry/store.go). It is nobody's field that stands in the way.
pub(crate) const OVERTAKEN: &str = "the object has been modified";

/// What a server that has just started says of anything, whoever asks
/// (k8s.io/apiserver/pkg/admission/plugin: several wait for what they have to know).
const YOUNG: &str = "not yet ready to handle request";

/// Why a single try failed.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// No answer.
    Connection { cause: Cause, reason: String },
    /// An answer that is not a success.
    Answer { status: u16, retry_after: Option<Duration>, body: Vec<u8> },
}

/// Whether the same request may succeed later, after so many tries.
pub(crate) fn passes(fault: &Fault, tries: u32) -> bool {
    match fault {
        // A name without an address and a certificate of somebody else do not mend themselves.
        Fault::Connection { cause: Cause::Dns, reason } => reason.contains(RESOLVER_AWAY),
        Fault::Connection { cause, .. } => {
            matches!(cause, Cause::Refused | Cause::Timeout | Cause::Broken)
        }
        Fault::Answer { status: 500, body, .. } if is_of_etcd(body) => true,
        Fault::Answer { status: 500, body, .. } => tries < INTERNAL_ERROR_TRIES && !is_schema_fault(body),
        Fault::Answer { status: 403, body, .. } => String::from_utf8_lossy(body).contains(YOUNG),
        Fault::Answer { status: 409, body, .. } => String::from_utf8_lossy(body).contains(OVERTAKEN),
        Fault::Answer { status, .. } => matches!(status, 429 | 502..=504),
    }
}

/// etcd is away for as long as it takes to start: the API server does not try its writes again, and says so.
fn is_of_etcd(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("etcdserver: ") || text.contains("rpc error: code = Unavailable")
}

/// Server-side apply answers 500 to a manifest that does not fit the schema
/// (k8s.io/apimachinery/pkg/util/managedfields/internal/structuredmerge.go).
pub(crate) fn is_schema_fault(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("failed to create typed patch object")
}

/// How long to pause after `tries` tries. Half of it is chance, so that requests which failed together do not
/// come back together.
pub(crate) fn pause(tries: u32, fault: &Fault) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(LONGEST);
    let asked = match fault {
        Fault::Answer { retry_after: Some(asked), .. } => (*asked).min(LONGEST_ASKED),
        _ => Duration::ZERO,
    };
    let chance = RandomState::new().build_hasher().finish() % 1000;
    let half = doubled / 2;
    let chance = u32::try_from(chance).unwrap_or(0);
    (half + half * chance / 1000).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Fault {
        Fault::Answer { status, retry_after: None, body: Vec::new() }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [429, 500, 502, 503, 504] {
            assert!(passes(&answer(status), 1), "{status}");
        }
        for status in [400, 401, 403, 404, 405, 409, 413, 415, 422, 501] {
            assert!(!passes(&answer(status), 1), "{status}");
        }
        for (cause, expected) in [
            (Cause::Refused, true),
            (Cause::Timeout, true),
            (Cause::Broken, true),
            (Cause::Dns, false),
            (Cause::Tls, false),
        ] {
            assert_eq!(passes(&Fault::Connection { cause, reason: String::new() }, 1), expected, "{cause}");
        }
        let reason = format!("failed to lookup address information: {RESOLVER_AWAY}");
        assert!(passes(&Fault::Connection { cause: Cause::Dns, reason }, 1));
        let body =
            b"{\"message\":\"failed to create typed patch object (...): .spec.a: field not declared\"}";
        assert!(!passes(&Fault::Answer { status: 500, retry_after: None, body: body.to_vec() }, 1));
        let conflict = |message: &str| Fault::Answer {
            status: 409,
            retry_after: None,
            body: format!("{{\"reason\":\"Conflict\",\"message\":\"{message}\"}}").into_bytes(),
        };
        let overtaken = "Operation cannot be fulfilled on roles \\\"a\\\": the object has been modified; please apply \
                         your changes to the latest version and try again";
        assert!(passes(&conflict(overtaken), 1));
        let says = |status, message: &str| Fault::Answer {
            status,
            retry_after: None,
            body: format!("{{\"message\":\"{message}\"}}").into_bytes(),
        };
        for of_etcd in
            ["etcdserver: leader changed", "rpc error: code = Unavailable desc = error reading from server"]
        {
            assert!(passes(&says(500, of_etcd), INTERNAL_ERROR_TRIES), "{of_etcd}");
        }
        assert!(passes(&says(403, "pods \\\"a\\\" is forbidden: not yet ready to handle request"), 1));
        assert!(!passes(&conflict("Apply failed with 1 conflict: conflict with \\\"boss\\\": .data.tea"), 1));
        assert!(!passes(&conflict("Precondition failed: UID in precondition: 1, UID in object meta: 2"), 1));
        assert!(!passes(&answer(500), INTERNAL_ERROR_TRIES) && passes(&answer(503), INTERNAL_ERROR_TRIES));
    }

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        for tries in 1..100 {
            let pause = pause(tries, &answer(500));
            assert!(pause >= FIRST / 2 && pause <= LONGEST, "{tries}: {pause:?}");
        }
        let asked = |seconds| Fault::Answer {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
            body: Vec::new(),
        };
        assert!(pause(1, &asked(2)) >= Duration::from_secs(2));
        assert_eq!(pause(1, &asked(15)), Duration::from_secs(15));
        assert!(pause(1, &asked(3600)) <= LONGEST_ASKED);
    }
}
