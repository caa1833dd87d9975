//! What differs between two resources of the same kind.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::is_marked;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The top-level field, as the resource's type names it.
    pub field: String,
    /// The place within it, for people: `tags[Name]`, `block_devices[0].size`.
    pub path: String,
    /// What is there; null where nothing is.
    pub old: Value,
    /// What is wanted; null where nothing is.
    pub new: Value,
}

/// The fields that differ between `old` and `new`, in the order of their names. An absent field and a null
/// one mean the same. `diff(x, x)` is empty for every `x`.
pub fn diff(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    for field in keys(old, new) {
        compare(&field, &field, at(old, &field), at(new, &field), &mut changes);
    }
    changes
}

fn compare(field: &str, path: &str, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    let leaf = is_marked(old) || is_marked(new);
    match (old, new) {
        (Value::Object(_), Value::Object(_)) if !leaf => {
            for key in keys(old, new) {
                compare(field, &join(path, &key), at(old, &key), at(new, &key), changes);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && a.iter().all(Value::is_object) => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(field, &format!("{path}[{index}]"), a, b, changes);
            }
        }
        _ => changes.push(FieldChange {
            field: field.to_owned(),
            path: path.to_owned(),
            old: old.clone(),
            new: new.clone(),
        }),
    }
}

fn keys(old: &Value, new: &Value) -> BTreeSet<String> {
    [old, new].into_iter().filter_map(Value::as_object).flat_map(|object| object.keys().cloned()).collect()
}

fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// Keys that are plain words are joined with a dot, others (tag keys) stand in brackets.
fn join(path: &str, key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { format!("{path}.{key}") } else { format!("{path}[{key}]") }
}
