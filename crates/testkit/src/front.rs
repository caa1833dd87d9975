//! The front: an HTTP proxy on a loopback port through which kcl speaks with moto.
//!
//! Takes AWS calls; records each, passes it through the rules, and lets moto answer. Knows no AWS service
//! itself: what to do is the rules' business. It runs on threads of its own, so that synchronous tests can
//! use it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};

use crate::call::Call;
use crate::error::Error;
use crate::moto;
use crate::rules::{Decision, Reply, Rule};
use crate::upstream::{Ask, Upstream, fake_signature};
use crate::wire::{Request, Response};

/// Services whose changes go one at a time, so that a rule's question and the change that it allows are
/// not torn apart by another call. moto itself does one thing at a time anyway. S3 is left out: its
/// conditional writes are atomic in moto, and tests of the lock want them at the same time.
const ONE_AT_A_TIME: [&str; 5] = ["ec2", "elasticloadbalancing", "autoscaling", "iam", "route53"];

/// How often a read is made again that moto crashed over.
const READ_AGAIN: u32 = 3;

/// A running front.
pub(crate) struct Front {
    address: SocketAddr,
    direct: SocketAddr,
    inner: Arc<Inner>,
    tasks: Vec<AbortHandle>,
}

struct Inner {
    upstream: Arc<Upstream>,
    log: PathBuf,
    /// AWS's ways.
    rules: Vec<Arc<dyn Rule>>,
    /// A test's own, outside of those; the latest is the outermost.
    faults: RwLock<Vec<Arc<dyn Rule>>>,
    calls: Mutex<Recorded>,
    unsupported: Mutex<Vec<String>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Recorded {
    /// Number of the first one kept.
    first: usize,
    calls: Vec<Call>,
}

impl Front {
    /// Starts on a port (0: any free one).
    pub(crate) fn start(
        port: u16,
        upstream: Arc<Upstream>,
        log: PathBuf,
        rules: Vec<Arc<dyn Rule>>,
    ) -> Result<Self, Error> {
        let runtime = runtime()?;
        let inner = Arc::new(Inner {
            upstream,
            log,
            rules,
            faults: RwLock::default(),
            calls: Mutex::default(),
            unsupported: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let (listener, address) = listen(runtime, port)?;
        let (direct_listener, direct) = listen(runtime, 0)?;
        let front = Arc::clone(&inner);
        let bare = Arc::clone(&inner);
        let tasks = vec![
            runtime.spawn(serve(listener, front, true)).abort_handle(),
            runtime.spawn(serve(direct_listener, bare, false)).abort_handle(),
        ];
        Ok(Self { address, direct, inner, tasks })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn direct(&self) -> SocketAddr {
        self.direct
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        locked(&self.inner.calls).calls.clone()
    }

    pub(crate) fn take_calls(&self) -> Vec<Call> {
        let mut recorded = locked(&self.inner.calls);
        recorded.first += recorded.calls.len();
        std::mem::take(&mut recorded.calls)
    }

    pub(crate) fn unsupported(&self) -> Vec<String> {
        locked(&self.inner.unsupported).clone()
    }

    pub(crate) fn add_rule(&self, rule: Arc<dyn Rule>) {
        self.inner.faults.write().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    pub(crate) fn clear_rules(&self) {
        self.inner.faults.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The threads of all fronts of this process.
pub(crate) fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // It only waits for moto, which works on one thread, and for API servers.
        .thread_name("kcl-local-aws")
        .enable_all()
        .build()
        .map_err(|source| Error::Front { source })?;
    if let Err(late) = RUNTIME.set(made) {
        // Another thread was faster. To wait for this one's threads is not allowed where a test is async.
        late.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| Error::Front { source: io::Error::other("no runtime") })
}

fn listen(runtime: &Runtime, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let bind = || -> io::Result<(TcpListener, SocketAddr)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _entered = runtime.enter();
        Ok((TcpListener::from_std(listener)?, address))
    };
    bind().map_err(|source| Error::Front { source })
}

async fn serve(listener: TcpListener, inner: Arc<Inner>, ruled: bool) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&inner), ruled));
            }
            Err(error) => tracing::warn!(%error, "the front could not accept a connection"),
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, inner: Arc<Inner>, ruled: bool) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let inner = Arc::clone(&inner);
        async move {
            let request = match whole(request).await {
                Ok(request) => request,
                Err(error) => return Err(Gone(error.to_string())),
            };
            // A task of its own: AWS does what it was asked for, whether or not the caller lives to hear of it.
            let answering = tokio::spawn(async move {
                if ruled { inner.ruled(request).await } else { Reply::Send(inner.bare(request).await) }
            });
            match answering.await {
                Ok(Reply::Send(response)) => Ok(outgoing(response, false)),
                Ok(Reply::Cut(response)) => Ok(outgoing(response, true)),
                Ok(Reply::Drop) => Err(Gone("dropped by a rule".to_owned())),
                Err(error) => Err(Gone(error.to_string())),
            }
        }
    });
    drop(stream.set_nodelay(true));
    if let Err(error) =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "a connection to the front ended early");
    }
}

/// Makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Gone(pub(crate) String);

pub(crate) async fn whole(request: hyper::Request<Incoming>) -> Result<Request, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Request { method: parts.method, uri: parts.uri, headers: parts.headers, body })
}

pub(crate) fn outgoing(response: Response, cut: bool) -> hyper::Response<Outgoing> {
    let mut outgoing = hyper::Response::new(Outgoing { whole: response.body, cut, sent: false });
    *outgoing.status_mut() = response.status;
    *outgoing.headers_mut() = *response.headers;
    outgoing
}

/// A body, of which only the first half may be sent.
pub(crate) struct Outgoing {
    whole: Bytes,
    cut: bool,
    sent: bool,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        let sent = std::mem::replace(&mut self.sent, true);
        Poll::Ready(match (sent, self.cut) {
            (false, false) => Some(Ok(Frame::data(self.whole.clone()))),
            (false, true) => Some(Ok(Frame::data(self.whole.slice(..self.whole.len() / 2)))),
            (true, true) => Some(Err(Gone("cut by a rule".to_owned()))),
            (true, false) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && (self.sent || self.whole.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let sent = if self.sent && !self.cut { self.whole.len() } else { 0 };
        SizeHint::with_exact((self.whole.len() - sent) as u64)
    }
}

impl Inner {
    /// A call as kcl makes it.
    async fn ruled(&self, request: Request) -> Reply {
        let call = self.record(&request);
        let ask = Ask::new(Arc::clone(&self.upstream), &call.region);
        let faults: Vec<_> =
            self.faults.read().unwrap_or_else(PoisonError::into_inner).iter().rev().map(Arc::clone).collect();
        let reply = match before(&faults, &call, &ask, request).await {
            Passed { request: Some(request), skins, .. } => {
                let reply = self.as_aws(request, &call, &ask).await;
                after(&faults[..skins], &call, reply, &ask).await
            }
            Passed { request: None, skins, reply } => after(&faults[..skins], &call, reply, &ask).await,
        };
        self.finish(call, &reply);
        reply
    }

    async fn as_aws(&self, request: Request, call: &Call, ask: &Ask) -> Reply {
        let one_at_a_time = call.mutating && ONE_AT_A_TIME.contains(&call.service.as_str());
        let _turn = if one_at_a_time { Some(self.turn.lock().await) } else { None };
        match before(&self.rules, call, ask, request).await {
            Passed { request: Some(request), skins, .. } => {
                let request = signed(request, call);
                let mut response = self.upstream.send(request.clone()).await;
                // moto walks through what another call is changing, now and then, and crashes over that.
                for _ in 0..READ_AGAIN {
                    if call.mutating || !is_crash(&response) {
                        break;
                    }
                    response = self.upstream.send(request.clone()).await;
                }
                let response = self.loud(call, response);
                after(&self.rules[..skins], call, Reply::Send(response), ask).await
            }
            Passed { request: None, skins, reply } => after(&self.rules[..skins], call, reply, ask).await,
        }
    }

    /// A call past the rules, for helpers.
    async fn bare(&self, request: Request) -> Response {
        let call = Call::of(0, &request);
        let response = self.upstream.send(signed(request, &call)).await;
        if is_crash(&response) { self.crash(&call) } else { response }
    }

    /// moto answers what it does not know, and its own crashes, with an HTML page that the SDK retries and
    /// then cannot read. It becomes an error that names the action and is not retried.
    fn loud(&self, call: &Call, response: Response) -> Response {
        if !is_crash(&response) {
            return response;
        }
        locked(&self.unsupported).push(call.name());
        self.crash(call)
    }

    fn crash(&self, call: &Call) -> Response {
        let tail = moto::tail(&self.log);
        let reason = tail.lines().rev().find(|line| line.contains("Error")).unwrap_or("no reason in its log");
        let message = format!("moto could not do {}: {reason} (log: {})", call.name(), self.log.display());
        tracing::warn!("{message}");
        Response::error(call.protocol, 400, "KclLocalAwsUnsupported", &message)
    }

    fn record(&self, request: &Request) -> Call {
        let mut recorded = locked(&self.calls);
        let call = Call::of(recorded.first + recorded.calls.len(), request);
        recorded.calls.push(call.clone());
        call
    }

    fn finish(&self, mut call: Call, reply: &Reply) {
        call.ended = Some(Instant::now());
        if let Reply::Send(response) | Reply::Cut(response) = reply {
            call.status = response.status.as_u16();
            call.error_code = response.error_code();
        }
        tracing::debug!(call = call.name(), status = call.status, error = call.error_code, "AWS call");
        let mut recorded = locked(&self.calls);
        // Not there if the calls were taken while this one was under way.
        if let Some(index) = call.number.checked_sub(recorded.first)
            && let Some(slot) = recorded.calls.get_mut(index)
        {
            *slot = call;
        }
    }
}

/// How far a call came.
struct Passed {
    /// What to forward, unless a rule answered.
    request: Option<Request>,
    /// How many rules see the answer.
    skins: usize,
    reply: Reply,
}

async fn before(rules: &[Arc<dyn Rule>], call: &Call, ask: &Ask, mut request: Request) -> Passed {
    for (skins, rule) in rules.iter().enumerate() {
        let reply = match rule.before(call, ask).await {
            Decision::Forward => continue,
            Decision::Rewrite(other) => {
                request = *other;
                continue;
            }
            Decision::Respond(response) => Reply::Send(response),
            Decision::Drop => Reply::Drop,
        };
        return Passed { request: None, skins, reply };
    }
    Passed { request: Some(request), skins: rules.len(), reply: Reply::Drop }
}

async fn after(rules: &[Arc<dyn Rule>], call: &Call, mut reply: Reply, ask: &Ask) -> Reply {
    for rule in rules.iter().rev() {
        reply = match reply {
            Reply::Send(response) => rule.after(call, response, ask).await,
            Reply::Drop | Reply::Cut(_) => return reply,
        };
    }
    reply
}

/// An unsigned request that is not for STS is one for an S3 object, as is a presigned one that says so: with
/// a signature in its headers, moto cannot take it for another service (its Cognito routes catch
/// `/.well-known/openid-configuration`).
fn signed(mut request: Request, call: &Call) -> Request {
    if !request.headers.contains_key(AUTHORIZATION)
        && call.service == "s3"
        && !request.uri.path().starts_with("/moto-api")
        && let Ok(value) = HeaderValue::from_str(&fake_signature("us-east-1", "s3"))
    {
        request.headers.insert(AUTHORIZATION, value);
    }
    request
}

fn is_crash(response: &Response) -> bool {
    // The answer to a HEAD request has no body, nor has what a bucket's policy denies; moto calls all of
    // those HTML.
    let plain_miss = matches!(response.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
    response.is_html() && !response.status.is_success() && !(plain_miss && response.body.is_empty())
}

/// How often each call was made.
pub(crate) fn counts(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.name()).or_insert(0) += 1;
    }
    counts
}

/// A lock whose holder cannot have left things half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
