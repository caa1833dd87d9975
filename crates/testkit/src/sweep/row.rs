//! What sweeps find, as rows of a table.

use std::fmt::Write as _;

/// What became of the runs with one fault.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The fault, and where it struck.
    pub fault: String,
    /// Runs.
    pub runs: usize,
    /// Those that came to the state of an undisturbed run at once, or, after a kill, by the next run.
    pub converged: usize,
    /// Those that stopped with the right cause; the next run then came to that state.
    pub stopped: usize,
    /// What was wrong with the others.
    pub failed: Vec<String>,
    /// What was measured beside.
    pub note: String,
}

/// What became of one run.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Converged,
    Stopped,
    Failed(String),
}

impl Row {
    pub(super) fn new(fault: impl Into<String>) -> Self {
        Self { fault: fault.into(), ..Self::default() }
    }

    pub(super) fn count(&mut self, fate: Fate) {
        self.runs += 1;
        match fate {
            Fate::Converged => self.converged += 1,
            Fate::Stopped => self.stopped += 1,
            Fate::Failed(why) => self.failed.push(why),
        }
    }

    pub(super) fn of(fault: impl Into<String>, fates: impl IntoIterator<Item = Fate>) -> Self {
        let mut row = Self::new(fault);
        for fate in fates {
            row.count(fate);
        }
        row
    }

    /// Whether all runs ended as they should.
    pub fn is_whole(&self) -> bool {
        self.runs > 0 && self.converged + self.stopped == self.runs
    }

    /// The row as it stands in the table.
    pub fn line(&self) -> String {
        let Self { fault, runs, converged, stopped, failed, note } = self;
        let failed = failed.len();
        format!("{fault:<44} {runs:>6} {converged:>10} {stopped:>8} {failed:>7}  {note}")
            .trim_end()
            .to_owned()
    }

    /// The line above all rows.
    pub fn heading() -> String {
        format!("{:<44} {:>6} {:>10} {:>8} {:>7}", "fault", "runs", "converged", "stopped", "failed")
    }
}

/// All rows, and below them what failed.
pub fn table(rows: &[Row]) -> String {
    let mut text = Row::heading();
    for row in rows {
        let _ = write!(text, "\n{}", row.line());
    }
    for row in rows.iter().filter(|row| !row.failed.is_empty()) {
        let _ = write!(text, "\n\n{}:", row.fault);
        for why in &row.failed {
            let _ = write!(text, "\n  {}", why.replace('\n', "\n    "));
        }
    }
    text.push('\n');
    text
}
