//! A real API server, to give manifests to; where pods are to come about, with the rest of a control plane and
//! machines, which are all that is not real.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use kcl_testkit::Run;
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig, Machine, Machines, pki};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";

/// A control plane of one test, and its administrator.
pub(crate) struct Server {
    // Dropped before the server that they talk to.
    machines: Option<Machines>,
    process: ApiServer,
    admin: PathBuf,
    _keys: tempfile::TempDir,
}

impl Server {
    /// An API server alone: nothing happens in the cluster but what is asked for.
    pub(crate) fn start() -> Self {
        Self::with(|pki| ApiServerConfig::new(pki.folder(), ISSUER), &[])
    }

    /// A control plane, and perhaps machines.
    pub(crate) fn start_control_plane(machines: &[Machine]) -> Self {
        Self::with(|pki| ApiServerConfig::control_plane(pki, ISSUER).unwrap(), machines)
    }

    fn with(config: impl Fn(&pki::Pki) -> ApiServerConfig, machines: &[Machine]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let pki = pki::fresh(keys.path()).unwrap();
        let process = ApiServer::start(config(&pki)).unwrap();
        let admin = process.admin(&pki).unwrap();
        let wanted = (!machines.is_empty()).then_some(machines);
        let machines = wanted.map(|machines| Machines::start(&process, &admin, machines).unwrap());
        Self { machines, process, admin, _keys: keys }
    }

    /// Changes the machines.
    pub(crate) fn set_machines(&mut self, machines: &[Machine]) {
        self.machines.as_mut().unwrap().set(machines).unwrap();
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Run {
        self.process.kubectl(&self.admin, args).unwrap()
    }

    pub(crate) fn reads(&self, args: &[&str], input: &str) -> Run {
        self.process.kubectl_reads(&self.admin, args, input).unwrap()
    }

    /// The objects that kubectl lists.
    pub(crate) fn list(&self, args: &[&str]) -> Vec<Value> {
        let run = self.kubectl(&[args, &["-o", "json"]].concat()).expect(0);
        let list: Value = serde_json::from_str(&run.stdout).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Applies objects as kcl does, with unknown and doubled fields refused.
    pub(crate) fn apply(&self, objects: &[Value], more: &[&str]) -> Run {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let args = ["apply", "--server-side", "--validate=strict", "--field-manager=kcl", "-f", "-"];
        self.reads(&[&args[..], more].concat(), &list.to_string())
    }

    /// Likewise, all objects of a cluster, in the order that they need.
    pub(crate) fn apply_all(&self, objects: &[Value]) -> Run {
        let (first, then): (Vec<_>, Vec<_>) = objects.iter().cloned().partition(|object| {
            ["Namespace", "CustomResourceDefinition"].contains(&object["kind"].as_str().unwrap())
        });
        // A namespace that access is given in, and that nothing here makes.
        let shop = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
        self.apply(&[first.as_slice(), &[shop]].concat(), &[]).expect(0);
        if first.iter().any(|object| object["kind"] == "CustomResourceDefinition") {
            let wait = ["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"];
            self.kubectl(&wait).expect(0);
        }
        let run = self.apply(&then, &[]).expect(0);
        assert_eq!(run.stdout.lines().count(), then.len(), "{}", run.stdout);
        run
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
            assert!(begun.elapsed() < Duration::from_mins(2), "{what}: it is not");
            thread::sleep(Duration::from_millis(100));
        }
    }
}
