//! What an account holds, told without what is another one at each run: ids, times, addresses.
//!
//! Takes an audit; gives each thing as one line, sorted. Two accounts are in the same state if their lines are
//! the same; a duplicate, or something left over, is a line more.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};
use serde_json::Value;

use crate::audit::Audit;

/// What is taken out of texts, and what stands for it.
const PATTERNS: [(&str, &str); 15] = [
    (r"-----BEGIN [A-Z ]+-----[\s\S]*?-----END [A-Z ]+-----", "PEM"),
    // A public key, and what it is known by, in a JSON Web Key Set.
    (r#""(?:n|kid)":\s*"[\w-]+""#, "JWK"),
    // A key within its keyset.
    (r"\b[0-9a-f]{24}\b", "KEY-ID"),
    (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?", "TIME"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
    // IAM's own ids: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    (r"\bA(?:ROA|IPA|NPA|IDA|GPA)[A-Z0-9]{12,}\b", "IAM-ID"),
    // The block that Amazon gives a VPC, and what is cut from it: the last digits say which subnet's.
    (r"\b2[0-9a-f]{3}:[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{2}", "IPV6"),
    (r"/[0-9a-f]{16}\b", "/ARN-ID"),
    (r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b(?:ip|ec2)-\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b", "HOST"),
    // The keys of a keyset have random names.
    (r"/[0-9]{15,}\.key\b|/[0-9a-f]{20,}\.key\b", "/KEY.key"),
    (r"\b[\w.-]+\.elb\.[\w.-]+", "LOAD-BALANCER"),
    (r"\bZ[A-Z0-9]{12,31}\b", "ZONE"),
    (r"\b[0-9a-f]{32,}\b", "HASH"),
    (r"[A-Za-z0-9+/]{100,}={0,2}", "BASE64"),
];

/// Fields that are another one at each run, whatever they look like.
const RANDOM: [&str; 4] = ["InstanceProfileId", "QueueUrl", "CreatedTimestamp", "LastModifiedTimestamp"];

/// An address, and whether it is the beginning of a block.
const ADDRESS: &str = r"\b(?:\d{1,3}\.){3}\d{1,3}(/\d+)?";

/// An EC2 id.
const ID: &str = r"\b(?P<kind>[a-z][a-z0-9]*(?:-[a-z]+)*)-(?:[0-9a-f]{17}|[0-9a-f]{8})\b";

/// A lock that is nobody's.
const RELEASED: &str = r#"{"released":true}"#;

/// A state of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(BTreeMap<String, usize>);

impl State {
    /// Of what was found.
    pub fn of(audit: &Audit) -> Self {
        let names = names(audit.document());
        let mut lines = BTreeMap::new();
        let lists = audit.document().as_object();
        for (list, items) in lists.into_iter().flatten() {
            for item in items.as_array().into_iter().flatten().filter(|item| !is_gone(item)) {
                for part in parts(item) {
                    let line = format!("{list} {}", canonical(&part, &names));
                    *lines.entry(line).or_insert(0) += 1;
                }
            }
        }
        Self(lines)
    }

    /// How `other` differs from this one, a line each: what it lacks, and what it has beside. Empty where it does
    /// not.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let count = |state: &Self, line: &str| state.0.get(line).copied().unwrap_or_default();
        let lacks = self.0.keys().filter(|line| count(other, line) < count(self, line));
        let has = other.0.keys().filter(|line| count(other, line) > count(self, line));
        let lacks = lacks.map(|line| format!("- {line}"));
        lacks.chain(has.map(|line| format!("+ {line}"))).collect()
    }
}

/// Buckets and zones are told key by key, so that a difference is short. A lock that says that it is nobody's is as good
/// as none.
fn parts(item: &Value) -> Vec<Value> {
    let mut whole = item.clone();
    let Some(fields) = whole.as_object_mut() else { return vec![whole] };
    let id = fields.get("Name").cloned().unwrap_or_default();
    let objects = item["objects"].as_array().into_iter().flatten();
    let nobodys: Vec<&Value> =
        objects.filter(|object| object["text"] == RELEASED).map(|object| &object["key"]).collect();
    let mut parts = Vec::new();
    for list in ["keys", "objects", "records"] {
        for part in fields.remove(list).as_ref().and_then(Value::as_array).into_iter().flatten() {
            if !nobodys.contains(&part) && !nobodys.contains(&&part["key"]) {
                parts.push(serde_json::json!({ "in": id, "is": part }));
            }
        }
    }
    parts.push(whole);
    parts
}

/// Machines and gateways are shown for a while after they are gone.
fn is_gone(item: &Value) -> bool {
    item["State"] == "deleted" || item["State"]["Name"] == "terminated"
}

/// The names of what has an id: its `Name` tag, or what else it is called by.
fn names(document: &Value) -> BTreeMap<String, String> {
    const IDS: [&str; 10] = [
        "VpcId",
        "SubnetId",
        "RouteTableId",
        "InternetGatewayId",
        "NatGatewayId",
        "GroupId",
        "VolumeId",
        "LaunchTemplateId",
        "AllocationId",
        "InstanceId",
    ];
    let mut names = BTreeMap::new();
    for item in document.as_object().into_iter().flat_map(|lists| lists.values()).filter_map(Value::as_array)
    {
        for item in item {
            let tags = item["Tags"].as_array().into_iter().flatten();
            let tag = tags.filter(|tag| tag["Key"] == "Name").find_map(|tag| tag["Value"].as_str());
            let name =
                tag.or_else(|| item["LaunchTemplateName"].as_str()).or_else(|| item["GroupName"].as_str());
            // The first of them that an item has is its own; the others are of what it belongs to.
            let own = IDS.iter().rev().find_map(|field| item[*field].as_str());
            if let (Some(id), Some(name)) = (own, name) {
                names.insert(id.to_owned(), name.to_owned());
            }
        }
    }
    names
}

fn canonical(value: &Value, names: &BTreeMap<String, String>) -> String {
    match value {
        Value::String(text) => stable(text, names),
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(|item| canonical(item, names)).collect();
            items.sort();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| !RANDOM.contains(&name.as_str()));
            let fields =
                fields.map(|(name, value)| match (name.as_str(), value.as_str().and_then(decoded)) {
                    ("UserData", Some(script)) => format!("{name}: {}", stable(&script, names)),
                    _ => format!("{name}: {}", canonical(value, names)),
                });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// What is in a text of base64 digits.
fn decoded(text: &str) -> Option<String> {
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// The patterns, compiled. A test compiles each of them, so that none is left out.
struct Compiled {
    patterns: Vec<(Regex, &'static str)>,
    id: Option<Regex>,
    address: Option<Regex>,
}

impl Compiled {
    fn new() -> Self {
        let patterns = PATTERNS.iter().filter_map(|(pattern, name)| Some((Regex::new(pattern).ok()?, *name)));
        Self { patterns: patterns.collect(), id: Regex::new(ID).ok(), address: Regex::new(ADDRESS).ok() }
    }
}

fn stable(text: &str, names: &BTreeMap<String, String>) -> String {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    let Compiled { patterns, id, address } = COMPILED.get_or_init(Compiled::new);
    let mut text = text.to_owned();
    if let Some(id) = id {
        let by_name = |found: &Captures<'_>| {
            let kind = found.name("kind").map_or("", |kind| kind.as_str());
            let name = found.get(0).and_then(|id| names.get(id.as_str()));
            format!("{kind}({})", name.map_or("", String::as_str))
        };
        text = id.replace_all(&text, by_name).into_owned();
    }
    for (pattern, name) in patterns {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    if let Some(address) = address {
        let blocks = |found: &Captures<'_>| match found.get(1) {
            Some(_) => found[0].to_owned(),
            None => "ADDRESS".to_owned(),
        };
        text = address.replace_all(&text, blocks).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_do_not_count_and_duplicates_do() {
        let of = |vpc: &str, twice: bool| {
            let one = json!({ "VpcId": vpc, "CidrBlock": "10.0.0.0/16",
                "Tags": [{ "Key": "Name", "Value": "k" }, { "Key": "a", "Value": "b" }] });
            let subnet = json!({ "VpcId": vpc, "SubnetId": "subnet-0123456789abcdef0" });
            let vpcs = if twice { vec![one.clone(), one] } else { vec![one] };
            State::of(&Audit::from(json!({ "vpcs": vpcs, "subnets": [subnet] })))
        };
        let first = of("vpc-0123456789abcdef0", false);
        assert_eq!(first, of("vpc-0aaaaaaaaaaaaaaaa", false));
        let more = first.difference(&of("vpc-0123456789abcdef0", true));
        assert_eq!(more.len(), 1, "{more:?}");
        assert!(more[0].starts_with("+ vpcs ") && more[0].contains("vpc(k)"), "{more:?}");
        assert!(more[0].contains("10.0.0.0/16"), "a block is no address: {more:?}");
    }

    #[test]
    fn what_objects_and_user_data_say_counts() {
        let of = |spec: &str, script: &str, key: &str| {
            let pem = format!("-----BEGIN CERTIFICATE-----\n  {key}\n  -----END CERTIFICATE-----");
            let objects = json!([{ "key": "k/cluster.spec", "text": spec }, { "key": "k/ca", "text": pem }]);
            let bucket = json!({ "Name": "state", "keys": ["k/cluster.spec", "k/ca"], "objects": objects });
            let data = STANDARD.encode(format!("#!/bin/sh\n{script}\n"));
            let template = json!({ "latest": { "UserData": data } });
            State::of(&Audit::from(json!({ "buckets": [bucket], "launch_templates": [template] })))
        };
        let first = of("size: 1", "run", "MIIB");
        assert_eq!(first, of("size: 1", "run", "MIIC"), "keys are other ones at each run");
        assert_eq!(first.difference(&of("size: 2", "run", "MIIB")).len(), 2);
        let other = first.difference(&of("size: 1", "walk", "MIIB"));
        assert!(other.len() == 2 && other[0].contains("#!/bin/sh\nrun"), "{other:?}");
    }

    #[test]
    fn patterns_are_sound() {
        for (pattern, _) in PATTERNS.iter().chain(&[(ADDRESS, ""), (ID, "")]) {
            assert!(Regex::new(pattern).is_ok(), "{pattern}");
        }
    }
}
