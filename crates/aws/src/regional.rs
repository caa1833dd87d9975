//! An S3 client that goes where a bucket lies.
//!
//! S3 answers for a bucket in its own region only, and tells everybody else which region that is. So no call is
//! spent on asking: the first one goes to the region in use, and is made again in the right one if S3 says so.

use std::future::Future;
use std::sync::OnceLock;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{During, Error};

/// What S3 calls a request that came to the wrong region.
const ELSEWHERE: [&str; 4] = [
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
];

/// Clients for one bucket.
#[derive(Debug)]
pub(crate) struct Regional {
    bucket: String,
    /// The region in use.
    here: Client,
    /// The bucket's, once it turned out to be another.
    there: OnceLock<Client>,
}

impl Regional {
    /// For `bucket`, first looked for in the client's own region.
    pub(crate) fn new(client: Client, bucket: String) -> Self {
        Self { bucket, here: client, there: OnceLock::new() }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The region of the bucket, as far as that is known.
    pub(crate) fn region(&self) -> Option<String> {
        region(self.client()).map(str::to_owned)
    }

    /// The client for where the bucket is, as far as that is known.
    fn client(&self) -> &Client {
        self.there.get().unwrap_or(&self.here)
    }

    /// Makes a call, once more if S3 says that the bucket lies in another region.
    pub(crate) async fn call<T, E, F>(&self, action: &str, send: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let used = region(self.client()).map(str::to_owned);
        let error = match send(self.client().clone()).await {
            Err(error) => error,
            answer => return answer.during(action),
        };
        let Some(right) = self.right_region(&error).await.filter(|right| Some(right) != used.as_ref()) else {
            return Err(error).during(action);
        };
        tracing::debug!(bucket = self.bucket, region = right, "the bucket lies in another region");
        let there = self.there.get_or_init(|| {
            let config = self.here.config().to_builder().region(Region::new(right));
            Client::from_conf(config.build())
        });
        send(there.clone()).await.during(action)
    }

    /// The region that S3 sends us to; `None`: that is not what the error is about.
    async fn right_region<E>(&self, error: &SdkError<E, HttpResponse>) -> Option<String>
    where
        E: ProvideErrorMetadata,
    {
        let response = error.raw_response()?;
        let said = error.code().is_some_and(|code| ELSEWHERE.contains(&code));
        // The answer to a HEAD has no code. Other errors tell the bucket's region, too.
        if !said && !matches!(response.status().as_u16(), 301 | 307 | 400) {
            return None;
        }
        if let Some(region) = region_in(response) {
            return Some(region);
        }
        if !said {
            return None;
        }
        match self.client().head_bucket().bucket(&self.bucket).send().await {
            Ok(answer) => answer.bucket_region,
            Err(error) => region_in(error.raw_response()?),
        }
    }
}

fn region(client: &Client) -> Option<&str> {
    client.config().region().map(AsRef::as_ref)
}

fn region_in(response: &HttpResponse) -> Option<String> {
    response.headers().get("x-amz-bucket-region").map(str::to_owned)
}
