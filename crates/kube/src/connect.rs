//! The connection to an API server: how to reach it, whom it is proved to be, and who asks.
//!
//! Takes an [`Access`]; gives a [`Connection`], by which everything else in this crate asks. Nothing of the keys
//! is ever printed.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_pki::SecretText;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::error::{Cause, Error, ErrorKind};
use crate::event::{Event, Observer};
use crate::request::{Counters, MAX_IN_FLIGHT, Request};
use crate::retry::{self, Fault};

/// The name that a cluster's API server is known by in its certificate, wherever it is reached: kubeadm puts
/// it into each, so that tunnels, load balancers' names and bare addresses all work.
pub const SERVER_NAME: &str = "kubernetes.default.svc";

/// How long a connection may take to come about: across the world it takes less than one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`Connection::version`] may take as a whole: longer than one connection, short enough for a
/// preview of a cluster that is not there yet.
const VERSION_TIMEOUT: Duration = Duration::from_secs(8);

/// How long requests that fail for a passing reason are tried again: an API server that restarts is back
/// within half a minute.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked whether a server is ready: at first, and at most.
const READY_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long a server that is ready may take to allow something to who asks: kubeadm binds the group of
/// administrators a few seconds after the server is up.
const PERMISSION_GRACE: Duration = Duration::from_mins(1);

/// For how long a server that said that it is ready is believed what it says of rights: shorter than a restart takes,
/// long enough for all requests of one phase.
const CONFIRMED_FOR: Duration = Duration::from_secs(5);

/// How to reach an API server.
#[derive(Clone, Debug)]
pub enum Access {
    /// By the cluster's own keys.
    Cluster(ClusterAccess),
    /// By the current context of a kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
    },
}

/// How to reach a cluster by its own keys.
#[derive(Clone)]
pub struct ClusterAccess {
    /// `https://api.karlaru.com`, `https://127.0.0.1:6443`.
    pub server: String,
    /// Certificate of the only authority that the server's certificate is believed from; may be several.
    pub authority_pem: String,
    /// Certificate of the client.
    pub certificate_pem: String,
    /// Its key.
    pub private_key: SecretText,
}

impl fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAccess").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Says at any time whether anything may still be changed.
pub type Guard = Arc<dyn Fn() -> bool + Send + Sync>;

/// An API server that can be asked. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    pub(crate) client: Client,
    pub(crate) server: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    /// What may be on its way at once, clones counted in.
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) patience: Duration,
    /// Whether anything may still be changed; without it, it may.
    pub(crate) guard: Option<Guard>,
    /// When it said last, asked because of a doubt, that it is ready.
    confirmed: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Which Kubernetes a server is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// `v1.36.4`.
    pub git_version: String,
    /// `1`.
    pub major: u32,
    /// `36`.
    pub minor: u32,
}

/// How many requests were sent, tries counted each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// GET.
    pub reads: u64,
    /// Anything else with `dryRun=All`.
    pub dry_runs: u64,
    /// Anything else: what may change something.
    pub writes: u64,
}

impl Connection {
    /// Reads what `access` names; asks nobody yet.
    pub async fn open(access: &Access) -> Result<Self, Error> {
        let (config, what) = match access {
            Access::Cluster(cluster) => (cluster_config(cluster)?, "the cluster's keys".to_owned()),
            Access::Kubeconfig { path } => {
                let what = format!("the kubeconfig {}", path.display());
                let read = async {
                    let kubeconfig = Kubeconfig::read_from(path)?;
                    let asks_for_proxy = asks_for_proxy(&kubeconfig);
                    let config =
                        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
                    // The crate takes HTTPS_PROXY too, whatever NO_PROXY says, and none is supported here.
                    config.map(|mut config| {
                        config.proxy_url = config.proxy_url.filter(|_| asks_for_proxy);
                        config
                    })
                };
                let config = read.await.map_err(|error| Error::Access {
                    what: what.clone(),
                    reason: kubeconfig_fault(&error),
                })?;
                (config, what)
            }
        };
        Self::with(config, what)
    }

    fn with(mut config: Config, what: String) -> Result<Self, Error> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // One place decides what is tried again: crate::retry.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').into();
        // Takes aws-lc-rs as the process' provider of cryptography where none was chosen; the AWS SDK brings
        // its own and does not ask.
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| Error::Access { what, reason: client_fault(&error) })?;
        let seats = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        let (client, counters, confirmed) = (builder.build(), Arc::default(), Arc::default());
        Ok(Self { client, server, counters, seats, patience: PATIENCE, guard: None, confirmed })
    }

    /// From now on each try of each request that changes something asks `guard` first. Who works under a lock must not
    /// write any more once it is somebody else's, be it by a request that was sent before and is tried again.
    #[must_use]
    pub fn change_under(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// How long requests that fail for a passing reason are tried again: half a minute if not told.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where the server is.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How many requests were sent so far, by this connection and its clones.
    pub fn requests(&self) -> Requests {
        self.counters.read()
    }

    /// Asks the server who it is, within a few seconds: [`Error::Unreachable`] tells why not, and
    /// [`Error::Unauthorized`] that it does not know who asks. One that is busy is asked again meanwhile; no answer
    /// is an error at once.
    pub async fn version(&self) -> Result<Version, Error> {
        let request = Request::get("ask for the version", "/version");
        let answer = async {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.look(&request).await {
                    Err(fault @ Fault::Answer { .. }) if retry::passes(&fault, tries) => {
                        sleep(retry::pause(tries, &fault)).await;
                    }
                    answer => return answer,
                }
            }
        };
        let body = match tokio::time::timeout(VERSION_TIMEOUT, answer).await {
            Ok(Ok(body)) => body,
            Ok(Err(fault)) => return Err(self.error(&request, fault)),
            Err(_) => {
                return Err(Error::Unreachable {
                    server: self.server.to_string(),
                    cause: Cause::Timeout,
                    reason: String::new(),
                });
            }
        };
        let number = |field: &Value| {
            let digits: String =
                field.as_str().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        let read = || {
            let value: Value = serde_json::from_slice(&body).ok()?;
            Some(Version {
                git_version: value["gitVersion"].as_str()?.to_owned(),
                major: number(&value["major"])?,
                minor: number(&value["minor"])?,
            })
        };
        read().ok_or_else(|| Error::Answer {
            doing: "ask for the version".to_owned(),
            reason: "it names no version of Kubernetes".to_owned(),
        })
    }

    /// Waits until the server says that it is ready, and gives its version. Only what waiting can mend is
    /// waited for: a client certificate that it does not accept is an error at once, and so is a server that
    /// is another one.
    pub async fn wait_ready(&self, timeout: Duration, on_event: &Observer<'_>) -> Result<Version, Error> {
        let begin = Instant::now();
        let mut pause = READY_PAUSE.0;
        let mut ready_since = None;
        loop {
            let state = tokio::time::timeout(VERSION_TIMEOUT, self.readiness()).await;
            let state = state.unwrap_or(Readiness::Unreachable(Cause::Timeout, String::new()));
            let waited = begin.elapsed();
            let last = match state {
                Readiness::Ready(version) => {
                    on_event(Event::ServerReady);
                    return Ok(version);
                }
                Readiness::Hopeless(error) => return Err(error),
                Readiness::Unreachable(cause, reason) => {
                    ready_since = None;
                    let reason =
                        if reason.is_empty() { cause.to_string() } else { format!("{cause}: {reason}") };
                    on_event(Event::NotReachable { reason: reason.clone(), waited });
                    reason
                }
                Readiness::NotYet(checks) => {
                    ready_since = None;
                    let last = checks.join(", ");
                    on_event(Event::ServerNotReady { checks, waited });
                    last
                }
                Readiness::NotAllowed => {
                    // What is missing is named by the request that needs it.
                    if ready_since.get_or_insert_with(Instant::now).elapsed() > PERMISSION_GRACE {
                        on_event(Event::ServerReady);
                        return self.version().await;
                    }
                    let checks = vec!["nobody has given this user its rights yet".to_owned()];
                    let last = checks.join(", ");
                    on_event(Event::ServerNotReady { checks, waited });
                    last
                }
            };
            if begin.elapsed() + pause > timeout {
                let what = format!("the API server {} to be ready", self.server);
                return Err(Error::Timeout { what, after: timeout, last });
            }
            sleep(pause).await;
            pause = (pause * 2).min(READY_PAUSE.1);
        }
    }

    /// Whether what a server said of rights, to a request of that time, may be its youth: after a start it serves for
    /// some seconds before it has read its roles. It is asked whether it is ready, and believed once it was.
    pub(crate) async fn doubts(&self, sent: Instant) -> bool {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_confirmed = confirmed.is_some_and(|at| at <= sent && sent.duration_since(at) < CONFIRMED_FOR);
        if is_confirmed {
            return false;
        }
        let state = tokio::time::timeout(VERSION_TIMEOUT, self.readiness()).await;
        if matches!(state, Ok(Readiness::Ready(_) | Readiness::NotAllowed)) {
            *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        true
    }

    async fn readiness(&self) -> Readiness {
        let ready = Request::get("ask whether it is ready", "/readyz?verbose");
        let mut may_ask = true;
        match self.look(&ready).await {
            Ok(_) => {}
            // Before its own roles are there, a server forbids even to ask how it is; some do so for good.
            Err(Fault::Answer { status: 403, .. }) => may_ask = false,
            Err(Fault::Connection { cause: Cause::Tls, reason }) => {
                return Readiness::Hopeless(Error::Unreachable {
                    server: self.server.to_string(),
                    cause: Cause::Tls,
                    reason,
                });
            }
            Err(Fault::Connection { cause, reason }) => return Readiness::Unreachable(cause, reason),
            Err(fault @ Fault::Answer { status: 401, .. }) => {
                return Readiness::Hopeless(self.error(&ready, fault));
            }
            Err(Fault::Answer { body, .. }) => return Readiness::NotYet(failed_checks(&body)),
        }
        // By now everybody who may do anything may see this one.
        let system = Request::get("look for kube-system", "/api/v1/namespaces/kube-system");
        match self.look(&system).await {
            Ok(_) => match self.version().await {
                Ok(version) => Readiness::Ready(version),
                // It was there a moment ago.
                Err(Error::Unreachable { cause, reason, .. }) => Readiness::Unreachable(cause, reason),
                Err(error) if error.kind() == ErrorKind::Server => {
                    Readiness::NotYet(vec!["version".to_owned()])
                }
                Err(error) => Readiness::Hopeless(error),
            },
            Err(Fault::Connection { cause, reason }) => Readiness::Unreachable(cause, reason),
            Err(Fault::Answer { status: 404, .. }) => {
                Readiness::NotYet(vec!["namespace kube-system".to_owned()])
            }
            Err(Fault::Answer { status: 403, .. }) if may_ask => Readiness::NotAllowed,
            Err(Fault::Answer { status: 403, .. }) => {
                Readiness::NotYet(vec!["it forbids even to ask whether it is ready".to_owned()])
            }
            Err(Fault::Answer { status, .. }) => Readiness::NotYet(vec![format!("status {status}")]),
        }
    }
}

enum Readiness {
    Ready(Version),
    /// It says which of its checks failed.
    NotYet(Vec<String>),
    /// It is ready, and forbids.
    NotAllowed,
    Unreachable(Cause, String),
    /// Waiting does not help.
    Hopeless(Error),
}

/// The names in the lines `[-]etcd failed: reason withheld`.
fn failed_checks(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter_map(|line| line.strip_prefix("[-]"));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Whether the cluster of the current context is to be reached through a proxy.
fn asks_for_proxy(kubeconfig: &Kubeconfig) -> bool {
    let context =
        kubeconfig.contexts.iter().find(|one| Some(&one.name) == kubeconfig.current_context.as_ref());
    let Some(context) = context.and_then(|named| named.context.as_ref()) else { return false };
    let cluster = kubeconfig.clusters.iter().find(|one| one.name == context.cluster);
    cluster.and_then(|named| named.cluster.as_ref()).is_some_and(|cluster| cluster.proxy_url.is_some())
}

fn cluster_config(access: &ClusterAccess) -> Result<Config, Error> {
    let ClusterAccess { server, authority_pem, certificate_pem, private_key } = access;
    let fault = |what: &str, reason: &str| Error::Access { what: what.to_owned(), reason: reason.to_owned() };
    let url: hyper::Uri =
        server.parse().map_err(|_| fault(&format!("the address {server}"), "it is not a URL"))?;
    if url.scheme_str() != Some("https") || url.host().is_none_or(str::is_empty) {
        return Err(fault(
            &format!("the address {server}"),
            "it is not `https://`, a host, and perhaps a port",
        ));
    }
    let authorities = certificates(authority_pem)
        .filter(|all| !all.is_empty())
        .ok_or_else(|| fault("the cluster's authority", "it is not a PEM certificate"))?;
    let mut config = Config::new(url);
    config.root_cert = Some(authorities);
    config.tls_server_name = Some(SERVER_NAME.to_owned());
    // The crate's type for secrets is made by reading it.
    config.auth_info = serde_json::from_value::<AuthInfo>(json!({
        "client-certificate-data": STANDARD.encode(certificate_pem),
        "client-key-data": STANDARD.encode(private_key.reveal()),
    }))
    .map_err(|_| fault("the client's key", "it cannot be read"))?;
    Ok(config)
}

fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.ok().map(|der| der.to_vec())).collect()
}

/// The crate's words for a bad kubeconfig, without those that repeat pieces of the file.
fn kubeconfig_fault(error: &kube::config::KubeconfigError) -> String {
    use kube::config::KubeconfigError as Fault;
    match error {
        Fault::CurrentContextNotSet => "it names no current context".to_owned(),
        Fault::ReadConfig(source, _) => source.to_string(),
        Fault::Parse(_) => "it is not a kubeconfig in YAML".to_owned(),
        Fault::LoadContext(name) => format!("it has no context `{name}`"),
        Fault::LoadClusterOfContext(name) => format!("it has no cluster `{name}`"),
        Fault::MissingClusterUrl => "its cluster has no server".to_owned(),
        Fault::LoadCertificateAuthority(_) | Fault::ParseCertificates(_) => {
            "its certificate authority cannot be read".to_owned()
        }
        Fault::LoadClientCertificate(_) => "its client certificate cannot be read".to_owned(),
        Fault::LoadClientKey(_) => "its client key cannot be read".to_owned(),
        _ => "something in it cannot be used".to_owned(),
    }
}

fn client_fault(error: &kube::Error) -> String {
    match error {
        kube::Error::RustlsTls(_) | kube::Error::InferKubeconfig(_) => {
            "its certificates or keys cannot be used".to_owned()
        }
        kube::Error::ProxyProtocolDisabled { .. } | kube::Error::ProxyProtocolUnsupported { .. } => {
            "it asks for a proxy, which is not supported".to_owned()
        }
        kube::Error::Auth(_) => "who asks cannot be made out of it".to_owned(),
        _ => "no connection can be made of it".to_owned(),
    }
}
