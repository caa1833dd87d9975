//! An API server that cannot be reached, is another one, does not know who asks, or dies midway.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use kcl_kube::{Access, Action, Cause, Connection, Error, ErrorKind, Event, Fate, Outcome};
use kcl_testkit::kubernetes::pki;
use serde_json::{Value, json};
use support::{Kubernetes, PRUNE, apply, config_map, deployment, namespace, plan, plan_with, until};

async fn cause(access: kcl_kube::ClusterAccess) -> Option<Cause> {
    let connection = Connection::open(&Access::Cluster(access)).await.unwrap();
    let error = connection.version().await.unwrap_err();
    assert!(!format!("{error:?}").contains("PRIVATE"), "{error:?}");
    match error {
        Error::Unreachable { cause, .. } => Some(cause),
        _ => None,
    }
}

/// Everything that needs a server which nobody else uses, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_of_an_outage() {
    let mut kubernetes = Kubernetes::start();
    who_is_there(&kubernetes).await;
    what_serves_a_group_is_away(&kubernetes).await;
    dies_midway(&mut kubernetes).await;
    comes_back(&mut kubernetes).await;
}

async fn who_is_there(kubernetes: &Kubernetes) {
    let admin = || kubernetes.access("admin", Some("system:masters"));
    let connection = kubernetes.connect().await;
    let version = connection.version().await.unwrap();
    assert_eq!((version.major, version.minor), (1, 36));
    assert!(version.git_version.starts_with("v1.36."), "{version:?}");
    let events = Mutex::new(Vec::new());
    let on_event = |event| events.lock().unwrap().push(event);
    connection.wait_ready(Duration::from_secs(30), &on_event).await.unwrap();
    assert!(matches!(events.into_inner().unwrap().last(), Some(Event::ServerReady)));

    // By another address, it is the same by its name.
    let mut local = admin();
    local.server = format!("https://localhost:{}", kubernetes.server.port());
    let local = Connection::open(&Access::Cluster(local)).await.unwrap();
    assert!(local.version().await.is_ok());

    // By a kubeconfig.
    let path = kubernetes.folder().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": kubernetes.server.url(),
            "certificate-authority": kubernetes.folder().join("ca.crt")}}],
        "users": [{"name": "a", "user": {"client-certificate": kubernetes.folder().join("clients/admin.crt"),
            "client-key": kubernetes.folder().join("clients/admin.key")}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    let mut by_proxy = text.clone();
    by_proxy["clusters"][0]["cluster"]["proxy-url"] = "http://127.0.0.1:1".into();
    std::fs::write(&path, by_proxy.to_string()).unwrap();
    let error = Connection::open(&Access::Kubeconfig { path: path.clone() }).await.unwrap_err();
    assert!(error.to_string().ends_with("it asks for a proxy, which is not supported"), "{error}");
    std::fs::write(&path, text.to_string()).unwrap();
    let by_file = Connection::open(&Access::Kubeconfig { path }).await.unwrap();
    assert_eq!(by_file.version().await.unwrap(), version);

    // Somebody of another cluster.
    let stranger = tempfile::tempdir().unwrap();
    let stranger = pki::fresh(stranger.path()).unwrap();
    let mut unknown = support::access(&stranger, &kubernetes.server.url(), "admin", Some("system:masters"));
    assert_eq!(cause(unknown.clone()).await, Some(Cause::Tls), "its server is not this one");
    unknown.authority_pem = admin().authority_pem;
    let unknown = Connection::open(&Access::Cluster(unknown)).await.unwrap();
    assert_eq!(unknown.version().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    let error = unknown.wait_ready(Duration::from_mins(5), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "waiting does not help");

    // Somebody who may do nothing yet: the server is ready, and not for them.
    let nobody = kubernetes.connect_as("nobody", None).await;
    assert_eq!(nobody.version().await.unwrap(), version);
    let error = nobody.wait_ready(Duration::from_secs(1), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let said = "to be ready, in vain (nobody has given this user its rights yet)";
    assert!(error.to_string().ends_with(said), "{error}");

    // Nobody there.
    let at = |server: String| kcl_kube::ClusterAccess { server, ..admin() };
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    // It takes connections and says nothing.
    assert_eq!(cause(at(format!("https://127.0.0.1:{port}"))).await, Some(Cause::Timeout));
    drop(free);
    assert_eq!(cause(at(format!("https://127.0.0.1:{port}"))).await, Some(Cause::Refused));
    assert_eq!(cause(at("https://api.nowhere.invalid".to_owned())).await, Some(Cause::Dns));

    // What cannot be used at all.
    for (access, part) in [
        (at("http://127.0.0.1".to_owned()), "it is not `https://`"),
        (at("not a url".to_owned()), "it is not a URL"),
        (kcl_kube::ClusterAccess { authority_pem: "x".to_owned(), ..admin() }, "not a PEM certificate"),
        (kcl_kube::ClusterAccess { certificate_pem: "x".to_owned(), ..admin() }, "cannot be used"),
    ] {
        let shown = format!("{access:?}");
        assert!(!shown.contains("PRIVATE") && !shown.contains("CERTIFICATE"), "{shown}");
        let error = Connection::open(&Access::Cluster(access)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Access);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE"), "{error:?}");
    }
    let error = Connection::open(&Access::Kubeconfig { path: "/nowhere".into() }).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot use the kubeconfig /nowhere: "), "{error}");
}

fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = (0..30).map(|n| config_map("outage", &format!("a{n}"), "1")).collect();
    objects.push(deployment("outage", "till", "till:1"));
    objects
}

/// What is of a group that nobody can see just now is neither lost with its namespace nor forgotten.
async fn what_serves_a_group_is_away(kubernetes: &Kubernetes) {
    let connection = kubernetes.connect().await;
    let cluster = "behind.example";
    apply(&connection, &plan(&connection, cluster, &[namespace("behind")]).await.unwrap()).await;
    let kinds = "applyset.kubernetes.io/contains-group-kinds";
    let say = format!("{kinds}=Namespace,Thing.away.example.com");
    let parent = ["configmap", "kcl-behind.example", "--namespace=kube-system"];
    kubernetes.kubectl(&[&["annotate", "--overwrite"], &parent[..], &[say.as_str()]].concat());
    kubernetes.kubectl_apply(&json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.away.example.com"},
        "spec": {"group": "away.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "service": {"name": "nobody", "namespace": "default"}, "insecureSkipTLSVerify": true},
    }));
    let found = until(async || {
        let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
        (found.unwanted[0].fate != Fate::Delete).then_some(found)
    });
    let found = found.await;
    let reason =
        "what it holds cannot be seen: what serves the group away.example.com does not answer".to_owned();
    assert_eq!(found.unwanted[0].fate, Fate::Keep { reason });
    apply(&connection, &found).await;
    let said =
        &kubernetes.get("configmap", "kube-system", "kcl-behind.example")["metadata"]["annotations"][kinds];
    assert_eq!(said, "Namespace,Thing.away.example.com", "there may be some of its objects");
    kubernetes.kubectl(&["delete", "apiservice", "v1.away.example.com"]);
}

async fn dies_midway(kubernetes: &mut Kubernetes) {
    kubernetes.make_namespace("outage");
    let connection = kubernetes.connect().await.with_patience(Duration::from_secs(1));
    let planned = plan(&connection, "outage.example", &objects()).await.unwrap();
    let (begun, mut death) = tokio::sync::mpsc::unbounded_channel();
    let on_event = |event: Event| {
        if matches!(event, Event::Applied { .. }) {
            begun.send(()).unwrap();
        }
    };
    let work = kcl_kube::apply(&connection, &planned, None, std::future::pending(), &on_event);
    let mut work = Box::pin(work);
    tokio::select! {
        _ = &mut work => panic!("it was not killed"),
        _ = death.recv() => kubernetes.server.kill_api_server(),
    }
    let applied = work.await.unwrap();
    assert_eq!(applied.outcome(), Outcome::Failed);
    let told = applied.applied.len() + applied.failures.len() + applied.not_started.len();
    assert_eq!(told, objects().len(), "each object is told of once");
    assert!(!applied.applied.is_empty() && !applied.failures.is_empty(), "{applied:?}");
    assert!(applied.not_started.iter().any(|object| object.kind == "Deployment"));
    for failure in &applied.failures {
        assert_eq!(failure.error.kind(), ErrorKind::Unreachable, "{failure}");
    }
    let error = plan(&connection, "outage.example", &objects()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("the connection was refused"), "{error}");

    kubernetes.server.start_again().unwrap();
    let again = plan(&connection, "outage.example", &objects()).await.unwrap();
    let done = again.count(Action::Unchanged);
    assert!(done >= applied.applied.len(), "what was told to be done is done");
    apply(&connection, &again).await;
    assert!(plan(&connection, "outage.example", &objects()).await.unwrap().is_empty());
}

async fn comes_back(kubernetes: &mut Kubernetes) {
    let connection = kubernetes.connect().await.with_patience(Duration::from_mins(1));
    kubernetes.server.kill_api_server();
    let error = connection.wait_ready(Duration::from_secs(1), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("the connection was refused"), "{error}");

    // A plan that begins while the server is away is patient.
    let waits = tokio::spawn({
        let connection = connection.clone();
        async move {
            let seen = Mutex::new(0);
            let on_event = |event: Event| match event {
                Event::NotReachable { .. } | Event::ServerNotReady { .. } => *seen.lock().unwrap() += 1,
                _ => {}
            };
            connection.wait_ready(Duration::from_mins(2), &on_event).await.unwrap();
            assert!(seen.into_inner().unwrap() > 0);
            plan(&connection, "outage.example", &objects()).await.unwrap()
        }
    });
    tokio::task::yield_now().await;
    let refused = plan(&connection.clone().with_patience(Duration::ZERO), "outage.example", &[]).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unreachable);
    tokio::task::block_in_place(|| kubernetes.server.start_again()).unwrap();
    assert!(waits.await.unwrap().is_empty());
}
