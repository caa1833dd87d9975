//! Machines of a control plane, as far as etcd goes: each a folder with keys, a manifest and a volume, with an address
//! of its own, and something that does to the manifest what a kubelet does.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_node::backup::{self, Source};
use kcl_node::etcd::{Etcd, EtcdError, Member, client_url, peer_url};
use kcl_node::restore::{Etcdutl, Site, Waits};
use kcl_node::store::{Access, Location, Store};
use kcl_node::system::System;
use kcl_node_config::{Backup, MemberRecord};
use kcl_testkit::kubernetes::{EtcdConfig, EtcdMember, etcd_address, pki, programs};
use serde_json::{Value, json};

use super::wait::{self, until_async};

/// Between two looks at a file or a server of this machine.
const PAUSE: Duration = Duration::from_millis(20);

/// The keys of a cluster and its state store, a folder.
pub(crate) struct World {
    home: tempfile::TempDir,
    keys: pki::Pki,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys = pki::fresh(&home.path().join("keys")).unwrap();
        Self { home, keys }
    }

    /// The store's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.path().join("store")
    }

    pub(crate) fn store(&self) -> Store {
        folder_store(&self.folder())
    }

    /// A machine; its etcd runs once it is told to.
    pub(crate) fn machine(&self, member: &str, instance: &str) -> Node {
        let root = self.home.path().join(instance);
        Node::on(&System::new(&root), &self.keys, member, instance)
    }
}

/// A store in a folder.
pub(crate) fn folder_store(folder: &Path) -> Store {
    let location = Location::parse(&format!("file://{}", folder.display())).unwrap();
    Store::new(location, access(None))
}

/// How a store is reached, with credentials of nobody.
pub(crate) fn access(endpoint: Option<String>) -> Access {
    let credentials = aws_credential_types::Credentials::new("AKIDTEST", "secret", None, None, "test");
    Access {
        http: super::client(),
        signer: kcl_http::Signer::new(credentials),
        region: "eu-north-1".to_owned(),
        endpoint,
        patience: super::patience(),
    }
}

/// A machine of the control plane.
pub(crate) struct Node {
    pub(crate) member: String,
    pub(crate) instance: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) system: System,
    kubelet: Option<Kubelet>,
}

impl Node {
    /// A machine in a folder, with keys of a cluster.
    pub(crate) fn on(system: &System, keys: &pki::Pki, member: &str, instance: &str) -> Self {
        let (address, system) = (etcd_address().unwrap(), system.clone());
        keys.etcd_machine(instance, address.into(), &system.path("/etc/kubernetes/pki")).unwrap();
        for name in ["etcd.yaml", "kube-apiserver.yaml"] {
            let path = system.path(&format!("/etc/kubernetes/manifests/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a static pod").unwrap();
        }
        let node =
            Node { member: member.to_owned(), instance: instance.to_owned(), address, system, kubelet: None };
        fs::create_dir_all(node.volume()).unwrap();
        node
    }

    pub(crate) fn client_url(&self) -> String {
        client_url(self.ip())
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.system.path("/var/lib/etcd")
    }

    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.system.path(&format!("/etc/kubernetes/manifests/{name}.yaml"))
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.address.into()
    }

    /// `name=url`.
    pub(crate) fn initial(&self) -> String {
        format!("{}={}", self.instance, peer_url(self.ip()))
    }

    pub(crate) fn etcd(&self) -> Etcd {
        Etcd::with_keys_of(&self.system, &client_url(self.ip())).unwrap()
    }

    /// Starts its kubelet, and so etcd, in a cluster that begins with these.
    pub(crate) fn start(&mut self, initial_cluster: &str, joins: bool) {
        let config = EtcdConfig {
            name: self.instance.clone(),
            address: self.address,
            data: self.volume().join("data"),
            pki: self.system.path("/etc/kubernetes/pki"),
            initial_cluster: initial_cluster.to_owned(),
            joins,
            // Else a member is only added or removed once all have known each other for five seconds.
            extra_args: vec!["--strict-reconfig-check=false".to_owned()],
        };
        self.kubelet = Some(Kubelet::start(self.manifest("etcd"), config));
    }

    /// Joins the cluster of another member, as kubeadm does it: without a vote first. A vote before it has come would
    /// stop a small cluster until it is there.
    pub(crate) async fn join(&mut self, there: &Node) {
        // Others only pass it on, and wait for long where the leader says that it is too early.
        let etcd = leader(&there.etcd()).await;
        let learner = persist(async || add_learner(&etcd, &peer_url(self.ip())).await).await;
        let started = etcd.members().await.unwrap().into_iter().filter(|member| !member.name.is_empty());
        let others = started.map(|member| format!("{}={}", member.name, member.peer_urls[0]));
        let initial: Vec<String> = others.chain([self.initial()]).collect();
        self.start(&initial.join(","), true);
        persist(async || etcd.promote_member(learner.id()).await).await;
        // It has all that the leader has then, but the first question that needs the others may take seconds.
        let own = self.etcd();
        until_async("it knows that it has a vote", async || {
            own.status().await.is_ok_and(|own| !own.is_learner)
        })
        .await;
    }

    /// Whether its kubelet looks at manifests.
    pub(crate) fn kubelet_sleeps(&self, sleeps: bool) {
        self.kubelet.as_ref().unwrap().sleeps.store(sleeps, Ordering::SeqCst);
    }

    /// The machine is gone, with all but its volume.
    pub(crate) fn terminate(&mut self) {
        self.kubelet = None;
    }

    /// Waits until etcd works here.
    pub(crate) async fn healthy(&self) {
        let etcd = self.etcd();
        until_async("etcd is healthy", async || matches!(etcd.is_healthy().await, Ok(true))).await;
    }

    pub(crate) fn source(&self, store: &Store) -> Source {
        Source {
            store: store.clone(),
            etcd: self.etcd(),
            system: self.system.clone(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            kubernetes_version: "1.36.4".to_owned(),
        }
    }

    pub(crate) fn site(&self, store: &Store, members: &[&str]) -> Site {
        let second = Duration::from_secs(1);
        Site {
            source: self.source(store),
            members: members.iter().map(|member| (*member).to_owned()).collect(),
            address: self.ip(),
            etcdutl: Etcdutl::Program(programs().unwrap().path("etcdutl").unwrap()),
            waits: Waits { stop: 60 * second, start: 60 * second, pause: PAUSE },
        }
    }

    /// Says in the store who the member is.
    pub(crate) async fn register(&self, store: &Store) {
        let record = MemberRecord {
            member: self.member.clone(),
            instance: self.instance.clone(),
            address: self.ip(),
            public_address: None,
            at: "2026-11-27T03:00:00Z".to_owned(),
            waits_with: None,
        };
        let text = record.to_json().unwrap();
        let path = MemberRecord::path(&self.member);
        store.put(&path, text.as_bytes(), kcl_node::store::Condition::Always).await.unwrap();
    }
}

/// A client of the leader.
async fn leader(etcd: &Etcd) -> Etcd {
    let leader = etcd.status().await.unwrap().leader().unwrap();
    let members = etcd.members().await.unwrap();
    let found = members.iter().find(|member| member.id() == leader).unwrap();
    etcd.at(&found.client_urls[0])
}

/// Tries until it succeeds: who has just come or gone is in the way of changes for a moment.
pub(crate) async fn persist<T>(attempt: impl AsyncFnMut() -> Result<T, EtcdError>) -> T {
    wait::persist(EtcdError::is_transient, attempt).await
}

/// Makes room for one more member, without a vote until it is promoted; it has no name until it starts.
pub(crate) async fn add_learner(etcd: &Etcd, peer_url: &str) -> Result<Member, EtcdError> {
    let ask = json!({"peerURLs": [peer_url], "isLearner": true});
    let added: Value = etcd.call("add a member", "cluster/member/add", &ask).await?;
    Ok(serde_json::from_value(added["member"].clone()).unwrap())
}

/// Everybody in the cluster as far as this member knows, which it says without the others.
pub(crate) async fn members_known_to(etcd: &Etcd) -> Vec<Member> {
    let ask = json!({"linearizable": false});
    let found: Value = etcd.call("list the members", "cluster/member/list", &ask).await.unwrap();
    serde_json::from_value(found["members"].clone()).unwrap()
}

/// The documents of all backups, the oldest first.
pub(crate) async fn backups(store: &Store) -> Vec<Backup> {
    let mut found = Vec::new();
    for name in backup::list(store).await.unwrap().backups {
        found.extend(backup::read(store, &name).await.unwrap());
    }
    found
}

/// Runs etcd while its manifest is there.
struct Kubelet {
    ends: Arc<AtomicBool>,
    sleeps: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    fn start(manifest: PathBuf, config: EtcdConfig) -> Self {
        let (ends, sleeps) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (told, paused) = (Arc::clone(&ends), Arc::clone(&sleeps));
        let thread = std::thread::spawn(move || {
            let mut member: Option<EtcdMember> = None;
            while !told.load(Ordering::SeqCst) {
                let wanted = manifest.exists();
                let runs = member.as_mut().is_some_and(EtcdMember::is_running);
                if paused.load(Ordering::SeqCst) {
                    // Nothing changes.
                } else if wanted && !runs {
                    member = Some(EtcdMember::start(&config).unwrap());
                } else if !wanted {
                    member = None;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { ends, sleeps, thread: Some(thread) }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Writes keys with these values; an empty value deletes.
pub(crate) async fn put(etcd: &Etcd, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        let key = STANDARD.encode(key);
        let _: Value = if value.is_empty() {
            etcd.call("delete", "kv/deleterange", &json!({"key": key})).await.unwrap()
        } else {
            let value = STANDARD.encode(value);
            etcd.call("write", "kv/put", &json!({"key": key, "value": value})).await.unwrap()
        };
    }
}

/// All keys and their values, as this member knows them.
pub(crate) async fn keys(etcd: &Etcd) -> BTreeMap<String, String> {
    // From the first key to the last.
    let all = json!({"key": STANDARD.encode("\0"), "range_end": STANDARD.encode("\0"), "serializable": true});
    let found: Value = etcd.call("read", "kv/range", &all).await.unwrap();
    let text = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
    let pairs = found["kvs"].as_array().cloned().unwrap_or_default();
    pairs.iter().map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect()
}
