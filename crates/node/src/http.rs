//! HTTP, for the metadata service, S3 and downloads: one client, with a timeout on everything.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The largest answer that is kept in memory: node configurations are some 10 KiB, the largest user data 16.
const LARGEST: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The machine's certificates could not be read, so no server can be trusted.
    #[error("failed to read this machine's trusted certificates: {why}\nhint: install ca-certificates")]
    Trust {
        /// The system's answer.
        why: String,
    },
    /// The request could not be made.
    #[error("{url} is not a URL that can be asked: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection, or it broke.
    #[error("no answer from {host}: {why}")]
    Connection {
        /// Who was asked.
        host: String,
        /// The chain of causes.
        why: String,
    },
    /// Silence.
    #[error("no answer from {host} in {} s", after.as_secs_f32())]
    Timeout {
        /// Who was asked.
        host: String,
        /// How long.
        after: Duration,
    },
}

impl HttpError {
    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Timeout { .. })
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The client. Cloning it is cheap, and clones share connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// A client that trusts what this machine trusts.
    pub fn new(connect_timeout: Duration) -> Result<Self, HttpError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(connect_timeout));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| HttpError::Trust { why: error.to_string() })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Asks, and gives the answer once its head has arrived.
    pub async fn open(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, HttpError> {
        let host = host(&request);
        match tokio::time::timeout(timeout, self.client.request(request)).await {
            Err(_) => Err(HttpError::Timeout { host, after: timeout }),
            Ok(Err(error)) => Err(HttpError::Connection { host, why: chain(&error) }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Asks, and gives the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<Answer, HttpError> {
        let host = host(&request);
        let whole = async {
            let (head, body) = self.open(request, timeout).await?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body =
                body.map_err(|error| HttpError::Connection { host: host.clone(), why: chain(&*error) })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(timeout, whole).await {
            Err(_) => Err(HttpError::Timeout { host: host.clone(), after: timeout }),
            Ok(answer) => answer,
        }
    }
}

/// Who is asked.
fn host<B>(request: &Request<B>) -> String {
    request.uri().authority().map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

/// An error with its causes, as hyper's own words say little; hints at the end, whichever of them has one.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let (mut words, mut hints) = (String::new(), String::new());
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let (what, hint) = text.split_once("\nhint: ").map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        if !words.contains(what) {
            words = if words.is_empty() { what.to_owned() } else { format!("{words}: {what}") };
        }
        if let Some(hint) = hint.filter(|hint| !hints.contains(hint)) {
            hints = format!("{hints}\nhint: {hint}");
        }
        next = error.source();
    }
    words + &hints
}

/// A request; what is wrong with its URL is found here.
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut builder = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder
        .body(Full::new(body))
        .map_err(|error| HttpError::Url { url: url.to_owned(), why: error.to_string() })?;
    if request.uri().authority().is_none() {
        return Err(HttpError::Url { url: url.to_owned(), why: "it names no host".to_owned() });
    }
    Ok(request)
}
