//! The real API server: with a given cluster's keys, several at a time, and what is told when one does not
//! start. The keys are made by openssl here, so that nothing of kcl's own is believed.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kcl_testkit::kubernetes::{self, ApiServer, ApiServerConfig};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";

/// A folder in kubeadm's layout, and client certificates beside it.
struct Pki {
    folder: tempfile::TempDir,
}

impl Pki {
    fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(pki.path("etcd")).unwrap();
        let server = "subjectAltName=IP:127.0.0.1,DNS:kubernetes\nextendedKeyUsage=serverAuth,clientAuth";
        let client = "extendedKeyUsage=clientAuth";
        for (authority, name) in
            [("ca", "kubernetes"), ("front-proxy-ca", "front-proxy"), ("etcd/ca", "etcd")]
        {
            pki.authority(authority, name);
        }
        pki.certificate("ca", "apiserver", "/CN=kube-apiserver", server);
        pki.certificate("ca", "apiserver-kubelet-client", "/O=kubeadm:cluster-admins/CN=kubelet", client);
        pki.certificate("front-proxy-ca", "front-proxy-client", "/CN=front-proxy-client", client);
        pki.certificate("etcd/ca", "etcd/server", "/CN=etcd", server);
        pki.certificate("etcd/ca", "apiserver-etcd-client", "/CN=kube-apiserver-etcd-client", client);
        pki.certificate("ca", "admin", "/O=system:masters/CN=admin", client);
        pki.certificate("ca", "manager", "/CN=system:kube-controller-manager", client);
        openssl(&["genrsa", "-out", &pki.text("sa.key"), "2048"]);
        openssl(&["rsa", "-in", &pki.text("sa.key"), "-pubout", "-out", &pki.text("sa.pub")]);
        pki
    }

    /// With no more than a server cannot be without.
    fn smallest() -> Self {
        let pki = Self::new();
        fs::remove_dir_all(pki.path("etcd")).unwrap();
        for name in
            ["apiserver-kubelet-client", "apiserver-etcd-client", "front-proxy-client", "front-proxy-ca"]
        {
            fs::remove_file(pki.path(&format!("{name}.crt"))).unwrap();
        }
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn authority(&self, file: &str, name: &str) {
        let (key, certificate) = (self.text(&format!("{file}.key")), self.text(&format!("{file}.crt")));
        let subject = format!("/CN={name}");
        let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        openssl(
            &[&new[..], &["-subj", &subject, "-keyout", &key, "-out", &certificate, "-days", "1"]].concat(),
        );
    }

    fn certificate(&self, authority: &str, file: &str, subject: &str, extensions: &str) {
        let (key, request) = (self.text(&format!("{file}.key")), self.text(&format!("{file}.csr")));
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        openssl(&[&new[..], &["-subj", subject, "-keyout", &key, "-out", &request]].concat());
        let list = self.text("extensions");
        fs::write(&list, extensions).unwrap();
        let (ca, ca_key) = (self.text(&format!("{authority}.crt")), self.text(&format!("{authority}.key")));
        let certificate = self.text(&format!("{file}.crt"));
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        openssl(&[&sign[..], &["-days", "1", "-extfile", &list, "-out", &certificate]].concat());
    }

    /// A kubeconfig for the server, as the user of one of the certificates.
    fn kubeconfig(&self, server: &ApiServer, user: &str) -> PathBuf {
        let (certificate, key) = (self.path(&format!("{user}.crt")), self.path(&format!("{user}.key")));
        server.write_kubeconfig(&format!("{user}.conf"), &certificate, &key).unwrap()
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The claims of a token.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Asks without a name; gives the HTTP status.
fn status(server: &ApiServer, pki: &Pki, path: &str) -> String {
    let address = format!("127.0.0.1:{}", server.port());
    let authority = pki.text("ca.crt");
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &authority, "-connect", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn it_serves_with_the_keys_that_it_was_given() {
    let pki = Pki::new();
    let server = ApiServer::start(ApiServerConfig::new(pki.folder.path(), ISSUER)).unwrap();
    let admin = pki.kubeconfig(&server, "admin");
    let kubectl = |args: &[&str]| server.kubectl(&admin, args).unwrap();

    let version: Value =
        serde_json::from_str(&kubectl(&["get", "--raw", "/version"]).expect(0).stdout).unwrap();
    let versions: Value =
        serde_json::from_str(&kubectl(&["version", "-o", "json"]).expect(0).stdout).unwrap();
    assert_eq!(versions["serverVersion"]["gitVersion"], version["gitVersion"]);
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(version["gitVersion"], kubernetes::version());
        assert_eq!(versions["clientVersion"]["gitVersion"], kubernetes::version());
    }

    kubectl(&["create", "namespace", "shop"]).expect(0);
    kubectl(&["create", "serviceaccount", "till", "--namespace", "shop"]).expect(0);
    let token = kubectl(&["create", "token", "till", "--namespace", "shop"]).expect(0).stdout;
    let issued = claims(token.trim());
    assert_eq!(issued["iss"], ISSUER);
    assert_eq!(issued["aud"], json!([ISSUER]));
    assert_eq!(issued["sub"], "system:serviceaccount:shop:till");

    assert_eq!(status(&server, &pki, "/readyz"), "200");
    assert_eq!(status(&server, &pki, "/api/v1/namespaces"), "403");
    let unknown = pki.kubeconfig(&server, "manager");
    let refused = server.kubectl(&unknown, &["create", "namespace", "other"]).unwrap().expect(1);
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);
}

#[test]
fn tokens_are_believed_and_policies_are_on() {
    let pki = Pki::smallest();
    let mut config = ApiServerConfig::new(pki.folder.path(), ISSUER);
    config.api_audiences = vec!["kubernetes.svc.default".to_owned(), "other".to_owned()];
    let server = ApiServer::start(config).unwrap();
    let admin = pki.kubeconfig(&server, "admin");
    let kubectl = |args: &[&str]| server.kubectl(&admin, args).unwrap();

    kubectl(&["create", "serviceaccount", "till"]).expect(0);
    let token = kubectl(&["create", "token", "till", "--audience", "other"]).expect(0).stdout;
    let empty = pki.path("empty.conf");
    fs::write(&empty, "").unwrap();
    let ca = pki.text("ca.crt");
    let asked = ["--certificate-authority", &ca, "--token", token.trim(), "auth", "whoami", "-o", "json"];
    let who = server.kubectl(&empty, &asked).unwrap();
    assert!(who.expect(0).stdout.contains("system:serviceaccount:default:till"));

    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "labelled"},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ]},
            "reinvocationPolicy": "Never",
            "failurePolicy": "Fail",
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": "Object{metadata: Object.metadata{labels: {'by': 'policy'}}}"
                }
            }]
        }
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "labelled"},
        "spec": {"policyName": "labelled"}
    });
    for object in [policy, binding] {
        let apply = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        server.kubectl_reads(&admin, &apply, &object.to_string()).unwrap().expect(0);
    }
    // A policy takes effect a little after it is stored.
    let begun = Instant::now();
    loop {
        let make = ["create", "configmap", "a", "--dry-run=server", "-o", "jsonpath={.metadata.labels.by}"];
        if kubectl(&make).expect(0).stdout == "policy" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the policy has no effect");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn two_run_beside_each_other_and_one_comes_back() {
    let (first, second) = (Pki::new(), Pki::new());
    let start = |pki: &Pki| ApiServer::start(ApiServerConfig::new(pki.folder.path(), ISSUER)).unwrap();
    let (mut one, two) = thread::scope(|scope| {
        let two = scope.spawn(|| start(&second));
        (start(&first), two.join().unwrap())
    });
    assert_ne!(one.url(), two.url());
    let (admin, other) = (first.kubeconfig(&one, "admin"), second.kubeconfig(&two, "admin"));
    one.kubectl(&admin, &["create", "namespace", "here"]).unwrap().expect(0);
    two.kubectl(&other, &["get", "namespace", "here"]).unwrap().expect(1);
    let foreign = two.kubectl(&admin, &["get", "namespaces"]).unwrap().expect(1);
    assert!(foreign.stderr.contains("certificate signed by unknown authority"), "{}", foreign.stderr);

    one.kill_api_server();
    let gone = one.kubectl(&admin, &["get", "namespaces"]).unwrap().expect(1);
    assert!(gone.stderr.contains("refused"), "{}", gone.stderr);
    one.start_again().unwrap();
    one.kubectl(&admin, &["get", "namespace", "here"]).unwrap().expect(0);

    let logs = one.logs().to_owned();
    assert!(logs.join("kube-apiserver.log").is_file());
    drop(one);
    assert!(!logs.exists());
}

#[test]
fn a_controller_manager_works_when_it_is_asked_for() {
    let pki = Pki::new();
    // Its server is another one's: only the user and the authority count.
    let kubeconfig = pki.path("manager.conf");
    let [authority, certificate, key] = ["ca.crt", "manager.crt", "manager.key"].map(|name| pki.path(name));
    kubernetes::write_kubeconfig(&kubeconfig, "https://api.example", &authority, &certificate, &key).unwrap();
    let config = ApiServerConfig::new(pki.folder.path(), ISSUER).with_controller_manager(&kubeconfig);
    let server = ApiServer::start(config).unwrap();
    assert_eq!(server.processes().len(), 3);

    let admin = pki.kubeconfig(&server, "admin");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker"}});
    server.kubectl_reads(&admin, &["create", "-f", "-"], &node.to_string()).unwrap().expect(0);
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "everywhere", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "everywhere"}},
            "template": {
                "metadata": {"labels": {"app": "everywhere"}},
                "spec": {
                    "containers": [{"name": "pause", "image": "registry.example/pause:1"}],
                    "tolerations": [{"operator": "Exists"}]
                }
            }
        }
    });
    server.kubectl_reads(&admin, &["create", "-f", "-"], &set.to_string()).unwrap().expect(0);
    let pods = ["wait", "--for=create", "--timeout=60s", "pod", "--selector=app=everywhere"];
    server.kubectl(&admin, &pods).unwrap().expect(0);

    server.kubectl(&admin, &["delete", "daemonset", "everywhere", "--wait=false"]).unwrap().expect(0);
    let gone = ["wait", "--for=delete", "--timeout=60s", "pod", "--selector=app=everywhere"];
    server.kubectl(&admin, &gone).unwrap().expect(0);
}

#[test]
fn what_does_not_start_says_why() {
    let pki = Pki::new();
    fs::write(pki.path("apiserver.crt"), "not a certificate").unwrap();
    let error = ApiServer::start(ApiServerConfig::new(pki.folder.path(), ISSUER)).unwrap_err().to_string();
    assert!(
        error.starts_with("kube-apiserver did not start: it ended, exit status: 1; the end of "),
        "{error}"
    );
    assert!(error.contains("failed to find any PEM data in certificate input"), "{error}");
    let log = error.lines().next().and_then(|line| line.split("the end of ").nth(1)).unwrap();
    let log = Path::new(log.trim_end_matches(':'));
    assert!(log.is_file(), "{} is still there to be read", log.display());
    fs::remove_dir_all(log.parent().unwrap()).unwrap();

    fs::remove_file(pki.path("sa.pub")).unwrap();
    let error = ApiServer::start(ApiServerConfig::new(pki.folder.path(), ISSUER)).unwrap_err().to_string();
    assert!(error.starts_with("failed to find ") && error.ends_with("sa.pub"), "{error}");
}
