//! One HTTP request, and the whole of its answer: what STS, EC2, the API server and the join service are asked with.
//!
//! No redirect is followed and nothing is tried again: those who ask know whether they may. Each request has a
//! connection of its own, so none fails because an idle one was closed.

use std::error::Error as StdError;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::time::timeout;

/// How long one request may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, held whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// Nothing that was sent or received can be seen in it.
    #[error("{0}")]
    Transport(String),
    /// The other side's certificate is not one of those that are trusted.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(rustls::CertificateError),
    /// It took too long.
    #[error("no answer within {} seconds", TIMEOUT.as_secs())]
    Timeout,
    /// The answer is too large.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// So many would be taken.
        limit: usize,
    },
}

impl Http {
    pub(crate) fn new(tls: ClientConfig, plain_too: bool) -> Self {
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = if plain_too { builder.https_or_http() } else { builder.https_only() };
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_connect_timeout(Some(TIMEOUT));
        let connector = builder.enable_http1().wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { client }
    }

    /// Sends a request; takes an answer of at most so many bytes.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Reply, HttpError> {
        self.send_within(request, limit, TIMEOUT).await
    }

    /// Likewise, for one who may take longer to answer.
    pub(crate) async fn send_within(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        time: Duration,
    ) -> Result<Reply, HttpError> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| transport(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await;
            let body = body.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    HttpError::TooLarge { limit }
                } else {
                    HttpError::Transport(chain(&*error))
                }
            })?;
            Ok(Reply { status, body: body.to_bytes() })
        };
        timeout(time, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }
}

/// What went wrong below HTTP.
fn transport(error: &(dyn StdError + 'static)) -> HttpError {
    match distrust(error) {
        Some(fault) => HttpError::Untrusted(fault.clone()),
        None => HttpError::Transport(chain(error)),
    }
}

/// What TLS has against the other side's certificate, somewhere among an error's causes.
fn distrust<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
        return Some(fault);
    }
    // An io::Error names as its source not what it wraps, but the source of that.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(inner) => distrust(inner),
        None => error.source().and_then(distrust),
    }
}

/// An error and its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let more = one.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = one.source();
    }
    text
}
