//! From the tree of a document to typed values, with every mistake noted on the way.
//!
//! [`object!`] declares a mapping: in one place, for each field, its name in YAML, its type, its
//! documentation (which becomes the JSON Schema's description) and whether kcl acts on it.
//! [`choice!`] declares a word out of a list. Reading never stops at a mistake: it is noted, the
//! field is left out, and the rest is read.

use std::borrow::Cow;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Entry, Node, Value};
use crate::source::Located;
use crate::suggest;

/// What kcl does with a field.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    /// It is acted on.
    Used,
    /// It has no effect anywhere, and needs none.
    Inert,
    /// It is read, but nothing follows from it yet: a warning.
    Unused,
    /// The same, unless its value is what happens anyway.
    UnusedUnless(fn(&Node) -> bool),
}

/// A type that can be read from a document.
pub(crate) trait Read: Sized {
    /// The value; `None` when it is not of this type, which then has been noted.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
}

/// Collects what is wrong while a document is read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) diagnostics: Diagnostics,
    /// Names of fields that stand in the spec but could not be read, so that nobody calls them
    /// missing.
    pub(crate) lost_fields: Vec<String>,
    /// Inside a field that has been warned about: what is below need not be again.
    muted: bool,
}

impl Reader {
    pub(crate) fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn mismatch<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let title = format!("expected {expected}, found {}", node.describe());
        self.note(Diagnostic::error(&node.place, title));
        None
    }

    /// The entries of a mapping.
    pub(crate) fn entries<'a>(&mut self, node: &'a Node) -> Option<&'a [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => self.mismatch(node, "a mapping"),
        }
    }

    /// Reads the value of a known field. An empty value is as good as none, as in Kubernetes.
    pub(crate) fn field<T: Read>(&mut self, entry: &Entry, status: Status) -> Option<Located<T>> {
        if entry.node.is_null() {
            return None;
        }
        let unused = match status {
            Status::Used | Status::Inert => false,
            Status::Unused => true,
            Status::UnusedUnless(is_default) => !is_default(&entry.node),
        };
        if unused && !self.muted {
            let title = format!("`{}` is read but not acted on yet", entry.key);
            self.note(Diagnostic::warning(&entry.key_place, title));
        }
        let outer = self.muted;
        self.muted |= unused;
        let value = T::read(&entry.node, self);
        self.muted = outer;
        if value.is_none() {
            self.lost_fields.push(entry.key.clone());
        }
        value.map(|value| Located::new(value, entry.node.place.clone()))
    }

    /// Notes a field that nobody knows.
    pub(crate) fn unknown_field(&mut self, entry: &Entry, known: &[&str]) {
        let mut diagnostic = Diagnostic::error(&entry.key_place, format!("unknown field `{}`", entry.key));
        if let Some(nearest) = suggest::nearest(&entry.key, known.iter().copied()) {
            diagnostic = diagnostic.hint(format!("did you mean `{nearest}`?"));
            self.lost_fields.push(nearest.to_owned());
        }
        self.note(diagnostic);
    }

    /// Notes a word that is none of the possible ones.
    pub(crate) fn unknown_choice<T>(
        &mut self,
        node: &Node,
        word: &str,
        what: &str,
        known: &[&str],
    ) -> Option<T> {
        let diagnostic = Diagnostic::error(&node.place, format!("unknown {what} `{word}`"));
        self.note(diagnostic.hint(suggest::hint(word, known.iter().copied())));
        None
    }
}

/// Text. A bare number is taken as it is spelled, so that `1.30` stays `1.30`.
impl Read for String {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text, _) => Some(text.clone()),
            Value::Number(_, spelling) => Some(spelling.clone()),
            Value::Bool(value) => {
                let title = "expected text, found a boolean";
                reader.note(
                    Diagnostic::error(&node.place, title).hint(format!("put it in quotes: \"{value}\"")),
                );
                None
            }
            _ => reader.mismatch(node, "text"),
        }
    }
}

/// `true` and `false`; also YAML 1.1's bare `yes`, `no`, `on` and `off`, which kOps takes.
impl Read for bool {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        yes_or_no(node).or_else(|| reader.mismatch(node, "true or false"))
    }
}

fn yes_or_no(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        Value::Text(text, true) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => Some(true),
            "no" | "off" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A whole number; whether it is possible where it stands is validation's business.
impl Read for i64 {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Number(number, spelling) => match (number.as_i64(), beyond(spelling)) {
                (Some(number), _) => Some(number),
                // Validation knows what is possible, and says so; it does not look at fields that
                // nothing follows from.
                (None, Some(limit)) if !reader.muted => Some(limit),
                (None, Some(limit)) => {
                    let title = format!("{spelling} is too large a number");
                    let hint = format!("{} {limit}", if limit > 0 { "at most" } else { "at least" });
                    reader.note(Diagnostic::error(&node.place, title).hint(hint));
                    None
                }
                (None, None) => {
                    reader.note(Diagnostic::error(&node.place, "expected a whole number"));
                    None
                }
            },
            Value::Text(text, false) if text.parse::<Self>().is_ok() => {
                let title = "expected a whole number, found text";
                reader.note(Diagnostic::error(&node.place, title).hint("leave out the quotes"));
                None
            }
            _ => reader.mismatch(node, "a whole number"),
        }
    }
}

/// The end of the numbers on whose far side a whole number lies that is too large to be one here.
fn beyond(spelling: &str) -> Option<i64> {
    let digits = spelling.strip_prefix(['-', '+']).unwrap_or(spelling);
    let is_whole = !digits.is_empty() && digits.chars().all(|char| char.is_ascii_digit());
    is_whole.then_some(if spelling.starts_with('-') { i64::MIN } else { i64::MAX })
}

/// A list in which each value knows its place.
pub type List<T> = Vec<Located<T>>;

impl<T: Read> Read for List<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            return reader.mismatch(node, "a list");
        };
        let values = nodes.iter().filter_map(|node| {
            let value = T::read(node, reader)?;
            Some(Located::new(value, node.place.clone()))
        });
        Some(values.collect())
    }
}

/// A mapping with keys of the user's own, in the order of the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Dict<T>(pub Vec<(Located<String>, Located<T>)>);

impl<T: Read> Read for Dict<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let entries = reader.entries(node)?;
        let values = entries.iter().filter_map(|entry| {
            let value = T::read(&entry.node, reader)?;
            let key = Located::new(entry.key.clone(), entry.key_place.clone());
            Some((key, Located::new(value, entry.node.place.clone())))
        });
        Some(Self(values.collect()))
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Dict<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Dict_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": values })
    }
}

/// Anything, kept as it is: the configuration of a component that has its own documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anything(pub serde_yaml::Value);

impl Read for Anything {
    fn read(node: &Node, _: &mut Reader) -> Option<Self> {
        Some(Self(node.to_yaml()))
    }
}

impl schemars::JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!(true)
    }
}

/// A scalar that may be written as a number or as text: a quantity (`200m`, `1`), a size, a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Read for Scalar {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        String::read(node, reader).map(Self)
    }
}

impl schemars::JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number"] })
    }
}

/// `enabled: false`: an addon that is switched off changes nothing.
pub(crate) fn is_disabled(node: &Node) -> bool {
    has_false(node, "enabled")
}

/// The mapping says `false` under that key. In what is kept as it is, `no` is text.
pub(crate) fn has_false(node: &Node, key: &str) -> bool {
    node.entry(key).is_some_and(|entry| matches!(entry.node.value, Value::Bool(false)))
}

/// The value of a yes-or-no field is `false`.
pub(crate) fn is_false(node: &Node) -> bool {
    yes_or_no(node) == Some(false)
}

/// The value of a yes-or-no field is `true`.
pub(crate) fn is_true(node: &Node) -> bool {
    yes_or_no(node) == Some(true)
}

/// The mapping has no other keys than these (or is empty).
pub(crate) fn only(node: &Node, keys: &[&str]) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().all(|entry| keys.contains(&entry.key.as_str())),
        _ => false,
    }
}

/// The status of a field, by the word used in [`object!`].
macro_rules! status {
    (used) => {
        $crate::read::Status::Used
    };
    (inert) => {
        $crate::read::Status::Inert
    };
    (unused) => {
        $crate::read::Status::Unused
    };
    (unused_unless $is_default:expr) => {
        $crate::read::Status::UnusedUnless($is_default)
    };
}

/// Declares a mapping with known fields, each
/// `<used|inert|unused|unused_unless(predicate)> <name>: <type> = "<name in YAML>",`.
///
/// The struct has an `Option<Located<type>>` for each; absent and empty are the same.
macro_rules! object {
    (
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[$field_meta:meta])*
                $status:ident $(($is_default:expr))? $field:ident : $type:ty = $yaml:literal,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[schemars(rename = $yaml)]
                pub $field: Option<$crate::source::Located<$type>>,
            )*
        }

        impl $name {
            /// The names of its fields in YAML.
            pub const FIELDS: &'static [&'static str] = &[$($yaml),*];
        }

        impl $crate::write::Write for $name {
            fn write(&self) -> serde_yaml::Value {
                let mut mapping = serde_yaml::Mapping::new();
                $(
                    if let Some(field) = &self.$field {
                        mapping.insert($yaml.into(), $crate::write::Write::write(&field.value));
                    }
                )*
                mapping.into()
            }
        }

        impl $crate::read::Read for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::read::Reader) -> Option<Self> {
                let mut object = Self::default();
                for entry in reader.entries(node)? {
                    match entry.key.as_str() {
                        $(
                            $yaml => {
                                let status = $crate::read::status!($status $($is_default)?);
                                object.$field = reader.field(entry, status);
                            }
                        )*
                        _ => reader.unknown_field(entry, Self::FIELDS),
                    }
                }
                Some(object)
            }
        }
    };
}

/// Declares a word out of a list: `<Variant> = "<spelling>" <| "other spelling">...,`.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $name:ident ($what:literal) {
            $( $(#[$variant_meta:meta])* $variant:ident = $yaml:literal $(| $other:literal)* , )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )*
        }

        impl $name {
            /// Every possible spelling; of several for the same thing, the usual one comes first.
            pub const SPELLINGS: &'static [&'static str] = &[$($yaml $(, $other)*),*];
        }

        impl $crate::write::Write for $name {
            fn write(&self) -> serde_yaml::Value {
                match self {
                    $( Self::$variant => $yaml.into(), )*
                }
            }
        }

        impl $crate::read::Read for $name {
            fn read(node: &$crate::node::Node, reader: &mut $crate::read::Reader) -> Option<Self> {
                let word = String::read(node, reader)?;
                match word.as_str() {
                    $( $yaml $(| $other)* => Some(Self::$variant), )*
                    _ => reader.unknown_choice(node, &word, $what, &[$($yaml),*]),
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::SPELLINGS })
            }
        }
    };
}

pub(crate) use {choice, object, status};
