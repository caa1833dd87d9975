//! The client: one request, and its answer whole or in pieces.
//!
//! Each request has a connection of its own, so none fails because an idle one was closed, and none is held open
//! between the few requests of a day.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::body::Body;
use crate::error::HttpError;
use crate::tls::Tls;

/// The largest answer that is kept in memory where nobody says another bound: node configurations have some
/// 10 KiB, a thousand instances of EC2 some 3 MiB.
const LARGEST: usize = 8 << 20;

/// How connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may take to come about; the handshake of TLS counts for the request.
    pub connect_timeout: Duration,
    /// Whether `http://` is asked too: the metadata service has no other, and a configured endpoint may have none.
    pub plain: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(10), plain: false }
    }
}

/// The client. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    plain: bool,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Opened {
    /// HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    host: String,
}

impl Http {
    /// A client; it connects to nobody yet.
    pub fn new(tls: Tls, options: Options) -> Self {
        let Options { connect_timeout, plain } = options;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(connect_timeout));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls.0);
        let builder = if plain { builder.https_or_http() } else { builder.https_only() };
        let connector = builder.enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { client, plain }
    }

    /// Asks, and gives the answer once its head has arrived; `timeout` is for sending the request and for the head.
    pub async fn open(&self, request: Request<Body>, timeout: Duration) -> Result<Opened, HttpError> {
        let host = host(&request);
        if !self.plain && request.uri().scheme_str() != Some("https") {
            return Err(HttpError::Url { url: request.uri().to_string(), why: "it is not https".to_owned() });
        }
        match tokio::time::timeout(timeout, self.client.request(request)).await {
            Err(_) => Err(HttpError::Timeout { host, after: timeout }),
            Ok(Err(error)) => Err(HttpError::below(&host, &error)),
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Opened { status: head.status, headers: head.headers, body, host })
            }
        }
    }

    /// Asks, and gives the whole answer, of at most 8 MiB.
    pub async fn send(&self, request: Request<Body>, timeout: Duration) -> Result<Answer, HttpError> {
        self.send_bounded(request, LARGEST, timeout).await
    }

    /// Asks, and gives the whole answer, of at most so many bytes.
    pub async fn send_bounded(
        &self,
        request: Request<Body>,
        largest: usize,
        timeout: Duration,
    ) -> Result<Answer, HttpError> {
        let host = host(&request);
        let whole = async { self.open(request, timeout).await?.collect(largest).await };
        let answer = tokio::time::timeout(timeout, whole).await;
        answer.unwrap_or(Err(HttpError::Timeout { host, after: timeout }))
    }
}

impl Opened {
    /// The next piece of the body; nothing at its end. One that ends too early is an error.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, HttpError> {
        while !self.body.is_end_stream() {
            let frame = match tokio::time::timeout(silence, self.body.frame()).await {
                Err(_) => return Err(HttpError::Timeout { host: self.host.clone(), after: silence }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(HttpError::below(&self.host, &error)),
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The answer with the rest of its body, of at most so many bytes: what a refusal says.
    pub async fn whole(self, largest: usize, timeout: Duration) -> Result<Answer, HttpError> {
        let host = self.host.clone();
        let answer = tokio::time::timeout(timeout, self.collect(largest)).await;
        answer.unwrap_or(Err(HttpError::Timeout { host, after: timeout }))
    }

    async fn collect(self, largest: usize) -> Result<Answer, HttpError> {
        let Self { status, headers, body, host } = self;
        match Limited::new(body, largest).collect().await {
            Ok(body) => Ok(Answer { status, headers, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLarge { host, largest }),
            Err(error) => Err(HttpError::below(&host, &*error)),
        }
    }
}

/// Who is asked.
fn host<B>(request: &Request<B>) -> String {
    request.uri().authority().map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

/// Where a redirect from the URL `at` leads; nothing where it names no place of the web.
pub fn redirected(at: &str, to: &str) -> Option<String> {
    if to.starts_with("https://") || to.starts_with("http://") {
        return Some(to.to_owned());
    }
    let (scheme, rest) = at.split_once("://")?;
    let host = rest.split('/').next()?;
    (to.starts_with('/') && !to.starts_with("//")).then(|| format!("{scheme}://{host}{to}"))
}

/// A request; what is wrong with its URL is found here.
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Result<Request<Body>, HttpError> {
    let mut builder = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let failed = |why: String| HttpError::Url { url: url.to_owned(), why };
    let request = builder.body(body.into()).map_err(|error| failed(error.to_string()))?;
    match request.uri().authority() {
        Some(_) => Ok(request),
        None => Err(failed("it names no host".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_urls() {
        let at = "https://dl.k8s.io/release/x";
        assert_eq!(redirected(at, "https://cdn.dl.k8s.io/y").as_deref(), Some("https://cdn.dl.k8s.io/y"));
        assert_eq!(redirected(at, "/y").as_deref(), Some("https://dl.k8s.io/y"));
        for wrong in ["//x/y", "file:///etc/passwd", "y", ""] {
            assert_eq!(redirected(at, wrong), None, "{wrong}");
        }
    }
}
