//! Sweeps: the real kcl, run again and again, each time with something else that goes wrong.
//!
//! A [`Stage`] is one command against one state of an account: create, an update that touches every kind of
//! resource, delete. What it does undisturbed is recorded once ([`Ground::prepare`]): its calls, and the state it
//! leaves. A disturbed run starts from a copy of the same account, and whatever it met, in the end the state has
//! to be that one: told by the audit, not by kcl. Several runs go on at once, each against a server of its own.
//!
//! Runs are told by a [`Row`] of the table that `cargo xtask faults` prints.

mod canonical;
mod faults;
mod ground;
mod interrupt;
mod jobs;
mod kill;
mod kubernetes;
mod process;
mod row;
mod throttle;
mod together;

use std::ops::Range;
use std::path::Path;

pub use canonical::State;
pub use ground::{Ground, Stage};
pub use jobs::Wanted;
pub use kubernetes::{kubernetes, kubernetes_programs};
pub use row::{Row, table};

use crate::audit::Auditor;
use crate::error::Error;

/// How much is swept.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many runs of each kind that the fault meets; `None`: one at every call.
    pub sample: Option<usize>,
    /// Decides what is left to chance, and what a sample holds.
    pub seed: u64,
    /// Runs at once.
    pub workers: usize,
}

impl Extent {
    /// A fault that strikes all calls is tried several times, each time with another seed.
    fn seeds(self) -> Range<u64> {
        let count = if self.sample.is_some() { 1 } else { 5 };
        self.seed..self.seed + count
    }
}

/// A kind of sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// kcl is killed at each call.
    Kill,
    /// Each fault at each call.
    Faults,
    /// A share of all calls is throttled.
    Throttle,
    /// Many runs at once.
    Together,
    /// Ctrl-C at each call.
    Interrupt,
}

impl Sweep {
    /// All of them, in the table's order.
    pub const ALL: [Self; 5] = [Self::Kill, Self::Faults, Self::Throttle, Self::Together, Self::Interrupt];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Faults => "faults",
            Self::Throttle => "throttle",
            Self::Together => "together",
            Self::Interrupt => "interrupt",
        }
    }
}

/// Runs sweeps of the binary `kcl`, of them what is wanted; `tell` is given each row once it is done.
pub fn run(
    kcl: &Path,
    sweeps: &[Sweep],
    extent: Extent,
    wanted: &Wanted,
    mut tell: impl FnMut(&Row) + Send,
) -> Result<Vec<Row>, Error> {
    let ground = Ground::prepare(kcl)?;
    let plans = |sweep: &Sweep| match sweep {
        Sweep::Kill => kill::plans(&ground, extent),
        Sweep::Faults => faults::plans(&ground, extent),
        Sweep::Throttle => throttle::plans(&ground, extent),
        Sweep::Together => together::plans(&ground, extent),
        Sweep::Interrupt => interrupt::plans(&ground, extent),
    };
    let plans = wanted.of(sweeps.iter().flat_map(plans));
    jobs::run(&plans, extent.workers, Auditor::start, &mut tell)
}
