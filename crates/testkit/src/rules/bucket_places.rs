//! Where a bucket lies, and whose it is.
//!
//! - S3 answers for a bucket in its own region only; elsewhere it says which that is:
//!   <https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html>. moto answers everywhere.
//! - A call that names the account which it expects to own the bucket is denied where another does:
//!   <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>. moto does not look.
//!
//! A bucket neither moves nor changes hands, so that both are asked for once.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::{BoxFuture, FutureExt as _};
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

use super::{Decision, Reply, Rule};
use crate::call::Call;
use crate::front::locked;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::Element;

const REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

#[derive(Default)]
pub(super) struct BucketPlaces {
    known: Mutex<BTreeMap<String, Place>>,
}

#[derive(Clone)]
struct Place {
    region: String,
    ours: bool,
}

impl Rule for BucketPlaces {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            let (bucket, _) = call.bucket_and_key();
            let about_one = call.service == "s3" && call.signed && !bucket.is_empty();
            if !about_one || call.path.starts_with("/moto-api") || call.action == "CreateBucket" {
                return Decision::Forward;
            }
            let Some(place) = self.place(bucket, ask).await else { return Decision::Forward };
            if place.region != call.region {
                return Decision::Respond(redirect(call, &place.region));
            }
            let expected = call.headers.get("x-amz-expected-bucket-owner");
            let expects_us = expected.is_some_and(|owner| owner.as_bytes() == ask.account().as_bytes());
            if expected.is_some() && expects_us != place.ours {
                return Decision::Respond(Response::error(
                    call.protocol,
                    403,
                    "AccessDenied",
                    "Access Denied",
                ));
            }
            Decision::Forward
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, _ask: &'a Ask) -> BoxFuture<'a, Reply> {
        if call.is("s3", "DeleteBucket") {
            locked(&self.known).remove(call.bucket_and_key().0);
        }
        futures::future::ready(Reply::Send(response)).boxed()
    }
}

impl BucketPlaces {
    async fn place(&self, bucket: &str, ask: &Ask) -> Option<Place> {
        let known = locked(&self.known).get(bucket).cloned();
        if known.is_some() {
            return known;
        }
        let head = ask.rest("s3", Method::HEAD, &format!("/{bucket}"), "").await.ok()?;
        let region = head.headers.get(REGION)?.to_str().ok()?.to_owned();
        let own = ask.rest("s3", Method::GET, "/", "").await.ok()?;
        let ours = Element::parse(&own.text()).values("Buckets/Bucket/Name").contains(&bucket);
        let place = Place { region, ours };
        locked(&self.known).insert(bucket.to_owned(), place.clone());
        Some(place)
    }
}

fn redirect(call: &Call, region: &str) -> Response {
    let message = "The bucket you are attempting to access must be addressed using the specified endpoint. \
                   Please send all future requests to this endpoint.";
    let mut response = Response::error(call.protocol, 301, "PermanentRedirect", message);
    if let Ok(region) = HeaderValue::from_str(region) {
        response.headers.insert(REGION, region);
    }
    response
}
