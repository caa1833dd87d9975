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
    /// Those that the fault did not meet: they say nothing of it. How often a state is asked for differs from run to
    /// run, so that not each has every call.
    pub missed: usize,
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
    Missed,
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
            Fate::Missed => self.missed += 1,
            Fate::Failed(why) => self.failed.push(why),
        }
    }

    /// Whether the fault met a run at all, and each ended as it should.
    pub fn is_whole(&self) -> bool {
        self.converged + self.stopped > 0 && self.failed.is_empty()
    }

    /// The row as it stands in the table.
    pub fn line(&self) -> String {
        let Self { fault, runs, converged, stopped, missed, failed, note } = self;
        let failed = failed.len();
        format!("{fault:<44} {runs:>6} {converged:>10} {stopped:>8} {missed:>7} {failed:>7}  {note}")
            .trim_end()
            .to_owned()
    }

    /// Why it is not whole, each on a line that follows another; nothing where it is.
    pub fn troubles(&self) -> String {
        if self.failed.is_empty() && !self.is_whole() {
            return "\n  it met no run".to_owned();
        }
        let troubles = self.failed.iter().map(|why| format!("\n  {}", why.replace('\n', "\n    ")));
        troubles.collect()
    }

    /// The line above all rows.
    pub fn heading() -> String {
        let heads = ["fault", "runs", "converged", "stopped", "missed", "failed"];
        let [fault, runs, converged, stopped, missed, failed] = heads;
        format!("{fault:<44} {runs:>6} {converged:>10} {stopped:>8} {missed:>7} {failed:>7}")
    }
}

/// All rows, and below them what failed.
pub fn table(rows: &[Row]) -> String {
    let mut text = Row::heading();
    for row in rows {
        let _ = write!(text, "\n{}", row.line());
    }
    for row in rows.iter().filter(|row| !row.is_whole()) {
        let _ = write!(text, "\n\n{}:{}", row.fault, row.troubles());
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_met_no_run_is_not_whole() {
        let of = |fates: &[Fate]| {
            let mut row = Row::new("a fault");
            for fate in fates {
                row.count(fate.clone());
            }
            row
        };
        assert!(!of(&[]).is_whole());
        assert!(!of(&[Fate::Missed]).is_whole());
        assert!(of(&[Fate::Missed, Fate::Converged]).is_whole());
        assert!(of(&[Fate::Stopped]).is_whole());
        assert!(!of(&[Fate::Converged, Fate::Failed("why".to_owned())]).is_whole());
        assert!(table(&[of(&[Fate::Missed])]).contains("a fault:\n  it met no run"));
    }
}
