//! YAML of others, written so that a reader of YAML 1.1 (kubectl) and one of YAML 1.2 (ours) understand the same.
//!
//! The serializer of our YAML crate writes the text `yes` without quotes, which kubectl would take for a boolean.
//! Here every text that any reader could take for something else is quoted. Secrets pass through, so that the
//! buffers are overwritten when dropped.

use serde_yaml::{Mapping, Value};
use zeroize::{Zeroize as _, Zeroizing};

/// Texts without quotes that YAML 1.1 takes for a boolean or for nothing, in lower case.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// More brackets open at once than any file has. The YAML parser's time grows with their square.
const MAX_OPEN: usize = 1000;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// A value with a tag of its own, like `!secret`.
    Tag,
    /// A mapping whose key is a list or a mapping.
    Key,
}

/// The text of a mapping, in block style, with a newline at its end.
pub(crate) fn to_text(mapping: &Mapping, room: usize) -> Result<Zeroizing<String>, Unwritable> {
    let mut text = Zeroizing::new(String::with_capacity(room));
    if mapping.is_empty() {
        text.push_str("{}\n");
    } else {
        write_mapping(&mut text, mapping, 0, false)?;
    }
    Ok(text)
}

/// Whether a text has so many brackets open at once that reading it would take very long. Quotes and comments are
/// not looked at: a text that has so many of them there is odd enough.
pub(crate) fn is_too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_OPEN {
            return true;
        }
    }
    false
}

/// What is said of a text that is.
pub(crate) const TOO_DEEP: &str = "its brackets are nested too deeply";

/// Overwrites every text in a value.
pub(crate) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Sequence(items) => items.iter_mut().for_each(wipe),
        Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, value)| wipe(value)),
        Value::Tagged(tagged) => wipe(&mut tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text, standing without quotes, is a boolean in YAML 1.1 and not in 1.2; and if so, which.
pub(crate) fn old_boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Writes the entries of a mapping that is not empty. The first one continues the line if `inline`.
fn write_mapping(
    text: &mut String,
    mapping: &Mapping,
    indent: usize,
    mut inline: bool,
) -> Result<(), Unwritable> {
    for (key, value) in mapping {
        if !std::mem::take(&mut inline) {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        if matches!(key, Value::Sequence(_) | Value::Mapping(_)) {
            return Err(Unwritable::Key);
        }
        write_scalar(text, key)?;
        text.push(':');
        match value {
            Value::Mapping(inner) if !inner.is_empty() => {
                text.push('\n');
                write_mapping(text, inner, indent + 2, false)?;
            }
            Value::Sequence(items) if !items.is_empty() => {
                text.push('\n');
                write_sequence(text, items, indent, false)?;
            }
            scalar => {
                text.push(' ');
                write_scalar(text, scalar)?;
                text.push('\n');
            }
        }
    }
    Ok(())
}

/// Writes the items of a list that is not empty. The first one continues the line if `inline`.
fn write_sequence(
    text: &mut String,
    items: &[Value],
    indent: usize,
    mut inline: bool,
) -> Result<(), Unwritable> {
    for item in items {
        if !std::mem::take(&mut inline) {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str("- ");
        match item {
            Value::Mapping(inner) if !inner.is_empty() => write_mapping(text, inner, indent + 2, true)?,
            Value::Sequence(inner) if !inner.is_empty() => write_sequence(text, inner, indent + 2, true)?,
            scalar => {
                write_scalar(text, scalar)?;
                text.push('\n');
            }
        }
    }
    Ok(())
}

/// Writes what fits on a line: a scalar, or an empty list or mapping.
fn write_scalar(text: &mut String, value: &Value) -> Result<(), Unwritable> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(value) if is_plain(value) => text.push_str(value),
        Value::String(value) => write_quoted(text, value),
        Value::Sequence(_) => text.push_str("[]"),
        Value::Mapping(_) => text.push_str("{}"),
        Value::Tagged(_) => return Err(Unwritable::Tag),
    }
    Ok(())
}

/// Whether a text needs no quotes for any reader: a letter or `/` first, and nothing that is a sign to YAML.
fn is_plain(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@+=:".contains(&byte);
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    first && text.bytes().all(rest) && !text.ends_with(':') && !word
}

/// Writes a text between double quotes.
fn write_quoted(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            // What YAML does not take for printable has to be escaped.
            c if is_printable(c) => text.push(c),
            c if u32::from(c) <= 0xffff => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    text.push('"');
}

/// The printable characters of YAML without those that end a line in YAML 1.1, and without the byte-order mark.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[a-z0-9:. #'-]{0,12}",
            prop::sample::select(&["yes", "012", "1:30", "<<", "=", "~", "0x1f", "1e3", "-", "a\nb\n"][..])
                .prop_map(str::to_owned),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_filter("nothing equals NaN", |n| !n.is_nan()).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Sequence),
                prop::collection::vec((text.clone(), inner), 0..5).prop_map(|pairs| {
                    Value::Mapping(pairs.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(value in value()) {
            let mut mapping = Mapping::new();
            mapping.insert(Value::from("value"), value);
            let text = to_text(&mapping, 0).unwrap();
            let again: Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(again, Value::Mapping(mapping), "{}", *text);
        }
    }

    #[test]
    fn whatever_any_reader_could_mistake_is_quoted() {
        for text in [
            "yes",
            "NO",
            "On",
            "y",
            "null",
            "~",
            "012",
            "1:30",
            "1_000",
            "0x1f",
            "1e3",
            ".inf",
            "",
            "<<",
            "=",
            "a: b",
            "a #b",
            "a:",
            " a",
            "- a",
            "2030-01-01",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "a\u{85}b",
        ] {
            assert!(!is_plain(text), "{text}");
        }
        for text in
            ["LS0tLS1CRUdJTg==", "https://api.example.com:443", "kubernetes-admin@kubernetes", "/usr/bin/x"]
        {
            assert!(is_plain(text), "{text}");
        }
    }

    #[test]
    fn tags_and_odd_keys_are_refused() {
        let tagged: Mapping = serde_yaml::from_str("a: !secret b").unwrap();
        assert_eq!(to_text(&tagged, 0).unwrap_err(), Unwritable::Tag);
        let odd: Mapping = serde_yaml::from_str("? [a, b]\n: c").unwrap();
        assert_eq!(to_text(&odd, 0).unwrap_err(), Unwritable::Key);
    }

    #[test]
    fn wiping_leaves_no_text() {
        let mut value: Value = serde_yaml::from_str("a: [b, {c: d}]\ne: !f g").unwrap();
        wipe(&mut value);
        let expected: Value = serde_yaml::from_str("a: ['', {c: ''}]\ne: !f ''").unwrap();
        assert_eq!(value, expected);
    }
}
