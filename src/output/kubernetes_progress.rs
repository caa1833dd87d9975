//! What work on the API server shows: on a terminal a line that is redrawn, elsewhere one line per event.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kcl_kube::{Action, Event, ObjectRef};

use super::printer::{DIM, GREEN, Printer, RED, YELLOW, paint, wrap};

/// Draws the events of one piece of work. Waiting for the same thing is told once, and again where its reason is
/// another one.
pub(crate) struct KubernetesProgress<'a> {
    printer: &'a Printer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is waited for, and how it stands.
    waiting: BTreeMap<ObjectRef, String>,
    /// What was told last of the API server.
    server: String,
    drawn: bool,
}

impl<'a> KubernetesProgress<'a> {
    /// Nothing happened yet.
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self { printer, state: Mutex::default() }
    }

    /// Takes one event.
    pub(crate) fn event(&self, event: Event) {
        let mut state = self.state();
        match event {
            Event::NotReachable { reason, waited } => self.server(&mut state, &reason, waited),
            Event::ServerNotReady { checks, waited } => {
                let reason = match checks.as_slice() {
                    [] => "it answers and is not ready".to_owned(),
                    checks => format!("it answers and is not ready: {}", checks.join(", ")),
                };
                self.server(&mut state, &reason, waited);
            }
            Event::Retrying { doing, reason, .. } => {
                self.line(&mut state, &format!("{} {doing}: {reason}; trying again", paint(YELLOW, "!")));
            }
            Event::Applied { action: Action::Unchanged, .. } => {}
            Event::Applied { object, action, .. } => {
                let sign = match action {
                    Action::Create => paint(GREEN, "+"),
                    _ => paint(YELLOW, "~"),
                };
                self.line(&mut state, &format!("{sign} {object}"));
            }
            Event::Pruned { object } => {
                self.line(&mut state, &format!("{} {object}", paint(RED, "-")));
            }
            Event::Failed { object, error } => {
                self.line(&mut state, &format!("{} {object} {}: {error}", paint(RED, "!"), paint(RED, "failed")));
            }
            Event::Stopping { running } => self.line(
                &mut state,
                &format!(
                    "stopping: {running} requests on their way are finished first; press Ctrl-C again to leave at once"
                ),
            ),
            Event::Waiting { object, progress, reason } => self.waiting(&mut state, object, progress, &reason),
            Event::Ready { object, waited } => {
                let waited_for = state.waiting.remove(&object).is_some();
                if waited_for {
                    self.line(&mut state, &format!("  {object} is ready ({} s)", waited.as_secs()));
                }
            }
            // What is left alone stands in the plan, and phases are nobody's business.
            _ => {}
        }
    }

    /// Takes the bottom line away.
    pub(crate) fn clear(&self) {
        self.wipe(&mut self.state());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while drawing leaves a line too many, no more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, state: &mut State, reason: &str, waited: Duration) {
        if self.printer.live {
            return self.bottom(state, &format!("  {} s: {reason}", waited.as_secs()));
        }
        if state.server != reason {
            reason.clone_into(&mut state.server);
            self.line(state, &format!("  {reason}"));
        }
    }

    fn waiting(&self, state: &mut State, object: ObjectRef, progress: Option<(u64, u64)>, reason: &str) {
        let count = progress.map(|(ready, wanted)| format!(" {ready}/{wanted}")).unwrap_or_default();
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let line = format!("waiting for {object}{count}{reason}");
        let is_news = state.waiting.insert(object, line.clone()).as_ref() != Some(&line);
        if self.printer.live {
            let more = match state.waiting.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            self.bottom(state, &format!("  {line}{more}"));
        } else if is_news {
            self.line(state, &format!("  {line}"));
        }
    }

    fn bottom(&self, state: &mut State, line: &str) {
        self.wipe(state);
        let line: String = line.chars().take(self.printer.width.saturating_sub(1)).collect();
        self.printer.write(&paint(DIM, &line));
        state.drawn = true;
    }

    fn wipe(&self, state: &mut State) {
        if std::mem::take(&mut state.drawn) {
            self.printer.write("\r\u{1b}[2K");
        }
    }

    fn line(&self, state: &mut State, text: &str) {
        self.wipe(state);
        for (nth, line) in wrap(text, self.printer.width.saturating_sub(6)).iter().enumerate() {
            self.printer.say(&format!("{}{line}", if nth == 0 { "  " } else { "      " }));
        }
    }
}
