//! Project tasks, run as `cargo xtask TASK`.

mod demo;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

tasks:
  demo    build kcl and show its main job on the reference cluster, against a local AWS
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if (arguments.next().as_deref(), arguments.next()) != (Some("demo"), None) {
        demo::say(USAGE);
        return ExitCode::from(2);
    }
    match demo::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            demo::say(&format!("demo: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
