//! What is wrong with a spec, or worth a word: each with its place and a way out.
//!
//! A [`Diagnostic`] is data for the CLI, which may colour it; its `Display` is the plain form,
//! legible without colour and at most 80 columns wide.

use std::fmt;

use serde::Serialize;

use crate::source::Place;

/// Whether something stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is done until it is mended.
    Error,
    /// Work goes on.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake, or one warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it stops the work.
    pub severity: Severity,
    /// What is wrong: a lowercase fragment without a full stop.
    pub title: String,
    /// Where it stands; `None` where the spec as a whole is meant.
    pub place: Option<Place>,
    /// What to do about it: a lowercase fragment without a full stop.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(place: &Place, title: impl Into<String>) -> Self {
        Self { severity: Severity::Error, title: title.into(), place: Some(place.clone()), hint: None }
    }

    pub(crate) fn warning(place: &Place, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, title: title.into(), place: Some(place.clone()), hint: None }
    }

    /// A mistake of the spec as a whole.
    pub(crate) fn global(title: impl Into<String>) -> Self {
        Self { severity: Severity::Error, title: title.into(), place: None, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It stops the work.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The line it stands in, as written.
    pub fn source_line(&self) -> Option<&str> {
        self.place.as_ref().map(Place::line_text)
    }

    /// Sorts by place: file, then line, then column; what has no place comes last.
    fn order(&self) -> (bool, &str, usize, usize, Severity) {
        match &self.place {
            Some(place) => (false, place.file(), place.line(), place.column(), self.severity),
            None => (true, "", 0, 0, self.severity),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.to_string();
        write_wrapped(f, &format!("{severity}: {}", self.title), severity.len() + 2)?;
        if let Some(place) = &self.place {
            let gutter = place.line().to_string().len();
            write!(f, "\n{:gutter$}--> {place}", "")?;
            let excerpt = Excerpt::of(place, WIDTH - gutter - 3);
            write!(f, "\n{:gutter$} |", "")?;
            write!(f, "\n{} | {}", place.line(), excerpt.text)?;
            write!(
                f,
                "\n{:gutter$} | {:indent$}{}",
                "",
                "",
                "^".repeat(excerpt.len),
                indent = excerpt.indent
            )?;
        }
        if let Some(hint) = &self.hint {
            f.write_str("\n")?;
            write_wrapped(f, &format!("hint: {hint}"), 6)?;
        }
        Ok(())
    }
}

/// All that is wrong with a spec. Never empty as an error; sorted by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort_by(|a, b| a.order().cmp(&b.order()));
    }

    /// No mistake and no warning.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// At least one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    /// In the order of the sources.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Taken apart.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.0
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.0.extend(diagnostics);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(diagnostic, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The width that everything printed fits in.
const WIDTH: usize = 80;

/// The part of a line that is shown, and where the carets stand under it.
struct Excerpt {
    text: String,
    indent: usize,
    len: usize,
}

impl Excerpt {
    /// Cuts the line so that the place is seen and `width` is kept; cut ends are marked by `...`.
    fn of(place: &Place, width: usize) -> Self {
        // A tab or another control character would move the carets, or worse the terminal.
        let line: Vec<char> = place
            .line_text()
            .trim_end()
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect();
        let caret = place.column() - 1;
        if line.len() <= width && caret < width {
            return Self {
                text: line.iter().collect(),
                indent: caret,
                len: place.width().min(width - caret),
            };
        }
        let len = place.width().min(width / 2);
        let from = (caret + len + 3).saturating_sub(width).max(caret.saturating_sub(width / 2)).min(caret);
        let mut text: Vec<char> = line.iter().skip(from).take(width).copied().collect();
        let last = text.len();
        if from > 0 {
            text.iter_mut().take(3).for_each(|char| *char = '.');
        }
        if from + width < line.len() {
            text.iter_mut().skip(last.saturating_sub(3)).for_each(|char| *char = '.');
        }
        Self { text: text.iter().collect(), indent: caret - from, len }
    }
}

/// Writes words into lines of at most [`WIDTH`] columns; lines after the first are indented. A word
/// that is longer than a line is broken.
fn write_wrapped(f: &mut fmt::Formatter<'_>, text: &str, indent: usize) -> fmt::Result {
    let mut column = 0;
    for word in text.split_whitespace() {
        let chars: Vec<char> = word.chars().filter(|char| !char.is_control()).collect();
        for (index, piece) in chars.chunks(WIDTH - indent).enumerate() {
            let space = usize::from(column > 0 && index == 0);
            if column + space + piece.len() > WIDTH {
                write!(f, "\n{:indent$}", "")?;
                column = indent;
            } else if space > 0 {
                f.write_str(" ")?;
                column += 1;
            }
            f.write_str(&piece.iter().collect::<String>())?;
            column += piece.len();
        }
    }
    Ok(())
}
