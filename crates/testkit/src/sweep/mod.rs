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

use std::path::Path;

pub use canonical::State;
pub use ground::{Ground, Stage};
pub use kubernetes::{kubernetes, kubernetes_programs};
pub use row::{Row, table};

use crate::error::Error;

/// How much is swept.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many runs of each kind; `None`: one at every call.
    pub sample: Option<usize>,
    /// Decides what is left to chance, and what a sample holds.
    pub seed: u64,
    /// Runs at once.
    pub workers: usize,
}

/// A kind of sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// kcl is killed at each call.
    Kill,
    /// Each fault at each call.
    Faults,
    /// A share of all calls is throttled; permanent errors end a run soon.
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

/// Runs sweeps of the binary `kcl`; `tell` is given each row once it is done.
pub fn run(
    kcl: &Path,
    sweeps: &[Sweep],
    extent: Extent,
    mut tell: impl FnMut(&Row),
) -> Result<Vec<Row>, Error> {
    let ground = Ground::prepare(kcl)?;
    let mut rows = Vec::new();
    for sweep in sweeps {
        let mut done = |row: Row| {
            tell(&row);
            rows.push(row);
        };
        match sweep {
            Sweep::Kill => kill::sweep(&ground, extent, &mut done)?,
            Sweep::Faults => faults::sweep(&ground, extent, &mut done)?,
            Sweep::Throttle => throttle::sweep(&ground, extent, &mut done)?,
            Sweep::Together => together::sweep(&ground, extent, &mut done)?,
            Sweep::Interrupt => interrupt::sweep(&ground, extent, &mut done)?,
        }
    }
    Ok(rows)
}
