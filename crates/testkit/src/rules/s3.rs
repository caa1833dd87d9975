//! S3.
//!
//! - `GetBucketVersioning` has a wrong root element in moto, at which the Rust SDK stops.
//! - A new bucket blocks public access, is encrypted, and has no ACLs, since April 2023:
//!   <https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html>. moto's has nothing set.
//! - A new bucket has the tags that it was made with. moto forgets them.
//! - Who comes without a signature reads only what a bucket policy gives to everybody, and not even that
//!   where public access is blocked. moto lets everybody do everything.
//! - A public policy is refused where the block says so.

use futures::future::{BoxFuture, FutureExt as _};
use hyper::Method;
use serde_json::Value;

use super::{Decision, Reply, Rule, Verdict, decided};
use crate::call::Call;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::Element;

const XMLNS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

pub(super) struct Buckets;

impl Rule for Buckets {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if call.service != "s3" || call.path.starts_with("/moto-api") {
                return Decision::Forward;
            }
            if !call.signed {
                return decided(open_to_all(call, ask).await);
            }
            match call.action.as_str() {
                "PutBucketPolicy" => decided(may_be_public(call, ask).await),
                _ => Decision::Forward,
            }
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        async move {
            if call.service != "s3" || !response.status.is_success() {
                return Reply::Send(response);
            }
            Reply::Send(match call.action.as_str() {
                "GetBucketVersioning" => {
                    let body =
                        response.text().replace("GetBucketVersioningResponse", "VersioningConfiguration");
                    response.with_body(body)
                }
                "CreateBucket" => {
                    close(call.bucket_and_key().0, ask).await;
                    tag(call, ask).await;
                    response
                }
                _ => response,
            })
        }
        .boxed()
    }
}

/// What AWS sets on a new bucket.
async fn close(bucket: &str, ask: &Ask) {
    let settings = [
        (
            "publicAccessBlock",
            format!(
                "<PublicAccessBlockConfiguration {XMLNS}><BlockPublicAcls>true</BlockPublicAcls>\
                 <IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy>\
                 <RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
            ),
        ),
        (
            "encryption",
            format!(
                "<ServerSideEncryptionConfiguration {XMLNS}><Rule><ApplyServerSideEncryptionByDefault>\
                 <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault>\
                 <BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
            ),
        ),
        (
            "ownershipControls",
            format!(
                "<OwnershipControls {XMLNS}><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
                 </OwnershipControls>"
            ),
        ),
    ];
    for (name, body) in settings {
        if let Err(response) = ask.rest("s3", Method::PUT, &format!("/{bucket}?{name}"), &body).await {
            tracing::warn!(
                bucket,
                name,
                answer = response.text(),
                "a new bucket's defaults could not be set"
            );
        }
    }
}

/// Keeps the tags that a bucket was made with.
async fn tag(call: &Call, ask: &Ask) {
    let configuration = Element::parse(&call.body);
    let Some(tags) = configuration.get("Tags") else { return };
    let set = call.body[tags.range.clone()].replace("Tags>", "TagSet>");
    let path = format!("/{}?tagging", call.bucket_and_key().0);
    if let Err(response) =
        ask.rest("s3", Method::PUT, &path, &format!("<Tagging {XMLNS}>{set}</Tagging>")).await
    {
        tracing::warn!(path, answer = response.text(), "a new bucket's tags could not be set");
    }
}

async fn blocks(bucket: &str, what: &str, ask: &Ask) -> bool {
    match ask.rest("s3", Method::GET, &format!("/{bucket}?publicAccessBlock"), "").await {
        Ok(response) => Element::parse(&response.text()).value(what).eq_ignore_ascii_case("true"),
        Err(_) => false,
    }
}

async fn open_to_all(call: &Call, ask: &Ask) -> Verdict {
    let (bucket, key) = call.bucket_and_key();
    let denied = || Response::error(call.protocol, 403, "AccessDenied", "Access Denied");
    let action = format!("s3:{}", call.action.replace("HeadObject", "GetObject"));
    let policy = ask.rest("s3", Method::GET, &format!("/{bucket}?policy"), "").await.map_err(|response| {
        if response.error_code().as_deref() == Some("NoSuchBucket") { response } else { denied() }
    })?;
    let resource = format!("{bucket}/{key}");
    if allows_all(&policy.text(), &action, &resource) && !blocks(bucket, "RestrictPublicBuckets", ask).await {
        return Ok(());
    }
    Err(denied())
}

async fn may_be_public(call: &Call, ask: &Ask) -> Verdict {
    let (bucket, _) = call.bucket_and_key();
    let public = statements(&call.body).iter().any(is_for_all);
    if public && blocks(bucket, "BlockPublicPolicy", ask).await {
        let message = "User is not authorized to perform: s3:PutBucketPolicy because public policies are blocked by \
                       the BlockPublicPolicy block public access setting.";
        return Err(Response::error(call.protocol, 403, "AccessDenied", message));
    }
    Ok(())
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

fn is_for_all(statement: &Value) -> bool {
    let principal = statement.get("Principal");
    let everybody = |value: &Value| value.as_str() == Some("*");
    statement.get("Effect").and_then(Value::as_str) == Some("Allow")
        && principal.is_some_and(|principal| {
            everybody(principal) || one_or_many(principal.get("AWS")).iter().any(everybody)
        })
}

/// Whether a policy lets everybody do this. Conditions are not weighed.
fn allows_all(policy: &str, action: &str, resource: &str) -> bool {
    statements(policy).iter().filter(|statement| is_for_all(statement)).any(|statement| {
        let any = |name: &str, wanted: &str| {
            one_or_many(statement.get(name))
                .iter()
                .filter_map(Value::as_str)
                .any(|pattern| matches(pattern.rsplit(":::").next().unwrap_or(pattern), wanted))
        };
        any("Action", action) && any("Resource", resource)
    })
}

/// `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::allows_all;

    #[test]
    fn public_policies() {
        let policy = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],
            "Resource":["arn:aws:s3:::b/p/.well-known/*","arn:aws:s3:::b/p/openid/*"]}]}"#;
        assert!(allows_all(policy, "s3:GetObject", "b/p/.well-known/openid-configuration"));
        assert!(allows_all(policy, "s3:GetObject", "b/p/openid/v1/jwks"));
        assert!(!allows_all(policy, "s3:GetObject", "b/pki/private"));
        assert!(!allows_all(policy, "s3:ListBucket", "b/"));
        assert!(!allows_all("", "s3:GetObject", "b/x"));
    }
}
