//! One run of kcl, with an end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::faults::Halt;
use crate::world::Run;

/// No run takes longer, even beside others: kcl waits a minute at most for what spreads, and tries a call five
/// times at most, of up to 30 s each.
const PATIENCE: Duration = Duration::from_mins(8);

/// How often a run is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A run under way.
pub(super) struct Running {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    begun: Instant,
}

fn failed(source: std::io::Error) -> Error {
    Error::Run { source }
}

impl Running {
    /// Starts it.
    pub(super) fn start(mut command: Command) -> Result<Self, Error> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (stdout, stderr) = (drained(child.stdout.take()), drained(child.stderr.take()));
        Ok(Self { child, stdout, stderr, begun: Instant::now() })
    }

    /// Waits for its end. One that does not end is killed, and its exit code is -1.
    pub(super) fn wait(mut self) -> Result<Run, Error> {
        while self.child.try_wait().map_err(failed)?.is_none() {
            if self.begun.elapsed() > PATIENCE {
                self.child.kill().map_err(failed)?;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        self.ended()
    }

    /// Waits until `halt` holds a call of it: whether it does. Else it has ended.
    pub(super) fn reaches(&mut self, halt: &Halt) -> Result<bool, Error> {
        loop {
            if halt.is_reached(BETWEEN_LOOKS) {
                return Ok(true);
            }
            if self.child.try_wait().map_err(failed)?.is_some() {
                return Ok(false);
            }
            if self.begun.elapsed() > PATIENCE {
                return Ok(false);
            }
        }
    }

    /// Kills it: no line of it runs any more.
    pub(super) fn kill(mut self) -> Result<Run, Error> {
        self.child.kill().map_err(failed)?;
        self.ended()
    }

    /// What a terminal does at Ctrl-C.
    pub(super) fn interrupt(&self) -> Result<(), Error> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().map(drop).map_err(failed)
    }

    fn ended(mut self) -> Result<Run, Error> {
        let status = self.child.wait().map_err(failed)?;
        let said = |thread: JoinHandle<String>| thread.join().unwrap_or_default();
        Ok(Run { code: status.code().unwrap_or(-1), stdout: said(self.stdout), stderr: said(self.stderr) })
    }
}

/// Reads all of it beside the run, which would wait for a full pipe.
fn drained(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before it broke is all there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
