//! Where things stand in the text of a spec: sources, places, and values that know their place.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// One text to read: the content of a file, or of standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What messages call it: the file's name as the user gave it, or `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source of that name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A place in a source: one line, from a column on, some characters wide.
///
/// It shares the source's text, so that a message can show the line without reading anything again.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    source: Arc<Source>,
    line: usize,
    column: usize,
    width: usize,
}

impl Place {
    /// The place `width` characters wide at a line and column, both counted from 1. One that
    /// reaches beyond the line is cut at its end, and is at least 1.
    pub(crate) fn new(source: &Arc<Source>, line: usize, column: usize, width: usize) -> Self {
        let mut place = Self { source: Arc::clone(source), line, column: column.max(1), width };
        let line_width = place.line_text().trim_end().chars().count();
        place.width = width.min((line_width + 1).saturating_sub(place.column)).max(1);
        place
    }

    /// Name of the source: a file's name, or `<stdin>`.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The width in characters, at least 1, never beyond the end of the line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The whole line, as it stands in the source.
    pub fn line_text(&self) -> &str {
        self.source.text.split('\n').nth(self.line.saturating_sub(1)).unwrap_or_default()
    }

    /// The text that stands there.
    pub(crate) fn text(&self) -> String {
        self.line_text().chars().skip(self.column - 1).take(self.width).collect()
    }

    /// The same source, another line: for what is inside a block of text.
    pub(crate) fn at(&self, line: usize, column: usize, width: usize) -> Self {
        Self::new(&self.source, line, column, width)
    }

    /// `line 3`, or `other.yaml:3` where the other place is in another file.
    pub(crate) fn seen_from(&self, other: &Self) -> String {
        if self.file() == other.file() {
            format!("line {}", self.line)
        } else {
            format!("{}:{}", self.file(), self.line)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Place {
    /// For `--output json`: file, line, column and width, without the text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut place = serializer.serialize_struct("Place", 4)?;
        place.serialize_field("file", self.file())?;
        place.serialize_field("line", &self.line)?;
        place.serialize_field("column", &self.column)?;
        place.serialize_field("width", &self.width)?;
        place.end()
    }
}

/// A value that knows where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    /// Another value at the same place.
    pub(crate) fn with<U>(&self, value: U) -> Located<U> {
        Located { value, place: self.place.clone() }
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}
