//! What a running apply shows: on a terminal a line that is redrawn, elsewhere one line per event.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kcl_apply::Event;
use kcl_engine::{Action, Plan};

use super::lines::{Lines, stopping};
use super::names::Names;
use super::printer::{GREEN, Printer, RED, YELLOW, paint};

/// Draws the events of one apply.
pub(crate) struct Progress<'a> {
    lines: Lines<'a>,
    plan: &'a Plan,
    names: Names,
    running: BTreeMap<usize, Instant>,
    done: usize,
}

impl<'a> Progress<'a> {
    /// The progress of `plan`.
    pub(crate) fn new(printer: &'a Printer, plan: &'a Plan, cluster: &str) -> Self {
        let lines = Lines::new(printer);
        Self { lines, plan, names: Names::new(cluster), running: BTreeMap::new(), done: 0 }
    }

    /// Takes one event.
    pub(crate) fn event(&mut self, event: &Event<'_, kcl_aws::Error>) {
        match event {
            Event::Started { index } => {
                self.running.insert(*index, Instant::now());
            }
            Event::Done { index, took } => {
                self.running.remove(index);
                self.done += 1;
                let line = format!("{} {}{}", self.sign(*index), self.name(*index), slow(*took));
                self.lines.tell(&line);
            }
            Event::Failed { index, error, skipped } => {
                self.running.remove(index);
                let skipped = match skipped.len() {
                    0 => String::new(),
                    1 => "; 1 step that needs it is skipped".to_owned(),
                    n => format!("; {n} steps that need it are skipped"),
                };
                let failed = paint(RED, "failed");
                self.lines.tell(&format!(
                    "{} {} {failed}: {error}{skipped}",
                    self.sign(*index),
                    self.name(*index)
                ));
            }
            Event::Stopping { running } => {
                self.lines.tell(&stopping(*running, "running step", "running steps"));
            }
        }
        self.draw();
    }

    /// Redraws the bottom line; called from time to time so that the clock in it moves.
    pub(crate) fn draw(&mut self) {
        if !self.lines.printer.live {
            return;
        }
        self.lines.clear();
        let Some((oldest, since)) = self.running.iter().min_by_key(|(_, since)| **since) else { return };
        let more = match self.running.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let line = format!(
            "  {}/{} done; {} {} s{more}",
            self.done,
            self.plan.steps.len(),
            self.name(*oldest),
            since.elapsed().as_secs()
        );
        self.lines.bottom(&line);
    }

    /// Takes the bottom line away.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    fn sign(&self, index: usize) -> String {
        match self.plan.steps[index].action {
            Action::Create => paint(GREEN, "+"),
            Action::Update => paint(YELLOW, "~"),
            Action::Delete => paint(RED, "-"),
        }
    }

    fn name(&self, index: usize) -> String {
        let id = &self.plan.steps[index].id;
        format!("{} {}", id.kind, self.names.short(&id.name))
    }
}

/// The time a step took, where it is worth saying.
fn slow(took: Duration) -> String {
    if took < Duration::from_secs(2) { String::new() } else { format!(" ({} s)", took.as_secs()) }
}
