//! The form in which both sides are compared: resource -> attribute -> value, all of it text.
//!
//! The vocabulary is Terraform's. References are the names of what they refer to, lists that have no order
//! are sorted, and a policy document is one attribute per thing that it says, so that it does not matter in
//! how many statements it is said. Where a statement names a principal (trust and queue policies), each of
//! its conditions is an attribute too.

use std::collections::BTreeMap;

use serde_json::Value;

/// Attributes of one resource.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Resources by kind and name: `subnet a.example.com`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) resources: BTreeMap<String, Attributes>,
}

impl Graph {
    /// Puts a resource in; a second one of the same name is told apart, and will not be found on the other side.
    pub(crate) fn add(&mut self, kind: &str, name: &str, attributes: Attributes) {
        let mut id = format!("{kind} {name}");
        while self.resources.contains_key(&id) {
            id += " (again)";
        }
        self.resources.insert(id, attributes);
    }

    /// Adds an attribute to a resource that is there.
    pub(crate) fn extend(&mut self, kind: &str, name: &str, attribute: &str, value: String) {
        let id = format!("{kind} {name}");
        self.resources.entry(id).or_default().insert(attribute.to_owned(), value);
    }
}

/// A scalar, or a list as its sorted members.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(text).collect();
            items.sort();
            items.join(", ")
        }
        other => other.to_string(),
    }
}

/// Puts a nested value in, one attribute per leaf: `ebs.volume_size`. Lists of objects that have no name of
/// their own are numbered from the second on.
pub(crate) fn flatten(into: &mut Attributes, path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(into, &join(path, name), value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                let path = if index == 0 { path.to_owned() } else { format!("{path}#{}", index + 1) };
                flatten(into, &path, item);
            }
        }
        Value::Null => {}
        scalar => {
            into.insert(path.to_owned(), text(scalar));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A policy document: `Allow s3:GetObject on arn:... if {...}` -> `yes`.
pub(crate) fn policy(into: &mut Attributes, document: &str) {
    let document: Value = match serde_json::from_str(document) {
        Ok(document) => document,
        Err(error) => {
            into.insert(format!("policy is not JSON: {error}"), document.to_owned());
            return;
        }
    };
    if document["Version"] != "2012-10-17" {
        into.insert("policy version".to_owned(), text(&document["Version"]));
    }
    for statement in list(&document["Statement"]) {
        for mut line in statement_lines(statement) {
            // Conditions of two statements about the same would be one conjunction; nobody says it twice.
            while statement.get("Principal").is_some() && into.contains_key(&line) {
                line += " (again)";
            }
            into.insert(line, "yes".to_owned());
        }
    }
}

fn statement_lines(statement: &Value) -> Vec<String> {
    let either = |name: &str| {
        let (value, not) = match statement.get(name) {
            Some(value) => (value, ""),
            None => (&statement[format!("Not{name}")], "not "),
        };
        list(value).into_iter().map(|item| format!("{not}{}", text(item))).collect::<Vec<_>>()
    };
    let principals: Vec<String> = match &statement["Principal"] {
        Value::Null => vec![String::new()],
        Value::Object(kinds) => kinds
            .iter()
            .flat_map(|(kind, who)| list(who).into_iter().map(move |who| format!(" by {kind} {}", text(who))))
            .collect(),
        other => vec![format!(" by {}", text(other))],
    };
    let resources: Vec<String> = match either("Resource") {
        none if none.iter().all(|item| item.ends_with("null")) => vec![String::new()],
        some => some.into_iter().map(|resource| format!(" on {resource}")).collect(),
    };
    let tests = conditions(&statement["Condition"]);
    let has_principal = statement.get("Principal").is_some();
    let together = if has_principal || tests.is_empty() {
        String::new()
    } else {
        format!(" if {}", tests.join(" and "))
    };
    let effect = text(&statement["Effect"]);
    let mut lines = Vec::new();
    for action in either("Action") {
        for principal in &principals {
            for on in &resources {
                let line = format!("{effect} {action}{on}{principal}{together}");
                if has_principal {
                    lines.extend(tests.iter().map(|test| format!("{line} only if {test}")));
                }
                lines.push(line);
            }
        }
    }
    lines
}

fn conditions(condition: &Value) -> Vec<String> {
    let mut tests = Vec::new();
    for (operator, keys) in condition.as_object().into_iter().flatten() {
        for (key, values) in keys.as_object().into_iter().flatten() {
            let mut values: Vec<String> = list(values).into_iter().map(text).collect();
            values.sort();
            tests.push(format!("{operator} {key}={}", values.join("|")));
        }
    }
    tests.sort();
    tests
}

/// IAM lets a list of one be written without the brackets.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

/// JSON text with its keys in order and nothing else in it.
pub(crate) fn canonical(json: &str) -> String {
    fn sorted(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<&String, String> =
                    fields.iter().map(|(name, value)| (name, sorted(value))).collect();
                let fields: Vec<String> =
                    fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(", ")),
            scalar => scalar.to_string(),
        }
    }
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), |value: Value| sorted(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_equal_however_they_are_grouped() {
        let one = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["a:X", "a:Y"], "Resource": "*"},
            {"Effect": "Allow", "Action": "b:Z", "Resource": ["q", "p"],
             "Condition": {"StringEquals": {"k": ["2", "1"]}}}]}"#;
        let other = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "b:Z", "Resource": "p", "Condition": {"StringEquals": {"k": ["1", "2"]}}},
            {"Effect": "Allow", "Action": "b:Z", "Resource": "q", "Condition": {"StringEquals": {"k": ["1", "2"]}}},
            {"Effect": "Allow", "Action": "a:X", "Resource": ["*"]},
            {"Effect": "Allow", "Action": "a:Y", "Resource": "*"}]}"#;
        let (mut left, mut right) = (Attributes::new(), Attributes::new());
        policy(&mut left, one);
        policy(&mut right, other);
        assert_eq!(left, right);
        assert_eq!(
            left.into_keys().collect::<Vec<_>>(),
            [
                "Allow a:X on *",
                "Allow a:Y on *",
                "Allow b:Z on p if StringEquals k=1|2",
                "Allow b:Z on q if StringEquals k=1|2",
            ]
        );
    }

    #[test]
    fn a_trust_policy_has_principals_and_no_resource() {
        let document = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"Service": ["a", "b"]}, "Condition": {"StringEquals": {"k": "v"}}}}"#;
        let mut attributes = Attributes::new();
        policy(&mut attributes, document);
        assert_eq!(
            attributes.into_keys().collect::<Vec<_>>(),
            [
                "Allow sts:AssumeRole by Service a",
                "Allow sts:AssumeRole by Service a only if StringEquals k=v",
                "Allow sts:AssumeRole by Service b",
                "Allow sts:AssumeRole by Service b only if StringEquals k=v",
            ]
        );
    }
}
