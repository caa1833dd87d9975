//! The IAM policy of whoever runs kcl for one cluster: what creating, updating and deleting it needs, and no more.
//!
//! Takes the spec's cluster and what it is made of; asks nothing of AWS. Collects what each part of this crate
//! declares ([`crate::permission`]), one statement for each purpose, in as few documents as fit IAM's limit.

use std::collections::{BTreeMap, BTreeSet};

use kcl_engine::Wanted;
use kcl_spec::Cluster;
use serde::Serialize;
use serde_json::Value;

use crate::kind::{self, AnyKind};
use crate::permission::{Conditions, Ground, Permission};
use crate::store::{self, Location};
use crate::{health, lookup, observe};

/// How many characters a managed policy may have, white space aside; an identity takes ten policies:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.
pub const MAX_CHARACTERS: usize = 6144;

/// The version of the policy language.
const VERSION: &str = "2012-10-17";

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

/// What is allowed for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: BTreeSet<&'static str>,
    resource: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<String, Value>>,
}

impl Document {
    fn of(statement: Vec<Statement>) -> Self {
        Self { version: VERSION, statement }
    }

    /// Its characters as IAM counts them: white space does not.
    pub fn characters(&self) -> usize {
        // Plain data cannot fail to serialise.
        let text = serde_json::to_string(self).unwrap_or_default();
        text.chars().filter(|c| !c.is_whitespace()).count()
    }
}

impl From<Permission> for Statement {
    fn from(permission: Permission) -> Self {
        let Permission { purpose, actions, resources, conditions } = permission;
        let condition = conditions.into_iter().map(|(operator, keys)| {
            let keys = keys.into_iter().map(|(key, values)| (key, one_or_many(values)));
            (operator, keys.collect())
        });
        Self {
            sid: purpose,
            effect: "Allow",
            action: actions.into_iter().collect(),
            resource: resources,
            condition: condition.collect(),
        }
    }
}

fn one_or_many(values: BTreeSet<String>) -> Value {
    let mut values: Vec<Value> = values.into_iter().map(Value::String).collect();
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

/// The policy for `cluster`, which is made of `wanted`, and whose state is kept in `store`. Several documents where
/// one cannot hold it; each is a policy of its own, and all of them are needed.
pub fn documents(cluster: &Cluster, wanted: &Wanted, store: Option<&Location>) -> Vec<Document> {
    let ground = Ground::new(cluster, wanted, store);
    let statements = by_purpose(permissions(&ground)).into_iter().map(Statement::from);
    split(statements)
}

/// Everything that is declared. Who the credentials belong to needs no permission (`sts:GetCallerIdentity`), and what
/// anybody can read neither.
fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
    let mut all = observe::permissions();
    all.extend(lookup::permissions(ground));
    all.extend(health::permissions());
    all.extend(store::permissions(ground));
    all.extend(kind::all().iter().copied().flat_map(|kind: &dyn AnyKind| kind.permissions(ground)));
    all
}

/// One permission for each purpose, by its name.
fn by_purpose(permissions: Vec<Permission>) -> Vec<Permission> {
    let mut merged: BTreeMap<&'static str, Permission> = BTreeMap::new();
    // What is allowed on nothing is not needed.
    for permission in permissions.into_iter().filter(|permission| !permission.resources.is_empty()) {
        match merged.get_mut(permission.purpose) {
            None => drop(merged.insert(permission.purpose, permission)),
            Some(there) => {
                there.actions.extend(permission.actions);
                there.resources.extend(permission.resources);
                join(&mut there.conditions, permission.conditions);
            }
        }
    }
    merged.into_values().collect()
}

fn join(there: &mut Conditions, more: Conditions) {
    for (operator, keys) in more {
        for (key, values) in keys {
            there.entry(operator).or_default().entry(key).or_default().extend(values);
        }
    }
}

/// As few documents as the statements fit into in their order. One that is too large alone stands alone.
fn split(statements: impl IntoIterator<Item = Statement>) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for statement in statements {
        if let Some(last) = documents.last_mut() {
            last.statement.push(statement);
            if last.characters() <= MAX_CHARACTERS {
                continue;
            }
            // Popped again, it opens the next one.
            let statement = last.statement.pop();
            documents.push(Document::of(statement.into_iter().collect()));
        } else {
            documents.push(Document::of(vec![statement]));
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sid: &'static str, characters: usize) -> Statement {
        Permission::new(sid, &["ec2:DescribeVpcs"], ["x".repeat(characters)]).into()
    }

    #[test]
    fn what_fits_into_one_document_stays_in_one() {
        let whole = split([statement("A", 2000), statement("B", 2000)]);
        assert_eq!(whole.len(), 1);
        let parts = split([statement("A", 4000), statement("B", 4000), statement("C", 100)]);
        let sids: Vec<Vec<&str>> =
            parts.iter().map(|part| part.statement.iter().map(|it| it.sid).collect()).collect();
        assert_eq!(sids, [vec!["A"], vec!["B", "C"]]);
    }

    #[test]
    fn a_purpose_is_one_statement_with_all_its_values() {
        let one = Permission::new("P", &["a:B"], ["r".to_owned()]).when("StringEquals", "k", ["1"]);
        let two = Permission::new("P", &["a:C", "a:B"], ["s".to_owned()]).when("StringEquals", "k", ["2"]);
        let merged: Vec<Statement> = by_purpose(vec![one, two]).into_iter().map(Statement::from).collect();
        let text = serde_json::to_value(Document::of(merged)).expect("plain data");
        let expected = serde_json::json!({
            "Version": VERSION,
            "Statement": [{
                "Sid": "P",
                "Effect": "Allow",
                "Action": ["a:B", "a:C"],
                "Resource": ["r", "s"],
                "Condition": { "StringEquals": { "k": ["1", "2"] } },
            }],
        });
        assert_eq!(text, expected);
    }
}
