//! Waits, why they end badly, and how a cluster is. No kubelet and no controller runs here: what they would say is
//! written into the statuses of objects by hand.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kcl_kube::{Awaited, Error, ErrorKind, Event, ObjectRef, WaitOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use support::{Kubernetes, apply, deployment, plan};

const SHORT: WaitOptions = WaitOptions {
    timeout: Duration::from_millis(600),
    interval: Duration::from_millis(200),
    may_idle: false,
};
const LONG: WaitOptions =
    WaitOptions { timeout: Duration::from_mins(5), interval: Duration::from_millis(200), may_idle: false };

fn object(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Awaited {
    let object = ObjectRef {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    object.into()
}

fn pod(namespace: &str, name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
        "spec": {"containers": [{"name": "till", "image": "till:9"}]},
    })
}

async fn why(kubernetes: &Kubernetes, objects: &[Awaited], options: WaitOptions) -> String {
    let connection = kubernetes.connect().await;
    let error =
        kcl_kube::wait(&connection, objects, options, std::future::pending(), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotReady, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_rollout_that_is_stuck_says_why() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("stuck");
    kubernetes.kubectl_apply(&deployment("stuck", "till", "till:9"));
    kubernetes.patch_status(
        "deployment",
        "stuck",
        "till",
        &json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 1, "readyReplicas": 1}),
    );
    for name in ["till-a", "till-b", "till-c", "till-d"] {
        kubernetes.kubectl_apply(&pod("stuck", name, "till"));
    }
    let pull = json!({"phase": "Pending", "containerStatuses": [{
        "name": "till", "image": "till:9", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"till:9\""}}}]});
    kubernetes.patch_status("pod", "stuck", "till-a", &pull);
    kubernetes.patch_status("pod", "stuck", "till-b", &pull);
    kubernetes.patch_status(
        "pod",
        "stuck",
        "till-c",
        &json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient memory."}]}),
    );
    kubernetes.patch_status(
        "pod",
        "stuck",
        "till-d",
        &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
    );
    for (name, about, message) in [
        ("one", json!({"kind": "ReplicaSet", "name": "till-5d4"}), "exceeded quota"),
        ("two", json!({"kind": "ReplicaSet", "name": "other-5d4"}), "of somebody else"),
    ] {
        let mut about = about;
        about["namespace"] = "stuck".into();
        let event = json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "FailedCreate",
            "message": message, "metadata": {"name": name, "namespace": "stuck"}, "involvedObject": about,
            "lastTimestamp": "2030-01-01T00:00:00Z"});
        kubernetes.kubectl_apply(&event);
    }
    let till = object("apps", "Deployment", Some("stuck"), "till");
    let missing = object("apps", "Deployment", Some("stuck"), "missing");
    // A ConfigMap has nothing to wait for.
    let prices = object("", "ConfigMap", Some("stuck"), "prices");
    assert_eq!(
        why(&kubernetes, &[till, missing, prices], SHORT).await,
        "Deployment stuck/missing is not ready\n  \
           it is not there\n\
         Deployment stuck/till is not ready (1/3)\n  \
           pod till-a and 1 other: container till: ImagePullBackOff: Back-off pulling image \"till:9\"\n  \
           pod till-c: it has no node: Unschedulable: 0/1 nodes are available: 1 Insufficient memory.\n  \
           event: FailedCreate: exceeded quota"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_followed_to_its_end() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("follow");
    kubernetes.kubectl_apply(&deployment("follow", "till", "till:1"));
    kubernetes.kubectl_apply(&deployment("follow", "log", "log:1"));
    let connection = kubernetes.connect().await;
    let ready = |name: &str, ready: u64| {
        kubernetes.patch_status(
            "deployment",
            "follow",
            name,
            &json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": ready,
                "availableReplicas": ready}),
        );
    };
    ready("log", 3);
    ready("till", 0);
    let events = Mutex::new(Vec::new());
    let on_event = |event: Event| {
        let line = match event {
            Event::Waiting { object, progress: Some((at, of)), reason } => {
                // Its controller goes one step on.
                tokio::task::block_in_place(|| ready("till", (at + 2).min(3)));
                format!("{object} {at}/{of} {reason}")
            }
            Event::Ready { object, .. } => format!("{object} ready"),
            event => format!("{event:?}"),
        };
        events.lock().unwrap().push(line);
    };
    let objects = ["till", "log"].map(|name| object("apps", "Deployment", Some("follow"), name));
    kcl_kube::wait(&connection, &objects, LONG, std::future::pending(), &on_event).await.unwrap();
    assert_eq!(
        events.into_inner().unwrap(),
        [
            "Deployment follow/log ready",
            "Deployment follow/till 0/3 ",
            "Deployment follow/till 2/3 ",
            "Deployment follow/till ready",
        ]
    );
}

#[tokio::test]
async fn nodes_and_what_runs_on_them() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("nodes");
    let daemon_set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "nodes"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"nodeSelector": {"role": "edge"}, "containers": [{"name": "agent", "image": "agent:1"}]},
            },
        },
    });
    kubernetes.kubectl_apply(&daemon_set);
    let status = json!({"observedGeneration": 1, "currentNumberScheduled": 0, "numberMisscheduled": 0,
        "desiredNumberScheduled": 0, "numberReady": 0});
    kubernetes.patch_status("daemonset", "nodes", "agent", &status);
    let agent = [object("apps", "DaemonSet", Some("nodes"), "agent")];
    assert_eq!(
        why(&kubernetes, &agent, SHORT).await,
        "DaemonSet nodes/agent is not ready (0/0)\n  the cluster has no node"
    );
    let connection = kubernetes.connect().await;
    let idle = WaitOptions { may_idle: true, ..LONG };
    let wait = |options| kcl_kube::wait(&connection, &agent, options, std::future::pending(), &|_| {});
    wait(idle).await.unwrap();

    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one", "labels":
        {"kops.k8s.io/instancegroup": "nodes-a", "node-role.kubernetes.io/node": ""}},
        "spec": {"providerID": "aws:///eu-north-1a/i-0abc", "unschedulable": true}});
    kubernetes.kubectl_apply(&node);
    let status = json!({"conditions": [{"type": "Ready", "status": "False", "reason": "KubeletNotReady",
        "message": "cni plugin not initialized"}], "nodeInfo": {"kubeletVersion": "v1.36.4",
        "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
        "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""}});
    kubernetes.patch_status("node", "", "one", &status);
    let before = connection.requests().reads;
    wait(LONG).await.unwrap();
    assert_eq!(connection.requests().reads - before, 2, "no node has its labels: it is idle");
    kubernetes.kubectl(&["label", "node", "one", "role=edge"]);
    assert_eq!(
        why(&kubernetes, &agent, SHORT).await,
        "DaemonSet nodes/agent is not ready (0/0)\n  \
         none of the 1 nodes fits its affinity, or it does not tolerate their taints"
    );

    let nodes = kcl_kube::nodes(&connection).await.unwrap();
    assert_eq!(nodes.len(), 1);
    let node = &nodes[0];
    assert_eq!(node.instance_id.as_deref(), Some("i-0abc"));
    assert_eq!(node.instance_group.as_deref(), Some("nodes-a"));
    assert_eq!((node.ready, node.unschedulable), (false, true));
    assert_eq!(node.reason, "KubeletNotReady: cni plugin not initialized");
    assert_eq!(node.kubelet_version, "v1.36.4");
    said_last(&kubernetes).await;
}

/// A pod on that node that crashes: its last words come by its kubelet, which is ours here.
async fn said_last(kubernetes: &Kubernetes) {
    let said = "first\nsecond\n\u{1b}[31mpanic: no drawer\u{1b}[0m\n";
    let (port, kubelet) = kubelet(kubernetes, said);
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    kubernetes.patch_status("node", "", "one", &status);
    kubernetes.kubectl_apply(&deployment("nodes", "till", "till:9"));
    let status = json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3});
    kubernetes.patch_status("deployment", "nodes", "till", &status);
    let mut crashing = pod("nodes", "till-a", "till");
    crashing["spec"]["nodeName"] = "one".into();
    kubernetes.kubectl_apply(&crashing);
    kubernetes.patch_status(
        "pod",
        "nodes",
        "till-a",
        &json!({"phase": "Running", "containerStatuses": [{
            "name": "till", "image": "till:9", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 2}}}]}),
    );
    let till = [object("apps", "Deployment", Some("nodes"), "till")];
    assert_eq!(
        why(kubernetes, &till, SHORT).await,
        "Deployment nodes/till is not ready (0/3)\n  \
           pod till-a: container till: CrashLoopBackOff: back-off 40s\n  \
           pod till-a: container till: it ended with 2 (3 restarts)\n  \
           log: first\n  \
           log: second\n  \
           log:  [31mpanic: no drawer [0m"
    );
    let asked = kubelet.join().unwrap();
    assert!(asked.starts_with("GET /containerLogs/nodes/till-a/till?"), "{asked}");
    assert!(asked.contains("previous=true") && asked.contains("tailLines=5"), "{asked}");
}

/// Answers one request as a kubelet would; gives its port, and what it was asked for.
fn kubelet(kubernetes: &Kubernetes, log: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let file = |name: &str| kubernetes.folder().join(name);
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(file("apiserver.crt")).unwrap()],
            PrivateKeyDer::from_pem_file(file("apiserver.key")).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let tls = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        let mut stream = BufReader::new(rustls::StreamOwned::new(tls, stream));
        let mut asked = String::new();
        stream.read_line(&mut asked).unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{log}", log.len());
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        asked
    });
    (port, server)
}

fn is_send(_: &impl Send) {}

#[tokio::test]
async fn work_can_go_to_another_thread() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let plan = support::plan(&connection, "send.example", &[]).await.unwrap();
    is_send(&kcl_kube::apply(&connection, &plan, None, std::future::pending(), &|_| {}));
    is_send(&kcl_kube::wait(&connection, &[], SHORT, std::future::pending(), &|_| {}));
    is_send(&kcl_kube::system_pods(&connection, &[]));
    is_send(&kcl_kube::fetch_manifest("", ""));
}

#[tokio::test]
async fn what_cannot_succeed_is_not_waited_for() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("jobs");
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count", "namespace": "jobs"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c:1"}]}}}});
    kubernetes.kubectl_apply(&job);
    let at = "2030-01-01T00:00:00Z";
    kubernetes.patch_status(
        "job",
        "jobs",
        "count",
        &json!({"startTime": at, "failed": 1, "conditions": [
            {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often",
             "lastTransitionTime": at, "lastProbeTime": at},
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often",
             "lastTransitionTime": at, "lastProbeTime": at}]}),
    );
    let begin = Instant::now();
    let count = object("batch", "Job", Some("jobs"), "count");
    let objects = [count.clone(), object("apps", "Deployment", Some("jobs"), "till")];
    let found = why(&kubernetes, &objects, LONG).await;
    assert!(begin.elapsed() < LONG.timeout / 2);
    let failed = "Job jobs/count is not ready\n  BackoffLimitExceeded: too often";
    assert_eq!(found, failed, "the other one had no time yet");
    // Its time is over: it is told too.
    let now = WaitOptions { timeout: Duration::ZERO, ..SHORT };
    let found = why(&kubernetes, &objects, now).await;
    assert_eq!(found, format!("Deployment jobs/till is not ready\n  it is not there\n{failed}"));
}

#[tokio::test]
async fn a_job_that_was_cleared_away_is_done() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("cleared");
    let job = |name: &str, ttl: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "cleared"},
            "spec": {"ttlSecondsAfterFinished": ttl, "template": {"spec":
                {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c:1"}]}}}})
    };
    let mut stays = job("stays", json!(null));
    stays["spec"].as_object_mut().unwrap().remove("ttlSecondsAfterFinished");
    let planned = plan(&connection, "cleared.example", &[job("goes", json!(0)), stays]).await.unwrap();
    apply(&connection, &planned).await;
    // As the cluster's controller would.
    kubernetes.kubectl(&["delete", "job", "goes", "stays", "--namespace", "cleared"]);
    assert_eq!(
        why(&kubernetes, &planned.wanted(), SHORT).await,
        "Job cleared/stays is not ready\n  it is not there"
    );
}

#[tokio::test]
async fn an_api_without_a_server_is_not_available() {
    let kubernetes = Kubernetes::shared();
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.nobody.example.com"},
        "spec": {"group": "nobody.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": "default"}},
    });
    kubernetes.kubectl_apply(&service);
    let options = WaitOptions { timeout: Duration::from_secs(3), ..SHORT };
    let objects = [object("apiregistration.k8s.io", "APIService", None, "v1.nobody.example.com")];
    let why = why(&kubernetes, &objects, options).await;
    assert!(why.contains("is not ready\n  ServiceNotFound: "), "{why}");
    let local = [object("apiregistration.k8s.io", "APIService", None, "v1.apps")];
    let connection = kubernetes.connect().await;
    kcl_kube::wait(&connection, &local, LONG, std::future::pending(), &|_| {}).await.unwrap();
    kubernetes.kubectl(&["delete", "apiservice", "v1.nobody.example.com"]);
}

#[tokio::test]
async fn a_wait_can_be_stopped() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let objects = [object("apps", "Deployment", Some("default"), "nothing")];
    let error =
        kcl_kube::wait(&connection, &objects, LONG, std::future::ready(()), &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
    let nothing = kcl_kube::wait(&connection, &[], SHORT, std::future::pending(), &|_| {}).await;
    assert!(nothing.is_ok(), "nothing to wait for");
}

#[tokio::test]
async fn pods_that_are_not_healthy_are_named() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("health");
    for name in ["bad", "good", "done"] {
        kubernetes.kubectl_apply(&pod("health", name, "a"));
    }
    kubernetes.patch_status(
        "pod",
        "health",
        "good",
        &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
    );
    kubernetes.patch_status("pod", "health", "done", &json!({"phase": "Succeeded"}));
    kubernetes.patch_status(
        "pod",
        "health",
        "bad",
        &json!({"phase": "Running", "containerStatuses": [{
            "name": "till", "image": "till:9", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
    );
    let connection = kubernetes.connect().await;
    let pods = kcl_kube::system_pods(&connection, &["health".to_owned()]).await.unwrap();
    let found: Vec<_> = pods.iter().map(|pod| (pod.name.as_str(), pod.reasons.join("; "))).collect();
    assert_eq!(
        found,
        [(
            "bad",
            "container till: CrashLoopBackOff: back-off 40s; container till: it ended with 1, Error (3 restarts)"
                .to_owned()
        )]
    );
}

#[tokio::test]
async fn workloads_without_pods_are_named() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("lacking");
    kubernetes.kubectl_apply(&deployment("lacking", "dns", "dns:1"));
    kubernetes.kubectl_apply(&deployment("lacking", "good", "good:1"));
    let mut log = deployment("lacking", "log", "log:1");
    log["kind"] = "StatefulSet".into();
    log["spec"]["serviceName"] = "log".into();
    kubernetes.kubectl_apply(&log);
    let status = |available: u64| {
        json!({"observedGeneration": 1, "replicas": available, "updatedReplicas": available,
            "readyReplicas": available, "availableReplicas": available})
    };
    kubernetes.patch_status("deployment", "lacking", "good", &status(3));
    let mut refused = status(0);
    refused["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "exceeded quota"}]);
    kubernetes.patch_status("deployment", "lacking", "dns", &refused);
    kubernetes.patch_status("statefulset", "lacking", "log", &status(2));
    let mut sick = pod("lacking", "log-2", "log");
    sick["spec"]["nodeName"] = "nobody".into();
    kubernetes.kubectl_apply(&sick);
    let connection = kubernetes.connect().await;
    let found = kcl_kube::unready_workloads(&connection, &["lacking".to_owned()]).await.unwrap();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "Deployment lacking/dns is not ready (0/3)\n  FailedCreate: exceeded quota",
            "StatefulSet lacking/log is not ready (2/3)\n  pod log-2: the node nobody has not begun with it",
        ]
    );
    assert!(kcl_kube::unready_workloads(&connection, &[]).await.unwrap().is_empty());
}
