//! [`ApiProxy`]: what goes wrong on the way to an API server.
//!
//! Takes the requests of kcl, in place of the API server and with its certificate; each passes the faults that a test
//! put there ([`crate::Fault`], [`crate::Halt`]), and goes on to the real server. Who asks is proved to the proxy by
//! the client's certificate, and said to the server by the headers of its front proxy
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy>), so that the
//! server allows the very same things. HTTP/1.1 alone, which is what kcl speaks. Messages are held whole: it is no
//! place for a watch.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::service::service_fn;
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pki::Pki;
use super::programs::file;
use super::rollouts::Rollouts;
use crate::call::Call;
use crate::error::Error;
use crate::faults::{self, Disturbance, Fault, Halt, Moment, Point, Strikes, When};
use crate::front::{Gone, locked, outgoing, runtime, whole};
use crate::rules::{Decision, Reply};
use crate::wire::{Request, Response};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");

pub(crate) const JSON: &str = "application/json";

/// How often is looked whether the server is there again: much sooner than kcl asks again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A running proxy; gone when dropped.
pub struct ApiProxy {
    address: SocketAddr,
    inner: Arc<Inner>,
    open: watch::Sender<bool>,
    task: AbortHandle,
}

/// The way to the API server, past all faults.
pub(crate) struct Way {
    server: SocketAddr,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

struct Inner {
    way: Arc<Way>,
    acceptor: TlsAcceptor,
    /// The latest is the outermost.
    disturbances: RwLock<Vec<Arc<dyn Disturbance>>>,
    numbers: AtomicUsize,
    calls: Mutex<Vec<Call>>,
}

/// Who asks, as the server is told.
#[derive(Clone, Debug)]
struct Identity {
    user: String,
    groups: Vec<String>,
}

impl Identity {
    fn anonymous() -> Self {
        Self { user: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    /// As the API server reads a client's certificate.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let subject = parsed.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).ok()
        };
        let user = subject.iter_common_name().find_map(text)?;
        Some(Self { user, groups: subject.iter_organization().filter_map(text).collect() })
    }

    /// Somebody who may do everything.
    fn testkit() -> Self {
        Self { user: "kcl-testkit".to_owned(), groups: vec!["system:masters".to_owned()] }
    }

    fn is_known(&self) -> bool {
        self.user != "system:anonymous"
    }

    fn say(&self, headers: &mut HeaderMap) {
        let ours = |name: &HeaderName| name.as_str().starts_with("x-remote-");
        let theirs: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
        for name in theirs {
            headers.remove(name);
        }
        if let Ok(user) = HeaderValue::from_str(&self.user) {
            headers.insert(USER, user);
        }
        for group in self.groups.iter().filter_map(|group| HeaderValue::from_str(group).ok()) {
            headers.append(GROUP, group);
        }
    }
}

impl ApiProxy {
    /// Starts one, on any free port of loopback, before the API server on `port`, which has these keys.
    pub fn start(pki: &Pki, port: u16) -> Result<Self, Error> {
        let runtime = runtime()?;
        let inner = Arc::new(Inner {
            way: Arc::new(Way {
                server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                client: client(pki.folder())?,
            }),
            acceptor: acceptor(pki.folder())?,
            disturbances: RwLock::default(),
            numbers: AtomicUsize::new(0),
            calls: Mutex::default(),
        });
        let bound = |source| Error::Port { source };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(bound)?;
        listener.set_nonblocking(true).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(bound)?
        };
        let (open, is_open) = watch::channel(true);
        let task = runtime.spawn(serve(listener, address, Arc::clone(&inner), is_open)).abort_handle();
        Ok(Self { address, inner, open, task })
    }

    /// Where kcl finds the API server behind it.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The requests since they were last taken, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.inner.calls).clone()
    }

    /// Likewise, and forgets them.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *locked(&self.inner.calls))
    }

    /// Puts a fault before the server, at the requests that `when` means.
    pub fn inject(&self, fault: Fault, when: When, seed: u64) -> Strikes {
        let (strikes, injection) = faults::injection(fault, when, seed);
        self.add(Arc::new(injection));
        strikes
    }

    /// Holds one request, until the test has done to kcl, or to the server, what it wants to.
    pub fn halt(&self, point: Point, moment: Moment) -> Halt {
        let (halt, held) = faults::halt(point, moment);
        self.add(Arc::new(held));
        halt
    }

    fn add(&self, disturbance: Arc<dyn Disturbance>) {
        self.inner.disturbances.write().unwrap_or_else(PoisonError::into_inner).push(disturbance);
    }

    /// Takes away what was put before the server.
    pub fn clear(&self) {
        self.inner.disturbances.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Cuts all connections and takes no others: the machine is there, and nobody listens. Waits until that is so.
    pub fn close(&self) {
        self.open.send_replace(false);
        while std::net::TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Takes connections again as soon as the server behind it does, ready or not.
    pub fn open_with_server(&self) -> Result<(), Error> {
        let (server, open) = (self.inner.way.server, self.open.clone());
        runtime()?.spawn(async move {
            while TcpStream::connect(server).await.is_err() {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            open.send_replace(true);
        });
        Ok(())
    }

    /// Past all faults.
    pub(crate) fn way(&self) -> &Way {
        &self.inner.way
    }

    /// Says of each workload behind it that all of it runs, as long as it is not dropped; of DaemonSets on so many
    /// `nodes`.
    pub(crate) fn roll_out(&self, nodes: usize) -> Result<Rollouts, Error> {
        Rollouts::start(Arc::clone(&self.inner.way), nodes)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    inner: Arc<Inner>,
    mut is_open: watch::Receiver<bool>,
) {
    let mut listener = Some(listener);
    loop {
        if is_open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let bound = match listener.take() {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(address).await,
        };
        let Ok(listening) = bound else {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            continue;
        };
        // Dropped with this turn, and all connections with it.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                closed = is_open.wait_for(|open| !*open) => match closed {
                    Ok(_) => break,
                    Err(_) => return,
                },
                accepted = listening.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&inner)));
                    }
                    Err(error) => tracing::warn!(%error, "the proxy could not accept a connection"),
                },
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn connection(stream: TcpStream, inner: Arc<Inner>) {
    drop(stream.set_nodelay(true));
    let stream = match inner.acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection to the proxy did not come about"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = certificate.and_then(Identity::of).unwrap_or_else(Identity::anonymous);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (inner, identity) = (Arc::clone(&inner), identity.clone());
        async move {
            let request = whole(request).await.map_err(|error| Gone(error.to_string()))?;
            match inner.disturbed(request, &identity).await {
                Reply::Send(response) => Ok(outgoing(response, false)),
                Reply::Cut(response) => Ok(outgoing(response, true)),
                Reply::Drop => Err(Gone("dropped by a fault".to_owned())),
            }
        }
    });
    if let Err(error) =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "a connection to the proxy ended early");
    }
}

impl Way {
    /// Asks for JSON, as somebody who may do everything. `body`: its type, and what it is. An answer that is no success
    /// is an error.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, Error> {
        let asked = format!("{method} {path}");
        json(&asked, &self.answer(JSON, method, path, body).await?)
    }

    /// What a path says in another form of JSON.
    pub(crate) async fn accepting(&self, accept: &'static str, path: &str) -> Result<Value, Error> {
        json(path, &self.answer(accept, Method::GET, path, None).await?)
    }

    /// The objects that a path lists.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Error> {
        items(path, &self.answer(JSON, Method::GET, path, None).await?)
    }

    async fn answer(
        &self,
        accept: &'static str,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Response, Error> {
        let asked = format!("{method} {path}");
        let failed = |said: String| Error::Kubernetes { asked: asked.clone(), said };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some((content_type, _)) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let body = body.map_or_else(Bytes::new, |(_, body)| Bytes::from(body.to_string()));
        let uri = path.parse().map_err(|_| failed("no path".to_owned()))?;
        let request = Request { method, uri, headers, body };
        let response = self.forward(request, &Identity::testkit()).await;
        response.map_err(|error| failed(error.to_string()))
    }

    async fn forward(
        &self,
        request: Request,
        identity: &Identity,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("https://{}{path}", self.server).parse()?;
        let mut outgoing = hyper::Request::new(Full::new(request.body));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = request.headers;
        let headers = outgoing.headers_mut();
        for hop in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, HOST] {
            headers.remove(hop);
        }
        identity.say(headers);
        let (parts, body) = self.client.request(outgoing).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut headers = parts.headers;
        for hop in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            headers.remove(hop);
        }
        Ok(Response { status: parts.status, headers: Box::new(headers), body })
    }
}

/// The objects of an answer: none where the server lists nothing (any more), which its discovery says with a delay.
fn items(asked: &str, response: &Response) -> Result<Vec<Value>, Error> {
    if response.status == StatusCode::NOT_FOUND {
        return Ok(Vec::new());
    }
    match json(asked, response)?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

/// What an answer says. One that is no success is an error.
fn json(asked: &str, response: &Response) -> Result<Value, Error> {
    let failed = |said: String| Error::Kubernetes { asked: asked.to_owned(), said };
    if !response.status.is_success() {
        return Err(failed(format!("{}: {}", response.status, response.text())));
    }
    serde_json::from_slice(&response.body).map_err(|_| failed("an answer that is not JSON".to_owned()))
}

impl Inner {
    async fn disturbed(&self, request: Request, identity: &Identity) -> Reply {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let call = Call::of_kubernetes(number, &request, identity.is_known());
        locked(&self.calls).push(call.clone());
        let disturbances: Vec<_> = {
            let all = self.disturbances.read().unwrap_or_else(PoisonError::into_inner);
            all.iter().rev().map(Arc::clone).collect()
        };
        let mut passed = 0;
        let mut own = None;
        for disturbance in &disturbances {
            match disturbance.before(&call).await {
                Decision::Forward | Decision::Rewrite(_) => passed += 1,
                Decision::Respond(response) => {
                    own = Some(response);
                    break;
                }
                Decision::Drop => {
                    self.finish(call, &Reply::Drop);
                    return Reply::Drop;
                }
            }
        }
        let response = match own {
            Some(response) => response,
            None => match self.way.forward(request, identity).await {
                Ok(response) => response,
                // What stands between passes on that the connection broke.
                Err(error) => {
                    tracing::debug!(%error, "the API server did not answer");
                    self.finish(call, &Reply::Drop);
                    return Reply::Drop;
                }
            },
        };
        let mut reply = Reply::Send(response);
        for disturbance in disturbances[..passed].iter().rev() {
            reply = match reply {
                Reply::Send(response) => disturbance.after(&call, response).await,
                Reply::Drop | Reply::Cut(_) => break,
            };
        }
        self.finish(call, &reply);
        reply
    }

    fn finish(&self, mut call: Call, reply: &Reply) {
        if let Reply::Send(response) | Reply::Cut(response) = reply {
            call.status = response.status.as_u16();
        }
        call.ended = Some(Instant::now());
        let mut calls = locked(&self.calls);
        // Not there if the calls were taken while this one was under way.
        if let Some(slot) = calls.iter_mut().find(|other| other.number == call.number) {
            *slot = call;
        }
    }
}

/// Reads keys, or makes something of them.
fn keys<T, E: std::error::Error + Send + Sync + 'static>(what: &str, made: Result<T, E>) -> Result<T, Error> {
    made.map_err(|source| Error::Keys { what: what.to_owned(), source: Box::new(source) })
}

/// A certificate and its key, of the machine's folder.
fn pair(folder: &Path, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = certificates(&folder.join(format!("{name}.crt")))?;
    let path = folder.join(format!("{name}.key"));
    let what = format!("read {}", path.display());
    let key = keys(&what, PrivateKeyDer::from_pem_slice(&fs::read(&path).map_err(file("read", &path))?))?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = fs::read(path).map_err(file("read", path))?;
    let what = format!("read {}", path.display());
    keys(&what, CertificateDer::pem_slice_iter(&pem).collect())
}

/// The authority of servers and clients.
fn authority(folder: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&folder.join("ca.crt"))? {
        keys("trust the cluster's authority", roots.add(certificate))?;
    }
    Ok(roots)
}

const UNUSABLE: &str = "use the cluster's keys for TLS";

/// What kcl meets: the API server's own certificate.
fn acceptor(folder: &Path) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(authority(folder)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = keys(UNUSABLE, verifier.allow_unauthenticated().build())?;
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = keys(UNUSABLE, builder.with_safe_default_protocol_versions())?;
    let (chain, key) = pair(folder, "apiserver")?;
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let mut config = keys(UNUSABLE, config)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the API server meets: its front proxy.
fn client(folder: &Path) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, Error> {
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = keys(UNUSABLE, builder.with_safe_default_protocol_versions())?;
    let (chain, key) = pair(folder, "front-proxy-client")?;
    let config = builder.with_root_certificates(authority(folder)?).with_client_auth_cert(chain, key);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(keys(UNUSABLE, config)?).https_only().enable_http1();
    Ok(Client::builder(TokioExecutor::new()).build(connector.build()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_since_discovery_lists_nothing() {
        let listed = |status, body: &'static str| items("/a", &Response::new(status, JSON, body));
        assert_eq!(listed(StatusCode::OK, r#"{"items":[{"kind":"A"}]}"#).unwrap().len(), 1);
        assert!(listed(StatusCode::NOT_FOUND, "404 page not found").unwrap().is_empty());
        assert!(listed(StatusCode::FORBIDDEN, "{}").is_err());
        assert!(listed(StatusCode::OK, "<html>").is_err());
    }
}
