//! Project tasks, run as `cargo xtask TASK`.

mod demo;
mod faults;
mod kcl;

use std::process::ExitCode;

use kcl::say;

const USAGE: &str = "\
usage: cargo xtask TASK

tasks:
  demo    build kcl and show its main job on the reference cluster, against a local AWS
  faults [SWEEP...] [--full] [--sample N] [--seed N] [--workers N] [--only TEXT] [--at TEXT]
          run kcl with everything that goes wrong, and print what became of it. Sweeps: kill, faults, throttle,
          together, interrupt, kubernetes; all of them if none is named. --full: at every call, which takes hours.
          As often as wanted, --only: the rows whose names hold TEXT; --at: of each row the runs whose call does, or
          whose seed it is, as it is printed for one that failed ('ec2:CreateVpc 1', 'seed 6')
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let done = match task.as_deref() {
        Some("demo") if arguments.next().is_none() => demo::run().map(|()| true),
        Some("faults") => faults::run(arguments),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{}: {error:#}\n", task.unwrap_or_default()));
            ExitCode::FAILURE
        }
    }
}
