//! A model as text: every resource with its fields, one line each, references as arrows.

use std::fmt::Write as _;

use kcl_engine::{Ref, Wanted};
use serde_json::Value;

use crate::Model;

/// The whole model.
pub(crate) fn of_model(model: &Model) -> String {
    let mut text = of_wanted(&model.wanted);
    for warning in &model.warnings {
        let _ = writeln!(text, "warning: {}\n    hint: {}", warning.title, warning.hint);
    }
    text
}

/// Every resource.
pub(crate) fn of_wanted(wanted: &Wanted) -> String {
    let mut text = String::new();
    for (id, attrs) in wanted.shared() {
        let attrs: Vec<String> = attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(text, "shared {id} ({})", attrs.join(", "));
    }
    for (id, node) in wanted.nodes() {
        let _ = writeln!(text, "{id}");
        let Some(fields) = node.fields.as_object() else { continue };
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            if field == "machine_tags" && Some(value) == fields.get("tags") {
                let _ = writeln!(text, "    machine_tags: as tags");
            } else {
                let _ = writeln!(text, "    {field}: {}", compact(value));
            }
        }
        for first in &node.after {
            let _ = writeln!(text, "    after {first}");
        }
    }
    text
}

fn compact(value: &Value) -> String {
    if let Ok(reference) = serde_json::from_value::<Ref>(value.clone()) {
        return match reference {
            Ref::To { id, attr } => format!("-> {id} {attr}"),
            Ref::Id { kind, attr, value } => format!("{value} ({kind} {attr})"),
        };
    }
    match value {
        Value::Object(object) => match object.iter().next() {
            Some((key, inner)) if key == "$set" => compact(inner),
            Some((key, inner)) if key == "$json" => inner.to_string(),
            Some((key, Value::String(text))) if key == "$text" => indent(text),
            _ => {
                let fields = object.iter().filter(|(_, value)| !value.is_null());
                let fields: Vec<String> =
                    fields.map(|(key, value)| format!("{key}={}", compact(value))).collect();
                format!("{{{}}}", fields.join(", "))
            }
        },
        Value::Array(items) => {
            format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| format!("{all}\n        {line}"))
}
