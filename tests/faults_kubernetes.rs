//! Survives anything on the way to the API server, too: a sample of each fault, with a fixed seed.
//! `cargo xtask faults --full kubernetes` goes through every request.

use std::path::Path;

use kcl_testkit::sweep::{self, Extent, Row, Wanted};

/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;

/// One run of each kind, on three API servers: most of a run is waiting.
#[test]
fn whatever_comes_before_the_api_server_it_converges_or_says_why() {
    let extent = Extent { sample: Some(1), seed: SEED, workers: 3 };
    let kcl = Path::new(env!("CARGO_BIN_EXE_kcl"));
    let rows = sweep::kubernetes(kcl, extent, &Wanted::default(), |_| {}).unwrap();
    assert!(rows.iter().all(Row::is_whole), "\n{}", sweep::table(&rows));
}
