//! Survives anything: a sample of each sweep, with a fixed seed. `cargo xtask faults --full` runs all of them.

use std::path::Path;

use kcl_testkit::sweep::{self, Extent, Row, Sweep, Wanted};

/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;

/// One run of each kind. Most of a run is waiting, so that more of them than there are processors go on at once.
#[test]
fn whatever_goes_wrong_it_converges_or_says_why() {
    let extent = Extent { sample: Some(1), seed: SEED, workers: 6 };
    let kcl = Path::new(env!("CARGO_BIN_EXE_kcl"));
    let rows = sweep::run(kcl, &Sweep::ALL, extent, &Wanted::default(), |_| {}).unwrap();
    assert!(rows.iter().all(Row::is_whole), "\n{}", sweep::table(&rows));
}
