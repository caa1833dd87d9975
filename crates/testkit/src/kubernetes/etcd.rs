//! [`EtcdMember`]: etcd as kubeadm runs it on one machine, for tests of what is done to it.
//!
//! Machines are addresses of the loopback network, which Linux has sixteen million of: each member has the
//! ports that it has on a machine.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::api_server::{etcd_health, flag, new_logs, path_flag};
use super::process::Process;
use super::programs::{absolute, file, programs};
use crate::error::Error;
use crate::moto::cache_folder;

/// Where kubeadm has etcd listen, for clients, for other members, and for those who ask how it does.
const PORTS: [u16; 3] = [2379, 2380, 2381];

/// How often another address is tried when somebody has ours.
const TRIES: u32 = 20;

/// What a member is started with.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// Its name.
    pub name: String,
    /// Its machine's address.
    pub address: Ipv4Addr,
    /// Its data.
    pub data: PathBuf,
    /// Its keys in kubeadm's layout: [`super::pki::Pki::etcd_machine`].
    pub pki: PathBuf,
    /// The members that it begins with, as in `a=https://127.0.0.2:2380`, with commas between; of no account once
    /// it has data.
    pub initial_cluster: String,
    /// Whether those are there already.
    pub joins: bool,
    /// More flags, after ours.
    pub extra_args: Vec<String>,
}

/// A running member; killed when dropped, while its data stays.
#[derive(Debug)]
pub struct EtcdMember {
    process: Process,
    health: SocketAddr,
    logs: PathBuf,
}

impl EtcdMember {
    /// Starts one. It may not be ready before others are.
    pub fn start(config: &EtcdConfig) -> Result<Self, Error> {
        let logs = new_logs(&cache_folder()?)?;
        let home = absolute(config.data.parent().unwrap_or(Path::new("/")))?;
        fs::create_dir_all(&home).map_err(file("create", &home))?;
        let arguments = arguments(config)?;
        let process = Process::start(&programs()?, "etcd", &arguments, &home, &logs)?;
        let health = SocketAddr::from((config.address, PORTS[2]));
        Ok(Self { process, health, logs })
    }

    /// Waits until it works, which it does once most of its cluster runs.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
        self.process.wait_until(timeout, || etcd_health(self.health))
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}

impl Drop for EtcdMember {
    fn drop(&mut self) {
        // Nobody needs the logs of one that did well.
        if self.process.is_running() && !thread::panicking() {
            drop(fs::remove_dir_all(&self.logs));
        }
    }
}

/// An address on which nobody has etcd's ports now. Somebody else may take them meanwhile, but hardly will.
pub fn etcd_address() -> Result<Ipv4Addr, Error> {
    let mut tries = 1;
    loop {
        let [.., b, c, d] = RandomState::new().build_hasher().finish().to_be_bytes();
        // Neither the usual one nor those of a network or of all.
        let address = Ipv4Addr::new(127, b, c.clamp(1, 254), d.clamp(1, 254));
        let bind = |port| TcpListener::bind((address, port)).map(drop);
        match PORTS.into_iter().try_for_each(bind) {
            Ok(()) => return Ok(address),
            Err(source) if tries == TRIES => return Err(Error::Port { source }),
            Err(_) => tries += 1,
        }
    }
}

/// kubeadm's flags, but for what no test needs.
fn arguments(config: &EtcdConfig) -> Result<Vec<String>, Error> {
    let pki = absolute(&config.pki)?.join("etcd");
    let [client, peer, metrics] = PORTS;
    let url = |port: u16| format!("https://{}:{port}", config.address);
    let mut arguments = vec![
        flag("name", &config.name),
        path_flag("data-dir", &absolute(&config.data)?),
        flag("listen-client-urls", &url(client)),
        flag("advertise-client-urls", &url(client)),
        flag("listen-peer-urls", &url(peer)),
        flag("initial-advertise-peer-urls", &url(peer)),
        flag("initial-cluster", &config.initial_cluster),
        flag("initial-cluster-state", if config.joins { "existing" } else { "new" }),
        flag("listen-metrics-urls", &format!("http://{}:{metrics}", config.address)),
        path_flag("trusted-ca-file", &pki.join("ca.crt")),
        path_flag("cert-file", &pki.join("server.crt")),
        path_flag("key-file", &pki.join("server.key")),
        "--client-cert-auth=true".to_owned(),
        path_flag("peer-trusted-ca-file", &pki.join("ca.crt")),
        path_flag("peer-cert-file", &pki.join("peer.crt")),
        path_flag("peer-key-file", &pki.join("peer.key")),
        "--peer-client-cert-auth=true".to_owned(),
        // What is lost with the machine was a test.
        "--unsafe-no-fsync".to_owned(),
    ];
    arguments.extend(config.extra_args.iter().cloned());
    Ok(arguments)
}
