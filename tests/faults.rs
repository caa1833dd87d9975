//! Survives anything: a sample of each sweep, with a fixed seed. `cargo xtask faults --full` runs all of them.

use std::path::Path;

use kcl_testkit::sweep::{self, Extent, Row, Sweep};

/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;

/// One run of each kind. Half of a run is waiting, so that more of them than there are processors go on at once.
#[test]
fn whatever_goes_wrong_it_converges_or_says_why() {
    let extent = Extent { sample: Some(1), seed: SEED, workers: 4 };
    let kcl = Path::new(env!("CARGO_BIN_EXE_kcl"));
    let rows = sweep::run(kcl, &Sweep::ALL, extent, |_| {}).unwrap();
    let is_fine = |row: &Row| row.is_whole() || is_known(row);
    assert!(rows.iter().all(is_fine), "\n{}", sweep::table(&rows));
}

/// What a killed update is known to leave: the configuration of machines that it had replaced, in the state bucket,
/// until the cluster is deleted. Anything else that differs is a failure.
fn is_known(row: &Row) -> bool {
    let is_left = |failure: &String| {
        let (_, differences) = failure.split_once("another state:").unwrap_or_default();
        let mut lines = differences.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        lines.peek().is_some()
            && lines.all(|line| line.starts_with("+ buckets ") && line.contains("/node/nodes/"))
    };
    row.fault.starts_with("killed ") && row.fault.ends_with(": update") && row.failed.iter().all(is_left)
}

#[test]
fn only_a_left_configuration_is_known() {
    let failed = |failure: &str| Row {
        fault: "killed after the call: update".into(),
        runs: 1,
        failed: vec![failure.to_owned()],
        ..Row::default()
    };
    let left = "ec2:X 1: another state:\n    + buckets {in: b, is: clusters/c/node/nodes/HASH.yaml}";
    assert!(is_known(&failed(left)));
    assert!(!is_known(&failed(&format!("{left}\n    - vpcs {{is: v}}"))));
    assert!(!is_known(&failed("ec2:X 1: another state:")));
    assert!(!is_known(&failed("ec2:X 1: exit code 1")));
    assert!(!is_known(&Row { fault: "Ctrl-C: update".into(), ..failed(left) }));
}
