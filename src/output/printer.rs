//! The only thing in kcl that writes to the terminal.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use kcl_spec::{Diagnostic, Diagnostics};

use crate::cli::Color;
use crate::error::CommandError;
use crate::settings::Settings;

/// Bold.
pub(crate) const BOLD: Style = Style::new().bold();
/// Less important.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What is made.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// What is changed.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// What goes, and errors.
pub(crate) const RED: Style = AnsiColor::Red.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// `text` in `style`; the stream takes the style out where colour is not wanted.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes to stdout and stderr.
#[derive(Debug)]
pub(crate) struct Printer {
    choice: ColorChoice,
    /// Columns.
    pub(crate) width: usize,
    /// Whether progress may be redrawn in place.
    pub(crate) live: bool,
    unwritten: OnceLock<String>,
}

impl Printer {
    /// A printer for `settings`.
    pub(crate) fn new(settings: &Settings) -> Self {
        let choice = match settings.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            choice,
            width: settings.width,
            live: std::io::stderr().is_terminal(),
            unwritten: OnceLock::new(),
        }
    }

    /// Data, to stdout. A reader that went away (`| head`) is no error; whatever else keeps it from being written is
    /// kept, see [`Self::unwritten`].
    pub(crate) fn data(&self, text: &str) {
        let mut stdout = AutoStream::new(std::io::stdout().lock(), self.choice);
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        match write!(stdout, "{text}{newline}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = self.unwritten.set(error.to_string());
            }
            _ => {}
        }
    }

    /// Why data could not be written, if that is so.
    pub(crate) fn unwritten(&self) -> Option<&str> {
        self.unwritten.get().map(String::as_str)
    }

    /// Data as JSON, to stdout.
    pub(crate) fn json(&self, value: &impl serde::Serialize) {
        // Plain data cannot fail to serialise.
        self.data(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A line for people, to stderr.
    pub(crate) fn say(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// A sentence for people, to stderr, wrapped.
    pub(crate) fn note(&self, text: &str) {
        self.say(&wrap(text, self.width).join("\n"));
    }

    /// Text for people as it is, to stderr.
    pub(crate) fn write(&self, text: &str) {
        let mut stderr = AutoStream::new(std::io::stderr().lock(), self.choice);
        let _ = write!(stderr, "{text}");
        let _ = stderr.flush();
    }

    /// A warning.
    pub(crate) fn warning(&self, title: &str, hint: Option<&str>) {
        self.write(&self.labelled(YELLOW, "warning", title));
        if let Some(hint) = hint {
            self.write(&self.labelled(CYAN, "hint", hint));
        }
        self.write("\n");
    }

    /// Warnings that stand in a spec.
    pub(crate) fn warnings(&self, warnings: &[Diagnostic]) {
        for warning in warnings {
            self.diagnostic(warning);
        }
    }

    /// An error with all that belongs to it.
    pub(crate) fn error(&self, error: &CommandError) {
        for diagnostic in error.diagnostics.iter().flat_map(Diagnostics::iter) {
            self.diagnostic(diagnostic);
        }
        if let Some(diagnostics) = &error.diagnostics {
            let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
            let mistakes = if errors == 1 { "mistake" } else { "mistakes" };
            self.write(&self.labelled(
                RED,
                "error",
                &format!("the spec has {errors} {mistakes}; nothing was changed"),
            ));
        }
        for message in &error.messages {
            self.write(&self.labelled(RED, "error", message));
        }
        for hint in &error.hints {
            self.write(&self.labelled(CYAN, "hint", hint));
        }
    }

    /// A mistake or warning in a spec, and an empty line after it: each is a paragraph of its own.
    fn diagnostic(&self, diagnostic: &Diagnostic) {
        let text = diagnostic.to_string();
        let (label, style) = if diagnostic.is_error() { ("error", RED) } else { ("warning", YELLOW) };
        let rest = text.strip_prefix(label).unwrap_or(&text);
        let rest = rest.replace("\nhint:", &format!("\n{}:", paint(CYAN.bold(), "hint")));
        self.say(&format!("{}{rest}\n", paint(style.bold(), label)));
    }

    fn labelled(&self, style: Style, label: &str, text: &str) -> String {
        let mut lines = String::new();
        for (nth, line) in wrap(text, self.width.saturating_sub(label.len() + 2)).iter().enumerate() {
            if nth == 0 {
                lines.push_str(&format!("{}: {line}\n", paint(style.bold(), label)));
            } else {
                lines.push_str(&format!("{:indent$}{line}\n", "", indent = label.len() + 2));
            }
        }
        lines
    }

    /// Asks; `false` without a clear yes.
    pub(crate) fn confirm(&self, question: &str, expected: &str) -> bool {
        self.write(&format!("{} ", paint(BOLD, question)));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && answer.trim().eq_ignore_ascii_case(expected)
    }
}

/// Breaks `text` at spaces into lines of at most `width` columns; a longer word stands alone.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// How wide `text` is on a terminal: styles take no room.
fn columns(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(|piece| piece.chars().count()).sum()
}

#[cfg(test)]
mod tests {
    use super::{GREEN, paint, wrap};

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("a-very-long-word b", 5), ["a-very-long-word", "b"]);
        assert_eq!(wrap("a\nb", 5), ["a", "b"]);
        let green = paint(GREEN, "aa");
        assert_eq!(wrap(&format!("{green} bb cc"), 5), [format!("{green} bb"), "cc".to_owned()]);
    }
}
