//! What goes wrong between kcl and AWS, on purpose.
//!
//! A [`Fault`] is a named value, [`When`] says which calls it strikes: by service, action and occurrence, or a
//! share of all calls. Which of them a share is follows from a seed, and not from the order in which they come,
//! so that a run with the same seed meets the same faults. [`crate::LocalAws::inject`] puts one around an
//! account; what is struck is told by [`Strikes`].
//!
//! The same faults go before a Kubernetes API server ([`crate::kubernetes::ApiProxy`]), whose calls have a resource
//! for a service and a verb for an action, and which has its own words for each.
//!
//! [`Halt`] is for what happens to kcl itself: it holds one call until the test has done to the process what it
//! wants to.

mod fresh;
mod halt;
mod injection;
mod kubernetes;
mod when;
mod words;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

pub(crate) use halt::halt;
pub use halt::{Halt, Moment};
pub use injection::Strikes;
pub(crate) use injection::injection;
pub(crate) use when::draw;
pub use when::{Point, When};

use crate::call::Call;
use crate::rules::{Decision, Reply, Rule};
use crate::upstream::Ask;
use crate::wire::Response;

/// A rule that asks nobody: it fits in front of anything that answers calls.
pub(crate) trait Disturbance: Send + Sync {
    /// Before the call is made.
    fn before<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision>;

    /// After it was made.
    fn after<'a>(&'a self, call: &'a Call, response: Response) -> BoxFuture<'a, Reply>;
}

impl<D: Disturbance> Rule for D {
    fn before<'a>(&'a self, call: &'a Call, _ask: &'a Ask) -> BoxFuture<'a, Decision> {
        Disturbance::before(self, call)
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, _ask: &'a Ask) -> BoxFuture<'a, Reply> {
        Disturbance::after(self, call, response)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Too many calls, in the service's own words: `RequestLimitExceeded`, `Throttling`, `SlowDown`.
    Throttled,
    /// A status that is nobody's decision: 500, 502, 503 or 504. 502 and 504 come from a balancer in front of the
    /// service, and are HTML.
    ServerError(u16),
    /// The connection ends before the request is forwarded.
    ConnectionReset,
    /// What was asked for is done, and the answer never comes.
    ResponseLost,
    /// Likewise, and the answer ends in its middle.
    ResponseCut,
    /// Nothing happens for so long, then the call goes on.
    Stall(Duration),
    /// Every call takes longer: `least`, and up to `jitter` more.
    Latency {
        /// At least so much.
        least: Duration,
        /// And up to so much more.
        jitter: Duration,
    },
    /// The credentials are no longer good.
    CredentialsExpired,
    /// Whoever runs kcl may not do this.
    Denied,
    /// The service refuses the request as it is.
    Refused,
    /// What was just created is not found by the next reads: from one up to so many.
    NotSeenYet {
        /// At most so many reads.
        reads: u32,
    },
    /// What was just created cannot be used by the next calls that name it: from one up to so many.
    NotUsableYet {
        /// At most so many calls.
        uses: u32,
    },
    /// Auto Scaling does not know the machines' instance profile yet, the first times.
    ProfileUnknown {
        /// How many tries of each call.
        tries: u32,
    },
    /// IAM does not know a new role yet, the first times: what puts it into a profile or a policy is told so.
    RoleUnknown {
        /// How many tries of each call.
        tries: u32,
    },
    /// Auto Scaling is not authorized to assume its own role yet, the first times: AWS makes that role with an
    /// account's first group.
    RoleUnassumed {
        /// How many tries of each call.
        tries: u32,
    },
    /// Deleting is refused for a while: something still uses it.
    InUse {
        /// How many tries of each call.
        tries: u32,
    },
    /// Somebody else was faster, each time that the API server tried to write the object.
    Conflict,
    /// Load balancers stay in `provisioning`.
    Provisioning,
    /// The market has no machine: groups stay empty, and only their scaling activities say why.
    NoSpotCapacity,
    /// The machine's clock differs from AWS' by so much: signatures are refused.
    ClockSkew(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => f.write_str("throttled"),
            Self::ServerError(status) => write!(f, "HTTP {status}"),
            Self::ConnectionReset => f.write_str("connection reset"),
            Self::ResponseLost => f.write_str("response lost"),
            Self::ResponseCut => f.write_str("response cut"),
            Self::Stall(time) => write!(f, "stalled for {} s", time.as_secs()),
            Self::Latency { least, jitter } => {
                write!(f, "{} to {} ms late", least.as_millis(), (*least + *jitter).as_millis())
            }
            Self::CredentialsExpired => f.write_str("credentials expired"),
            Self::Denied => f.write_str("access denied"),
            Self::Refused => f.write_str("bad parameter"),
            Self::NotSeenYet { reads } => write!(f, "not seen for 1 to {reads} reads"),
            Self::NotUsableYet { uses } => write!(f, "not usable for 1 to {uses} calls"),
            Self::ProfileUnknown { tries } => write!(f, "profile unknown {tries} times"),
            Self::RoleUnknown { tries } => write!(f, "role unknown {tries} times"),
            Self::RoleUnassumed { tries } => write!(f, "role not assumed {tries} times"),
            Self::InUse { tries } => write!(f, "in use {tries} times"),
            Self::Conflict => f.write_str("conflict"),
            Self::Provisioning => f.write_str("load balancer provisioning"),
            Self::NoSpotCapacity => f.write_str("no spot capacity"),
            Self::ClockSkew(by) => write!(f, "clock off by {} min", by.as_secs() / 60),
        }
    }
}
