//! One YAML document as a tree in which every key and value knows its place.
//!
//! serde-saphyr reads the text; this tree is the one thing that the typed reader ([`crate::read`])
//! walks, so that all mistakes of a document are found and not only the first.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::diagnostic::Diagnostic;
use crate::source::{Place, Source};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number, with its spelling: `1.30` is not `1.3` where a version is meant.
    Number(serde_yaml::Number, String),
    /// Text; the flag says that it was written bare, without quotes and not as a block.
    Text(String, bool),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// What it is, for "expected X, found Y".
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(..) => "a number",
            Value::Text(..) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The entry of that key, where the node is a mapping that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text under a key, where there is some.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.node.value {
            Value::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// The same tree without places.
    pub(crate) fn to_yaml(&self) -> serde_yaml::Value {
        match &self.value {
            Value::Null => serde_yaml::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number, _) => serde_yaml::Value::Number(number.clone()),
            Value::Text(text, _) => text.clone().into(),
            Value::List(nodes) => nodes.iter().map(Self::to_yaml).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (serde_yaml::Value::from(entry.key.clone()), entry.node.to_yaml()))
                .collect::<serde_yaml::Mapping>()
                .into(),
        }
    }
}

/// A stretch of a source: one document.
pub(crate) struct Chunk<'a> {
    pub(crate) source: &'a Arc<Source>,
    pub(crate) text: &'a str,
    /// The line of the source that the text begins with, counted from 1.
    pub(crate) first_line: usize,
}

impl Chunk<'_> {
    /// The documents in it: none when it is empty, else one.
    pub(crate) fn parse(&self) -> Result<Vec<Node>, Diagnostic> {
        let raw: Vec<Spanned<Raw>> = serde_saphyr::from_multiple_with_options(self.text, options())
            .map_err(|error| self.broken(error.without_snippet()))?;
        Ok(raw.into_iter().map(|raw| self.node(raw)).collect())
    }

    fn broken(&self, error: &serde_saphyr::Error) -> Diagnostic {
        let place = error.location().map_or_else(
            || Place::new(self.source, self.first_line, 1, 1),
            |location| self.place(location, 1),
        );
        if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
            let title =
                key.as_ref().map_or("duplicate key".to_owned(), |key| format!("duplicate key `{key}`"));
            return Diagnostic::error(&place, title).hint("each key may stand once in a mapping");
        }
        if matches!(without_alias(error), serde_saphyr::Error::Budget { .. }) {
            let hint = format!(
                "at most {MAX_DEPTH} levels and {MAX_NODES} values, aliases counted where they are used"
            );
            return Diagnostic::error(&place, "the document is too large or nested too deeply").hint(hint);
        }
        if matches!(without_alias(error), serde_saphyr::Error::AliasReplayLimitExceeded { .. }) {
            let hint = format!("at most {MAX_ALIAS_EVENTS} values may come from aliases (`*name`)");
            return Diagnostic::error(&place, "the aliases stand for too many values").hint(hint);
        }
        Diagnostic::error(&place, format!("broken YAML: {}", message(error)))
            .hint("look at the indentation, brackets and quotes here and in the lines above")
    }

    fn place(&self, location: Location, len: usize) -> Place {
        let line = self.first_line + to_usize(location.line()).saturating_sub(1);
        Place::new(self.source, line, to_usize(location.column()), len)
    }

    fn node(&self, raw: Spanned<Raw>) -> Node {
        let location = raw.referenced;
        let len = to_usize(location.span().len());
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number(number) => {
                let spelling = self.slice(raw.defined).map_or_else(|| number.to_string(), str::to_owned);
                Value::Number(number, spelling)
            }
            Raw::Text(text) => {
                let bare = self.slice(raw.defined).is_some_and(|slice| slice == text);
                Value::Text(text, bare)
            }
            Raw::List(nodes) => Value::List(nodes.into_iter().map(|raw| self.node(raw)).collect()),
            Raw::Map(entries) => Value::Map(entries.into_iter().map(|entry| self.entry(entry)).collect()),
        };
        let len = if matches!(value, Value::Map(_) | Value::List(_)) { 1 } else { len };
        Node { value, place: self.place(location, len) }
    }

    fn entry(&self, (key, value): (Spanned<String>, Spanned<Raw>)) -> Entry {
        let key_place = self.place(key.referenced, key.value.chars().count());
        let mut node = self.node(value);
        // What has no text of its own, or spans many lines, is best pointed at by its key.
        if matches!(node.value, Value::Null | Value::Map(_) | Value::List(_)) {
            node.place = key_place.clone();
        }
        Entry { key: key.value, key_place, node }
    }

    /// The text of a scalar as written.
    fn slice(&self, location: Location) -> Option<&str> {
        let from = to_usize(location.span().byte_offset()?);
        let len = to_usize(location.span().byte_len()?);
        self.text.get(from..from.checked_add(len)?).map(str::trim_end)
    }
}

/// The error itself, where it was met while an alias was followed.
fn without_alias(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => without_alias(error.without_snippet()),
        other => other,
    }
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The first line of the parser's message, without the place it repeats.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    line.trim_end_matches(['.', ',', ':']).to_owned()
}

/// Limits of one document. A spec is small; what is larger than this is a mistake or an attack.
const MAX_DEPTH: usize = 64; // reading is recursive; custom resource definitions nest 40 deep
const MAX_NODES: usize = 200_000;
const MAX_ALIAS_EVENTS: usize = 20_000; // "billion laughs" grows by replaying aliases

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
            max_replay_stack_depth: 16,
        },
        // `yes` and `on` stay text here; where a boolean is expected the reader takes them.
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// What serde sees of a value, before it is given its place in the source.
enum Raw {
    Null,
    Bool(bool),
    Number(serde_yaml::Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Node {
        let source = Arc::new(Source::new("x.yaml", text));
        let mut nodes = Chunk { source: &source, text, first_line: 1 }.parse().unwrap();
        nodes.remove(0)
    }

    fn error(text: &str) -> String {
        let source = Arc::new(Source::new("x.yaml", text));
        Chunk { source: &source, text, first_line: 1 }.parse().unwrap_err().to_string()
    }

    #[test]
    fn numbers_keep_their_spelling() {
        let node = parse("version: 1.30\n");
        let Value::Number(_, spelling) = &node.entry("version").unwrap().node.value else { panic!() };
        assert_eq!(spelling, "1.30");
    }

    #[test]
    fn a_block_of_text_stands_at_its_first_line() {
        let node = parse("a:\n  policy: |-\n    [\n    ]\n");
        let block = &node.entry("a").unwrap().node.entry("policy").unwrap().node;
        assert_eq!(block.place.to_string(), "x.yaml:3:5");
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let node = parse("a: &x [1]\nb: *x\n");
        let Value::List(list) = &node.entry("b").unwrap().node.value else { panic!() };
        assert_eq!(list[0].place.line(), 2);
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let node = parse("é: {ü: 1}\n");
        assert_eq!(node.entry("é").unwrap().node.entry("ü").unwrap().node.place.column(), 8);
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let level = |level: usize| {
            let below = if level == 0 { "x".to_owned() } else { format!("*a{}", level - 1) };
            format!("a{level}: &a{level} [{}]\n", vec![below; 9].join(", "))
        };
        let text: String = (0..12).map(level).collect();
        assert!(error(&text).starts_with("error:"), "{}", error(&text));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(error(&"[".repeat(100_000)).contains("broken YAML"));
        assert!(error(&"- ".repeat(2_000)).contains("nested too deeply"));
        assert!(!parse(&"- ".repeat(MAX_DEPTH)).is_null());
    }
}
