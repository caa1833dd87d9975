//! Who may read an S3 bucket without a signature, and how a bucket is opened to everybody.
//!
//! moto lets everybody do everything, signed or not. On AWS:
//!
//! - Who comes without a signature reads an object only if the bucket's policy gives it to everybody and
//!   neither the bucket nor its account restricts public buckets. What is not there is denied too, unless
//!   the policy lets everybody list; a bucket that is not there is said to be missing.
//! - A policy that makes a bucket public is refused while the bucket or its account blocks those:
//!   <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>.
//!
//! Policy and blocks are asked from moto each time. Only the account of a bucket is remembered, as moto
//! does not tell it: the account that made the bucket through a front, else the caller's own.
//!
//! Stricter than AWS, so that a test cannot pass by what is not weighed here: nobody writes or lists without
//! a signature, whatever the policy says; ACLs open nothing; an allowance that has a condition is none, and
//! a denial that has one holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use futures::future::{BoxFuture, FutureExt as _};
use hyper::{Method, StatusCode};
use regex::Regex;
use serde_json::Value;

use super::{Decision, Reply, Rule, Verdict, decided};
use crate::call::Call;
use crate::front::locked;
use crate::upstream::Ask;
use crate::wire::{Protocol, Response};
use crate::xml::Element;

pub(super) struct PublicAccess;

/// The account of each bucket of each moto of this process: its fronts share the names.
static OWNERS: Mutex<BTreeMap<(SocketAddr, String), String>> = Mutex::new(BTreeMap::new());

impl Rule for PublicAccess {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if is_anonymous(call) {
                return decided(read_by_everybody(call, ask).await);
            }
            if call.is("s3", "PutBucketPolicy") {
                return decided(may_be_public(call, ask).await);
            }
            Decision::Forward
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        if call.is("s3", "CreateBucket") && response.status.is_success() {
            let bucket = call.bucket_and_key().0.to_owned();
            locked(&OWNERS).insert((ask.server(), bucket), ask.account().to_owned());
        }
        // Who may not list is not told what is missing.
        let hidden = is_anonymous(call) && response.status == StatusCode::NOT_FOUND;
        // What a policy denies to those who are signed as well, moto refuses without a word.
        let mute =
            call.service == "s3" && response.status == StatusCode::FORBIDDEN && response.body.is_empty();
        futures::future::ready(Reply::Send(if hidden || mute { denied(call) } else { response })).boxed()
    }
}

/// Whether S3 is asked without a signature (neither a header nor a presigned URL). moto's own pages have none.
fn is_anonymous(call: &Call) -> bool {
    call.service == "s3" && !call.signed && !call.path.starts_with("/moto-api")
}

fn denied(call: &Call) -> Response {
    Response::error(call.protocol, 403, "AccessDenied", "Access Denied")
}

async fn read_by_everybody(call: &Call, ask: &Ask) -> Verdict {
    let action = match call.action.as_str() {
        // No bucket that could be missing.
        "CreateBucket" | "ListBuckets" => return Err(denied(call)),
        _ if call.protocol != Protocol::S3 => return Err(denied(call)),
        "GetObject" | "HeadObject" if call.params.contains_key("versionId") => Some("s3:GetObjectVersion"),
        "GetObject" | "HeadObject" => Some("s3:GetObject"),
        _ => None,
    };
    let (bucket, key) = call.bucket_and_key();
    let ask = of_owner(bucket, ask);
    let policy = ask.rest("s3", Method::GET, &format!("/{bucket}?policy"), "").await.map_err(|response| {
        if response.error_code().as_deref() == Some("NoSuchBucket") { response } else { denied(call) }
    })?;
    let resource = format!("arn:aws:s3:::{bucket}/{key}");
    match action {
        Some(action)
            if allows_everybody(&policy.text(), action, &resource)
                && !blocked(bucket, "RestrictPublicBuckets", &ask).await =>
        {
            Ok(())
        }
        _ => Err(denied(call)),
    }
}

async fn may_be_public(call: &Call, ask: &Ask) -> Verdict {
    let (bucket, _) = call.bucket_and_key();
    if is_public(&call.body) && blocked(bucket, "BlockPublicPolicy", &of_owner(bucket, ask)).await {
        let message = format!(
            "User: arn:aws:iam::{}:user/local is not authorized to perform: s3:PutBucketPolicy on resource: \
             \"arn:aws:s3:::{bucket}\" because public policies are blocked by the BlockPublicPolicy setting in \
             S3 Block Public Access.",
            ask.account()
        );
        return Err(Response::error(call.protocol, 403, "AccessDenied", &message));
    }
    Ok(())
}

/// Asks as the account that the bucket belongs to.
fn of_owner(bucket: &str, ask: &Ask) -> Ask {
    match locked(&OWNERS).get(&(ask.server(), bucket.to_owned())) {
        Some(owner) => ask.as_account(owner),
        None => ask.clone(),
    }
}

/// Whether the bucket or its whole account has one of the four settings: the stricter one holds.
async fn blocked(bucket: &str, setting: &str, ask: &Ask) -> bool {
    let set = |answer: Result<Response, Response>| {
        answer.is_ok_and(|answer| {
            Element::parse(&answer.text()).value(setting).trim().eq_ignore_ascii_case("true")
        })
    };
    set(ask.rest("s3", Method::GET, &format!("/{bucket}?publicAccessBlock"), "").await)
        || set(ask.account_public_access_block(Method::GET, "").await)
}

/// What narrows a statement for everybody so far that AWS does not call it public (see "The meaning of
/// public" in the document above; that the values are fixed ones is not looked at).
const NARROWING: [&str; 12] = [
    "aws:sourceip",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceowner",
    "aws:sourceaccount",
    "aws:userid",
    "aws:principalorgid",
    "aws:principalarn",
    "s3:dataaccesspointarn",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// Whether a bucket with this policy is public.
fn is_public(policy: &str) -> bool {
    statements(policy).iter().any(|statement| {
        has_effect(statement, "Allow")
            && is_for_everybody(statement)
            && !condition_keys(statement).iter().any(|key| NARROWING.contains(&key.as_str()))
    })
}

/// Whether everybody may do this under a policy.
fn allows_everybody(policy: &str, action: &str, resource: &str) -> bool {
    let statements = statements(policy);
    let hits = |statement: &&Value, effect: &str| {
        has_effect(statement, effect)
            && is_for_everybody(statement)
            && covers(statement, "Action", "NotAction", &action.to_lowercase(), str::to_lowercase)
            && covers(statement, "Resource", "NotResource", resource, str::to_owned)
    };
    let allowed =
        statements.iter().filter(|s| hits(s, "Allow")).any(|statement| condition_keys(statement).is_empty());
    // "Deny what comes without TLS" stands in many policies. On AWS the caller would come with it.
    let denied = statements
        .iter()
        .filter(|s| hits(s, "Deny"))
        .any(|statement| condition_keys(statement) != ["aws:securetransport"]);
    allowed && !denied
}

fn statements(policy: &str) -> Vec<Value> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    one_or_many(policy.get("Statement"))
}

fn one_or_many(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    }
}

fn has_effect(statement: &Value, effect: &str) -> bool {
    statement.get("Effect").and_then(Value::as_str) == Some(effect)
}

/// `NotPrincipal` means everybody else: who has no name is always among those.
fn is_for_everybody(statement: &Value) -> bool {
    let everybody = |value: &Value| value.as_str() == Some("*");
    let principal = statement.get("Principal");
    statement.get("NotPrincipal").is_some()
        || principal.is_some_and(|principal| {
            everybody(principal) || one_or_many(principal.get("AWS")).iter().any(everybody)
        })
}

/// All keys that the conditions of a statement ask for, in lower case: AWS does not tell cases apart.
fn condition_keys(statement: &Value) -> Vec<String> {
    let operators = statement.get("Condition").and_then(Value::as_object);
    operators
        .into_iter()
        .flat_map(serde_json::Map::values)
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys)
        .map(|key| key.to_lowercase())
        .collect()
}

fn covers(statement: &Value, name: &str, not: &str, wanted: &str, spelling: fn(&str) -> String) -> bool {
    let any = |value: &Value| {
        let patterns = one_or_many(Some(value));
        patterns.iter().filter_map(Value::as_str).any(|pattern| matches(&spelling(pattern), wanted))
    };
    match (statement.get(name), statement.get(not)) {
        (Some(value), _) => any(value),
        (None, Some(value)) => !any(value),
        (None, None) => false,
    }
}

/// `*` stands for any text, `?` for one character:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern = regex::escape(pattern).replace("\\*", ".*").replace("\\?", ".");
    Regex::new(&format!("(?s)^{pattern}$")).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::{allows_everybody, is_public};

    /// A policy of statements that name everybody, unless they say otherwise.
    fn policy(statements: &[&str]) -> String {
        let statements: Vec<String> = statements
            .iter()
            .map(|statement| {
                let principal = if statement.contains("Principal") { "" } else { r#""Principal":"*","# };
                format!("{{{principal}{statement}}}")
            })
            .collect();
        format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
    }

    const ALL: &str = r#""Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/*""#;

    #[test]
    fn what_is_allowed() {
        let read = |statements: &[&str], key: &str| {
            allows_everybody(&policy(statements), "s3:GetObject", &format!("arn:aws:s3:::b/{key}"))
        };
        let two = r#""Effect":"Allow","Action":["s3:getobject"],
            "Resource":["arn:aws:s3:::b/p/.well-known/*","arn:aws:s3:::b/p/openid/v?/jwks"]"#;
        assert!(read(&[two], "p/.well-known/openid-configuration"));
        assert!(read(&[two], "p/openid/v1/jwks"));
        assert!(!read(&[two], "p/openid/v10/jwks"));
        assert!(!read(&[two], "p/xwell-known/a"), "a dot is a dot");
        assert!(!read(&[two], "pki/private"));
        assert!(read(&[ALL], "any/thing"));
        assert!(!read(&[], "x"));
        let listed =
            r#""Effect":"Allow","Principal":{"AWS":["arn:aws:iam::1:root","*"]},"Action":"*","Resource":"*""#;
        assert!(read(&[listed], "x"));
        let somebody =
            r#""Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"*","Resource":"*""#;
        assert!(!read(&[somebody], "x"));
        let service = r#""Effect":"Allow","Principal":{"Service":"*"},"Action":"*","Resource":"*""#;
        assert!(!read(&[service], "x"));
        let but = r#""Effect":"Allow","NotAction":"s3:Put*","NotResource":"arn:aws:s3:::b/pki/*""#;
        assert!(read(&[but], "x"));
        assert!(!read(&[but], "pki/x"));
        let narrow = r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#;
        assert!(!read(&[narrow], "x"));
        assert!(!allows_everybody("", "s3:GetObject", "arn:aws:s3:::b/x"));
        assert!(!allows_everybody(&policy(&[two]), "s3:GetObjectVersion", "arn:aws:s3:::b/p/.well-known/x"));
    }

    #[test]
    fn a_denial_wins() {
        let read = |denial: &str| {
            let policy = policy(&[ALL, denial]);
            allows_everybody(&policy, "s3:GetObject", "arn:aws:s3:::b/pki/ca")
        };
        assert!(!read(r#""Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/pki/*""#));
        assert!(read(r#""Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/private/*""#));
        assert!(read(r#""Effect":"Deny","Action":"s3:Put*","Resource":"*""#));
        let others =
            r#""Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*","Resource":"*""#;
        assert!(!read(others));
        let somebody =
            r#""Effect":"Deny","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"*","Resource":"*""#;
        assert!(read(somebody));
        let condition = |key: &str| {
            format!(
                r#""Effect":"Deny","Action":"*","Resource":"*","Condition":{{"Bool":{{"{key}":"false"}}}}"#
            )
        };
        assert!(read(&condition("aws:SecureTransport")));
        assert!(!read(&condition("aws:SourceVpce")));
    }

    #[test]
    fn what_is_public() {
        let public = |statement: &str| is_public(&policy(&[statement]));
        assert!(public(ALL));
        assert!(public(r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject","Resource":"*""#));
        assert!(!public(r#""Effect":"Deny","Action":"*","Resource":"*""#));
        assert!(!public(
            r#""Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"*","Resource":"*""#
        ));
        let condition = |operator: &str, key: &str| {
            public(&format!(
                r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{{"{operator}":{{"{key}":"x"}}}}"#
            ))
        };
        assert!(!condition("StringEquals", "aws:PrincipalOrgID"));
        assert!(!condition("StringEquals", "aws:SourceVpce"));
        assert!(condition("StringLike", "aws:Referer"));
        assert!(!is_public("not json"));
    }
}
