//! Each target, for a fixed number of inputs; and the largest and deepest ones there are.

#![expect(clippy::expect_used, reason = "a test may")]

use std::fmt::Write as _;
use std::path::Path;

use kcl_fuzz::mutate::{Dice, damaged};
use kcl_fuzz::{MINIMAL, TARGETS, Target};

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("there is such a target")
}

#[track_caller]
fn survives(name: &str) {
    let Target { read, samples, iterations, .. } = target(name);
    let samples = samples();
    assert!(!samples.is_empty(), "{name} has samples");
    for sample in &samples {
        assert!(read(sample.as_bytes()), "{name}: an undamaged sample is refused:\n{sample}");
    }
    let mut dice = Dice::new(6);
    for iteration in 0..iterations {
        let data = damaged(&samples, &mut dice);
        let result = std::panic::catch_unwind(|| read(&data));
        assert!(result.is_ok(), "{name}, input {iteration}:\n{}", String::from_utf8_lossy(&data));
    }
}

#[test]
fn specs() {
    survives("spec");
}

#[test]
fn keysets() {
    survives("keyset");
}

#[test]
fn plans() {
    survives("plan");
}

#[test]
fn node_configurations() {
    survives("node_config");
}

#[test]
fn answers_of_the_metadata_service() {
    survives("imds");
}

#[test]
fn requests_to_the_join_service() {
    survives("join");
}

/// Writes the samples to where cargo-fuzz begins: without them it would take long to find a sound one.
#[test]
#[ignore = "writes files; see the crate's description"]
fn seeds() {
    for Target { name, samples, .. } in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (number, sample) in samples().into_iter().enumerate() {
            std::fs::write(folder.join(format!("sample-{number}")), sample).expect("a file");
        }
    }
}

/// The largest resident size of this process so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it says so");
    line.split_whitespace().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("a size in kB") / 1024
}

/// Few lines that stand for billions of values; nesting that a recursive reader cannot bear; 100 MB.
#[test]
fn bombs() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(aliases, "a{level}: &a{level} [{list}]").expect("there is memory");
    }
    let deep = |open: &str| open.repeat(200_000);
    let within = MINIMAL.replace("flannel: {}", &format!("flannel: {}", deep("[")));
    let huge = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  a: \"{}\"\n", "x".repeat(100_000_000));
    let many = format!("{}\n", "- x\n".repeat(2_000_000));
    let documents = "---\na: b\n".repeat(500_000);
    let mut keys = String::new();
    for number in 0..400_000 {
        writeln!(keys, "k{number}: v").expect("there is memory");
    }
    let texts = [aliases, deep("["), deep("{\"a\":"), deep("- "), within, huge, many, documents, keys];
    let before = peak();
    for (index, text) in texts.iter().enumerate() {
        for name in ["spec", "keyset", "plan", "node_config"] {
            let begun = std::time::Instant::now();
            (target(name).read)(text.as_bytes());
            let took = begun.elapsed();
            // Seconds, unless the machine has much else to do; what grows with the square of it takes hours.
            assert!(took.as_secs() < 600, "{name}: bomb {index} took {took:?}");
        }
    }
    // The texts are there before; reading one makes a copy or two of it.
    let more = peak() - before;
    assert!(more < 700, "{more} MiB more");
}
