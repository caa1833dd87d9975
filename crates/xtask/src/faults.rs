//! The sweeps, and their table: kcl with everything that goes wrong.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use kcl_testkit::sweep::{self, Extent, Row, Sweep};

use crate::kcl::{self, say};

/// So many runs of each kind, unless all are asked for.
const SAMPLE: usize = 1;
/// Any number does; the same one gives the same faults.
const SEED: u64 = 6;
/// Most of a run is waiting.
const WORKERS: usize = 6;

/// Runs the sweeps that `arguments` ask for. Whether every row is whole.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<bool> {
    let (sweeps, extent) = asked(arguments)?;
    let begun = Instant::now();
    let binary = kcl::build()?;
    say("Preparing accounts...\n");
    say(&format!("{}\n", Row::heading()));
    let rows = sweep::run(&binary, &sweeps, extent, |row| say(&format!("{}\n", row.line())))
        .context("the sweeps cannot be run")?;
    let runs: usize = rows.iter().map(|row| row.runs).sum();
    // The table is what was asked for: data.
    write!(std::io::stdout(), "{}", sweep::table(&rows))?;
    say(&format!("\n{runs} runs in {} s\n", begun.elapsed().as_secs()));
    Ok(rows.iter().all(Row::is_whole))
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<(Vec<Sweep>, Extent)> {
    let mut extent = Extent { sample: Some(SAMPLE), seed: SEED, workers: WORKERS };
    let mut sweeps = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize> {
            let value = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            value.parse().with_context(|| format!("{value} is no number"))
        };
        match argument.as_str() {
            "--full" => extent.sample = None,
            "--sample" => extent.sample = Some(number()?),
            "--seed" => extent.seed = number()? as u64,
            "--workers" => extent.workers = number()?,
            name => match Sweep::ALL.into_iter().find(|sweep| sweep.name() == name) {
                Some(sweep) => sweeps.push(sweep),
                None => bail!("there is no sweep {name}"),
            },
        }
    }
    if sweeps.is_empty() {
        sweeps.extend(Sweep::ALL);
    }
    Ok((sweeps, extent))
}
