//! Every file that a node configuration becomes, and what the real programs say of them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{control_plane, worker};
use kcl_node_config::{EncryptionKey, File, JoinToken, Machine, NodeConfig, etcd_volume_files, paths};
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig, kubectl, pki, programs};

/// 32 bytes of no worth in base64.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn files(config: &NodeConfig) -> Vec<File> {
    let machine = machine();
    let mut files = config.kernel_files();
    files.extend(config.containerd_files());
    files.extend(NodeConfig::unit_files());
    files.extend(config.component_files(&machine).unwrap());
    if config.role == kcl_node_config::Role::ControlPlane {
        let keys = [EncryptionKey::new("key-1", KEY).unwrap()];
        files.push(EncryptionKey::file(&keys).unwrap());
        files.push(config.kubeadm_init(&machine).unwrap());
        files.push(config.kubeadm_join(&machine).unwrap());
        files.extend(etcd_volume_files("2f1c9a5e-0b1d-4c7e-9a51-6f0c53b1d2aa"));
    } else {
        files.push(config.discovery(&token()).unwrap());
        files.push(config.kubeadm_join(&machine).unwrap());
    }
    files
}

/// A machine as EC2 describes it.
fn machine() -> Machine {
    Machine {
        instance_id: "i-0123456789abcdef0".to_owned(),
        zone: "eu-north-1a".to_owned(),
        private_ip: [172, 20, 32, 7].into(),
        resolv_conf: "/run/systemd/resolve/resolv.conf".to_owned(),
    }
}

fn token() -> JoinToken {
    JoinToken::new("abcdef.0123456789abcdef").unwrap()
}

fn shown(files: &[File]) -> String {
    let mut text = String::new();
    for file in files {
        let _ = writeln!(text, "=== {} {:04o}\n{}", file.path, file.mode, file.content);
    }
    text
}

#[test]
fn a_control_planes_files() {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(shown(&files(&control_plane()))) });
}

#[test]
fn a_workers_files() {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(shown(&files(&worker()))) });
}

/// What the real kubeadm says of a configuration.
fn validate(file: &File) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeadm.yaml");
    // kubeadm looks whether the file is there, a worker's or the one that a control-plane machine makes itself.
    let discovery = folder.path().join("discovery.conf");
    fs::write(&discovery, worker().discovery(&token()).unwrap().content).unwrap();
    let discovery = discovery.to_str().unwrap();
    let content = file.content.replace(paths::DISCOVERY, discovery).replace(paths::ADMIN, discovery);
    fs::write(&path, content).unwrap();
    let kubeadm = programs().unwrap().path("kubeadm").unwrap();
    let output = Command::new(kubeadm).args(["config", "validate", "--config"]).arg(&path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn kubeadm_accepts_every_configuration() {
    let machine = machine();
    let mut without = control_plane();
    without.network.pod_cidr = None;
    without.service_accounts = None;
    without.cloud_provider = kcl_node_config::CloudProvider::None;
    let all = [
        control_plane().kubeadm_init(&machine),
        control_plane().kubeadm_join(&machine),
        without.kubeadm_init(&machine),
        worker().kubeadm_join(&machine),
    ];
    for file in all {
        let file = file.unwrap();
        let (accepted, said) = validate(&file);
        assert!(accepted, "{said}\n{}", file.content);
        assert!(!said.contains("WARNING") && !said.contains("warning"), "{said}");
    }
}

/// That `validate` finds mistakes at all.
#[test]
fn kubeadm_refuses_a_field_that_it_does_not_know() {
    let mut file = control_plane().kubeadm_init(&machine()).unwrap();
    file.content = file.content.replace("advertiseAddress:", "advertisedAddress:");
    assert!(!validate(&file).0);
}

/// A machine in a folder, as it is when kubeadm begins.
struct Prepared {
    folder: tempfile::TempDir,
    config: NodeConfig,
}

impl Prepared {
    fn new(config: NodeConfig) -> Self {
        let prepared = Self { folder: tempfile::tempdir().unwrap(), config };
        for file in files(&prepared.config) {
            let path = prepared.path(&file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, prepared.local(&file.content)).unwrap();
        }
        fs::create_dir_all(prepared.path(paths::AUDIT_LOG)).unwrap();
        prepared
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.folder.path().join(absolute.trim_start_matches('/'))
    }

    /// A text with the machine's folders in it, which here are others.
    fn local(&self, text: &str) -> String {
        let home = self.folder.path().display();
        let text = text.replace("/etc/kubernetes", &format!("{home}/etc/kubernetes"));
        let text = text.replace("/var/log/kubernetes", &format!("{home}/var/log/kubernetes"));
        text.replace("clusterName:", &format!("certificatesDir: {home}/etc/kubernetes/pki\nclusterName:"))
    }

    /// A phase of the real kubeadm; what it would write into fixed places it writes into `dry`.
    fn phase(&self, arguments: &[&str]) {
        let dry = self.path("dry");
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

    /// The authorities and the key of service accounts, which are the cluster's; the rest kubeadm issues.
    fn take_keys(&self, made: &pki::Pki) -> PathBuf {
        let keys = self.path(paths::PKI);
        fs::create_dir_all(keys.join("etcd")).unwrap();
        let authorities = ["ca", "front-proxy-ca", "etcd/ca"];
        let files =
            authorities.iter().flat_map(|name| ["crt", "key"].map(|suffix| format!("{name}.{suffix}")));
        for file in files.chain(["sa.key", "sa.pub"].map(str::to_owned)) {
            fs::copy(made.folder().join(&file), keys.join(&file)).unwrap();
        }
        keys
    }

    fn read(&self, absolute: &str) -> serde_json::Value {
        serde_yaml::from_str(&fs::read_to_string(self.path(absolute)).unwrap()).unwrap()
    }
}

/// What the real kubeadm makes of its configuration: the API server's pod, and the kubelet's configuration with
/// this machine's own part.
#[test]
fn kubeadm_makes_of_it_what_is_meant() {
    let machine = Prepared::new(control_plane());
    machine.phase(&["control-plane", "all", "--dry-run"]);
    machine.phase(&["etcd", "local", "--dry-run"]);
    machine.phase(&["kubelet-start", "--dry-run"]);

    let pod = machine.read("dry/kube-apiserver.yaml");
    let command: Vec<&str> = pod["spec"]["containers"][0]["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| flag.as_str().unwrap())
        .collect();
    for flag in api_server_arguments(&machine.config) {
        assert!(command.contains(&machine.local(&flag).as_str()), "{flag} in {command:?}");
    }
    let issuers = command.iter().filter(|flag| flag.starts_with("--service-account-issuer="));
    assert_eq!(issuers.count(), 1, "kubeadm's own gives way");
    assert!(command.contains(&"--secure-port=443"), "{command:?}");
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].to_string();
    for folder in [paths::API_SERVER, paths::AUDIT_LOG] {
        assert!(mounts.contains(&machine.local(folder)), "{folder} in {mounts}");
    }
    let etcd = machine.read("dry/etcd.yaml").to_string();
    assert!(etcd.contains(&format!("--data-dir={}", paths::ETCD_DATA)), "{etcd}");
    assert!(!etcd.contains("--initial-cluster-state"), "{etcd}");
    for forced in [false, true] {
        let patch = NodeConfig::etcd_patch(forced).unwrap();
        fs::write(machine.path(&patch.path), patch.content).unwrap();
        machine.phase(&["etcd", "local", "--dry-run"]);
        let etcd = machine.read("dry/etcd.yaml").to_string();
        assert!(etcd.contains("\"--initial-cluster-state=existing\""), "{etcd}");
        assert_eq!(etcd.contains("\"--force-new-cluster\""), forced, "{etcd}");
    }

    let kubelet = machine.read("dry/config.yaml");
    assert_eq!(kubelet["providerID"], "aws:///eu-north-1a/i-0123456789abcdef0");
    assert_eq!(kubelet["resolvConf"], "/run/systemd/resolve/resolv.conf", "not what kubeadm found here");
    assert_eq!(kubelet["kubeReserved"]["memory"], "192Mi");
    assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
    assert_eq!(kubelet["protectKernelDefaults"], true);
    let flags = fs::read_to_string(machine.path("dry/kubeadm-flags.env")).unwrap();
    for flag in
        ["--hostname-override=i-0123456789abcdef0", "--node-ip=172.20.32.7", "--cloud-provider=external"]
    {
        assert!(flags.contains(flag), "{flags}");
    }
}

/// The machine that comes back has the authorities of the one before it, and certificates for its own address.
#[test]
fn another_machine_has_certificates_for_its_own_address() {
    let keys = tempfile::tempdir().unwrap();
    let made = pki::fresh(keys.path()).unwrap();
    let mut serials = Vec::new();
    for (instance, address) in
        [("i-0123456789abcdef0", [172, 20, 32, 7]), ("i-0fedcba9876543210", [172, 20, 32, 9])]
    {
        let machine = Machine { instance_id: instance.to_owned(), private_ip: address.into(), ..machine() };
        let prepared = Prepared::new(control_plane());
        let init = control_plane().kubeadm_init(&machine).unwrap();
        fs::write(prepared.path(paths::KUBEADM), prepared.local(&init.content)).unwrap();
        prepared.take_keys(&made);
        prepared.phase(&["certs", "all"]);
        let address = machine.private_ip.to_string();
        for (name, authority) in [("apiserver", "ca"), ("etcd/server", "etcd/ca"), ("etcd/peer", "etcd/ca")] {
            let file = |name: &str| prepared.path(paths::PKI).join(format!("{name}.crt"));
            let openssl = |arguments: &[&str], name: &str| {
                let output = Command::new("openssl").args(arguments).arg(file(name)).output().unwrap();
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
            };
            let checked = openssl(&["x509", "-noout", "-checkip", &address, "-in"], name);
            assert!(checked.contains("does match"), "{name}: {checked}");
            let authority = file(authority);
            let signed = openssl(&["verify", "-CAfile", authority.to_str().unwrap()], name);
            assert!(signed.trim().ends_with(": OK"), "{name}: {signed}");
            serials.push(openssl(&["x509", "-noout", "-serial", "-in"], name));
        }
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 6, "none is of the machine before");
}

/// kcl's keys, kubeadm's certificates, and the flags and files of the API server in the real one: it starts,
/// writes its audit log, encrypts secrets, and lets nobody in without a name.
#[test]
fn the_api_server_takes_its_flags_and_files() {
    let machine = Prepared::new(control_plane());
    let made = pki::fresh(&machine.path("keys")).unwrap();
    let keys = machine.take_keys(&made);
    let authority = fs::read(keys.join("ca.crt")).unwrap();
    machine.phase(&["certs", "all"]);
    assert_eq!(fs::read(keys.join("ca.crt")).unwrap(), authority, "the cluster's authority stays");
    let folder = machine.path("etc/kubernetes").display().to_string();
    machine.phase(&["kubeconfig", "all", "--kubeconfig-dir", &folder]);

    let issuer = machine.config.service_accounts.as_ref().unwrap().issuer.clone();
    let mut server = ApiServerConfig::new(&keys, issuer);
    let arguments = api_server_arguments(&machine.config);
    assert!(arguments.len() > 10, "{arguments:?}");
    // The issuer is given twice otherwise, which kubeadm sees to.
    let further = arguments.iter().filter(|argument| !argument.starts_with("--service-account-issuer="));
    server.extra_args = further.map(|argument| machine.local(argument)).collect();
    let server = ApiServer::start(server).unwrap();
    let admin = machine.path("etc/kubernetes/super-admin.conf");
    let secret = ["create", "secret", "generic", "word", "--from-literal=word=mellon"];
    server.kubectl(&admin, &secret).unwrap().expect(0);
    let document =
        server.kubectl(&admin, &["get", "--raw=/.well-known/openid-configuration"]).unwrap().expect(0);
    assert!(document.stdout.contains("/karlaru.com/openid/v1/jwks"), "{}", document.stdout);

    let metrics = server.kubectl(&admin, &["get", "--raw=/metrics"]).unwrap().expect(0).stdout;
    let written = metrics.lines().find(|line| {
        line.starts_with("apiserver_storage_transformation_operations_total")
            && line.contains("to_storage")
            && line.contains("secretbox")
    });
    assert!(written.is_some_and(|line| !line.ends_with(" 0")), "secrets are not encrypted: {written:?}");
    let nameless = machine.path("nameless");
    let cluster = serde_json::json!({
        "server": server.url(), "certificate-authority": keys.join("ca.crt"),
    });
    let document = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
    });
    fs::write(&nameless, document.to_string()).unwrap();
    kubectl(&nameless, &["--username=anybody", "get", "--raw=/livez"]).unwrap().expect(0);
    let refused = kubectl(&nameless, &["--username=anybody", "get", "--raw=/version"]).unwrap().expect(1);
    assert!(refused.stderr.contains("Unauthorized"), "{}", refused.stderr);

    let audit = fs::read_to_string(machine.path(paths::AUDIT_LOG).join("audit.log")).unwrap();
    let entry = audit.lines().find(|line| line.contains("\"resource\":\"secrets\"") && line.contains("word"));
    let entry = entry.unwrap();
    assert!(entry.contains("\"level\":\"Metadata\""), "{entry}");
    assert!(!audit.contains("mellon") && !audit.contains("bWVsbG9u"), "a secret stands in the audit log");
    assert!(!audit.contains("\"requestURI\":\"/livez"), "probes are not worth an entry");
}

/// kubeadm's list of flags, as flags.
fn api_server_arguments(config: &NodeConfig) -> Vec<String> {
    let text = config.kubeadm_init(&machine()).unwrap().content;
    let cluster =
        text.split("---\n").find(|document| document.contains("kind: ClusterConfiguration")).unwrap();
    let cluster: serde_json::Value = serde_yaml::from_str(cluster).unwrap();
    let arguments = cluster["apiServer"]["extraArgs"].as_array().unwrap();
    let flag = |argument: &serde_json::Value| {
        format!("--{}={}", argument["name"].as_str().unwrap(), argument["value"].as_str().unwrap())
    };
    arguments.iter().map(flag).collect()
}
