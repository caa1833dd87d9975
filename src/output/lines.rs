//! Lines of something that goes on: told one under the other, on a terminal with one below them that is redrawn.

use super::printer::{DIM, Printer, paint, wrap};

/// Writes them.
pub(super) struct Lines<'a> {
    pub(super) printer: &'a Printer,
    drawn: bool,
}

impl<'a> Lines<'a> {
    /// Nothing is told yet.
    pub(super) fn new(printer: &'a Printer) -> Self {
        Self { printer, drawn: false }
    }

    /// A line that stays. What it goes on with stands in under it.
    pub(super) fn tell(&mut self, text: &str) {
        self.clear();
        for (nth, line) in wrap(text, self.printer.width.saturating_sub(6)).iter().enumerate() {
            self.printer.say(&format!("{}{line}", if nth == 0 { "  " } else { "      " }));
        }
    }

    /// The line below all others; only for a terminal.
    pub(super) fn bottom(&mut self, line: &str) {
        self.clear();
        let line: String = line.chars().take(self.printer.width.saturating_sub(1)).collect();
        self.printer.write(&paint(DIM, &line));
        self.drawn = true;
    }

    /// Takes that line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.printer.write("\r\u{1b}[2K");
        }
    }
}

/// What is said once somebody asked to stop while so many of something were under way.
pub(super) fn stopping(running: usize, one: &str, many: &str) -> String {
    const AGAIN: &str = "finished first; press Ctrl-C again to leave at once";
    match running {
        0 => "stopping: nothing is under way, and nothing more is started".to_owned(),
        1 => format!("stopping: 1 {one} is {AGAIN}"),
        _ => format!("stopping: {running} {many} are {AGAIN}"),
    }
}

#[cfg(test)]
mod tests {
    use super::stopping;

    #[test]
    fn what_is_finished_first() {
        let said = |running| stopping(running, "running step", "running steps");
        assert_eq!(said(0), "stopping: nothing is under way, and nothing more is started");
        assert!(said(1).starts_with("stopping: 1 running step is finished first"));
        assert!(said(2).starts_with("stopping: 2 running steps are finished first"));
    }
}
