//! The instance metadata service of one EC2 machine, on loopback.
//!
//! Takes what the machine is ([`Instance`]); answers as version 2 of the service does: a token is got by PUT
//! with the time it shall live, and every GET shows it. What AWS refuses is refused (AWS documentation, "Use
//! the Instance Metadata Service to access instance metadata"): no token, an old one, a time out of bounds,
//! a request that a proxy passed on. [`Mode`] makes it one that is turned off, that knows version 1 only, or
//! whose tokens never arrive because a hop lies between.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, Instant};

use crate::error::Error;
use crate::front::runtime;

const TOKEN_PATH: &str = "/latest/api/token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Six hours, the longest that a token may live.
const LONGEST_TTL: u64 = 21_600;

/// What a machine is told of itself.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `i-…`.
    pub instance_id: String,
    /// `t3.small`.
    pub instance_type: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Its image.
    pub image_id: String,
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its zone.
    pub zone: String,
    /// Its address inside the VPC.
    pub private_ip: Ipv4Addr,
    /// Its name inside the VPC.
    pub private_name: String,
    /// Its address on the Internet; `None` where it has none.
    pub public_ip: Option<Ipv4Addr>,
    /// The role of its instance profile; `None` where it has none.
    pub role: Option<String>,
    /// Its tags; `None` where the launch template does not show them in the metadata.
    pub tags: Option<BTreeMap<String, String>>,
    /// What it runs first.
    pub user_data: Option<String>,
}

impl Instance {
    /// A t3.small in eu-north-1 with a role, which shows no tags.
    pub fn new(instance_id: &str, role: &str) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            instance_type: "t3.small".to_owned(),
            architecture: "x86_64".to_owned(),
            image_id: "ami-0123456789abcdef0".to_owned(),
            account: "123456789012".to_owned(),
            region: "eu-north-1".to_owned(),
            zone: "eu-north-1a".to_owned(),
            private_ip: Ipv4Addr::new(172, 20, 32, 7),
            private_name: "ip-172-20-32-7.eu-north-1.compute.internal".to_owned(),
            public_ip: None,
            role: Some(role.to_owned()),
            tags: None,
            user_data: None,
        }
    }
}

/// How the service behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Version 2, and nothing without a token.
    #[default]
    V2,
    /// It knows nothing of tokens.
    V1Only,
    /// It is turned off for this machine.
    Disabled,
    /// A hop lies between, as for a container where the hop limit is 1: the answer to PUT never arrives.
    HopLimit,
}

/// A running service; gone when dropped.
pub struct Imds {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

struct State {
    instance: Instance,
    mode: Mode,
    /// Until when each token is good.
    tokens: BTreeMap<String, Instant>,
    tokens_made: u64,
    credentials_expire: String,
    /// How many more times the role cannot be assumed.
    not_assumed: u32,
    spot_action: Option<String>,
    rebalance: Option<String>,
    events: Vec<Value>,
    lifecycle: String,
    requests: Vec<String>,
}

impl Imds {
    /// Starts it on a free port.
    pub fn start(instance: Instance) -> Result<Self, Error> {
        let runtime = runtime()?;
        let bind = || -> io::Result<(TcpListener, SocketAddr)> {
            let _entered = runtime.enter();
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((TcpListener::from_std(listener)?, address))
        };
        let (listener, address) = bind().map_err(|source| Error::Front { source })?;
        let state = Arc::new(Mutex::new(State {
            instance,
            mode: Mode::V2,
            tokens: BTreeMap::new(),
            tokens_made: 0,
            credentials_expire: "2099-01-01T00:00:00Z".to_owned(),
            not_assumed: 0,
            spot_action: None,
            rebalance: None,
            events: Vec::new(),
            lifecycle: "InService".to_owned(),
            requests: Vec::new(),
        }));
        let task = runtime.spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { address, state, task })
    }

    /// Where it answers: `http://127.0.0.1:…`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it behaves.
    pub fn set_mode(&self, mode: Mode) {
        self.state().mode = mode;
    }

    /// Changes what the machine is.
    pub fn set_instance(&self, instance: Instance) {
        self.state().instance = instance;
    }

    /// Ends all tokens that were given out.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Until when the role's credentials are good, in RFC 3339.
    pub fn set_credentials_expiry(&self, at: &str) {
        at.clone_into(&mut self.state().credentials_expire);
    }

    /// EC2 may not assume the role the next times: IAM has not spread what it trusts yet.
    pub fn refuse_role(&self, times: u32) {
        self.state().not_assumed = times;
    }

    /// Announces that the spot market takes the machine back: `terminate` at this time (RFC 3339).
    pub fn interrupt(&self, at: &str) {
        self.state().spot_action = Some(json!({"action": "terminate", "time": at}).to_string());
    }

    /// Recommends to leave the machine, as of this time (RFC 3339).
    pub fn recommend_rebalance(&self, at: &str) {
        self.state().rebalance = Some(json!({"noticeTime": at}).to_string());
    }

    /// Takes all announcements back.
    pub fn calm(&self) {
        let mut state = self.state();
        (state.spot_action, state.rebalance) = (None, None);
        state.events.clear();
        "InService".clone_into(&mut state.lifecycle);
    }

    /// Announces an event of the hardware: `instance-retirement`, not before this time, which is spelled as in
    /// `21 Jan 2019 09:00:43 GMT`.
    pub fn schedule(&self, code: &str, not_before: &str) {
        let mut state = self.state();
        let number = state.events.len() + 1;
        state.events.push(json!({
            "NotBefore": not_before,
            "Code": code,
            "Description": format!("The instance is scheduled for {code}"),
            "EventId": format!("instance-event-{number:017x}"),
            "NotAfter": not_before,
            "State": "active",
        }));
    }

    /// What the machine's auto scaling group wants of it: `Terminated`.
    pub fn set_lifecycle(&self, state: &str) {
        state.clone_into(&mut self.state().lifecycle);
    }

    /// Every request so far, as `GET /latest/user-data`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&state)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let answer = locked(&state).answer(&request);
            let Some((status, body)) = answer else { return std::future::pending().await };
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the metadata service ended early");
    }
}

type Answer = (StatusCode, String);

/// In the place of credentials, with status 200.
fn not_assumed(role: &str) -> String {
    let document = json!({
        "Code": "AssumeRoleUnauthorizedAccess",
        "Message": format!("EC2 cannot assume the role {role}. It is not authorized to assume it."),
        "LastUpdated": "2026-01-01T00:00:00Z",
    });
    format!("{document:#}")
}

fn refused(status: StatusCode) -> Answer {
    (status, String::new())
}

impl State {
    /// Nothing means that no answer ever arrives.
    fn answer<B>(&mut self, request: &Request<B>) -> Option<Answer> {
        let path = request.uri().path().to_owned();
        self.requests.push(format!("{} {path}", request.method()));
        if self.mode == Mode::Disabled {
            return Some(refused(StatusCode::FORBIDDEN));
        }
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if request.method() == Method::PUT && path == TOKEN_PATH {
            return match self.mode {
                Mode::HopLimit => None,
                Mode::V1Only => Some(refused(StatusCode::NOT_FOUND)),
                Mode::V2 | Mode::Disabled => {
                    Some(self.token(header(TTL), header("x-forwarded-for").is_some()))
                }
            };
        }
        if request.method() != Method::GET {
            return Some(refused(StatusCode::METHOD_NOT_ALLOWED));
        }
        let known = || {
            let now = Instant::now();
            header(TOKEN).and_then(|token| self.tokens.get(token)).is_some_and(|until| *until > now)
        };
        if self.mode != Mode::V1Only && !known() {
            return Some(refused(StatusCode::UNAUTHORIZED));
        }
        Some(self.data(&path).map_or_else(|| refused(StatusCode::NOT_FOUND), |text| (StatusCode::OK, text)))
    }

    fn token(&mut self, ttl: Option<&str>, forwarded: bool) -> Answer {
        if forwarded {
            return refused(StatusCode::FORBIDDEN);
        }
        let ttl = ttl.and_then(|ttl| ttl.parse().ok()).filter(|ttl| (1..=LONGEST_TTL).contains(ttl));
        let Some(ttl) = ttl else { return refused(StatusCode::BAD_REQUEST) };
        self.tokens_made += 1;
        let token = format!("AQAE-token-{}==", self.tokens_made);
        self.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(ttl));
        (StatusCode::OK, token)
    }

    fn data(&mut self, path: &str) -> Option<String> {
        let instance = &self.instance;
        if let Some(tag) = path.strip_prefix("/latest/meta-data/tags/instance") {
            let tags = instance.tags.as_ref()?;
            let key = percent_encoding::percent_decode_str(tag.trim_start_matches('/')).decode_utf8().ok()?;
            return match key.as_ref() {
                "" => Some(tags.keys().map(String::as_str).collect::<Vec<_>>().join("\n")),
                key => tags.get(key).cloned(),
            };
        }
        if let Some(role) = path.strip_prefix("/latest/meta-data/iam/security-credentials") {
            let own = instance.role.as_ref()?;
            return match role.trim_start_matches('/') {
                "" => Some(own.clone()),
                role if role != own => None,
                _ if self.not_assumed > 0 => {
                    let refusal = not_assumed(own);
                    self.not_assumed -= 1;
                    Some(refusal)
                }
                _ => Some(self.credentials()),
            };
        }
        match path {
            "/latest/dynamic/instance-identity/document" => Some(self.identity()),
            "/latest/user-data" => instance.user_data.clone(),
            "/latest/meta-data/instance-id" => Some(instance.instance_id.clone()),
            "/latest/meta-data/instance-type" => Some(instance.instance_type.clone()),
            "/latest/meta-data/local-ipv4" => Some(instance.private_ip.to_string()),
            "/latest/meta-data/public-ipv4" => instance.public_ip.map(|address| address.to_string()),
            "/latest/meta-data/local-hostname" => Some(instance.private_name.clone()),
            "/latest/meta-data/placement/region" => Some(instance.region.clone()),
            "/latest/meta-data/placement/availability-zone" => Some(instance.zone.clone()),
            "/latest/meta-data/spot/instance-action" => self.spot_action.clone(),
            "/latest/meta-data/events/recommendations/rebalance" => self.rebalance.clone(),
            "/latest/meta-data/events/maintenance/scheduled" => Some(json!(self.events).to_string()),
            "/latest/meta-data/autoscaling/target-lifecycle-state" => Some(self.lifecycle.clone()),
            _ => None,
        }
    }

    fn identity(&self) -> String {
        let instance = &self.instance;
        let document = json!({
            "accountId": instance.account,
            "architecture": instance.architecture,
            "availabilityZone": instance.zone,
            "billingProducts": null,
            "devpayProductCodes": null,
            "imageId": instance.image_id,
            "instanceId": instance.instance_id,
            "instanceType": instance.instance_type,
            "kernelId": null,
            "marketplaceProductCodes": null,
            "pendingTime": "2026-01-01T00:00:00Z",
            "privateIp": instance.private_ip.to_string(),
            "ramdiskId": null,
            "region": instance.region,
            "version": "2017-09-30",
        });
        format!("{document:#}")
    }

    fn credentials(&self) -> String {
        let document = json!({
            "Code": "Success",
            "LastUpdated": "2026-01-01T00:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIAINSTANCEROLE0000",
            "SecretAccessKey": "instance-role-secret",
            "Token": "instance-role-session",
            "Expiration": self.credentials_expire,
        });
        format!("{document:#}")
    }
}
