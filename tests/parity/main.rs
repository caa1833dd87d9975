//! Parity with kOps: a kOps user's file gives the cluster that kOps would give.
//!
//! For every spec in ../shared/kops the real binary creates the cluster in a local AWS. An independent
//! listing of the account (boto3, not kcl's own reading) is compared with the Terraform that kOps itself
//! makes of that spec, in both directions. Differences on purpose stand in `deviations.rs`; any other one
//! fails the test. Not compared: user data and S3 objects, which are kOps' own node configuration, the public
//! keys, which its folder does not have, and machines with their disks and interfaces, which follow from the
//! groups and templates.

#![expect(clippy::unwrap_used, reason = "in a test that is how to fail")]
#![expect(clippy::print_stderr, reason = "a test that is skipped has to say so")]

mod compare;
mod deviations;
mod kops;
mod neutral;
mod ours;
mod scenario;
mod terraform;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use compare::Difference;
use scenario::Scenario;

/// One scenario keeps the local AWS busy and waits for it in turn; a third at a time gains nothing.
const AT_A_TIME: usize = 2;

#[test]
fn a_kops_spec_gives_the_cluster_that_kops_would_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/kops");
    let Some(scenarios) = scenarios(&folder) else {
        eprintln!("skipped: parity with kOps needs {}", folder.display());
        return;
    };
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut found = Vec::new();
        while let Some(folder) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push(compare_one(folder));
        }
        found
    };
    let results: Vec<Result<Vec<Difference>, String>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let (compared, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failed: Vec<String> = failed.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let mut differences: Vec<Difference> = compared.into_iter().flatten().flatten().collect();
    differences.sort_by(|a, b| (&a.scenario, &a.resource).cmp(&(&b.scenario, &b.resource)));
    let wrong = compare::judge(&differences, deviations::TABLE);
    assert!(wrong.is_empty(), "{} differences from kOps:\n{}", wrong.len(), wrong.join("\n"));
}

/// The folders; `None` where they are not on this machine.
fn scenarios(folder: &Path) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).ok()?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join("kubernetes.tf").exists());
    folders.sort();
    (!folders.is_empty()).then_some(folders)
}

fn compare_one(folder: &Path) -> Result<Vec<Difference>, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let scenario = Scenario::prepare(folder);
    let applied = scenario.apply().map_err(|error| format!("{name}: {error}"))?;
    let kops = kops::read(folder, scenario.stand_ins()).map_err(|error| format!("{name}: {error}"))?;
    let before = applied.before.document();
    let given = |item: &serde_json::Value| {
        let lists = before.as_object().into_iter().flat_map(|lists| lists.values());
        lists.filter_map(serde_json::Value::as_array).any(|list| list.contains(item))
    };
    let ours = ours::read(&applied.after, given, &applied.calls);
    Ok(compare::differences(&name, &kops, &ours))
}
