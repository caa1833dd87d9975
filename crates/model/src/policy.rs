//! IAM policy documents: writing them, and their normal form.
//!
//! AWS gives a document back as it was written, and there are many ways to write the same one. Wanted
//! documents (built here) and live ones (parsed by `kcl-aws`) both go through [`normalise`], so that plain
//! equality means the same permissions.

use kcl_engine::Json;
use serde_json::{Map, Value, json};

/// The version every document of ours has.
const VERSION: &str = "2012-10-17";
/// What IAM takes a document for that names no version.
const VERSION_UNNAMED: &str = "2008-10-17";

/// The normal form of a policy document:
///
/// - a statement always stands in a list; statements keep their order;
/// - actions, resources, principals and the values of conditions are sorted, each once, and a single one is
///   a plain string;
/// - the values of conditions are text, as IAM compares them;
/// - an absent version is named; empty `Sid` and null values are left out.
pub fn normalise(document: &Value) -> Value {
    let Value::Object(fields) = document else { return document.clone() };
    let mut normal = Map::new();
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let value = match (key.as_str(), value) {
            ("Statement", Value::Array(statements)) => statements.iter().map(statement).collect(),
            ("Statement", single) => Value::Array(vec![statement(single)]),
            (_, other) => other.clone(),
        };
        normal.insert(key.clone(), value);
    }
    normal.entry("Version").or_insert_with(|| json!(VERSION_UNNAMED));
    Value::Object(normal)
}

fn statement(value: &Value) -> Value {
    let Value::Object(fields) = value else { return value.clone() };
    let kept =
        fields.iter().filter(|(key, value)| !value.is_null() && (*key != "Sid" || **value != json!("")));
    kept.map(|(key, value)| {
        let value = match key.as_str() {
            "Action" | "NotAction" | "Resource" | "NotResource" => one_or_many(value),
            "Principal" | "NotPrincipal" => each_value(value, one_or_many),
            "Condition" => each_value(value, |keys| each_value(keys, one_or_many)),
            _ => value.clone(),
        };
        (key.clone(), value)
    })
    .collect::<Map<_, _>>()
    .into()
}

fn each_value(value: &Value, of: impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), of(value))).collect(),
        other => other.clone(),
    }
}

/// A string, or a sorted list of two and more.
fn one_or_many(value: &Value) -> Value {
    let Value::Array(items) = value else { return as_text(value) };
    let mut items: Vec<Value> = items.iter().map(as_text).collect();
    items.sort_by_cached_key(ToString::to_string);
    items.dedup();
    match items.as_slice() {
        [single] => single.clone(),
        _ => Value::Array(items),
    }
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
        other => other.clone(),
    }
}

/// The normalised document of these statements.
pub(crate) fn document(statements: &[Value]) -> Json {
    Json { document: normalise(&json!({ "Version": VERSION, "Statement": statements })) }
}

/// A statement that allows `actions` on `resources`.
pub(crate) fn allow(actions: &[&str], resources: &[String]) -> Value {
    json!({ "Effect": "Allow", "Action": actions, "Resource": resources })
}

/// The same, under a condition.
pub(crate) fn allow_if(actions: &[&str], resources: &[String], condition: &Value) -> Value {
    json!({ "Effect": "Allow", "Action": actions, "Resource": resources, "Condition": condition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        let terse = json!({
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": ["b", "a"],
                "Condition": { "Bool": { "aws:SecureTransport": true } },
                "Principal": { "Service": ["ec2.amazonaws.com"] },
            },
        });
        let verbose = json!({
            "Statement": [{
                "Sid": "",
                "Principal": { "Service": "ec2.amazonaws.com" },
                "Resource": ["a", "b", "a"],
                "Action": ["s3:GetObject"],
                "Effect": "Allow",
                "Condition": { "Bool": { "aws:SecureTransport": ["true"] } },
            }],
            "Version": "2012-10-17",
        });
        assert_eq!(normalise(&terse), normalise(&verbose));
        assert_eq!(normalise(&terse), normalise(&normalise(&terse)));
    }

    #[test]
    fn meaning_does() {
        let allow = json!({ "Statement": [{ "Effect": "Allow", "Action": "a", "Resource": "*" }] });
        let deny = json!({ "Statement": [{ "Effect": "Deny", "Action": "a", "Resource": "*" }] });
        assert_ne!(normalise(&allow), normalise(&deny));
        assert_eq!(normalise(&allow)["Version"], "2008-10-17");
    }
}
