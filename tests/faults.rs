//! Survives anything: a sample of each sweep, with a fixed seed. `cargo xtask faults --full` runs all of them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::path::Path;

use kcl_testkit::sweep::{self, Extent, Row, Sweep};

/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;

/// A few runs of each kind. Half of a run is waiting, so that more of them than there are processors go on at once.
fn sample(sweeps: &[Sweep]) {
    let extent = Extent { sample: Some(1), seed: SEED, workers: 4 };
    let rows = sweep::run(Path::new(env!("CARGO_BIN_EXE_kcl")), sweeps, extent, |_| {}).unwrap();
    assert!(rows.iter().all(Row::is_whole), "\n{}", sweep::table(&rows));
}

#[test]
fn killed_at_any_call_the_next_run_converges() {
    sample(&[Sweep::Kill]);
}

#[test]
fn any_fault_is_survived_or_told() {
    sample(&[Sweep::Faults]);
}

#[test]
fn throttled_it_asks_little_more() {
    sample(&[Sweep::Throttle]);
}

#[test]
fn many_at_once_and_stopped_by_hand() {
    sample(&[Sweep::Together, Sweep::Interrupt]);
}
