//! A real API server, to give manifests to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kcl_testkit::Run;
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig};
use serde_json::{Value, json};

/// An API server of one test, and its administrator.
pub(crate) struct Server {
    process: ApiServer,
    admin: PathBuf,
    _pki: tempfile::TempDir,
}

impl Server {
    /// Alone: nothing happens in the cluster but what is asked for.
    pub(crate) fn start() -> Self {
        Self::with(false)
    }

    /// With a controller manager, which makes service accounts of namespaces and pods of workloads.
    pub(crate) fn start_with_controller_manager() -> Self {
        Self::with(true)
    }

    fn with(controller_manager: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = folder.path().to_owned();
        keys(&pki);
        let mut config = ApiServerConfig::new(&pki, "https://issuer.example");
        if controller_manager {
            let kubeconfig = pki.join("manager.conf");
            let [ca, crt, key] = ["ca.crt", "manager.crt", "manager.key"].map(|name| pki.join(name));
            kcl_testkit::kubernetes::write_kubeconfig(&kubeconfig, "https://api.example", &ca, &crt, &key)
                .unwrap();
            config = config.with_controller_manager(&kubeconfig);
        }
        let server = ApiServer::start(config).unwrap();
        let admin =
            server.write_kubeconfig("admin.conf", &pki.join("admin.crt"), &pki.join("admin.key")).unwrap();
        Self { process: server, admin, _pki: folder }
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Run {
        self.process.kubectl(&self.admin, args).unwrap()
    }

    pub(crate) fn reads(&self, args: &[&str], input: &str) -> Run {
        self.process.kubectl_reads(&self.admin, args, input).unwrap()
    }

    /// Applies objects as kcl does, with unknown and doubled fields refused.
    pub(crate) fn apply(&self, objects: &[Value], more: &[&str]) -> Run {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let args = ["apply", "--server-side", "--validate=strict", "--field-manager=kcl", "-f", "-"];
        self.reads(&[&args[..], more].concat(), &list.to_string())
    }

    /// Creates one object and gives it as it was stored.
    pub(crate) fn create(&self, object: &Value) -> Value {
        let run = self.reads(&["create", "-f", "-", "-o", "json"], &object.to_string());
        serde_json::from_str(&run.expect(0).stdout).unwrap()
    }

    /// Asks until it is so: what is stored takes effect a little later.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < Duration::from_mins(1), "{what}: it is not");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Keys in kubeadm's layout, no more than a server needs, and those of an administrator.
fn keys(pki: &Path) {
    let text = |name: &str| pki.join(name).display().to_string();
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let (ca, ca_key) = (text("ca.crt"), text("ca.key"));
    let own = ["-x509", "-subj", "/CN=kubernetes", "-keyout", &ca_key, "-out", &ca, "-days", "1"];
    openssl(&[&new[..], &own].concat());
    let server = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth";
    let client = "extendedKeyUsage=clientAuth";
    for (name, subject, extensions) in [
        ("apiserver", "/CN=kube-apiserver", server),
        ("admin", "/O=system:masters/CN=admin", client),
        ("manager", "/CN=system:kube-controller-manager", client),
    ] {
        let (key, request) = (text(&format!("{name}.key")), text(&format!("{name}.csr")));
        let (certificate, list) = (text(&format!("{name}.crt")), text("extensions"));
        openssl(&[&new[..], &["-subj", subject, "-keyout", &key, "-out", &request]].concat());
        fs::write(&list, extensions).unwrap();
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        openssl(&[&sign[..], &["-days", "1", "-extfile", &list, "-out", &certificate]].concat());
    }
    openssl(&["genrsa", "-out", &text("sa.key"), "2048"]);
    openssl(&["rsa", "-in", &text("sa.key"), "-pubout", "-out", &text("sa.pub")]);
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
