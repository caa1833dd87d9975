//! The join service as a server: TLS, one request per connection, and a bound on everything that a stranger can
//! make it wait for or hold.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kcl_http::TlsError;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::kubernetes::Kubernetes;
use crate::protocol::{HEALTH_PATH, MAX_BODY, PATH, Refused};
use crate::service::Service;
use crate::tls;

/// The largest head of a request, in bytes; our client's has some two hundred.
const MAX_HEAD: usize = 8 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 32;

/// How long the answer may take to be written, beside what the judgement takes.
const ANSWER: Duration = Duration::from_secs(30);

/// What a server bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So many connections at a time; further ones wait in the kernel.
    pub connections: usize,
    /// How long the handshake, the head, and the body of a request may each take.
    pub receive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // A connection takes some 40 kB, and the agent has 15 MB.
        Self { connections: 64, receive: Duration::from_secs(5) }
    }
}

/// What a server shows of itself.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// A certificate that the cluster's authority signed for the names that nodes reach the API by, and its key
    /// (PEM). The API server's own are such.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        tls::server(certificate_pem, key_pem).map(|config| Self(Arc::new(config)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(not shown)")
    }
}

/// A server of a join service.
#[derive(Debug)]
pub struct Server<K> {
    service: Arc<Service<K>>,
    tls: ServerTls,
    limits: Limits,
}

impl<K: Kubernetes> Server<K> {
    /// Serves nothing yet.
    pub fn new(service: Service<K>, tls: ServerTls, limits: Limits) -> Self {
        Self { service: Arc::new(service), tls, limits }
    }

    /// Serves until `stop` is ready, and then ends what was begun.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let Self { service, tls, limits } = self;
        let places = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let next = async {
                // The place is taken first, so that a connection that is accepted is also served.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stop => break,
                next = next => next,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let (service, tls) = (Arc::clone(&service), TlsAcceptor::from(Arc::clone(&tls.0)));
                    connections.spawn(async move {
                        connection(&service, &tls, limits, stream, peer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // No more file descriptors, most likely: some come free.
                    tracing::warn!(%error, "the join service cannot accept a connection");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
        // Whoever comes now is told so by the kernel, and asks another control plane.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Serves one connection. What does not get as far as a request is no refusal: load balancers connect and leave to
/// see whether somebody is there.
async fn connection<K: Kubernetes>(
    service: &Arc<Service<K>>,
    tls: &TlsAcceptor,
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let stream = match timeout(limits.receive, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => return tracing::warn!(%peer, reason = "the TLS handshake takes too long", "join refused"),
    };
    let handler = service_fn(|request| async move {
        Ok::<_, Infallible>(handle(service, limits.receive, peer, request).await)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.receive)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), handler);
    match timeout(limits.receive * 2 + ANSWER, Box::pin(served)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => {
            tracing::warn!(%peer, reason = "the request takes too long", "join refused");
        }
        Ok(Err(error)) if error.is_parse() => {
            tracing::warn!(%peer, reason = "it is not HTTP", "join refused");
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "the connection broke"),
        Err(_) => tracing::warn!(%peer, reason = "the connection takes too long", "join refused"),
    }
}

async fn handle<K: Kubernetes>(
    service: &Service<K>,
    receive: Duration,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let refuse = |status: StatusCode, reason: &'static str| {
        tracing::warn!(%peer, %reason, "join refused");
        // A network that stalls passes.
        let retry = status == StatusCode::REQUEST_TIMEOUT;
        answer(status, &Refused { reason: reason.to_owned(), retry })
    };
    // A load balancer asks every few seconds: nothing is logged, and nobody is asked.
    if request.uri().path() == HEALTH_PATH && request.method() == Method::GET {
        return Response::new(Full::new(Bytes::from_static(b"ok\n")));
    }
    if request.uri().path() != PATH {
        return refuse(StatusCode::NOT_FOUND, "there is nothing at this path");
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered");
    }
    // By what the head says, so that nobody has to send it all to hear that it is too much.
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    }
    let body = match timeout(receive, Limited::new(request.into_body(), MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the request was cut short"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the request takes too long"),
    };
    match service.join(peer, &body).await {
        Ok(grant) => answer(StatusCode::OK, &grant),
        Err(refusal) => {
            let said = Refused { reason: refusal.reason(), retry: refusal.retry() };
            answer(refusal.status(), &said)
        }
    }
}

fn answer(status: StatusCode, said: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(said).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
