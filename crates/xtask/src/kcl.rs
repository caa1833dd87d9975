//! The binary that tasks run, and how they speak.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Text of a task itself, to stderr as kcl does with what is no data.
pub(crate) fn say(text: &str) {
    // Nothing can be done about a terminal that went away.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds kcl, and beside it the node agent that it gives to machines; asks cargo where kcl is.
pub(crate) fn build() -> Result<PathBuf> {
    say("Building kcl (the AWS SDK takes about ten minutes the first time)...\n");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--package", "kcl", "--package", "kcl-node", "--bin", "kcl", "--bin", "kcl-node"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(output.status.success(), "kcl does not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().find_map(|line| {
        let rest = line.split_once("\"executable\":\"")?.1;
        Some(PathBuf::from(rest.split_once('"')?.0)).filter(|path| path.ends_with("kcl"))
    });
    path.context("cargo does not say where kcl is")
}
