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
    keep_memory_private();
    cli::run()
}

/// Keys of the cluster are in it: a crash leaves no core file, and on Linux no other process of the user reads it either.
fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // What the system does not let us do keeps nobody from working.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
