//! What several components may do, as few statements of one policy.
//!
//! Statements of a role add up, and most of the components' are of three kinds: reading, changing what carries the
//! cluster's tag, making what is given it. Each kind is one statement here, whoever asked for it.

use std::collections::BTreeSet;

use kcl_engine::Json;
use serde_json::{Value, json};

use crate::policy;

/// The tag of what is there.
pub(crate) const RESOURCE_TAG: &str = "aws:ResourceTag/KubernetesCluster";
/// The tag that a request gives.
pub(crate) const REQUEST_TAG: &str = "aws:RequestTag/KubernetesCluster";

/// The statements of a policy while they are collected.
pub(crate) struct Statements {
    /// Conditions under which a statement is of a kind: reading, changing, making.
    conditions: [Value; 3],
    /// The actions of each kind, on everything.
    actions: [BTreeSet<String>; 3],
    /// Those of no kind, and those that are kept as they are.
    others: Vec<Value>,
    /// The same, to stand at the end.
    last: Vec<Value>,
}

impl Statements {
    /// None yet.
    pub(crate) fn of(cluster: &str) -> Self {
        let owned = json!({ "StringEquals": { RESOURCE_TAG: cluster } });
        let requested = json!({ "StringEquals": { REQUEST_TAG: cluster } });
        Self {
            conditions: [Value::Null, owned, requested],
            actions: Default::default(),
            others: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Keeps statements as they are.
    pub(crate) fn keep(&mut self, statements: impl IntoIterator<Item = Value>) {
        self.others.extend(statements);
    }

    /// Keeps a statement as it is, after all others.
    pub(crate) fn keep_last(&mut self, statement: Value) {
        self.last.push(statement);
    }

    /// Allows reading.
    pub(crate) fn read<'a>(&mut self, actions: impl IntoIterator<Item = &'a str>) {
        self.actions[0].extend(actions.into_iter().map(str::to_owned));
    }

    /// Adds a component's statement to those of its kind; of no kind, it is kept unless it allows nothing new.
    pub(crate) fn merge(&mut self, statement: &Value) {
        let kind = self.conditions.iter().position(|condition| statement["Condition"] == *condition);
        let is_simple = statement["Effect"] == "Allow" && texts(&statement["Resource"]) == ["*"].into();
        match kind.filter(|_| is_simple && statement.get("NotAction").is_none()) {
            Some(kind) => {
                self.actions[kind].extend(texts(&statement["Action"]).into_iter().map(str::to_owned));
            }
            None if self.others.iter().chain(&self.last).any(|other| covers(other, statement)) => {}
            None => self.others.push(statement.clone()),
        }
    }

    /// The policy.
    pub(crate) fn document(self) -> Json {
        let mut statements = self.others;
        for (actions, condition) in self.actions.iter().zip(self.conditions) {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            if actions.is_empty() {
                continue;
            }
            let anything = ["*".to_owned()];
            statements.push(if condition.is_null() {
                policy::allow(&actions, &anything)
            } else {
                policy::allow_if(&actions, &anything, &condition)
            });
        }
        statements.extend(self.last);
        policy::document(&statements)
    }
}

/// One statement allows all that another one does.
fn covers(one: &Value, other: &Value) -> bool {
    let plain = |statement: &Value| {
        statement["Effect"] == "Allow"
            && statement.as_object().is_some_and(|fields| {
                let known = ["Effect", "Action", "Resource", "Condition"];
                fields.keys().all(|key| known.contains(&key.as_str()))
            })
    };
    let contains = |field: &str| {
        let (all, some) = (texts(&one[field]), texts(&other[field]));
        all.contains("*") || all.is_superset(&some)
    };
    plain(one)
        && plain(other)
        && contains("Action")
        && contains("Resource")
        && allows_when(&one["Condition"], &other["Condition"])
}

/// A condition holds whenever another one does: the same tests, each of at least the same values. Of the operators,
/// only these take any one of their values.
fn allows_when(one: &Value, other: &Value) -> bool {
    let tests = |condition: &Value| -> Option<Vec<(String, String, BTreeSet<String>)>> {
        let operators = condition.as_object()?.iter();
        let tests = operators.flat_map(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(|(key, values)| {
                let values = texts(values).into_iter().map(str::to_owned).collect();
                (operator.clone(), key.clone(), values)
            })
        });
        Some(tests.collect())
    };
    match (tests(one), tests(other)) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && one.iter().zip(&other).all(|(one, other)| {
                    let any_of = matches!(one.0.as_str(), "StringEquals" | "StringLike");
                    (&one.0, &one.1) == (&other.0, &other.1)
                        && (one.2 == other.2 || any_of && one.2.is_superset(&other.2))
                })
        }
        _ => one == other,
    }
}

/// A text, or a list of them.
fn texts(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_of(kept: &[Value], merged: &[Value]) -> Value {
        let mut statements = Statements::of("k.example.com");
        statements.keep(kept.iter().cloned());
        for statement in merged {
            statements.merge(statement);
        }
        statements.document().document["Statement"].clone()
    }

    #[test]
    fn statements_of_a_kind_are_one() {
        let owned = json!({ "StringEquals": { RESOURCE_TAG: "k.example.com" } });
        let others = json!({ "StringEquals": { RESOURCE_TAG: "other.example.com" } });
        let merged = [
            json!({ "Effect": "Allow", "Action": ["ec2:B", "ec2:A"], "Resource": "*" }),
            json!({ "Effect": "Allow", "Action": "ec2:C", "Resource": ["*"] }),
            json!({ "Effect": "Allow", "Action": "ec2:D", "Resource": "*", "Condition": owned }),
            json!({ "Effect": "Allow", "Action": "ec2:E", "Resource": "*", "Condition": others }),
            json!({ "Effect": "Deny", "Action": "ec2:F", "Resource": "*" }),
            json!({ "Effect": "Allow", "NotAction": "ec2:G", "Resource": "*" }),
        ];
        let policy = policy_of(&[], &merged);
        assert_eq!(
            policy,
            json!([
                merged[3],
                merged[4],
                merged[5],
                { "Effect": "Allow", "Action": ["ec2:A", "ec2:B", "ec2:C"], "Resource": "*" },
                merged[2],
            ])
        );
        assert_eq!(policy_of(&[], &[]), json!([]));
    }

    #[test]
    fn what_is_allowed_already_is_not_said_twice() {
        let through = |services: &[&str]| {
            json!({
                "Effect": "Allow",
                "Action": "kms:Decrypt",
                "Resource": "*",
                "Condition": { "StringLike": { "kms:ViaService": services } },
            })
        };
        let tag = |kinds: &[&str], is_absent: &str| {
            json!({
                "Effect": "Allow",
                "Action": ["ec2:CreateTags"],
                "Resource": kinds,
                "Condition": { "Null": { REQUEST_TAG: is_absent } },
            })
        };
        let kept = [through(&["ec2", "s3"]), tag(&["volume", "snapshot"], "true")];
        let all = |merged: &[Value]| policy_of(&kept, merged).as_array().unwrap().len();
        assert_eq!(all(&[through(&["ec2"]), tag(&["volume"], "true")]), 2);
        assert_eq!(all(&[through(&["sqs"])]), 3);
        assert_eq!(all(&[tag(&["volume"], "false")]), 3);
        assert_eq!(all(&[tag(&["instance"], "true")]), 3);
        assert_eq!(all(&[json!({ "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "key" })]), 3);
        assert_eq!(all(&[json!({ "Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*" })]), 3);
    }
}
