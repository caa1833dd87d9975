//! `kcl`: one YAML file to a running Kubernetes cluster on AWS, kept in step, and taken away.

mod api;
mod bootstrap;
mod cli;
mod commands;
mod error;
mod health;
mod interrupt;
mod locked;
mod machines;
mod node_agents;
mod output;
mod releases;
mod session;
mod settings;

fn main() -> std::process::ExitCode {
    cli::run()
}
