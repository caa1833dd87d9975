//! Which calls a fault strikes.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::call::Call;

/// One call of a run: the `nth` of an action, from 1.
///
/// Calls are made at the same time, so that their order differs from run to run; how many of each there are does
/// not, or hardly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// Service: `ec2`.
    pub service: String,
    /// Action: `CreateVpc`.
    pub action: String,
    /// Which of them.
    pub nth: usize,
}

impl Point {
    /// The points of recorded calls, in their order.
    pub fn of(calls: &[Call]) -> Vec<Self> {
        let mut seen = Occurrences::default();
        calls
            .iter()
            .map(|call| Self {
                service: call.service.clone(),
                action: call.action.clone(),
                nth: seen.count(call),
            })
            .collect()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.service, self.action, self.nth)
    }
}

/// Which calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Point),
    /// This one, and each later one of the same action.
    ActionFrom(Point),
    /// This one, and whatever comes after it.
    From(Point),
    /// So many percent of all calls.
    Share(u8),
    /// Each call that the fault is about.
    Always,
}

/// How often each action was called.
#[derive(Debug, Default)]
pub(super) struct Occurrences(HashMap<(String, String), usize>);

impl Occurrences {
    /// Counts a call; gives which of its action it is.
    pub(super) fn count(&mut self, call: &Call) -> usize {
        let count = self.0.entry((call.service.clone(), call.action.clone())).or_insert(0);
        *count += 1;
        *count
    }
}

impl When {
    /// Whether the `nth` call of its action is meant. `begun`: [`When::From`] has been met.
    pub(super) fn strikes(&self, call: &Call, nth: usize, seed: u64, begun: &mut bool) -> bool {
        let is_action = |point: &Point| call.is(&point.service, &point.action);
        match self {
            Self::At(point) => is_action(point) && nth == point.nth,
            Self::ActionFrom(point) => is_action(point) && nth >= point.nth,
            Self::From(point) => {
                *begun |= is_action(point) && nth >= point.nth;
                *begun
            }
            Self::Share(percent) => draw(seed, &call.name(), nth, 100) < u64::from(*percent),
            Self::Always => true,
        }
    }
}

/// A number below `below`: always the same one for the same words.
pub(crate) fn draw(seed: u64, name: &str, nth: usize, below: u64) -> u64 {
    let digest = Sha256::digest(format!("{seed} {name} {nth}"));
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    number % below.max(1)
}
