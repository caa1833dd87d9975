//! Every file that a node configuration becomes, and what the real programs say of them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fmt::Write as _;
use std::process::Command;

use common::{control_plane, worker};
use kcl_node_config::{EncryptionKey, File, JoinToken, Machine, NodeConfig, paths};
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
    // kubeadm looks whether the file is there.
    let discovery = folder.path().join("discovery.conf");
    std::fs::write(&discovery, worker().discovery(&token()).unwrap().content).unwrap();
    let content = file.content.replace(paths::DISCOVERY, discovery.to_str().unwrap());
    std::fs::write(&path, content).unwrap();
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

/// The flags and files of the API server, as kubeadm would give them, in the real one: it starts, writes its
/// audit log, encrypts secrets, and lets nobody in without a name.
#[test]
fn the_api_server_takes_its_flags_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let config = control_plane();
    for file in files(&config).iter().filter(|file| file.path.starts_with(paths::API_SERVER)) {
        let path = format!("{home}{}", file.path);
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(path, &file.content).unwrap();
    }
    let log = format!("{home}{}", paths::AUDIT_LOG);
    std::fs::create_dir_all(&log).unwrap();

    let keys = pki::fresh(&folder.path().join("keys")).unwrap();
    let issuer = config.service_accounts.as_ref().unwrap().issuer.clone();
    let mut server = ApiServerConfig::new(keys.folder(), issuer);
    let arguments = api_server_arguments(&config);
    assert!(arguments.len() > 10, "{arguments:?}");
    let local = |argument: &String| {
        argument.replace("=/etc/", &format!("={home}/etc/")).replace("=/var/", &format!("={home}/var/"))
    };
    // The issuer is given twice otherwise, which kubeadm sees to.
    let further = arguments.iter().filter(|argument| !argument.starts_with("--service-account-issuer="));
    server.extra_args = further.map(local).collect();
    let server = ApiServer::start(server).unwrap();
    let admin = server.admin(&keys).unwrap();
    let secret = ["create", "secret", "generic", "word", "--from-literal=word=mellon"];
    server.kubectl(&admin, &secret).unwrap().expect(0);
    let document =
        server.kubectl(&admin, &["get", "--raw=/.well-known/openid-configuration"]).unwrap().expect(0);
    assert!(document.stdout.contains("/karlaru.com/openid/v1/jwks"), "{}", document.stdout);

    let nameless = folder.path().join("nameless");
    let cluster = serde_json::json!({
        "server": server.url(), "certificate-authority": keys.folder().join("ca.crt"),
    });
    let document = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
    });
    std::fs::write(&nameless, document.to_string()).unwrap();
    kubectl(&nameless, &["--username=anybody", "get", "--raw=/livez"]).unwrap().expect(0);
    let refused = kubectl(&nameless, &["--username=anybody", "get", "--raw=/version"]).unwrap().expect(1);
    assert!(refused.stderr.contains("Unauthorized"), "{}", refused.stderr);

    let audit = std::fs::read_to_string(format!("{log}/audit.log")).unwrap();
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
