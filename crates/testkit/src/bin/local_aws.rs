//! `kcl-local-aws`: a local AWS to play with, until Ctrl-C.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use kcl_testkit::{FrontConfig, LocalAws};

/// A local AWS to play with: moto behind kcl's test front.
#[derive(Parser)]
#[command(name = "kcl-local-aws", version)]
struct Cli {
    /// Port to listen on; a free one if left out.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Region that the printed variables name.
    #[arg(long, default_value = "eu-north-1")]
    region: String,
    /// Let nothing take time: NAT gateways, load balancers, deletions.
    #[arg(long)]
    instant: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            drop(writeln!(io::stderr(), "error: {error}{source}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    let base = if cli.instant { FrontConfig::instant() } else { FrontConfig::default() };
    let aws = LocalAws::start_with(FrontConfig { port: cli.port, region: cli.region, ..base })?;
    let mut out = io::stdout();
    for (name, value) in aws.env() {
        writeln!(out, "export {name}={value}")?;
    }
    out.flush()?;
    writeln!(io::stderr(), "Ctrl-C ends it")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tokio::signal::ctrl_c())?;
    for (name, count) in aws.counts() {
        writeln!(io::stderr(), "{count:6} {name}")?;
    }
    for name in aws.unsupported() {
        writeln!(io::stderr(), "unsupported: {name}")?;
    }
    Ok(())
}
