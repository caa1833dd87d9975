//! What tests of manifests share: clusters with addons, and a real API server to give them to.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kcl_manifests::{Error, Identity, Inputs, Manifest, identities, render};
use kcl_spec::Cluster;
use kcl_testkit::Run;
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig};
use serde_json::{Value, json};

/// A cluster and what [`Inputs`] has beside it.
#[derive(Clone)]
pub struct Given {
    pub cluster: Cluster,
    pub roles: BTreeMap<(String, String), String>,
    pub vpc_cidrs: Vec<String>,
    pub zones: Vec<String>,
    pub queue: Option<String>,
}

impl Given {
    /// A cluster of the examples, with no addons but those its own documents ask for.
    pub fn example(name: &str) -> Self {
        let path = format!("{}/../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).unwrap();
        let loaded = kcl_spec::load(&[kcl_spec::Source::new(path, text)]);
        let mut cluster = loaded.unwrap_or_else(|found| panic!("{name}: {found:?}")).cluster;
        cluster.addons = kcl_spec::cluster::Addons::default();
        Self {
            cluster,
            roles: BTreeMap::new(),
            vpc_cidrs: vec!["172.20.0.0/16".to_owned()],
            zones: Vec::new(),
            queue: None,
        }
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            cluster: &self.cluster,
            partition: "aws",
            account: "123456789012",
            roles: &self.roles,
            vpc_cidrs: &self.vpc_cidrs,
            zones: &self.zones,
            queue: self.queue.as_deref(),
        }
    }

    pub fn render(&self) -> Result<Vec<Manifest>, Error> {
        render(&self.inputs())
    }

    /// The objects of one addon.
    pub fn objects(&self, addon: &str) -> Vec<Value> {
        let manifests = self.render().unwrap();
        let manifest = manifests.into_iter().find(|manifest| manifest.addon == addon);
        manifest.map(|manifest| manifest.objects).unwrap_or_default()
    }

    pub fn identities(&self) -> Vec<Identity> {
        identities(&self.inputs())
    }
}

/// The object of that kind and name.
#[track_caller]
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// An API server of one test, and its administrator.
pub struct Server {
    pub server: ApiServer,
    admin: PathBuf,
    _pki: tempfile::TempDir,
}

impl Server {
    /// Alone: nothing happens in the cluster but what is asked for.
    pub fn start() -> Self {
        Self::with(|_| None)
    }

    /// With a controller manager, which makes service accounts of namespaces and pods of workloads.
    pub fn start_with_controller_manager() -> Self {
        Self::with(|pki| Some(pki.to_owned()))
    }

    fn with(manager: impl Fn(&PathBuf) -> Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = folder.path().to_owned();
        keys(&pki);
        let mut config = ApiServerConfig::new(&pki, "https://issuer.example");
        if manager(&pki).is_some() {
            let kubeconfig = pki.join("manager.conf");
            let [ca, crt, key] = ["ca.crt", "manager.crt", "manager.key"].map(|name| pki.join(name));
            kcl_testkit::kubernetes::write_kubeconfig(&kubeconfig, "https://api.example", &ca, &crt, &key)
                .unwrap();
            config = config.with_controller_manager(&kubeconfig);
        }
        let server = ApiServer::start(config).unwrap();
        let admin =
            server.write_kubeconfig("admin.conf", &pki.join("admin.crt"), &pki.join("admin.key")).unwrap();
        Self { server, admin, _pki: folder }
    }

    pub fn kubectl(&self, args: &[&str]) -> Run {
        self.server.kubectl(&self.admin, args).unwrap()
    }

    pub fn reads(&self, args: &[&str], input: &str) -> Run {
        self.server.kubectl_reads(&self.admin, args, input).unwrap()
    }

    /// Applies objects as kcl does, with unknown and doubled fields refused.
    pub fn apply(&self, objects: &[Value], more: &[&str]) -> Run {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let args = ["apply", "--server-side", "--validate=strict", "--field-manager=kcl", "-f", "-"];
        self.reads(&[&args[..], more].concat(), &list.to_string())
    }

    /// Creates one object and gives it as it was stored.
    pub fn create(&self, object: &Value) -> Value {
        let run = self.reads(&["create", "-f", "-", "-o", "json"], &object.to_string());
        serde_json::from_str(&run.expect(0).stdout).unwrap()
    }

    /// Asks until it is so: what is stored takes effect a little later.
    pub fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < Duration::from_mins(1), "{what}: it is not");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Keys in kubeadm's layout, no more than a server needs, and those of an administrator.
fn keys(pki: &PathBuf) {
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
