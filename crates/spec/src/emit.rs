//! A tree as YAML text, always the same text for the same tree.
//!
//! Written for what [`crate::node`] reads: whatever it could take for a number, a boolean, a date
//! or nothing stands in quotes, so that text stays text. It never fails, which a serializer may.

use serde_yaml::Value;

/// One document: block style, two spaces a level, and lists no deeper than their key, as kOps
/// writes them.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A value that begins on a line of its own.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Mapping(mapping) if !mapping.is_empty() => {
            for (key, value) in mapping {
                push_indent(indent, text);
                push_key(key, text);
                text.push(':');
                match value {
                    Value::Mapping(inner) if !inner.is_empty() => {
                        text.push('\n');
                        block(value, indent + 2, text);
                    }
                    Value::Sequence(items) if !items.is_empty() => {
                        text.push('\n');
                        block(value, indent, text);
                    }
                    _ => {
                        text.push(' ');
                        inline(value, indent, text);
                    }
                }
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            for item in items {
                push_indent(indent, text);
                text.push_str("- ");
                match item {
                    Value::Mapping(inner) if !inner.is_empty() => nested(item, indent + 2, text),
                    Value::Sequence(inner) if !inner.is_empty() => nested(item, indent + 2, text),
                    _ => inline(item, indent, text),
                }
            }
        }
        _ => {
            push_indent(indent, text);
            inline(value, indent, text);
        }
    }
}

/// The content of a list's item, whose first line goes on after the dash.
fn nested(value: &Value, indent: usize, text: &mut String) {
    let mut inner = String::new();
    block(value, indent, &mut inner);
    text.push_str(inner.trim_start_matches(' '));
}

/// A value that ends the line, or begins a block of text there.
fn inline(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) if is_literal(string) => return literal(string, indent + 2, text),
        Value::String(string) => push_scalar(string, text),
        Value::Sequence(_) => text.push_str("[]"),
        Value::Mapping(_) => text.push_str("{}"),
        // The reader refuses tags; what a tag stands at is the value.
        Value::Tagged(tagged) => return inline(&tagged.value, indent, text),
    }
    text.push('\n');
}

fn push_indent(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn push_key(key: &Value, text: &mut String) {
    // The reader knows keys of text only.
    push_scalar(key.as_str().unwrap_or_default(), text);
}

fn push_scalar(string: &str, text: &mut String) {
    if is_plain(string) {
        text.push_str(string);
    } else {
        quoted(string, text);
    }
}

/// Text that no reader takes for anything else without quotes.
fn is_plain(string: &str) -> bool {
    const WORDS: &[&str] =
        &["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];
    let is_known = |char: char| char.is_ascii_alphanumeric() || "/_.:@+=, -".contains(char);
    let begins = |char: char| char.is_ascii_alphanumeric() || char == '/';
    // Also in other readers' eyes: of base 16, or a date, or a time.
    let is_of_number = |char: char| char.is_ascii_hexdigit() || "._xo+,".contains(char);
    let is_number_like = string.starts_with(|char: char| char.is_ascii_digit())
        && !string.contains('/')
        && string.matches('.').count() < 2
        && (string.contains([':', '-']) || string.chars().all(is_of_number));
    string.starts_with(begins)
        && string.chars().all(is_known)
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !is_number_like
        && !WORDS.contains(&string.to_ascii_lowercase().as_str())
}

/// Characters that may stand in a document as they are, beside the end of a line.
fn is_printable(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// YAML's double quotes.
fn quoted(string: &str, text: &mut String) {
    text.push('"');
    for char in string.chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            char if is_printable(char) => text.push(char),
            char => text.push_str(&format!("\\U{:08x}", u32::from(char))),
        }
    }
    text.push('"');
}

/// Several lines which read better as a block: scripts, policies. What a block needs more than its
/// indentation for (leading blanks, several line ends at its end) is better quoted.
fn is_literal(string: &str) -> bool {
    let body = string.strip_suffix('\n').unwrap_or(string);
    let is_sound = |line: &str| line.is_empty() || !line.trim().is_empty();
    body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.split('\n').all(is_sound)
        && body.chars().all(|char| is_printable(char) || matches!(char, '\n' | '\t'))
}

fn literal(string: &str, indent: usize, text: &mut String) {
    let (header, body) = match string.strip_suffix('\n') {
        Some(body) => ("|\n", body),
        None => ("|-\n", string),
    };
    text.push_str(header);
    for line in body.split('\n') {
        if !line.is_empty() {
            push_indent(indent, text);
            text.push_str(line);
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::node::Chunk;
    use crate::source::Source;

    fn read(text: &str) -> Value {
        let source = Arc::new(Source::new("x.yaml", text));
        let nodes = Chunk { source: &source, text, first_line: 1 }.parse();
        nodes.unwrap_or_else(|error| panic!("{error}\n{text}")).remove(0).to_yaml()
    }

    fn map(value: Value) -> Value {
        Value::Mapping(std::iter::once(("key".into(), value)).collect())
    }

    #[test]
    fn text_stays_text() {
        for string in [
            "",
            " ",
            "~",
            "null",
            "True",
            "no",
            "0",
            "-1",
            "1.30",
            "1e3",
            "0x1f",
            "0o7",
            "1_000",
            ".5",
            ".inf",
            "1:30",
            "2016-12-12",
            "2016-12-12T04:13:14Z",
            "172.20.0.0/16",
            "1.36.4",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "- a",
            "-",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "'a'",
            "\"a\"",
            "a\\b",
            "---",
            "...",
            "a\tb",
            "a\n",
            "a\n\nb",
            "a\nb\n",
            "a\n\n",
            " a\nb",
            "\ta\nb",
            "a\n \nb",
            "a\n\tb",
            "a\r\nb",
            "\u{feff}a",
            "\u{85}",
            "\u{7f}",
            "é—😀",
            "a\n---\nb",
            "key: |\n  x\n",
            "<<",
            "=",
            "1.2.3e4",
            "12e03.1.1",
            "0s",
            "48h20m",
            "1d",
            "0b1",
            "1,000",
            "0.0.0.0/0",
            "::/0",
            "inf",
            "+1",
            "1/2",
        ] {
            assert_eq!(read(&document(&map(string.into()))), map(string.into()), "{string:?}");
        }
    }

    /// Any tree a reader can have read.
    fn tree() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,8}", "[ -~\\n\\t]{0,16}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Sequence),
                prop::collection::btree_map("\\PC{0,6}|[a-z]{1,6}|[ -~]{0,6}", inner, 0..4).prop_map(
                    |entries| {
                        let entries = entries.into_iter().filter(|(key, _)| key != "<<");
                        Value::Mapping(entries.map(|(key, value)| (key.into(), value)).collect())
                    }
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in tree()) {
            let value = map(value);
            let text = document(&value);
            prop_assert_eq!(read(&text), value, "{}", text);
        }
    }
}
