//! Plan and apply, against a real API server.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use kcl_kube::{
    Access, Action, Connection, Error, ErrorKind, Event, Fate, Outcome, Phase, PlanOptions, Probe,
};
use kcl_testkit::kubernetes::ApiProxy;
use kcl_testkit::{Fault, Moment, Point, When};
use serde_json::{Value, json};
use support::{
    FORCE, Kubernetes, PRUNE, actions, apply, apply_and_tell, config_map, deployment, faults, names,
    namespace, plan, plan_with, until, wanted,
};

fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("tills.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "tills", "singular": "till", "kind": "Till"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"drawer": {"type": "string"}}}},
                }},
            }],
        },
    })
}

fn till(group: &str, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Till",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"drawer": "open"},
    })
}

/// Something of every phase, in no order, and each way to write it.
fn shop(namespace_name: &str) -> Vec<Value> {
    let group = format!("{namespace_name}.example.com");
    vec![
        deployment(namespace_name, "till", "till:1"),
        till(&group, namespace_name, "one"),
        json!({"apiVersion": "v1", "kind": "List", "items": [
            config_map(namespace_name, "prices", "1"),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pin", "namespace": namespace_name},
             "stringData": {"pin": "swordfish"}},
        ]}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "till", "namespace": namespace_name},
            "spec": {"selector": {"app": "till"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "till", "namespace": namespace_name},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "till", "namespace": namespace_name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "till"},
            "subjects": [{"kind": "ServiceAccount", "name": "till", "namespace": namespace_name}]}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "till", "namespace": namespace_name, "creationTimestamp": null}}),
        definition(&group),
        namespace(namespace_name),
    ]
}

#[tokio::test]
async fn what_is_applied_twice_changes_once() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let objects = shop("twice");
    let first = plan(&connection, "twice.example", &objects).await.unwrap();
    assert_eq!(first.objects.len(), 10);
    assert_eq!(first.count(Action::Create), 10);
    assert_eq!(connection.requests().writes, 0, "a preview changes nothing");
    assert!(!kubernetes.exists("namespace", "", "twice"));
    assert!(!kubernetes.exists("configmap", "kube-system", "kcl-twice.example"));

    let events = Mutex::new(Vec::new());
    let hook = AtomicUsize::new(0);
    let before_workloads = async {
        hook.fetch_add(events.lock().unwrap().len(), Ordering::Relaxed);
        Ok(())
    };
    let on_event = |event| events.lock().unwrap().push(event);
    let applied = kcl_kube::apply(
        &connection,
        &first,
        Some(before_workloads.boxed()),
        std::future::pending(),
        &on_event,
    )
    .await
    .unwrap();
    assert_eq!(applied.outcome(), Outcome::Done, "{applied:?}");
    assert_eq!(applied.applied.len(), 10);
    let events = events.into_inner().unwrap();
    let phases: Vec<Phase> = events
        .iter()
        .filter_map(|event| match event {
            Event::PhaseStarted { phase, .. } => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, Phase::ALL);
    let workloads =
        events.iter().position(|event| matches!(event, Event::PhaseStarted { phase: Phase::Workloads, .. }));
    assert_eq!(workloads, Some(hook.into_inner()), "the hook runs right before workloads");
    assert_eq!(kubernetes.get("tills.twice.example.com", "twice", "one")["spec"]["drawer"], "open");

    let parent = kubernetes.get("configmap", "kube-system", "kcl-twice.example");
    let annotations = &parent["metadata"]["annotations"];
    assert_eq!(
        annotations["applyset.kubernetes.io/contains-group-kinds"],
        "ConfigMap,CustomResourceDefinition.apiextensions.k8s.io,Deployment.apps,Namespace,\
         Role.rbac.authorization.k8s.io,RoleBinding.rbac.authorization.k8s.io,Secret,Service,ServiceAccount,\
         Till.twice.example.com"
    );
    assert_eq!(annotations["applyset.kubernetes.io/additional-namespaces"], "twice");
    let id = &parent["metadata"]["labels"]["applyset.kubernetes.io/id"];
    let deployment = kubernetes.get("deployment", "twice", "till");
    assert_eq!(&deployment["metadata"]["labels"]["applyset.kubernetes.io/part-of"], id);

    // Again: nothing, with few requests.
    let all = "deployment,tills.twice.example.com,configmap,secret,service,role,rolebinding,serviceaccount";
    let everything =
        || kubernetes.kubectl(&["get", all, "--namespace", "twice", "-o", "json", "--show-managed-fields"]);
    let before = (everything(), kubernetes.get("namespace", "", "twice"));
    let connection = kubernetes.connect().await;
    let second = plan(&connection, "twice.example", &objects).await.unwrap();
    assert!(second.is_empty(), "{:?}", actions(&second));
    let requests = connection.requests();
    assert_eq!(requests.writes, 0);
    assert!(requests.reads <= 3 + 10, "discovery, the parent, a list for each kind: {requests:?}");
    assert_eq!(requests.dry_runs, 10, "one for each object");
    let applied = apply_and_tell(&connection, &second).await;
    assert!(applied.applied.is_empty());
    assert_eq!(connection.requests(), requests, "nothing to do, nothing asked");
    assert_eq!((everything(), kubernetes.get("namespace", "", "twice")), before);

    // A preview of changes makes none.
    let mut other = objects.clone();
    other[0]["spec"]["replicas"] = 7.into();
    other[3]["spec"]["ports"][0]["port"] = 81.into();
    assert_eq!(
        plan_with(&connection, "twice.example", &other[..8], PRUNE).await.unwrap().count(Action::Update),
        2
    );
    assert_eq!(connection.requests().writes, 0);
    assert_eq!((everything(), kubernetes.get("namespace", "", "twice")), before);

    // One field: only that.
    let mut changed = objects.clone();
    changed[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "till:2".into();
    let third = plan(&connection, "twice.example", &changed).await.unwrap();
    assert_eq!(third.count(Action::Unchanged), 9);
    let planned = third.objects.iter().find(|planned| planned.action == Action::Update).unwrap();
    assert_eq!(planned.object.to_string(), "Deployment twice/till");
    let told = serde_json::to_value(&planned.changes).unwrap();
    assert_eq!(
        told,
        json!([{"path": "spec.template.spec.containers[till].image", "before": "till:1", "after": "till:2",
            "secret": false}])
    );
    let writes = connection.requests().writes;
    apply(&connection, &third).await;
    assert_eq!(connection.requests().writes, writes + 1);
    assert!(plan(&connection, "twice.example", &changed).await.unwrap().is_empty());

    // A field that is no longer wanted goes.
    changed[0]["spec"]["minReadySeconds"] = 5.into();
    apply(&connection, &plan(&connection, "twice.example", &changed).await.unwrap()).await;
    changed[0]["spec"].as_object_mut().unwrap().remove("minReadySeconds");
    let fourth = plan(&connection, "twice.example", &changed).await.unwrap();
    assert_eq!(fourth.count(Action::Update), 1);
    apply(&connection, &fourth).await;
    assert_eq!(kubernetes.get("deployment", "twice", "till")["spec"]["minReadySeconds"], Value::Null);
}

/// The server writes these in its own way: quantities, ports that it chooses, what it adds.
#[tokio::test]
async fn however_it_is_written_the_second_plan_is_empty() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let object = |api_version: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": "spelled", "namespace": "spelled", "labels": {"a": ""}, "annotations": {}}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{
        "name": "a", "image": "a:1", "args": [], "env": [{"name": "A", "value": ""}, {"name": "B"}],
        "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
        "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}, "limits": {"cpu": "1000m", "memory": "1.5Gi"}},
        "securityContext": {},
    }], "nodeSelector": {}, "tolerations": [{"operator": "Exists"}], "volumes": [{"name": "a", "emptyDir": {}}]}});
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "get"]}]);
    let objects = [
        namespace("spelled"),
        // Beside the list of what kcl applied.
        config_map("kube-system", "spelled", "1"),
        object(
            "v1",
            "Service",
            json!({"spec": {"type": "LoadBalancer", "selector": {"app": "a"},
            "ports": [{"port": 80, "name": "a"}, {"port": 443, "name": "b", "targetPort": "b"}]}, "status": {"loadBalancer": {}}}),
        ),
        object(
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "0.1", "memory": 134_217_728}}]}}),
        ),
        object(
            "v1",
            "ServiceAccount",
            json!({"automountServiceAccountToken": false, "imagePullSecrets": []}),
        ),
        object("v1", "ConfigMap", json!({"data": {"a": "b\n", "c": ""}, "binaryData": {"d": "AAA="}})),
        object("v1", "Secret", json!({"type": "Opaque", "data": {"a": "YQ=="}, "stringData": {"a": "b"}})),
        object(
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1000Mi"}}}}),
        ),
        object(
            "apps/v1",
            "Deployment",
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}),
        ),
        object(
            "apps/v1",
            "DaemonSet",
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template,
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "10%"}}}}),
        ),
        object(
            "apps/v1",
            "StatefulSet",
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template,
            "serviceName": "a", "volumeClaimTemplates": [{"metadata": {"name": "a"}, "spec":
                {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}}),
        ),
        object(
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template":
            {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}}}}}),
        ),
        object(
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}}}),
        ),
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        ),
        object(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"ingressClassName": "nginx", "rules": [{"http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}}),
        ),
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "spelled"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
        ),
        // These have no namespace; many manifests give them one.
        object("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"rules": rules})),
        object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            json!({"roleRef": {"apiGroup":
            "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spelled"}, "subjects": [{"kind": "Group", "name": "a"}]}),
        ),
        object(
            "storage.k8s.io/v1",
            "StorageClass",
            json!({"provisioner": "a.example.com", "parameters": {"a": "b"},
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}]}),
        ),
        object("networking.k8s.io/v1", "IngressClass", json!({"spec": {"controller": "a.example.com/b"}})),
        object("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 1})),
        object("storage.k8s.io/v1", "CSIDriver", json!({"spec": {"attachRequired": true}})),
        object(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": [{
            "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "a", "namespace": "spelled"}},
            "rules": [{"apiGroups": ["spelled.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["a"]}]}]}),
        ),
    ];
    let first = plan(&connection, "spelled.example", &objects).await.unwrap();
    apply(&connection, &first).await;
    let second = plan(&connection, "spelled.example", &objects).await.unwrap();
    let changed: Vec<_> =
        second.objects.iter().filter(|planned| planned.action != Action::Unchanged).collect();
    assert!(second.is_empty(), "{changed:#?}");
    apply(&connection, &plan_with(&connection, "spelled.example", &[], PRUNE).await.unwrap()).await;
}

#[tokio::test]
async fn what_others_manage_is_named_and_forced_only_once() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "conflict.example";
    kubernetes.make_namespace("conflict");
    kubernetes.kubectl_apply(&config_map("conflict", "same", "1"));
    kubernetes.kubectl_apply(&config_map("conflict", "other", "theirs"));
    let objects = [config_map("conflict", "same", "1"), config_map("conflict", "other", "ours")];

    let found = plan(&connection, cluster, &objects).await.unwrap();
    assert_eq!(actions(&found), ["ConfigMap conflict/same: adopt", "ConfigMap conflict/other: adopt"]);
    assert_eq!(found.objects[0].changes, []);
    assert_eq!(
        found.blocking().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["spec: ConfigMap conflict/other: .data.value is managed by somebody"]
    );
    let error =
        kcl_kube::apply(&connection, &found, None, std::future::pending(), &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(connection.requests().writes, 0);

    let forced = plan_with(&connection, cluster, &objects, FORCE).await.unwrap();
    assert!(forced.blocking().is_empty() && forced.conflicts.len() == 1);
    assert_eq!(forced.objects[1].changes[0].after, Some("ours".into()));
    apply(&connection, &forced).await;
    assert_eq!(kubernetes.get("configmap", "conflict", "other")["data"]["value"], "ours");
    assert!(plan(&connection, cluster, &objects).await.unwrap().is_empty());

    // Who applies a field too, with kcl's own value, wants it so: that is named, and never forced.
    let changed = [config_map("conflict", "same", "2"), config_map("conflict", "other", "ours")];
    let shared = plan_with(&connection, cluster, &changed, FORCE).await.unwrap();
    assert_eq!(
        shared.blocking().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["spec: ConfigMap conflict/same: .data.value is managed by somebody"]
    );

    // From now on it is kcl's: who changes it by hand is named, never overwritten.
    kubernetes.kubectl(&[
        "patch",
        "configmap",
        "other",
        "--namespace",
        "conflict",
        "--field-manager=hand",
        "--type=merge",
        "-p",
        r#"{"data":{"value":"by hand"}}"#,
    ]);
    let again = plan_with(&connection, cluster, &objects, FORCE).await.unwrap();
    assert_eq!(again.blocking().len(), 1);
    assert_eq!(again.blocking()[0].manager, "hand");
    assert!(!again.is_empty());
    // Set back, there is none.
    kubernetes.kubectl(&[
        "patch",
        "configmap",
        "other",
        "--namespace",
        "conflict",
        "--field-manager=hand",
        "--type=merge",
        "-p",
        r#"{"data":{"value":"ours"}}"#,
    ]);
    let back = plan(&connection, cluster, &objects).await.unwrap();
    assert!(back.conflicts.is_empty());
    apply(&connection, &back).await;

    // What belongs to another set is never taken, forced or not.
    let other = plan_with(&connection, "another.example", &objects, FORCE).await.unwrap();
    assert_eq!(other.blocking().len(), 2);
    let told = other.blocking()[0].to_string();
    let begin =
        "spec: ConfigMap conflict/same: it belongs to another set of applied objects (applyset id applyset-";
    assert!(told.starts_with(begin), "{told}");
    // What it says to do tells whose it is.
    let command = told.split('`').nth(1).unwrap();
    let args: Vec<_> = command.split(' ').skip(1).chain(["-o", "name"]).collect();
    assert_eq!(kubernetes.kubectl(&args).trim(), "configmap/kcl-conflict.example", "{command}");
}

fn binding(namespace: &str, name: &str, role: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "till", "namespace": namespace}]})
}

fn storage_class(name: &str, size: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "a.example.com", "parameters": {"size": size}})
}

/// Who made an object before kcl came, or fills in a default, goes on managing fields that it only wrote once.
#[tokio::test]
async fn what_others_wrote_and_kcl_took_over_is_its_own() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "written.example";
    kubernetes.make_namespace("written");
    let create = ["create", "configmap", "a", "--namespace", "written", "--from-literal=value=1"];
    kubernetes.kubectl(&[&create[..], &["--from-literal=other=theirs"]].concat());
    let object = |value: &str| [config_map("written", "a", value)];
    apply(&connection, &plan(&connection, cluster, &object("1")).await.unwrap()).await;
    let managers = kubernetes.get("configmap", "written", "a")["metadata"]["managedFields"].clone();
    let both =
        managers.as_array().unwrap().iter().filter(|entry| !entry["fieldsV1"]["f:data"]["f:value"].is_null());
    let both: Vec<_> = both.map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect();
    assert_eq!(both, ["Apply", "Update"], "{managers}");

    let changed = plan(&connection, cluster, &object("2")).await.unwrap();
    assert!(changed.conflicts.is_empty(), "{:?}", changed.conflicts);
    assert!(changed.objects[0].force);
    apply(&connection, &changed).await;
    let live = kubernetes.get("configmap", "written", "a");
    assert_eq!(live["data"], json!({"value": "2", "other": "theirs"}));

    // Both at once: the one who applied it is named, and nothing is forced.
    let create = ["create", "configmap", "b", "--namespace", "written", "--from-literal=value=1"];
    kubernetes.kubectl(&create);
    kubernetes.kubectl_apply(&config_map("written", "b", "1"));
    apply(&connection, &plan(&connection, cluster, &[config_map("written", "b", "1")]).await.unwrap()).await;
    let both = plan(&connection, cluster, &[config_map("written", "b", "2")]).await.unwrap();
    assert!(!both.objects[0].force);
    assert_eq!(
        both.blocking().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["spec: ConfigMap written/b: .data.value is managed by somebody"]
    );
}

#[tokio::test]
async fn what_cannot_change_is_replaced() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "replace.example";
    kubernetes.make_namespace("replace");
    let objects = |role: &str, size: &str| {
        let all = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "replace"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        vec![binding("replace", "till", role), all, storage_class("replace", size)]
    };
    apply(&connection, &plan(&connection, cluster, &objects("view", "1")).await.unwrap()).await;
    let uid = |kubernetes: &Kubernetes| {
        kubernetes.get("rolebinding", "replace", "till")["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let before = uid(&kubernetes);

    let connection = kubernetes.connect().await;
    let found = plan(&connection, cluster, &objects("edit", "2")).await.unwrap();
    assert_eq!(
        actions(&found),
        [
            "RoleBinding replace/till: replace",
            "ClusterRoleBinding replace: replace",
            "StorageClass replace: replace"
        ]
    );
    let changes: Vec<_> = found.objects.iter().map(|planned| &planned.changes).collect();
    assert_eq!(
        json!(changes),
        json!([
            [{"path": "roleRef.name", "before": "view", "after": "edit", "secret": false}],
            [{"path": "roleRef.name", "before": "view", "after": "edit", "secret": false}],
            [{"path": "parameters.size", "before": "1", "after": "2", "secret": false}],
        ])
    );
    assert_eq!(connection.requests().writes, 0);
    assert_eq!(uid(&kubernetes), before);
    let applied = apply_and_tell(&connection, &found).await;
    assert!(applied.applied.iter().all(|(_, action)| *action == Action::Replace), "{applied:?}");
    assert_eq!(kubernetes.get("rolebinding", "replace", "till")["roleRef"]["name"], "edit");
    assert_ne!(uid(&kubernetes), before);
    assert!(plan(&connection, cluster, &objects("edit", "2")).await.unwrap().is_empty());

    // Killed between the two, it is made by the next plan.
    let found = plan(&connection, cluster, &objects("view", "2")).await.unwrap();
    kubernetes.kubectl(&["delete", "rolebinding", "till", "--namespace", "replace"]);
    apply(&connection, &found).await;
    assert_eq!(kubernetes.get("rolebinding", "replace", "till")["roleRef"]["name"], "view");

    // A finalizer holds it: it is not made over the old one, and made when that is gone.
    let hold = |finalizers: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
        kubernetes.kubectl(&[
            "patch",
            "rolebinding",
            "till",
            "--namespace=replace",
            "--type=merge",
            "-p",
            &patch,
        ]);
    };
    hold(r#"["example.com/hold"]"#);
    let found = plan(&connection, cluster, &objects("edit", "2")).await.unwrap();
    let hasty = connection.clone().with_patience(Duration::ZERO);
    let applied = kcl_kube::apply(&hasty, &found, None, std::future::pending(), &|_| {}).await.unwrap();
    let failure = applied.failures[0].to_string();
    assert!(
        failure.contains("for RoleBinding replace/till to be gone, so that it can be made again"),
        "{failure}"
    );
    let found = plan(&connection, cluster, &objects("edit", "2")).await.unwrap();
    assert!(faults(&found).contains("RoleBinding replace/till: it is being deleted"), "{found:?}");
    hold("null");
    let found = plan(&connection, cluster, &objects("edit", "2")).await.unwrap();
    assert_eq!(actions(&found)[0], "RoleBinding replace/till: create");
    apply(&connection, &found).await;
    apply(&connection, &plan(&connection, cluster, &objects("view", "2")).await.unwrap()).await;

    // Another one of the name is not the one that the plan looked at.
    let found = plan(&connection, cluster, &objects("edit", "2")).await.unwrap();
    kubernetes.kubectl(&["delete", "rolebinding", "till", "--namespace", "replace"]);
    kubernetes.kubectl_apply(&binding("replace", "till", "admin"));
    let applied = kcl_kube::apply(&connection, &found, None, std::future::pending(), &|_| {}).await.unwrap();
    assert_eq!(
        applied.failures[0].to_string(),
        "spec: replace RoleBinding replace/till: another object has its name since the plan was made: make a new plan"
    );
    assert_eq!(kubernetes.get("rolebinding", "replace", "till")["roleRef"]["name"], "admin");

    // What kcl did not apply is not deleted.
    let found = plan_with(&connection, cluster, &objects("edit", "2")[..1], FORCE).await.unwrap();
    assert_eq!(
        faults(&found),
        "spec: apply RoleBinding replace/till: roleRef cannot be changed, and it is not deleted to be made again as \
         kcl did not apply it so far: delete it, or give the wanted one another name"
    );
    kubernetes.kubectl(&["delete", "storageclass,clusterrolebinding", "replace"]);
}

#[tokio::test]
async fn only_what_kcl_applied_is_pruned() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "prune.example";
    let objects = shop("prune");
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    kubernetes.kubectl_apply(&config_map("prune", "theirs", "1"));
    // A controller gave it the labels of something of ours.
    let id = &kubernetes.get("configmap", "prune", "prices")["metadata"]["labels"]["applyset.kubernetes.io/part-of"];
    let mut copied = config_map("prune", "copied", "1");
    copied["metadata"]["labels"] = json!({"applyset.kubernetes.io/part-of": id});
    kubernetes.kubectl_apply(&copied);
    kubernetes.kubectl_apply(&till("prune.example.com", "default", "theirs"));

    // Without being asked, nothing goes.
    let some: Vec<Value> = objects.iter().filter(|object| object["kind"] == "Namespace").cloned().collect();
    let unasked = plan(&connection, cluster, &some).await.unwrap();
    assert_eq!(unasked.unwanted.len(), 9);
    assert!(unasked.is_empty(), "what is kept is no work");

    // Asked, what is somebody else's stays, and what holds it.
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    let fates: Vec<String> = found
        .unwanted
        .iter()
        .map(|unwanted| match &unwanted.fate {
            Fate::Delete => format!("-{}", unwanted.object),
            Fate::Keep { reason } => format!("{}: {reason}", unwanted.object),
        })
        .collect();
    let holds = "it still holds what kcl did not apply, or what is wanted";
    assert_eq!(
        fates,
        [
            "-Deployment prune/till",
            "-Till prune/one",
            "-ConfigMap prune/prices",
            "-Secret prune/pin",
            "-Service prune/till",
            "-ServiceAccount prune/till",
            "-Role prune/till",
            "-RoleBinding prune/till",
            &format!("CustomResourceDefinition tills.prune.example.com: {holds}: Till default/theirs"),
            &format!("Namespace prune: {holds}: ConfigMap prune/copied, ConfigMap prune/theirs"),
        ]
    );
    let events = Mutex::new(Vec::new());
    let on_event = |event| events.lock().unwrap().push(event);
    let applied =
        kcl_kube::apply(&connection, &found, None, std::future::pending(), &on_event).await.unwrap();
    assert_eq!(applied.outcome(), Outcome::Done, "{applied:?}");
    assert_eq!((applied.pruned.len(), applied.kept.len()), (8, 2));
    let gone = names(&events.into_inner().unwrap());
    let place = |name: &str| gone.iter().position(|gone| gone == name).unwrap();
    assert!(place("-Deployment prune/till") < place("-ConfigMap prune/prices"));
    assert!(place("-Secret prune/pin") < place("-ServiceAccount prune/till"));
    assert!(kubernetes.exists("configmap", "prune", "theirs"));
    assert!(kubernetes.exists("tills.prune.example.com", "default", "theirs"));
    assert!(!kubernetes.exists("deployment", "prune", "till"));
    let parent = kubernetes.get("configmap", "kube-system", "kcl-prune.example");
    assert_eq!(
        parent["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"],
        "CustomResourceDefinition.apiextensions.k8s.io,Namespace"
    );

    // Somebody puts something in between plan and apply: it is seen.
    kubernetes.kubectl(&["delete", "configmap", "theirs", "copied", "--namespace", "prune"]);
    kubernetes.kubectl(&["delete", "tills.prune.example.com", "theirs", "--namespace", "default"]);
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    assert!(found.unwanted.iter().all(|unwanted| unwanted.fate == Fate::Delete), "{found:?}");
    kubernetes.kubectl_apply(&config_map("prune", "late", "1"));
    let applied = apply_and_tell(&connection, &found).await;
    assert_eq!(applied.pruned.len(), 1, "{applied:?}");
    assert_eq!(applied.kept[0].0.to_string(), "Namespace prune");
    assert!(kubernetes.exists("configmap", "prune", "late"));

    // Empty, it goes.
    kubernetes.kubectl(&["delete", "configmap", "late", "--namespace", "prune"]);
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    apply(&connection, &found).await;
    let live = kubernetes.get("namespace", "", "prune");
    assert!(!live["metadata"]["deletionTimestamp"].is_null(), "{live}");
    assert!(plan_with(&connection, cluster, &[], PRUNE).await.unwrap().is_empty());
}

/// A ConfigMap that these own, all of which stand in for something else: nothing collects garbage here.
fn owned_by(mut object: Value, owners: &[&Value]) -> Value {
    let owner = |owner: &&Value| {
        json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"]})
    };
    object["metadata"]["ownerReferences"] = owners.iter().map(owner).collect();
    object
}

#[tokio::test]
async fn what_others_own_is_not_taken_along() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let (cluster, group) = ("owned.example", "owned.example.com");
    let objects = [namespace("owned"), definition(group), deployment("owned", "till", "till:1")];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    // As a ReplicaSet and its pods: one owns the next.
    let till_now = kubernetes.get("deployment", "owned", "till");
    kubernetes.kubectl_apply(&owned_by(config_map("owned", "set", "1"), &[&till_now]));
    let set = kubernetes.get("configmap", "owned", "set");
    kubernetes.kubectl_apply(&owned_by(config_map("owned", "pod", "1"), &[&set]));
    // As an operator: it keeps something here for what is elsewhere.
    let outside = kubernetes.get("namespace", "", "kube-public");
    kubernetes.kubectl_apply(&owned_by(config_map("owned", "theirs", "1"), &[&outside]));
    kubernetes.kubectl_apply(&owned_by(config_map("owned", "shared", "1"), &[&outside, &till_now]));
    let certificate = owned_by(till(group, "kube-public", "certificate"), &[&outside]);
    kubernetes.kubectl_apply(&certificate);

    let kept = |plan: &kcl_kube::Plan| {
        let reason = |unwanted: &kcl_kube::Unwanted| match &unwanted.fate {
            Fate::Delete => None,
            Fate::Keep { reason } => {
                Some(format!("{}: {}", unwanted.object, reason.rsplit(": ").next().unwrap()))
            }
        };
        plan.unwanted.iter().filter_map(reason).collect::<Vec<_>>()
    };
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    assert_eq!(
        kept(&found),
        [
            "CustomResourceDefinition tills.owned.example.com: Till kube-public/certificate",
            "Namespace owned: ConfigMap owned/shared, ConfigMap owned/theirs",
        ]
    );
    kubernetes.kubectl(&["delete", "configmap", "shared", "theirs", "--namespace", "owned"]);
    kubernetes.kubectl(&["delete", "tills.owned.example.com", "certificate", "--namespace", "kube-public"]);
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    assert_eq!(kept(&found), [""; 0]);
    // The set in between is gone before the namespace is looked at again; what it owned goes with it still.
    kubernetes.kubectl(&["delete", "configmap", "set", "--namespace", "owned"]);
    let applied = apply_and_tell(&connection, &found).await;
    assert_eq!((applied.pruned.len(), applied.kept), (3, vec![]));
}

#[tokio::test]
async fn another_object_of_its_name_is_not_pruned() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "again.example";
    kubernetes.make_namespace("again");
    let objects = [config_map("again", "a", "1"), config_map("again", "gone", "1")];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    kubernetes.kubectl(&["delete", "configmap", "a", "gone", "--namespace", "again"]);
    kubernetes.kubectl_apply(&config_map("again", "a", "theirs"));
    let applied = apply_and_tell(&connection, &found).await;
    let kept: Vec<_> = applied.kept.iter().map(|(object, reason)| format!("{object}: {reason}")).collect();
    assert_eq!(kept, ["ConfigMap again/a: another object has its name since the plan was made"]);
    assert_eq!(applied.pruned.len(), 1);
    assert_eq!(kubernetes.get("configmap", "again", "a")["data"]["value"], "theirs");

    // A namespace that somebody deleted meanwhile goes all the same.
    let objects = [namespace("again-empty")];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    kubernetes.kubectl(&["delete", "namespace", "again-empty", "--wait=false"]);
    assert_eq!(apply_and_tell(&connection, &found).await.pruned.len(), 1);
}

#[tokio::test]
async fn killed_anywhere_it_knows_what_it_applied() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("killed");
    let objects: Vec<Value> = ["a", "b", "c"].iter().map(|name| config_map("killed", name, "1")).collect();
    let cluster = "killed.example";
    for survived in 0..=objects.len() {
        let planned = plan(&connection, cluster, &objects).await.unwrap();
        assert_eq!(planned.count(Action::Create), objects.len(), "run {survived}");
        // Dropped in the middle, as if the process were gone, after so many objects.
        let (killed, mut kill) = tokio::sync::mpsc::unbounded_channel();
        let seen = AtomicUsize::new(0);
        let on_event = |event: Event| {
            let begins = matches!(event, Event::PhaseStarted { .. }) && survived == 0;
            let done = matches!(event, Event::Applied { .. })
                && seen.fetch_add(1, Ordering::Relaxed) + 1 == survived;
            if begins || done {
                killed.send(()).unwrap();
            }
        };
        tokio::select! {
            biased;
            _ = kill.recv() => {}
            _ = kcl_kube::apply(&connection, &planned, None, std::future::pending(), &on_event) => {}
        }
        // What was on its way may arrive still: what counts is that everything there is found.
        let cleared = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
        apply(&connection, &cleared).await;
        let left = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
        apply(&connection, &left).await;
        let there = kubernetes.kubectl(&["get", "configmap", "--namespace", "killed", "-o", "name"]);
        assert_eq!(there, "", "run {survived}");
    }
}

#[tokio::test]
async fn who_may_not_is_told_what() {
    let kubernetes = Kubernetes::shared();
    kubernetes.make_namespace("small");
    let role = ["create", "role", "small", "--namespace", "small", "--verb=get,list,patch,create"];
    kubernetes.kubectl(&[&role[..], &["--resource=configmaps"]].concat());
    kubernetes.kubectl(&["create", "rolebinding", "small", "--namespace=small", "--role=small", "--user=ci"]);
    let connection = kubernetes.connect_as("ci", None).await;
    let objects = [config_map("small", "a", "1")];
    let error = plan(&connection, "small.example", &objects).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(
        error.to_string(),
        "read the ConfigMap kube-system/kcl-small.example: ci may not get configmaps in the namespace kube-system"
    );
    let parent = ["create", "role", "small", "--namespace", "kube-system", "--verb=get,list,patch,create"];
    kubernetes.kubectl(&[&parent[..], &["--resource=configmaps"]].concat());
    kubernetes.kubectl(&[
        "create",
        "rolebinding",
        "small",
        "--namespace=kube-system",
        "--role=small",
        "--user=ci",
    ]);
    // The authorizer learns of it in its own time.
    let planned = loop {
        match plan(&connection, "small.example", &objects).await {
            Err(error) if error.kind() == ErrorKind::Forbidden => tokio::task::yield_now().await,
            planned => break planned.unwrap(),
        }
    };
    apply(&connection, &planned).await;
    let more = [config_map("small", "a", "1"), deployment("small", "till", "till:1")];
    let error = plan(&connection, "small.example", &more).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let Error::Forbidden(forbidden) = error else { panic!("{error}") };
    assert_eq!(
        (forbidden.user.as_str(), forbidden.verb.as_str(), forbidden.namespace.as_deref()),
        ("ci", "list", None)
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_named_with_the_object() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let cluster = "invalid.example";
    let begin = std::time::Instant::now();
    kubernetes.make_namespace("invalid");
    let mut unknown_field = deployment("invalid", "till", "till:1");
    unknown_field["spec"]["replica"] = 2.into();
    let mut wrong = deployment("invalid", "log", "log:1");
    wrong["spec"]["selector"]["matchLabels"] = json!({"other": "label"});
    let good = config_map("invalid", "good", "1");
    let objects = [unknown_field, config_map("nowhere", "a", "1"), wrong, good.clone()];
    let planned = plan(&connection, cluster, &objects).await.unwrap();
    // Ten seconds of patience are for what passes.
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(actions(&planned), ["ConfigMap invalid/good: create"], "the others do not hide it");
    assert!(!planned.is_empty());
    let told = serde_json::to_value(&planned).unwrap()["faults"].clone();
    let found: Vec<String> = serde_json::from_value(told).unwrap();
    assert_eq!(found.join("\n"), faults(&planned));
    assert!(found[0].contains("Deployment invalid/till") && found[0].contains(".spec.replica"), "{found:?}");
    assert_eq!(
        found[1],
        "spec: apply ConfigMap nowhere/a: the namespace nowhere is neither in the cluster nor wanted"
    );
    assert!(found[2].contains("`selector` does not match template `labels`"), "{found:?}");
    let error =
        kcl_kube::apply(&connection, &planned, None, std::future::pending(), &|_| {}).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Invalid, faults(&planned)));
    assert_eq!(connection.requests().writes, 0, "nothing of it is applied");

    // What is there and faulty is wanted all the same: it is not pruned.
    apply(&connection, &plan(&connection, cluster, &[good]).await.unwrap()).await;
    let mut broken = config_map("invalid", "good", "1");
    broken["data"] = json!({"a/b": "1"});
    let planned = plan_with(&connection, cluster, &[broken], PRUNE).await.unwrap();
    assert_eq!((planned.faults.len(), planned.unwanted.len()), (1, 0), "{planned:?}");
    // Where everything is going away, nothing can be made.
    kubernetes.kubectl(&["delete", "namespace", "invalid", "--wait=false"]);
    let planned = plan(&connection, cluster, &[config_map("invalid", "late", "1")]).await.unwrap();
    assert!(faults(&planned).contains("because it is being terminated"), "{planned:?}");

    let error = async |objects: Vec<Value>| {
        let error = plan(&connection, cluster, &objects).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        error.to_string()
    };
    let unknown_kind = json!({"apiVersion": "apps/v2", "kind": "Deployment", "metadata": {"name": "till"}});
    let found = error(vec![unknown_kind, till("nobody.example.com", "invalid", "one")]).await;
    assert_eq!(
        found,
        "spec: Deployment till: the cluster has no such kind in apps/v2 (it has it in apps/v1)\n\
         spec: Till invalid/one: the cluster has no such kind in nobody.example.com/v1"
    );
    let mut twice = vec![config_map("default", "a", "1"), config_map("default", "a", "2")];
    twice[1]["metadata"].as_object_mut().unwrap().remove("namespace");
    assert_eq!(error(twice).await, "ConfigMap default/a is wanted twice: by spec and by spec");
}

#[tokio::test]
async fn a_failure_stops_what_comes_after_it() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("fails");
    let objects = [
        config_map("fails", "a", "1"),
        config_map("kube-public", "fails-b", "1"),
        deployment("fails", "till", "till:1"),
    ];
    let planned = plan(&connection, "fails.example", &objects).await.unwrap();
    // No more of them from now on.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "fails"},
        "spec": {"hard": {"configmaps": "0"}}});
    kubernetes.kubectl_apply(&quota);
    kubernetes.patch_status(
        "resourcequota",
        "fails",
        "none",
        &json!({"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}),
    );
    let applied =
        kcl_kube::apply(&connection, &planned, None, std::future::pending(), &|_| {}).await.unwrap();
    assert_eq!(applied.outcome(), Outcome::Failed);
    assert_eq!(applied.applied.len(), 1, "the rest of the phase is done");
    assert_eq!(applied.failures.len(), 1);
    assert!(applied.failures[0].to_string().contains("exceeded quota"), "{}", applied.failures[0]);
    assert_eq!(applied.not_started[0].to_string(), "Deployment fails/till");
    kubernetes.kubectl(&["delete", "resourcequota", "none", "--namespace", "fails"]);
    let again = plan(&connection, "fails.example", &objects).await.unwrap();
    assert_eq!((again.count(Action::Create), again.count(Action::Unchanged)), (2, 1));
    apply(&connection, &again).await;
    kubernetes.kubectl(&["delete", "configmap", "fails-b", "--namespace", "kube-public"]);
}

#[tokio::test]
async fn a_stop_starts_nothing_more() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("stop");
    let objects: Vec<Value> = (0..40).map(|n| config_map("stop", &format!("a{n}"), "1")).collect();
    let planned = plan(&connection, "stop.example", &objects).await.unwrap();
    let none = kcl_kube::apply(&connection, &planned, None, std::future::ready(()), &|_| {}).await.unwrap();
    assert_eq!((none.outcome(), none.applied.len(), none.not_started.len()), (Outcome::Stopped, 0, 40));
    let (first, stop) = tokio::sync::oneshot::channel();
    let first = Mutex::new(Some(first));
    let on_event = |event: Event| {
        if matches!(event, Event::Applied { .. })
            && let Some(first) = first.lock().unwrap().take()
        {
            first.send(()).unwrap();
        }
    };
    let planned = plan(&connection, "stop.example", &objects).await.unwrap();
    let stopped = kcl_kube::apply(&connection, &planned, None, stop.map(|_| ()), &on_event).await.unwrap();
    assert_eq!(stopped.outcome(), Outcome::Stopped);
    assert!(!stopped.applied.is_empty() && !stopped.not_started.is_empty(), "{stopped:?}");
    assert_eq!(stopped.applied.len() + stopped.not_started.len(), 40);
    let rest = plan(&connection, "stop.example", &objects).await.unwrap();
    assert_eq!(rest.count(Action::Create), stopped.not_started.len());
    apply(&connection, &rest).await;
}

#[tokio::test]
async fn no_secret_is_told() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("secrets");
    let secret = |pin: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pin", "namespace": "secrets"},
            "stringData": {"pin": pin}})
    };
    let told = |planned: &kcl_kube::Plan| {
        let text = format!("{planned:?}{}", serde_json::to_string(planned).unwrap());
        // Base64 of `swordfish` and of `herring7` too.
        for secret in ["swordfish", "c3dvcmRmaXNo", "herring7", "aGVycmluZzc"] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    let first = plan(&connection, "secrets.example", &[secret("swordfish")]).await.unwrap();
    told(&first);
    apply(&connection, &first).await;
    assert!(plan(&connection, "secrets.example", &[secret("swordfish")]).await.unwrap().is_empty());
    let second = plan(&connection, "secrets.example", &[secret("herring7")]).await.unwrap();
    told(&second);
    assert_eq!(second.objects[0].changes[0].path, "data.pin");
    assert!(second.objects[0].changes[0].secret);
    apply(&connection, &second).await;
    assert_eq!(kubernetes.get("secret", "secrets", "pin")["data"]["pin"], "aGVycmluZzc=");
    kubernetes.kubectl(&[
        "patch",
        "secret",
        "pin",
        "--namespace=secrets",
        "--type=merge",
        "-p",
        r#"{"stringData":{"pin":"swordfish"}}"#,
    ]);
    let conflict = plan(&connection, "secrets.example", &[secret("herring7")]).await.unwrap();
    assert_eq!(conflict.conflicts.len(), 1);
    told(&conflict);
    let wanted = wanted(&[secret("swordfish")]);
    assert!(!format!("{wanted:?}").contains("swordfish"));
    let mut broken = secret("swordfish");
    broken["data"] = json!({"other": "swordfish!"});
    broken["spec"] = json!({"pin": "swordfish"});
    let error = plan(&connection, "secrets.example", &[broken]).await.unwrap_err();
    assert!(!format!("{error}{error:?}").contains("swordfish"), "{error}");
}

#[tokio::test]
async fn a_set_of_somebody_else_is_refused() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.kubectl(&["create", "configmap", "kcl-theirs.example", "--namespace", "kube-system"]);
    let error = plan(&connection, "theirs.example", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("somebody else made it"), "{error}");
}

#[tokio::test]
async fn a_pod_and_its_account_come_together() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("pods");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "iam-account", "namespace": "pods"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "pods"},
        "spec": {"serviceAccountName": "iam-account", "containers": [{"name": "one", "image": "one:1"}]}});
    let objects = [pod, account];
    apply(&connection, &plan(&connection, "pods.example", &objects).await.unwrap()).await;
    assert!(plan(&connection, "pods.example", &objects).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_policy_is_waited_for_until_it_acts() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("mutated");
    let probe = Probe {
        namespace: "mutated".to_owned(),
        service_account: "default".to_owned(),
        policy: "mutated".to_owned(),
        variable: "AWS_ROLE_ARN".to_owned(),
    };
    let events = Mutex::new(Vec::new());
    let on_event = |event: Event| {
        events.lock().unwrap().push(match event {
            Event::Waiting { object, reason, .. } => format!("{object}: {reason}"),
            Event::Ready { object, .. } => format!("{object} is ready"),
            event => format!("{event:?}"),
        });
    };
    let wait = |timeout| kcl_kube::wait_until_mutated(&connection, &probe, timeout, &on_event);
    let error = wait(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("the pod would not get AWS_ROLE_ARN"), "{error}");
    // Its account may be news to the server at first.
    let told = events.lock().unwrap().last().cloned();
    assert_eq!(told.unwrap(), "ServiceAccount mutated/default: the pod would not get AWS_ROLE_ARN");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "mutated"},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mutated"}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{spec: Object.spec{containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, env: [Object.spec.containers.env{name: 'AWS_ROLE_ARN', value: 'a'}]})}}"}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "mutated"},
        "spec": {"policyName": "mutated"},
    });
    let objects = [policy, binding];
    apply(&connection, &plan(&connection, "mutated.example", &objects).await.unwrap()).await;
    wait(Duration::from_mins(1)).await.unwrap();
    assert_eq!(events.lock().unwrap().last().unwrap(), "ServiceAccount mutated/default is ready");
    assert_eq!(kubernetes.kubectl(&["get", "pods", "--namespace", "mutated", "-o", "name"]), "");
    assert!(plan(&connection, "mutated.example", &objects).await.unwrap().is_empty());
    let options = PlanOptions { prune: true, ..PlanOptions::default() };
    apply(&connection, &plan_with(&connection, "mutated.example", &[], options).await.unwrap()).await;
}

#[tokio::test]
async fn who_refuses_the_pod_for_another_reason_is_not_waited_for() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("limited");
    kubernetes.kubectl_apply(&json!({"apiVersion": "v1", "kind": "LimitRange",
        "metadata": {"name": "least", "namespace": "limited"},
        "spec": {"limits": [{"type": "Container", "min": {"cpu": "10m"}}]}}));
    let probe = Probe {
        namespace: "limited".to_owned(),
        service_account: "default".to_owned(),
        policy: "nobody's".to_owned(),
        variable: "AWS_ROLE_ARN".to_owned(),
    };
    let last = Mutex::new(None);
    let on_event = |event: Event| *last.lock().unwrap() = Some(event);
    kcl_kube::wait_until_mutated(&connection, &probe, Duration::from_mins(1), &on_event).await.unwrap();
    let told = match last.into_inner().unwrap() {
        Some(Event::NotTried { object, reason }) => format!("{object}: {reason}"),
        other => format!("{other:?}"),
    };
    assert!(told.starts_with("ServiceAccount limited/default: "), "{told}");
    assert!(told.contains("minimum cpu usage per Container is 10m"), "{told}");
}

/// A way to the server on which things go wrong.
async fn behind_proxy(kubernetes: &Kubernetes) -> (ApiProxy, Connection) {
    let proxy = kubernetes.proxy();
    let mut access = kubernetes.access("admin", Some("system:masters"));
    access.server = proxy.url();
    let connection = Connection::open(&Access::Cluster(access)).await.unwrap();
    (proxy, connection)
}

#[tokio::test]
async fn an_object_may_use_what_its_definition_just_learns() {
    let kubernetes = Kubernetes::shared();
    let (proxy, connection) = behind_proxy(&kubernetes).await;
    kubernetes.make_namespace("learns");
    let (cluster, group) = ("learns.example", "learns.example.com");
    let mut objects = [definition(group), till(group, "learns", "one")];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    objects[1]["spec"]["lamp"] = "red".into();
    let refused = plan(&connection, cluster, &objects).await.unwrap();
    assert!(faults(&refused).contains(".spec.lamp"), "nobody knows it: {refused:?}");
    let versions = &mut objects[0]["spec"]["versions"];
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["lamp"] =
        json!({"type": "string"});
    // Both need it: they are written at the same time, and either may be the first, which is refused below.
    let mut also = till(group, "learns", "two");
    also["spec"]["lamp"] = "green".into();
    let objects = [&objects[..], &[also]].concat();
    let planned = plan(&connection, cluster, &objects).await.unwrap();
    assert_eq!(faults(&planned), "");
    let told = planned.objects.iter().find(|planned| planned.object.name == "one").unwrap();
    assert_eq!(
        (told.action, told.not_compared.as_deref()),
        (Action::Update, Some("its definition changes first"))
    );
    // A server that has not read the definition again says what it said before.
    let write = Point { service: format!("tills.{group}"), action: "apply".to_owned(), nth: 1 };
    let strikes = proxy.inject(Fault::Refused, When::At(write), 0);
    apply(&connection, &planned).await;
    assert_eq!(strikes.count(), 1);
    assert_eq!(kubernetes.get("tills.learns.example.com", "learns", "one")["spec"]["lamp"], "red");
    assert!(plan(&connection, cluster, &objects).await.unwrap().is_empty());
}

/// As long as it does not answer, what it would have a say in cannot be compared.
#[tokio::test]
async fn a_webhook_that_does_not_answer_keeps_nobody_else() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    kubernetes.make_namespace("webhook");
    let cluster = "webhook.example";
    let objects = |image| {
        let role = binding("webhook", "till", "view");
        [role, config_map("webhook", "prices", "1"), deployment("webhook", "till", image)]
    };
    apply(&connection, &plan(&connection, cluster, &objects("till:1")).await.unwrap()).await;
    kubernetes.kubectl_apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "webhook"},
        "webhooks": [{
            "name": "prices.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]},
                {"apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["rolebindings"]},
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "webhook"}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
        }],
    }));
    let planned = until(async || {
        let planned = plan(&connection, cluster, &objects("till:2")).await.unwrap();
        (planned.count(Action::Update) == 2).then_some(planned)
    });
    let planned = planned.await;
    assert_eq!(faults(&planned), "");
    let told: Vec<_> = planned.objects.iter().filter_map(|planned| planned.not_compared.as_deref()).collect();
    assert_eq!(told, ["the webhook prices.example.com does not answer"]);
    let applied =
        kcl_kube::apply(&connection, &planned, None, std::future::pending(), &|_| {}).await.unwrap();
    let applied_to: Vec<_> = applied.applied.iter().map(|(object, _)| object.to_string()).collect();
    assert_eq!(applied_to, ["Deployment webhook/till"]);
    assert_eq!(applied.failures.len(), 1, "{applied:?}");
    assert!(applied.failures[0].to_string().contains("failed calling webhook"), "{}", applied.failures[0]);
    // Nor is anything deleted to be made again, which nobody says that it can be.
    let refused = plan(&connection, cluster, &[binding("webhook", "till", "edit")]).await.unwrap();
    assert!(faults(&refused).contains("replace RoleBinding webhook/till: "), "{refused:?}");
    // What is not there yet cannot be judged.
    let new = [config_map("webhook", "new", "1")];
    let refused = plan(&connection, cluster, &new).await.unwrap();
    assert!(faults(&refused).contains("failed calling webhook"), "{refused:?}");
    kubernetes.kubectl(&["delete", "validatingwebhookconfiguration", "webhook"]);
    until(async || {
        let again = plan(&connection, cluster, &objects("till:2")).await.unwrap();
        again.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_clears_up_after_an_object_stays_until_it_is_gone() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await.with_patience(Duration::from_millis(500));
    kubernetes.make_namespace("cleared");
    let (cluster, group) = ("cleared.example", "cleared.example.com");
    let mut held = till(group, "cleared", "one");
    held["metadata"]["finalizers"] = json!(["example.com/drawer"]);
    let objects = [definition(group), held, deployment("cleared", "operator", "operator:1")];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    // The second time it is being deleted already.
    for _ in 0..2 {
        let found = plan_with(&connection, cluster, &objects[..1], PRUNE).await.unwrap();
        assert_eq!(found.unwanted.len(), 2, "{found:?}");
        let applied =
            kcl_kube::apply(&connection, &found, None, std::future::pending(), &|_| {}).await.unwrap();
        assert_eq!(applied.failures.len(), 1, "{applied:?}");
        let why = applied.failures[0].to_string();
        assert!(why.contains("Till cleared/one to be gone"), "{why}");
        assert!(why.ends_with("(held by example.com/drawer)"), "{why}");
        assert_eq!(applied.not_started[0].to_string(), "Deployment cleared/operator");
    }
    let patch = ["--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#];
    kubernetes.kubectl(
        &[&["patch", "tills.cleared.example.com", "one", "--namespace=cleared"][..], &patch].concat(),
    );
    let found = plan_with(&connection, cluster, &objects[..1], PRUNE).await.unwrap();
    assert_eq!(apply_and_tell(&connection, &found).await.pruned.len(), 1, "only the operator is left");
    assert!(plan_with(&connection, cluster, &objects[..1], PRUNE).await.unwrap().unwanted.is_empty());
}

#[tokio::test]
async fn a_definition_whose_kind_is_not_served_keeps_what_it_may_hold() {
    let kubernetes = Kubernetes::shared();
    let connection = kubernetes.connect().await;
    let (cluster, group) = ("unserved.example", "unserved.example.com");
    let objects = [definition(group)];
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    kubernetes.kubectl_apply(&till(group, "default", "theirs"));
    let patch = r#"[{"op": "replace", "path": "/spec/versions/0/served", "value": false}]"#;
    kubernetes.kubectl(&["patch", "crd", "tills.unserved.example.com", "--type=json", "-p", patch]);
    // Until discovery knows, it holds what it held.
    until(async || {
        let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
        let reason = match &found.unwanted[0].fate {
            Fate::Keep { reason } => reason,
            Fate::Delete => "it is deleted",
        };
        let is_known = reason.contains("the server does not serve its kind at the moment");
        assert!(
            is_known || reason.contains("Till default/theirs") || reason.contains("cannot be seen"),
            "{reason}"
        );
        is_known.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_kind_that_went_while_it_was_looked_at_holds_nothing() {
    let kubernetes = Kubernetes::shared();
    let (proxy, connection) = behind_proxy(&kubernetes).await;
    kubernetes.kubectl_apply(&definition("went.example.com"));
    kubernetes.kubectl(&["wait", "--for=condition=Established", "crd", "tills.went.example.com"]);
    let (cluster, objects) = ("went.example", [namespace("went")]);
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    let list = Point { service: "tills.went.example.com".to_owned(), action: "list".to_owned(), nth: 1 };
    let halt = proxy.halt(list, Moment::BeforeForwarding);
    let server = Arc::clone(&kubernetes);
    let deletes = std::thread::spawn(move || {
        assert!(halt.is_reached(Duration::from_mins(1)), "the namespace is looked into");
        server.kubectl(&["delete", "crd", "tills.went.example.com", "--wait"]);
        halt.let_go();
    });
    let applied = apply_and_tell(&connection, &found).await;
    deletes.join().unwrap();
    assert_eq!((applied.pruned.len(), applied.kept), (1, vec![]));
}

#[tokio::test]
async fn a_list_that_an_earlier_run_did_not_shrink_is_shrunk() {
    let kubernetes = Kubernetes::shared();
    let (proxy, connection) = behind_proxy(&kubernetes).await;
    kubernetes.make_namespace("shrunk");
    let (cluster, objects) = ("shrunk.example", [deployment("shrunk", "till", "till:1")]);
    apply(&connection, &plan(&connection, cluster, &objects).await.unwrap()).await;
    let found = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    let write = Point { service: "configmaps".to_owned(), action: "apply".to_owned(), nth: 1 };
    proxy.inject(Fault::Refused, When::At(write), 0);
    let cut = kcl_kube::apply(&connection, &found, None, std::future::pending(), &|_| {}).await.unwrap();
    assert_eq!(cut.pruned.len(), 1);
    assert!(cut.error.is_some(), "the list was not written");
    let empty = plan_with(&connection, cluster, &[], PRUNE).await.unwrap();
    assert!(empty.is_empty(), "{empty:?}");
    apply(&connection, &empty).await;
    let parent = kubernetes.get("configmap", "kube-system", "kcl-shrunk.example");
    assert_eq!(parent["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"], "");
    let before = connection.requests().writes;
    apply(&connection, &plan_with(&connection, cluster, &[], PRUNE).await.unwrap()).await;
    assert_eq!(connection.requests().writes, before, "there is nothing more to write");
}
