//! kubeadm's certificates, renewed by the real kubeadm, and the pods that start anew with them: the manifests are the
//! real kubeadm's too, and a stand-in for the kubelet listens where a pod would as long as its manifest is there.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::Folder;
use common::told::{Keys, config};
use common::wait::until;
use kcl_node::agent::renew::{Ends, NOTE, RenewError, Renewal, Waits};
use kcl_node::pki;
use kcl_node::system::System;
use kcl_node_config::{Machine, NodeConfig, Role, paths};
use kcl_testkit::kubernetes::{free_port, programs};
use time::OffsetDateTime;

const ADDRESS: &str = "172.20.32.7";

const PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// What the stand-in for the kubelet saw: a pod stopped, or started.
type Seen = Arc<Mutex<Vec<String>>>;

/// A control-plane machine whose certificates end in ten days.
struct Node {
    folder: Folder,
    config: NodeConfig,
    seen: Seen,
    ends: Arc<AtomicBool>,
    kubelet: Option<JoinHandle<()>>,
}

impl Node {
    async fn new() -> Self {
        let (folder, keys) = (Folder::new(), Keys::fresh());
        let system = folder.system();
        let store = folder.home.path().join("store");
        for (path, content) in keys.objects() {
            let path = store.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        system.write_all(&pki::files(&common::etcd::folder_store(&store)).await.unwrap()).unwrap();
        let config = config(Role::ControlPlane, &format!("file://{}", store.display()), &keys.authorities());
        let kubeadm = programs().unwrap().path("kubeadm").unwrap();
        folder.add_program("kubeadm", &format!("exec {} \"$@\"", kubeadm.display()));
        let (seen, ends) = (Seen::default(), Arc::default());
        let node = Self { folder, config, seen, ends, kubelet: None };
        let text = node.kubeadm_config();
        // kubeadm counts whole hours.
        node.write(
            paths::KUBEADM,
            &text.replace("clusterName:", "certificateValidityPeriod: 240h\nclusterName:"),
        );
        node.phase(&["certs", "all"]);
        node.write(paths::KUBEADM, &text);
        node.phase(&["control-plane", "all", "--dry-run"]);
        node.phase(&["etcd", "local", "--dry-run"]);
        node.with_kubelet()
    }

    /// What kubeadm is told, with this folder's paths in it.
    fn kubeadm_config(&self) -> String {
        let machine = Machine {
            instance_id: "i-0123456789abcdef0".to_owned(),
            zone: "eu-north-1a".to_owned(),
            private_ip: ADDRESS.parse().unwrap(),
            resolv_conf: "/etc/resolv.conf".to_owned(),
        };
        for file in self.config.component_files(&machine).unwrap() {
            self.write(&file.path, &file.content);
        }
        let root = self.folder.root().display().to_string();
        let text = self.config.kubeadm_init(&machine).unwrap().content;
        let text = text.replace("/etc/kubernetes", &format!("{root}/etc/kubernetes"));
        text.replace(
            "clusterName:",
            &format!("certificatesDir: {root}{}\nencryptionAlgorithm: ECDSA-P256\nclusterName:", paths::PKI),
        )
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.folder.system().path(absolute)
    }

    fn write(&self, absolute: &str, text: &str) {
        fs::create_dir_all(self.path(absolute).parent().unwrap()).unwrap();
        fs::write(self.path(absolute), text).unwrap();
    }

    fn phase(&self, arguments: &[&str]) {
        let dry = self.folder.home.path().join("dry");
        fs::create_dir_all(&dry).unwrap();
        let output = Command::new(programs().unwrap().path("kubeadm").unwrap())
            .env("KUBEADM_INIT_DRYRUN_DIR", dry)
            .args(["init", "phase"])
            .args(arguments)
            .arg("--config")
            .arg(self.path(paths::KUBEADM))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Puts kubeadm's manifests where the kubelet looks, with ports that are free here, and begins to look.
    fn with_kubelet(mut self) -> Self {
        let folder = self.path("/etc/kubernetes/manifests");
        fs::create_dir_all(&folder).unwrap();
        let mut ports = BTreeMap::new();
        for (pod, port) in PODS.into_iter().zip(["2381", "443", "10257", "10259"]) {
            let dry = self.folder.home.path().join("dry").join(format!("{pod}.yaml"));
            let free = free_port().unwrap();
            let text = fs::read_to_string(dry).unwrap();
            let here = text.replace(&format!("host: {ADDRESS}"), "host: 127.0.0.1");
            let here = here.replace(&format!("containerPort: {port}\n"), &format!("containerPort: {free}\n"));
            assert_ne!(here, text);
            fs::write(folder.join(format!("{pod}.yaml")), here).unwrap();
            ports.insert(pod, free);
        }
        let (seen, ends) = (Arc::clone(&self.seen), Arc::clone(&self.ends));
        let kubelet = std::thread::spawn(move || {
            let mut running: BTreeMap<&str, TcpListener> = BTreeMap::new();
            while !ends.load(Ordering::Relaxed) {
                for (pod, port) in &ports {
                    let wanted = folder.join(format!("{pod}.yaml")).exists();
                    if !wanted && running.remove(pod).is_some() {
                        seen.lock().unwrap().push(format!("{pod} stops"));
                    } else if wanted && !running.contains_key(pod) {
                        // Somebody's connection may still be there.
                        let Ok(listener) = TcpListener::bind(("127.0.0.1", *port)) else { continue };
                        seen.lock().unwrap().push(format!("{pod} starts"));
                        running.insert(pod, listener);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        self.kubelet = Some(kubelet);
        until("all pods run", || self.seen.lock().unwrap().len() >= PODS.len());
        self.seen.lock().unwrap().clear();
        self
    }

    async fn renew(&self, waits: Waits) -> Result<(), RenewError> {
        let system = self.folder.system();
        Renewal { system: &system, config: &self.config, waits }.run(|_| {}).await
    }

    fn days_left(&self) -> i64 {
        (Ends::read(&self.folder.system()).unwrap().certificate - OffsetDateTime::now_utc()).whole_days()
    }

    /// Every certificate that kubeadm made, by its path.
    fn certificates(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let made = |path: &Path| {
            let authority = ["ca.crt", "front-proxy-ca.crt"].iter().any(|name| path.ends_with(name));
            path.extension().is_some_and(|extension| extension == "crt") && !authority
        };
        let all = self.folder.files().into_iter().filter(|path| made(path));
        all.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.kubelet.take().map(JoinHandle::join));
    }
}

fn waits() -> Waits {
    Waits { stop: Duration::from_mins(1), start: Duration::from_mins(1), pause: Duration::from_millis(20) }
}

/// Each stops and starts before the next does.
fn one_after_another(pods: &[&str]) -> Vec<String> {
    pods.iter().flat_map(|pod| [format!("{pod} stops"), format!("{pod} starts")]).collect()
}

fn is_tidy(system: &System) -> bool {
    !system.path(NOTE).exists() && !system.path("/etc/kubernetes/kcl-renewing-manifests").exists()
}

#[tokio::test]
async fn certificates_are_renewed_and_the_pods_start_anew_one_after_another() {
    let node = Node::new().await;
    let system = node.folder.system();
    assert_eq!(node.days_left(), 9);
    assert!(Ends::read(&system).unwrap().are_close(OffsetDateTime::now_utc()));
    let (before, authority) =
        (node.certificates(), fs::read(node.path("/etc/kubernetes/pki/ca.crt")).unwrap());
    assert_eq!(before.len(), 7, "{:?}", before.keys());

    node.renew(waits()).await.unwrap();
    assert!(node.days_left() >= 363, "{}", node.days_left());
    assert!(!Ends::read(&system).unwrap().are_close(OffsetDateTime::now_utc()), "and that was it");
    for (path, now) in node.certificates() {
        assert_ne!(before[&path], now, "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::read(node.path("/etc/kubernetes/pki/ca.crt")).unwrap(), authority);
    assert_eq!(node.seen(), one_after_another(&PODS));
    assert!(is_tidy(&system));
}

/// Killed while a pod was stopped: it starts again first, and only what is left to do is done.
#[tokio::test]
async fn what_was_cut_short_is_finished() {
    let node = Node::new().await;
    let before = node.certificates();
    node.write(NOTE, "kube-apiserver.yaml\nkube-controller-manager.yaml\nkube-scheduler.yaml\n");
    let (from, to) = ("/etc/kubernetes/manifests", "/etc/kubernetes/kcl-renewing-manifests");
    fs::create_dir_all(node.path(to)).unwrap();
    let api_server = |folder| node.path(&format!("{folder}/kube-apiserver.yaml"));
    fs::rename(api_server(from), api_server(to)).unwrap();
    until("the kubelet sees it", || !node.seen.lock().unwrap().is_empty());
    node.renew(waits()).await.unwrap();
    assert_eq!(node.certificates(), before, "they are renewed once");
    let seen = node.seen();
    assert_eq!(seen[seen.len() - 4..], one_after_another(&PODS[2..]), "{seen:?}");
    assert!(!seen.iter().any(|line| line.starts_with("etcd")), "{seen:?}");
    assert!(is_tidy(&node.folder.system()));
}

/// A kubelet that does nothing: the pod is not left stopped, and the others are left alone.
#[tokio::test]
async fn a_pod_that_does_not_stop_is_said_and_stays() {
    let mut node = Node::new().await;
    // It goes on listening, whatever becomes of the manifest.
    node.ends.store(true, Ordering::Relaxed);
    node.kubelet.take().unwrap().join().unwrap();
    let manifest = fs::read_to_string(node.path("/etc/kubernetes/manifests/etcd.yaml")).unwrap();
    let port = manifest.split("containerPort: ").nth(1).unwrap().lines().next().unwrap();
    let _listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    let short = Waits { stop: Duration::from_millis(200), ..waits() };
    let error = node.renew(short).await.unwrap_err();
    assert!(matches!(&error, RenewError::Runs { manifest, .. } if manifest == "etcd.yaml"), "{error}");
    for pod in PODS {
        assert!(node.path(&format!("/etc/kubernetes/manifests/{pod}.yaml")).exists(), "{pod}");
    }
    assert_eq!(fs::read_to_string(node.path(NOTE)).unwrap().lines().next(), Some("etcd.yaml"));
}
