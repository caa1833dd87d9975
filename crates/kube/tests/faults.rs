//! What goes wrong on the way to an API server that is there: what is tried again, and what is not.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kcl_kube::{Access, Connection, ErrorKind, Event, Outcome};
use kcl_testkit::kubernetes::ApiProxy;
use kcl_testkit::{Fault, Point, When};
use support::{Kubernetes, config_map, plan};

/// The first request to apply a ConfigMap and to keep it, but for the list of what is applied.
fn apply() -> Point {
    Point { service: "configmaps".to_owned(), action: "apply".to_owned(), nth: 2 }
}

struct Stage {
    proxy: ApiProxy,
    connection: Connection,
    namespace: &'static str,
}

impl Stage {
    async fn new(kubernetes: &Kubernetes, namespace: &'static str) -> Self {
        kubernetes.make_namespace(namespace);
        let proxy = kubernetes.proxy();
        let mut access = kubernetes.access("admin", Some("system:masters"));
        access.server = proxy.url();
        let connection = Connection::open(&Access::Cluster(access)).await.unwrap();
        Self { proxy, connection, namespace }
    }

    /// Applies an object; gives how it ended, and which kind of error ended it.
    async fn apply(&self) -> (Outcome, Option<ErrorKind>) {
        let set = format!("{}.example", self.namespace);
        let planned = plan(&self.connection, &set, &[config_map(self.namespace, "a", "1")]).await.unwrap();
        self.proxy.take_calls();
        let applied = kcl_kube::apply(&self.connection, &planned, None, std::future::pending(), &|_| {});
        let applied = applied.await.unwrap();
        (applied.outcome(), applied.failures.first().map(|failure| failure.error.kind()))
    }

    /// How often the object was sent.
    fn tries(&self) -> usize {
        let calls = self.proxy.take_calls();
        calls.iter().filter(|call| call.is("configmaps", "apply") && call.path.ends_with("/a")).count()
    }
}

/// Who asks is the same person to the server behind the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_tells_who_asks() {
    let kubernetes = Kubernetes::shared();
    let proxy = kubernetes.proxy();
    let mut access = kubernetes.access("nobody", None);
    access.server = proxy.url();
    let nobody = Connection::open(&Access::Cluster(access)).await.unwrap();
    let begun = Instant::now();
    let error = plan(&nobody, "nobody.example", &[config_map("default", "a", "1")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("nobody may not "), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again() {
    let kubernetes = Kubernetes::shared();
    for (fault, namespace) in [
        (Fault::Conflict, "overtaken"),
        (Fault::ConnectionReset, "reset"),
        (Fault::ResponseLost, "lost"),
        (Fault::ResponseCut, "cut"),
        (Fault::ServerError(503), "unavailable"),
        // A server that has just started forbids everything for a moment.
        (Fault::Denied, "young"),
    ] {
        let stage = Stage::new(&kubernetes, namespace).await;
        let strikes = stage.proxy.inject(fault, When::At(apply()), 0);
        assert_eq!(stage.apply().await, (Outcome::Done, None), "{fault}");
        assert_eq!((strikes.count(), stage.tries()), (1, 2), "{fault}");
    }
}

/// Whoever may see kube-system is let in, by a server that has read its roles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_keep_to_itself_whether_it_is_ready() {
    let kubernetes = Kubernetes::shared();
    let stage = Stage::new(&kubernetes, "silent").await;
    let readyz = Point { service: "/readyz".to_owned(), action: "get".to_owned(), nth: 1 };
    let strikes = stage.proxy.inject(Fault::Denied, When::ActionFrom(readyz), 0);
    stage.connection.wait_ready(Duration::from_secs(10), &|_| {}).await.unwrap();
    assert_eq!(strikes.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_is_given_the_time_that_it_asks_for() {
    let kubernetes = Kubernetes::shared();
    let stage = Stage::new(&kubernetes, "busy").await;
    let strikes = stage.proxy.inject(Fault::Throttled, When::At(apply()), 0);
    assert_eq!(stage.apply().await, (Outcome::Done, None));
    assert_eq!((strikes.count(), stage.tries()), (1, 2));
    let waited = strikes.first().unwrap().elapsed();
    assert!(waited >= Duration::from_secs(1), "it asked for a second: {waited:?}");
}

/// Who has lost the lock that it works under writes nothing more, be it what it sent before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_again_once_nothing_may_be_changed() {
    let kubernetes = Kubernetes::shared();
    let mut stage = Stage::new(&kubernetes, "unlocked").await;
    let may_change = Arc::new(AtomicBool::new(true));
    let guard = Arc::clone(&may_change);
    stage.connection = stage.connection.change_under(Arc::new(move || guard.load(Ordering::Relaxed)));
    stage.proxy.inject(Fault::ConnectionReset, When::At(apply()), 0);
    let objects = ["a", "b"].map(|name| config_map("unlocked", name, "1"));
    let planned = plan(&stage.connection, "unlocked.example", &objects[..1]).await.unwrap();
    stage.proxy.take_calls();
    let on_event = |event| {
        if matches!(event, Event::Retrying { .. }) {
            may_change.store(false, Ordering::Relaxed);
        }
    };
    let applied = kcl_kube::apply(&stage.connection, &planned, None, std::future::pending(), &on_event);
    let applied = applied.await.unwrap();
    assert_eq!((applied.outcome(), stage.tries()), (Outcome::Failed, 1));
    assert_eq!(applied.failures[0].error.kind(), ErrorKind::Stopped);
    assert!(!kubernetes.exists("configmap", "unlocked", "a"));
    // Looking, and trying what would be, are no changes.
    plan(&stage.connection, "unlocked.example", &objects).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_is_told_at_once() {
    let kubernetes = Kubernetes::shared();
    for (fault, kind, namespace, tries) in [
        // Once more, as the server says that it is ready.
        (Fault::Denied, ErrorKind::Forbidden, "forbidden", 2),
        (Fault::CredentialsExpired, ErrorKind::Unauthorized, "unknown", 1),
        (Fault::Refused, ErrorKind::Invalid, "refused", 1),
    ] {
        let stage = Stage::new(&kubernetes, namespace).await;
        let strikes = stage.proxy.inject(fault, When::ActionFrom(apply()), 0);
        assert_eq!(stage.apply().await, (Outcome::Failed, Some(kind)), "{fault}");
        assert_eq!(stage.tries(), tries, "{fault}");
        assert!(strikes.first().unwrap().elapsed() < Duration::from_secs(5), "{fault}");
    }
}
