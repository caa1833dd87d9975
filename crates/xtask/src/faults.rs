//! The sweeps, and their table: kcl with everything that goes wrong.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use kcl_testkit::sweep::{self, Extent, Row, Sweep, Wanted};

use crate::kcl::{self, say};

/// So many runs of each kind, unless all are asked for.
const SAMPLE: usize = 1;
/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;
/// The sweep before the API server, as it is asked for.
const KUBERNETES: &str = "kubernetes";
/// Most of a run is waiting.
const WORKERS: usize = 6;

/// Runs the sweeps that `arguments` ask for. Whether every row is whole.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<bool> {
    let Asked { sweeps, kubernetes, extent, wanted } = asked(arguments)?;
    let begun = Instant::now();
    // One of our own: whoever goes on building meanwhile replaces the other.
    let folder = tempfile::tempdir().context("there is no place for a copy of kcl")?;
    let binary = folder.path().join("kcl");
    std::fs::copy(kcl::build()?, &binary).context("kcl cannot be copied")?;
    say("Preparing accounts...\n");
    say(&format!("{}\n", Row::heading()));
    // Why at once: the rest may take hours.
    let tell = |row: &Row| say(&format!("{}{}\n", row.line(), row.troubles()));
    let mut rows = Vec::new();
    if !sweeps.is_empty() {
        rows = sweep::run(&binary, &sweeps, extent, &wanted, tell).context("the sweeps cannot be run")?;
    }
    let is_left_out = kubernetes && !has_kubernetes();
    if kubernetes && !is_left_out {
        let more = sweep::kubernetes(&binary, extent, &wanted, tell);
        rows.extend(more.context("the sweep before the API server cannot be run")?);
    }
    ensure!(!rows.is_empty(), "nothing was swept");
    let runs: usize = rows.iter().map(|row| row.runs).sum();
    // The table is what was asked for: data.
    write!(std::io::stdout(), "{}", sweep::table(&rows))?;
    say(&format!("\n{runs} runs in {} s\n", begun.elapsed().as_secs()));
    Ok(!is_left_out && rows.iter().all(Row::is_whole))
}

/// Whether there can be an API server here. It says so if not.
fn has_kubernetes() -> bool {
    say(
        "Finding Kubernetes' programs (the first time they are built, which takes a quarter of an hour)...\n",
    );
    match sweep::kubernetes_programs() {
        Ok(()) => true,
        Err(error) => {
            say(&format!("There is no API server here, so what goes wrong before it is left out: {error}\n"));
            false
        }
    }
}

/// What is to be swept.
struct Asked {
    sweeps: Vec<Sweep>,
    /// What comes before the API server, too.
    kubernetes: bool,
    extent: Extent,
    wanted: Wanted,
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut extent = Extent { sample: Some(SAMPLE), seed: SEED, workers: WORKERS };
    let mut sweeps = Vec::new();
    let mut kubernetes = false;
    let mut wanted = Wanted::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        let mut number = || -> Result<usize> {
            let value = value()?;
            value.parse().with_context(|| format!("{value} is no number"))
        };
        match argument.as_str() {
            "--full" => extent.sample = None,
            "--sample" => extent.sample = Some(number()?),
            "--seed" => extent.seed = number()? as u64,
            "--workers" => extent.workers = number()?,
            "--only" => wanted.rows.push(value()?),
            "--at" => wanted.runs.push(value()?),
            KUBERNETES => kubernetes = true,
            name => match Sweep::ALL.into_iter().find(|sweep| sweep.name() == name) {
                Some(sweep) => sweeps.push(sweep),
                None => bail!("there is no sweep {name}; `cargo xtask` lists them"),
            },
        }
    }
    if sweeps.is_empty() && !kubernetes {
        sweeps.extend(Sweep::ALL);
        kubernetes = true;
    }
    Ok(Asked { sweeps, kubernetes, extent, wanted })
}
