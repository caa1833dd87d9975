//! S3.
//!
//! - `GetBucketVersioning` has a wrong root element in moto, at which the Rust SDK stops.
//! - A new bucket blocks public access, is encrypted, and has no ACLs, since April 2023:
//!   <https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html>. moto's has nothing set.
//! - A new bucket has the tags that it was made with. moto forgets them.
//!
//! Who may read without a signature is told in `public_access`.

use futures::future::{BoxFuture, FutureExt as _};
use hyper::Method;

use super::{Reply, Rule};
use crate::call::Call;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::Element;

const XMLNS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

pub(super) struct Buckets;

impl Rule for Buckets {
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
                    close(call, ask).await;
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
async fn close(call: &Call, ask: &Ask) {
    let (bucket, _) = call.bucket_and_key();
    // In us-east-1 the owner may create a bucket again, which changes nothing. One that was there has its
    // encryption.
    if ask.rest("s3", Method::GET, &format!("/{bucket}?encryption"), "").await.is_ok() {
        return;
    }
    let ownership = call.headers.get("x-amz-object-ownership").and_then(|value| value.to_str().ok());
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
                "<OwnershipControls {XMLNS}><Rule><ObjectOwnership>{}</ObjectOwnership></Rule></OwnershipControls>",
                ownership.unwrap_or("BucketOwnerEnforced")
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
