//! [`ApiServer`]: kube-apiserver on an etcd of its own, with the keys of one cluster.
//!
//! Takes a folder of keys and certificates in kubeadm's layout; gives a server that is ready. Flags are
//! those that kubeadm gives, but for what cannot be on a machine without a network of nodes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::kubectl;
use super::pki::Pki;
use super::process::{BETWEEN_ASKS, Process};
use super::programs::{Programs, absolute, file, programs};
use crate::error::Error;
use crate::moto::cache_folder;
use crate::world::Run;

/// How often another free port is tried when somebody took it between our choice and its use.
const PORT_TRIES: u32 = 3;

/// Old logs are of no use; one working day is what somebody may still want to look at.
const KEEP_LOGS: Duration = Duration::from_hours(24);

/// What an API server is started with.
#[derive(Debug, Clone)]
pub struct ApiServerConfig {
    /// Folder of keys and certificates in kubeadm's layout. It must have:
    ///
    /// - `ca.crt`: who signs client certificates,
    /// - `apiserver.crt`, `apiserver.key`: valid for the address 127.0.0.1, signed by `ca.crt`,
    /// - `sa.key`: signs tokens of service accounts,
    /// - `sa.pub`: all public keys that such tokens are trusted by, one PEM block after the other.
    ///
    /// What it may have, and is used if it is there:
    ///
    /// - `apiserver-kubelet-client.crt` and `.key`,
    /// - `front-proxy-ca.crt`, `front-proxy-client.crt` and `.key`: extension API servers,
    /// - `etcd/ca.crt`, `etcd/server.crt` and `.key` (for 127.0.0.1), `apiserver-etcd-client.crt` and
    ///   `.key`: with all five etcd speaks TLS and asks for the client certificate, otherwise plain HTTP,
    /// - `ca.key`: the controller manager signs certificate requests with it.
    pub pki: PathBuf,
    /// `iss` of the tokens of service accounts.
    pub service_account_issuer: String,
    /// `aud` of those that are not asked for another one, and accepted by the server; empty: the issuer.
    pub api_audiences: Vec<String>,
    /// Addresses of services.
    pub service_cluster_ip_range: String,
    /// Port on 127.0.0.1; 0 for any free one.
    pub port: u16,
    /// More flags of kube-apiserver, after ours; of two that are the same it takes the later one.
    pub extra_args: Vec<String>,
    /// Runs kube-controller-manager too: it makes the service account `default` of each namespace (no pod can
    /// be made without one), pods of daemon sets, and collects garbage. Without it nothing happens in the
    /// cluster but what is asked for.
    pub controller_manager: Option<ComponentConfig>,
    /// Runs kube-scheduler too: without it no pod gets a machine.
    pub scheduler: Option<ComponentConfig>,
    /// How long each program may take until it is ready.
    pub timeout: Duration,
}

/// How kube-controller-manager or kube-scheduler is started.
#[derive(Debug, Clone)]
pub struct ComponentConfig {
    /// A kubeconfig whose user is `system:` and the program's name, or an administrator. The server that it
    /// names is of no account, its certificate authority is.
    pub kubeconfig: PathBuf,
    /// More flags, after ours.
    pub extra_args: Vec<String>,
}

impl ComponentConfig {
    /// With no more flags.
    #[must_use]
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kubeconfig: kubeconfig.into(), extra_args: Vec::new() }
    }
}

impl ApiServerConfig {
    /// The usual one: services in kOps' default range, neither controller manager nor scheduler.
    #[must_use]
    pub fn new(pki: impl Into<PathBuf>, service_account_issuer: impl Into<String>) -> Self {
        Self {
            pki: pki.into(),
            service_account_issuer: service_account_issuer.into(),
            api_audiences: Vec::new(),
            service_cluster_ip_range: "100.64.0.0/13".to_owned(),
            port: 0,
            extra_args: Vec::new(),
            controller_manager: None,
            scheduler: None,
            // Six seconds on an idle machine; tests run beside compilers.
            timeout: Duration::from_mins(2),
        }
    }

    /// Likewise, with a controller manager that uses this kubeconfig.
    #[must_use]
    pub fn with_controller_manager(mut self, kubeconfig: impl Into<PathBuf>) -> Self {
        self.controller_manager = Some(ComponentConfig::new(kubeconfig));
        self
    }

    /// Likewise, with a scheduler.
    #[must_use]
    pub fn with_scheduler(mut self, kubeconfig: impl Into<PathBuf>) -> Self {
        self.scheduler = Some(ComponentConfig::new(kubeconfig));
        self
    }

    /// All that a control plane has: with controller manager and scheduler, each with a certificate of its own.
    pub fn control_plane(pki: &Pki, service_account_issuer: impl Into<String>) -> Result<Self, Error> {
        Ok(Self::new(pki.folder(), service_account_issuer)
            .with_controller_manager(pki.kubeconfig("system:kube-controller-manager")?)
            .with_scheduler(pki.kubeconfig("system:kube-scheduler")?))
    }
}

/// A running API server; gone, with all that it knew, when dropped.
#[derive(Debug)]
pub struct ApiServer {
    // Dropped in this order, so that none misses the one that it talks to.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    server: Option<Process>,
    etcd: Process,
    config: ApiServerConfig,
    arguments: Vec<String>,
    port: u16,
    programs: Programs,
    logs: PathBuf,
    /// Whether the last start went well: an error names a log, which must then be there to be read.
    well: bool,
    home: tempfile::TempDir,
}

impl ApiServer {
    /// Starts one and waits until it is ready. The first on a machine may have to build Kubernetes first:
    /// [`programs`].
    pub fn start(mut config: ApiServerConfig) -> Result<Self, Error> {
        config.pki = absolute(&config.pki)?;
        for component in [&mut config.controller_manager, &mut config.scheduler].into_iter().flatten() {
            component.kubeconfig = absolute(&component.kubeconfig)?;
        }
        let programs = programs()?;
        for name in ["ca.crt", "apiserver.crt", "apiserver.key", "sa.key", "sa.pub"] {
            let path = config.pki.join(name);
            fs::metadata(&path).map_err(file("find", &path))?;
        }
        let mut tries = 1;
        loop {
            let started = Self::start_once(&programs, &config);
            match started {
                Err(Error::KubernetesStart { ref tail, .. })
                    if tail.contains("address already in use") && config.port == 0 && tries < PORT_TRIES =>
                {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    fn start_once(programs: &Programs, config: &ApiServerConfig) -> Result<Self, Error> {
        let home = tempfile::tempdir().map_err(file("create", &std::env::temp_dir()))?;
        let logs = new_logs(&cache_folder()?)?;
        let [port, etcd_port, peer_port, metrics_port, scheduler_port] = free_ports()?;
        let port = if config.port == 0 { port } else { config.port };
        let tls = EtcdFiles::of(&config.pki);

        let arguments = etcd_arguments(tls.as_ref(), home.path(), etcd_port, peer_port, metrics_port);
        let mut etcd = Process::start(programs, "etcd", &arguments, home.path(), &logs)?;
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, metrics_port));
        etcd.wait_until(config.timeout, || etcd_health(health))?;

        let arguments = api_server_arguments(config, tls.as_ref(), home.path(), port, etcd_port);
        let mut server = Self {
            scheduler: None,
            controller_manager: None,
            server: None,
            etcd,
            config: config.clone(),
            arguments,
            port,
            programs: programs.clone(),
            logs,
            well: false,
            home,
        };
        server.start_api_server()?;
        server.start_scheduler(scheduler_port)?;
        server.start_controller_manager()?;
        server.await_scheduler(scheduler_port)?;
        server.well = true;
        Ok(server)
    }

    fn start_api_server(&mut self) -> Result<(), Error> {
        let mut process =
            Process::start(&self.programs, "kube-apiserver", &self.arguments, self.home.path(), &self.logs)?;
        process.wait_until(self.config.timeout, || self.readiness())?;
        self.server = Some(process);
        Ok(())
    }

    fn start_controller_manager(&mut self) -> Result<(), Error> {
        let Some(config) = &self.config.controller_manager else { return Ok(()) };
        let arguments = controller_manager_arguments(config, &self.config, &self.url());
        let name = "kube-controller-manager";
        let mut process = Process::start(&self.programs, name, &arguments, self.home.path(), &self.logs)?;
        // It has begun to work when the first thing that only it makes is there.
        let kubeconfig = format!("--kubeconfig={}", config.kubeconfig.display());
        let server = format!("--server={}", self.url());
        let asked = [&kubeconfig, &server, "--namespace=default", "get", "serviceaccount", "default"];
        process.wait_until(self.config.timeout, || ask(&self.programs, &asked))?;
        self.controller_manager = Some(process);
        Ok(())
    }

    fn start_scheduler(&mut self, port: u16) -> Result<(), Error> {
        let Some(config) = &self.config.scheduler else { return Ok(()) };
        let arguments = scheduler_arguments(config, &self.url(), self.home.path(), port);
        let name = "kube-scheduler";
        self.scheduler =
            Some(Process::start(&self.programs, name, &arguments, self.home.path(), &self.logs)?);
        Ok(())
    }

    /// Apart from its start, so that it starts beside the controller manager.
    fn await_scheduler(&mut self, port: u16) -> Result<(), Error> {
        let Some(process) = &mut self.scheduler else { return Ok(()) };
        let server = format!("--server=https://127.0.0.1:{port}");
        // Its certificate is of its own making, and everybody may ask.
        let asked =
            [&server, "--insecure-skip-tls-verify", "--username=anybody", "--request-timeout=5s", "get"];
        let asked = [&asked[..], &["--raw=/readyz"]].concat();
        process.wait_until(self.config.timeout, || ask(&self.programs, &asked))
    }

    /// What `/readyz` says, by the server's own certificate.
    fn readiness(&self) -> Result<(), String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        // kubectl costs more than a connection, and there is none for the first seconds.
        TcpStream::connect(address).map_err(|error| error.to_string())?;
        let pki = &self.config.pki;
        let server = format!("--server={}", self.url());
        let authority = format!("--certificate-authority={}", pki.join("ca.crt").display());
        let mut args = vec![server.as_str(), &authority, "--request-timeout=5s", "get", "--raw=/readyz"];
        // Anybody may ask, unless a flag forbids it to those without a name.
        let (certificate, key) = (pki.join(KUBELET_CLIENT.0), pki.join(KUBELET_CLIENT.1));
        let named = certificate.is_file() && key.is_file();
        let certificate = format!("--client-certificate={}", certificate.display());
        let key = format!("--client-key={}", key.display());
        if named {
            args.extend([certificate.as_str(), &key]);
        } else {
            // Without any user kubectl would ask for one; the server takes no names without certificates.
            args.push("--username=anybody");
        }
        ask(&self.programs, &args)
    }

    /// Where it is: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The programs that it was started from.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Folder of the logs, one file per program. It is removed with the server, unless a test fails.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Process ids of what runs, by program.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let own = [
            ("etcd", Some(&self.etcd)),
            ("kube-apiserver", self.server.as_ref()),
            ("kube-controller-manager", self.controller_manager.as_ref()),
            ("kube-scheduler", self.scheduler.as_ref()),
        ];
        own.into_iter().filter_map(|(name, process)| Some((name, process?.id()))).collect()
    }

    /// A kubeconfig for this server, with paths to `ca.crt` and to a client certificate, as the file `name`
    /// in the server's own folder.
    pub fn write_kubeconfig(&self, name: &str, certificate: &Path, key: &Path) -> Result<PathBuf, Error> {
        let path = self.home.path().join(name);
        kubectl::write_kubeconfig(&path, &self.url(), &self.config.pki.join("ca.crt"), certificate, key)?;
        Ok(path)
    }

    /// A kubeconfig for this server of whoever has a certificate of these keys, in the server's own folder.
    pub fn kubeconfig(&self, pki: &Pki, user: &str, group: Option<&str>) -> Result<PathBuf, Error> {
        let client = pki.client(user, group)?;
        self.write_kubeconfig(&format!("{}.conf", user.replace(':', "-")), &client.certificate, &client.key)
    }

    /// Likewise, of somebody who may do everything: kubeadm's emergency exit.
    pub fn admin(&self, pki: &Pki) -> Result<PathBuf, Error> {
        self.kubeconfig(pki, "kubernetes-super-admin", Some("system:masters"))
    }

    /// How long whatever is waited for may take.
    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Runs kubectl again and again until its run is as wanted, and gives that one. For what `kubectl wait` and
    /// `kubectl rollout status` have no word for.
    pub fn until(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        wanted: impl Fn(&Run) -> bool,
    ) -> Result<Run, Error> {
        let begun = Instant::now();
        loop {
            let run = self.kubectl(kubeconfig, args)?;
            if wanted(&run) {
                return Ok(run);
            }
            if begun.elapsed() > self.config.timeout {
                let seconds = self.config.timeout.as_secs();
                return Err(Error::KubernetesWait { asked: args.join(" "), seconds, last: run.all() });
            }
            thread::sleep(BETWEEN_ASKS);
        }
    }

    /// Runs kubectl with `args` as the user of `kubeconfig`, against this server, whichever that file names.
    pub fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> Result<Run, Error> {
        self.kubectl_reads(kubeconfig, args, "")
    }

    /// Likewise, with `input` on its standard input.
    pub fn kubectl_reads(&self, kubeconfig: &Path, args: &[&str], input: &str) -> Result<Run, Error> {
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let server = format!("--server={}", self.url());
        kubectl::run(&self.programs, &[&[kubeconfig.as_str(), &server], args].concat(), input)
    }

    /// Kills the API server and leaves etcd: it dies midway.
    pub fn kill_api_server(&mut self) {
        self.server = None;
    }

    /// Starts it again, on the same port and with all that it knew, and waits until it is ready.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill_api_server();
        self.well = false;
        self.start_api_server()?;
        self.well = true;
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // Nobody needs the logs of a server that ended well.
        if self.well && !thread::panicking() {
            drop(fs::remove_dir_all(&self.logs));
        }
    }
}

const KUBELET_CLIENT: (&str, &str) = ("apiserver-kubelet-client.crt", "apiserver-kubelet-client.key");

/// The files with which etcd and its client know each other.
#[derive(Debug)]
struct EtcdFiles {
    authority: PathBuf,
    server: (PathBuf, PathBuf),
    client: (PathBuf, PathBuf),
}

impl EtcdFiles {
    fn of(pki: &Path) -> Option<Self> {
        let found = |name: &str| Some(pki.join(name)).filter(|path| path.is_file());
        Some(Self {
            authority: found("etcd/ca.crt")?,
            server: (found("etcd/server.crt")?, found("etcd/server.key")?),
            client: (found("apiserver-etcd-client.crt")?, found("apiserver-etcd-client.key")?),
        })
    }
}

fn etcd_arguments(
    tls: Option<&EtcdFiles>,
    home: &Path,
    port: u16,
    peer_port: u16,
    metrics_port: u16,
) -> Vec<String> {
    let client = etcd_url(tls, port);
    let peer = format!("http://127.0.0.1:{peer_port}");
    let mut arguments = vec![
        "--name=default".to_owned(),
        path_flag("data-dir", &home.join("etcd")),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        format!("--initial-cluster=default={peer}"),
        // Health is told here without a certificate.
        flag("listen-metrics-urls", &format!("http://127.0.0.1:{metrics_port}")),
        // What is lost with the machine was a test.
        "--unsafe-no-fsync".to_owned(),
    ];
    if let Some(tls) = tls {
        arguments.extend([
            path_flag("cert-file", &tls.server.0),
            path_flag("key-file", &tls.server.1),
            path_flag("trusted-ca-file", &tls.authority),
            "--client-cert-auth".to_owned(),
        ]);
    }
    arguments
}

fn api_server_arguments(
    config: &ApiServerConfig,
    tls: Option<&EtcdFiles>,
    home: &Path,
    port: u16,
    etcd_port: u16,
) -> Vec<String> {
    let pki = &config.pki;
    let audiences = if config.api_audiences.is_empty() {
        config.service_account_issuer.clone()
    } else {
        config.api_audiences.join(",")
    };
    let mut arguments = vec![
        "--bind-address=127.0.0.1".to_owned(),
        flag("secure-port", &port.to_string()),
        // The service `kubernetes` can have no endpoint on loopback, so it gets none.
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--enable-bootstrap-token-auth=true".to_owned(),
        // Stand-in kubelets answer under this one alone; an address in a VPC would be asked in vain for long.
        "--kubelet-preferred-address-types=ExternalDNS,Hostname,InternalIP".to_owned(),
        path_flag("cert-dir", home),
        path_flag("client-ca-file", &pki.join("ca.crt")),
        path_flag("tls-cert-file", &pki.join("apiserver.crt")),
        path_flag("tls-private-key-file", &pki.join("apiserver.key")),
        path_flag("service-account-signing-key-file", &pki.join("sa.key")),
        path_flag("service-account-key-file", &pki.join("sa.pub")),
        flag("service-account-issuer", &config.service_account_issuer),
        flag("api-audiences", &audiences),
        flag("service-cluster-ip-range", &config.service_cluster_ip_range),
        flag("etcd-servers", &etcd_url(tls, etcd_port)),
    ];
    if let Some(tls) = tls {
        arguments.extend([
            path_flag("etcd-cafile", &tls.authority),
            path_flag("etcd-certfile", &tls.client.0),
            path_flag("etcd-keyfile", &tls.client.1),
        ]);
    }
    let optional = [
        ("kubelet-client-certificate", KUBELET_CLIENT.0),
        ("kubelet-client-key", KUBELET_CLIENT.1),
        ("proxy-client-cert-file", "front-proxy-client.crt"),
        ("proxy-client-key-file", "front-proxy-client.key"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
    ];
    for (name, path) in optional.map(|(name, path)| (name, pki.join(path))) {
        if path.is_file() {
            arguments.push(path_flag(name, &path));
        }
    }
    if pki.join("front-proxy-ca.crt").is_file() {
        arguments.extend(
            [
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-username-headers=X-Remote-User",
            ]
            .map(str::to_owned),
        );
    }
    arguments.extend(config.extra_args.iter().cloned());
    arguments
}

fn scheduler_arguments(config: &ComponentConfig, url: &str, home: &Path, port: u16) -> Vec<String> {
    let mut arguments = vec![
        path_flag("kubeconfig", &config.kubeconfig),
        flag("master", url),
        // Here it says when it is ready, which nothing in the API tells.
        "--bind-address=127.0.0.1".to_owned(),
        flag("secure-port", &port.to_string()),
        path_flag("cert-dir", home),
        // It is alone.
        "--leader-elect=false".to_owned(),
    ];
    arguments.extend(config.extra_args.iter().cloned());
    arguments
}

fn controller_manager_arguments(
    config: &ComponentConfig,
    server: &ApiServerConfig,
    url: &str,
) -> Vec<String> {
    let pki = &server.pki;
    let mut arguments = vec![
        path_flag("kubeconfig", &config.kubeconfig),
        flag("master", url),
        // Nobody asks it anything: what it does is seen in the API.
        "--secure-port=0".to_owned(),
        // It is alone.
        "--leader-elect=false".to_owned(),
        "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        path_flag("root-ca-file", &pki.join("ca.crt")),
        path_flag("service-account-private-key-file", &pki.join("sa.key")),
    ];
    if pki.join("ca.key").is_file() {
        arguments.extend([
            path_flag("cluster-signing-cert-file", &pki.join("ca.crt")),
            path_flag("cluster-signing-key-file", &pki.join("ca.key")),
        ]);
    }
    arguments.extend(config.extra_args.iter().cloned());
    arguments
}

fn etcd_url(tls: Option<&EtcdFiles>, port: u16) -> String {
    format!("{}://127.0.0.1:{port}", if tls.is_some() { "https" } else { "http" })
}

pub(super) fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

pub(super) fn path_flag(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}

/// Whether kubectl succeeds; else what it said.
fn ask(programs: &Programs, args: &[&str]) -> Result<(), String> {
    match kubectl::run(programs, args, "") {
        Ok(run) if run.code == 0 => Ok(()),
        Ok(run) => Err(run.stderr.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What etcd says of itself, where it says it without a certificate.
pub(super) fn etcd_health(address: SocketAddr) -> Result<(), String> {
    let answer = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = answer().map_err(|error: std::io::Error| error.to_string())?;
    if answer.lines().next().is_some_and(|status| status.contains(" 200 ")) { Ok(()) } else { Err(answer) }
}

/// A port that is free now, for an API server whose URL must be known before it starts. Somebody else may take it
/// meanwhile.
pub fn free_port() -> Result<u16, Error> {
    let [port] = free_ports()?;
    Ok(port)
}

/// Ports that are free now, each another one.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut ports = [0; N];
    // Held until all are chosen.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|source| Error::Port { source })?;
        *port = listener.local_addr().map_err(|source| Error::Port { source })?.port();
        held.push(listener);
    }
    Ok(ports)
}

pub(super) fn new_logs(cache: &Path) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let all = cache.join("kubernetes-logs");
    fs::create_dir_all(&all).map_err(file("create", &all))?;
    drop_old_logs(&all);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = all.join(format!("{}-{number}", process::id()));
    // Of a process long gone that had the same id.
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    Ok(folder)
}

fn drop_old_logs(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for entry in entries.flatten() {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > KEEP_LOGS) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
