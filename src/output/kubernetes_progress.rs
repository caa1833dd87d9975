//! What work on the API server shows: on a terminal a line that is redrawn, elsewhere one line per event.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kcl_kube::{Action, Event, ObjectRef};

use super::lines::{Lines, stopping};
use super::printer::{GREEN, Printer, RED, YELLOW, paint};

/// Draws the events of one piece of work. Waiting for the same thing is told once, and again where its reason is
/// another one.
pub(crate) struct KubernetesProgress<'a> {
    state: Mutex<State<'a>>,
}

struct State<'a> {
    lines: Lines<'a>,
    /// What is waited for, and how it stands.
    waiting: BTreeMap<ObjectRef, String>,
    /// What was told last of the API server.
    server: String,
}

impl<'a> KubernetesProgress<'a> {
    /// Nothing happened yet.
    pub(crate) fn new(printer: &'a Printer) -> Self {
        let lines = Lines::new(printer);
        Self { state: Mutex::new(State { lines, waiting: BTreeMap::new(), server: String::new() }) }
    }

    /// Takes one event.
    pub(crate) fn event(&self, event: Event) {
        let mut state = self.state();
        match event {
            Event::NotReachable { reason, waited } => state.server(&reason, waited),
            Event::ServerNotReady { checks, waited } => {
                let reason = match checks.as_slice() {
                    [] => "it answers and is not ready".to_owned(),
                    checks => format!("it answers and is not ready: {}", checks.join(", ")),
                };
                state.server(&reason, waited);
            }
            Event::Retrying { doing, reason, .. } => {
                state.lines.tell(&format!("{} {doing}: {reason}; trying again", paint(YELLOW, "!")));
            }
            Event::Applied { action: Action::Unchanged, .. } => {}
            Event::Applied { object, action, .. } => {
                state.waiting.remove(&object);
                let sign = match action {
                    Action::Create => paint(GREEN, "+"),
                    _ => paint(YELLOW, "~"),
                };
                state.lines.tell(&format!("{sign} {object}"));
            }
            Event::NotTried { object, reason } => {
                let what = format!("whether pods of {object} are given their role cannot be tried");
                state.lines.tell(&format!("{} {what}: {reason}; going on", paint(YELLOW, "!")));
            }
            Event::Pruned { object } => {
                state.waiting.remove(&object);
                state.lines.tell(&format!("{} {object}", paint(RED, "-")));
            }
            Event::Failed { object, error } => {
                state.waiting.remove(&object);
                state.lines.tell(&format!("{} {object} {}: {error}", paint(RED, "!"), paint(RED, "failed")));
            }
            Event::Stopping { running } => {
                state.lines.tell(&stopping(running, "request on its way", "requests on their way"));
            }
            Event::Waiting { object, progress, reason } => state.waiting(object, progress, &reason),
            Event::Ready { object, waited } => {
                let waited_for = state.waiting.remove(&object).is_some();
                if waited_for {
                    state.lines.tell(&format!("  {object} is ready ({} s)", waited.as_secs()));
                }
            }
            // What is left alone stands in the plan, and phases are nobody's business.
            _ => {}
        }
    }

    /// A line about something beside Kubernetes that is waited for.
    pub(crate) fn tell(&self, line: &str) {
        self.state().lines.tell(line);
    }

    /// Takes the bottom line away.
    pub(crate) fn clear(&self) {
        self.state().lines.clear();
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        // Whoever panicked while drawing leaves a line too many, no more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    fn server(&mut self, reason: &str, waited: Duration) {
        if self.lines.printer.live {
            return self.lines.bottom(&format!("  {} s: {reason}", waited.as_secs()));
        }
        if self.server != reason {
            reason.clone_into(&mut self.server);
            self.lines.tell(&format!("  {reason}"));
        }
    }

    fn waiting(&mut self, object: ObjectRef, progress: Option<(u64, u64)>, reason: &str) {
        let count = progress.map(|(ready, wanted)| format!(" {ready}/{wanted}")).unwrap_or_default();
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let line = format!("waiting for {object}{count}{reason}");
        let is_news = self.waiting.insert(object, line.clone()).as_ref() != Some(&line);
        if self.lines.printer.live {
            let more = match self.waiting.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            self.lines.bottom(&format!("  {line}{more}"));
        } else if is_news {
            self.lines.tell(&format!("  {line}"));
        }
    }
}
