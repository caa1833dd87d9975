//! A real API server for tests, and connections to it as whoever they like.

#![expect(dead_code, reason = "no test needs everything")]
#![expect(unreachable_pub, reason = "a module of several tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use kcl_kube::{
    Access, Action, Applied, ClusterAccess, Connection, Error, Event, Outcome, Plan, PlanOptions, Wanted,
};
use kcl_pki::PrivateKey;
use kcl_testkit::kubernetes::pki::{self, Pki};
use kcl_testkit::kubernetes::{ApiProxy, ApiServer, ApiServerConfig};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";

/// An API server, and the keys of who asks it.
pub struct Kubernetes {
    pub server: ApiServer,
    pki: Pki,
    kubeconfig: PathBuf,
    folder: tempfile::TempDir,
}

impl Kubernetes {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = pki::fresh(folder.path()).unwrap();
        let server = ApiServer::start(ApiServerConfig::new(folder.path(), ISSUER)).unwrap();
        let kubeconfig = server.admin(&pki).unwrap();
        Self { server, pki, kubeconfig, folder }
    }

    /// One for all tests that run at the same time.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Kubernetes>> = Mutex::new(Weak::new());
        // A test that failed while it held this broke nothing.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// Another way to it, on which things go wrong.
    pub fn proxy(&self) -> ApiProxy {
        ApiProxy::start(&self.pki, self.server.port()).unwrap()
    }

    pub fn access(&self, user: &str, group: Option<&str>) -> ClusterAccess {
        access(&self.pki, &self.server.url(), user, group)
    }

    /// As an administrator.
    pub async fn connect(&self) -> Connection {
        self.connect_as("admin", Some("system:masters")).await
    }

    pub async fn connect_as(&self, user: &str, group: Option<&str>) -> Connection {
        let access = Access::Cluster(self.access(user, group));
        Connection::open(&access).await.unwrap().with_patience(Duration::from_secs(10))
    }

    /// What kubectl prints; it must succeed.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.server.kubectl(&self.kubeconfig, args).unwrap().expect(0).stdout
    }

    pub fn kubectl_fails(&self, args: &[&str]) {
        self.server.kubectl(&self.kubeconfig, args).unwrap().expect(1);
    }

    /// Applies by kubectl, as another manager than kcl.
    pub fn kubectl_apply(&self, object: &Value) {
        let args = ["apply", "--server-side", "--field-manager=somebody", "-f", "-"];
        self.server.kubectl_reads(&self.kubeconfig, &args, &object.to_string()).unwrap().expect(0);
    }

    /// An object as it is, to the last field.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let args = ["get", kind, name, "--namespace", namespace, "-o", "json", "--show-managed-fields"];
        serde_json::from_str(&self.kubectl(&args)).unwrap()
    }

    pub fn exists(&self, kind: &str, namespace: &str, name: &str) -> bool {
        !self
            .kubectl(&["get", kind, name, "--namespace", namespace, "-o", "name", "--ignore-not-found"])
            .is_empty()
    }

    /// A namespace in which pods can be made: nobody makes the account for them here.
    pub fn make_namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
        self.kubectl(&["create", "serviceaccount", "default", "--namespace", name]);
    }

    /// Overwrites the status of an object.
    pub fn patch_status(&self, kind: &str, namespace: &str, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let args =
            ["patch", kind, name, "--namespace", namespace, "--subresource=status", "--type=merge", "-p"];
        self.kubectl(&[&args[..], &[patch.as_str()]].concat());
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// How somebody who has a certificate of these keys reaches a server.
pub fn access(pki: &Pki, server: &str, user: &str, group: Option<&str>) -> ClusterAccess {
    static ISSUING: Mutex<()> = Mutex::new(());
    // The files of a user are written anew each time, and nobody may read half of one.
    let _issuing = ISSUING.lock().unwrap_or_else(PoisonError::into_inner);
    let client = pki.client(user, group).unwrap();
    let key = PrivateKey::from_pem(&fs::read(client.key).unwrap()).unwrap();
    ClusterAccess {
        server: server.to_owned(),
        authority_pem: fs::read_to_string(pki.folder().join("ca.crt")).unwrap(),
        certificate_pem: fs::read_to_string(client.certificate).unwrap(),
        private_key: key.to_pem(),
    }
}

pub fn wanted(objects: &[Value]) -> Vec<Wanted> {
    objects.iter().map(|object| Wanted { origin: "spec".to_owned(), object: object.clone() }).collect()
}

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub fn config_map(namespace: &str, name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"value": value},
    })
}

pub fn deployment(namespace: &str, name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "till", "image": image}]},
            },
        },
    })
}

pub async fn plan(connection: &Connection, cluster: &str, objects: &[Value]) -> Result<Plan, Error> {
    plan_with(connection, cluster, objects, PlanOptions::default()).await
}

pub const PRUNE: PlanOptions = PlanOptions { force_conflicts: false, prune: true };
pub const FORCE: PlanOptions = PlanOptions { force_conflicts: true, prune: false };

pub async fn plan_with(
    connection: &Connection,
    cluster: &str,
    objects: &[Value],
    options: PlanOptions,
) -> Result<Plan, Error> {
    kcl_kube::plan(connection, cluster, &wanted(objects), options, &|_| {}).await
}

/// Asks again and again for what a server learns a moment later.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asks = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asks).await.unwrap()
}

/// Applies a plan, which must succeed.
pub async fn apply(connection: &Connection, plan: &Plan) {
    drop(apply_and_tell(connection, plan).await);
}

/// Likewise, and gives what became of it.
pub async fn apply_and_tell(connection: &Connection, plan: &Plan) -> Applied {
    let applied = kcl_kube::apply(connection, plan, None, std::future::pending(), &|_| {}).await.unwrap();
    assert_eq!(applied.outcome(), Outcome::Done, "{applied:?}");
    applied
}

/// Each object of a plan with what is to be done: `ConfigMap a/b: create`.
pub fn actions(plan: &Plan) -> Vec<String> {
    let line = |action: Action| serde_json::to_value(action).unwrap().as_str().unwrap().to_owned();
    plan.objects.iter().map(|planned| format!("{}: {}", planned.object, line(planned.action))).collect()
}

/// Why objects of a plan could not be planned.
pub fn faults(plan: &Plan) -> String {
    plan.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Which objects were applied or pruned, in the order in which it happened.
pub fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Applied { object, .. } => Some(object.to_string()),
        Event::Pruned { object } => Some(format!("-{object}")),
        _ => None,
    };
    events.iter().filter_map(name).collect()
}
