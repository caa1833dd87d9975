//! A program of Kubernetes that runs in the background, until it is dropped.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::programs::{Programs, file};
use crate::error::Error;
use crate::moto;

/// An answer costs a program's start (kubectl) at most: asking more often would only slow down what starts.
pub(super) const BETWEEN_ASKS: Duration = Duration::from_millis(100);

/// A running program.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    /// Held open: the programs that we built go when it ends, however this process ends.
    _stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts one of the programs, in the folder that it may write to.
    pub(super) fn start(
        programs: &Programs,
        name: &'static str,
        arguments: &[String],
        home: &Path,
        logs: &Path,
    ) -> Result<Self, Error> {
        let program = programs.path(name)?;
        let log = logs.join(format!("{name}.log"));
        // Appended to: what is started again goes on in the same log.
        let log_file = File::options().create(true).append(true).open(&log).map_err(file("create", &log))?;
        let stdout = log_file.try_clone().map_err(file("use", &log))?;
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .current_dir(home)
            .env("HOME", home)
            .env("KUBERNETES_ENDS_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(log_file);
        // etcd takes each of its flags from a variable too.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(|source| Error::Program { program, source })?;
        let stdin = child.stdin.take();
        Ok(Self { name, child, _stdin: stdin, log })
    }

    /// The id that the system knows it by.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended by itself.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `ready` is; what it said last is in the error if it never was.
    pub(super) fn wait_until(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut() -> Result<(), String>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(self.failed(format!("it ended, {status}"))),
                Err(error) => return Err(self.failed(error.to_string())),
            }
            let Err(said) = ready() else { return Ok(()) };
            if begun.elapsed() > timeout {
                let seconds = timeout.as_secs();
                return Err(self.failed(format!("it was not ready after {seconds} s, and last said: {said}")));
            }
            thread::sleep(BETWEEN_ASKS);
        }
    }

    fn failed(&self, why: String) -> Error {
        Error::KubernetesStart { program: self.name, why, tail: moto::tail(&self.log), log: self.log.clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
