//! The program: reads its command line, does what it says, prints what happens.

mod arguments;
mod daemon;
mod journal;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use kcl_node::bootstrap::{self, Event, Settings};
use kcl_node::download::Outcome;

use crate::arguments::{Machine, given};
use crate::journal::say;

/// Makes a machine part of its cluster
#[derive(Parser)]
#[command(name = "kcl-node", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine a member of its cluster; may be run again at any time
    Bootstrap(Box<Bootstrap>),
    /// Do what a member of the cluster has to do, until told to end
    Agent(Box<daemon::Agent>),
}

#[derive(Args)]
struct Bootstrap {
    #[command(flatten)]
    machine: Machine,
    /// What the daemon is given beside what bootstrap is
    #[arg(last = true, value_name = "ARGUMENT")]
    agent: Vec<String>,
}

fn main() -> ExitCode {
    let mut program = Cli::command();
    let matches = program.get_matches_mut();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => error.format(&mut program).exit(),
    };
    // One thread: it waits for the network most of the time, and a small machine has little memory.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("failed to start: {error}")),
    };
    match command {
        Command::Bootstrap(arguments) => {
            let Bootstrap { machine, agent } = *arguments;
            let said = program.find_subcommand("bootstrap").zip(matches.subcommand_matches("bootstrap"));
            let mut words = said.map(|(command, matches)| given(command, matches)).unwrap_or_default();
            words.extend(agent);
            let settings = machine.settings().map(|settings| Settings { agent_arguments: words, ..settings });
            match settings {
                Ok(settings) => runtime.block_on(Box::pin(make_member(settings))),
                Err(error) => failed(&error.to_string()),
            }
        }
        Command::Agent(arguments) => runtime.block_on(Box::pin(daemon::run(*arguments))),
    }
}

async fn make_member(settings: Settings) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(&format!("failed to find this program: {error}")),
    };
    match Box::pin(bootstrap::run(Settings { program, ..settings }, &tell)).await {
        Ok(member) => {
            say(&format!("{} is a member of {}", member.identity.instance_id, member.config.cluster));
            ExitCode::SUCCESS
        }
        Err(stopped) => failed(&stopped.to_string()),
    }
}

fn tell(event: &Event<'_>) {
    match event {
        Event::Begins(step) => say(&format!("step {step}")),
        Event::Program(name, Outcome::Kept) => say(&format!("{name} is there already")),
        Event::Program(name, Outcome::Installed) => say(&format!("{name} installed")),
        Event::Waits(what) => say(&format!("waiting for {what}")),
        Event::Finds(what) => say(what),
        Event::Warning(what) => say(&format!("warning: {what}")),
        Event::StatusNotWritten(why) => say(&format!("warning: the status was not written: {why}")),
        _ => {}
    }
}

fn failed(text: &str) -> ExitCode {
    say(&format!("error: {text}"));
    ExitCode::FAILURE
}
