//! Pods get the roles of their service accounts, by the policy alone, on a real API server.

use kcl_manifests::{Error, ROLE_ANNOTATION, TOKEN_FILE};
use kcl_spec::cluster::KubernetesVersion;
use serde_json::{Value, json};

use crate::given::Given;
use crate::server::Server;

const ROLE: &str = "arn:aws:iam::123456789012:role/iam-account.default.sa.k8s.karlaru.com";

fn account(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
    })
}

/// A pod of `account` whose spec has `spec` too; its container is called `main`.
fn pod(name: &str, account: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "serviceAccountName": account,
            // Without the token for the API server a pod has neither volumes nor mounts.
            "automountServiceAccountToken": false,
            "containers": [{ "name": "main", "image": "registry.example/main:1" }],
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// The variables of a container, by name.
fn environment(container: &Value) -> Value {
    let variables = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    variables.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].clone())).collect()
}

fn whole_environment() -> Value {
    json!({
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN_FILE,
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    })
}

fn mount() -> Value {
    json!({ "name": "aws-iam-token", "mountPath": "/var/run/secrets/amazonaws.com", "readOnly": true })
}

fn volume(audience: &str, seconds: u32) -> Value {
    let token = json!({ "audience": audience, "expirationSeconds": seconds, "path": "token" });
    json!({
        "name": "aws-iam-token",
        "projected": { "defaultMode": 0o644, "sources": [{ "serviceAccountToken": token }] },
    })
}

fn has_role(pod: &Value) -> bool {
    environment(&pod["spec"]["containers"][0])["AWS_ROLE_ARN"] == ROLE
}

impl Server {
    /// What would be stored of a pod.
    fn would_be(&self, pod: &Value) -> Value {
        let run = self.reads(&["create", "--dry-run=server", "-f", "-", "-o", "json"], &pod.to_string());
        serde_json::from_str(&run.expect(0).stdout).unwrap()
    }
}

#[test]
fn pods_have_the_roles_of_their_accounts() {
    let server = Server::start_control_plane(&[]);
    server.apply(&Given::example("karlaru").objects("pod-identity"), &[]).expect(0);
    server.create(&account("iam-account", &json!({ ROLE_ANNOTATION: ROLE })));
    server.create(&account("nobody", &json!({ "note": "no role" })));
    server.until("the policy has an effect", |server| {
        has_role(&server.would_be(&pod("first", "iam-account", &json!({}))))
    });

    all_that_a_container_needs(&server);
    pods_of_other_accounts_are_as_they_were(&server);
    every_container_has_it(&server);
    what_a_pod_has_of_its_own_stays(&server);
    annotations_of_the_account_count(&server);
    an_account_may_get_its_role_later(&server);
    containers_that_others_add_have_it_too(&server);
    pods_that_controllers_make_have_it(&server);
}

fn all_that_a_container_needs(server: &Server) {
    let made = server.create(&pod("plain", "iam-account", &json!({})));
    let container = &made["spec"]["containers"][0];
    assert_eq!(environment(container), whole_environment());
    assert_eq!(container["volumeMounts"], json!([mount()]));
    assert_eq!(made["spec"]["volumes"], json!([volume("amazonaws.com", 86400)]));

    // Beside the token for the API server.
    let made = server.create(&pod("usual", "iam-account", &json!({ "automountServiceAccountToken": true })));
    assert_eq!(environment(&made["spec"]["containers"][0]), whole_environment());
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][1], mount());
    assert_eq!(made["spec"]["volumes"][1], volume("amazonaws.com", 86400));
    assert_eq!(made["spec"]["volumes"].as_array().unwrap().len(), 2);

    // What has all of it is left alone.
    let mut again = pod("again", "iam-account", &json!({}));
    again["spec"] = made["spec"].clone();
    assert_eq!(server.create(&again)["spec"], made["spec"]);
}

fn pods_of_other_accounts_are_as_they_were(server: &Server) {
    let made = server.create(&pod("other", "nobody", &json!({})));
    assert_eq!(made["spec"]["containers"][0].get("env"), None);
    assert_eq!(made["spec"]["containers"][0].get("volumeMounts"), None);
    assert_eq!(made["spec"].get("volumes"), None);
    // The account of that name in another namespace is another one.
    server.kubectl(&["create", "namespace", "elsewhere"]).expect(0);
    server.kubectl(&["create", "serviceaccount", "iam-account", "--namespace=elsewhere"]).expect(0);
    let mut elsewhere = pod("other", "iam-account", &json!({}));
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    let made = server.create(&elsewhere);
    assert_eq!(made["spec"]["containers"][0].get("env"), None);
}

fn every_container_has_it(server: &Server) {
    let image = "registry.example/other:1";
    let spec = json!({
        "initContainers": [
            { "name": "before", "image": image, "env": [{ "name": "OWN", "value": "1" }] },
            { "name": "sidecar", "image": image, "restartPolicy": "Always" },
        ],
        "containers": [
            { "name": "main", "image": image },
            { "name": "bystander", "image": image },
            {
                "name": "second",
                "image": image,
                "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
            },
        ],
        "volumes": [{ "name": "scratch", "emptyDir": {} }],
    });
    let mut given = pod("many", "iam-account", &spec);
    let skip = json!({ "eks.amazonaws.com/skip-containers": "nothing, bystander" });
    given["metadata"]["annotations"] = skip;
    let made = server.create(&given);
    let containers = |list: &str| made["spec"][list].as_array().unwrap().clone();
    let mut with_own = whole_environment();
    with_own["OWN"] = json!("1");
    assert_eq!(environment(&containers("initContainers")[0]), with_own);
    assert_eq!(containers("initContainers")[0]["env"][0]["name"], "OWN", "its own come first");
    assert_eq!(environment(&containers("initContainers")[1]), whole_environment());
    assert_eq!(environment(&containers("containers")[0]), whole_environment());
    assert_eq!(containers("containers")[1].get("env"), None);
    assert_eq!(containers("containers")[1].get("volumeMounts"), None);
    assert_eq!(environment(&containers("containers")[2]), whole_environment());
    let mounts = json!([{ "name": "scratch", "mountPath": "/scratch" }, mount()]);
    assert_eq!(containers("containers")[2]["volumeMounts"], mounts);
    assert_eq!(
        made["spec"]["volumes"],
        json!([{ "name": "scratch", "emptyDir": {} }, volume("amazonaws.com", 86400)])
    );
}

fn what_a_pod_has_of_its_own_stays(server: &Server) {
    let image = "registry.example/other:1";
    let own_token = json!({ "name": "own", "mountPath": "/var/run/secrets/amazonaws.com/" });
    let spec = json!({
        "containers": [
            {
                "name": "main",
                "image": image,
                "env": [
                    { "name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/own" },
                    { "name": "AWS_DEFAULT_REGION", "value": "us-east-1" },
                ],
                "volumeMounts": [own_token],
            },
        ],
        "volumes": [{ "name": "own", "emptyDir": {} }],
    });
    let made = server.create(&pod("own", "iam-account", &spec));
    let container = &made["spec"]["containers"][0];
    let wanted = json!({
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/own",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN_FILE,
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    });
    assert_eq!(environment(container), wanted);
    assert_eq!(container["volumeMounts"], json!([own_token]));
    assert_eq!(made["spec"]["volumes"], json!([{ "name": "own", "emptyDir": {} }]), "nothing mounts it");

    let volumes = json!([{ "name": "aws-iam-token", "emptyDir": {} }]);
    let made = server.create(&pod("own-volume", "iam-account", &json!({ "volumes": volumes })));
    assert_eq!(made["spec"]["volumes"], volumes);
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"], json!([mount()]));
}

fn annotations_of_the_account_count(server: &Server) {
    let cases = [
        ("audience", "eks.amazonaws.com/audience", "sts.amazonaws.com", ("sts.amazonaws.com", 86400)),
        ("no-audience", "eks.amazonaws.com/audience", "", ("amazonaws.com", 86400)),
        ("hour", "eks.amazonaws.com/token-expiration", "3600", ("amazonaws.com", 3600)),
        ("moment", "eks.amazonaws.com/token-expiration", "1", ("amazonaws.com", 600)),
        ("nonsense", "eks.amazonaws.com/token-expiration", "1h", ("amazonaws.com", 86400)),
        ("for-ever", "eks.amazonaws.com/token-expiration", "99999999999999999999", ("amazonaws.com", 86400)),
    ];
    for (name, annotation, value, (audience, seconds)) in cases {
        server.create(&account(name, &json!({ ROLE_ANNOTATION: ROLE, annotation: value })));
        let given = pod(name, name, &json!({}));
        server.until(name, |server| has_role(&server.would_be(&given)));
        assert_eq!(server.create(&given)["spec"]["volumes"], json!([volume(audience, seconds)]), "{name}");
    }
}

fn an_account_may_get_its_role_later(server: &Server) {
    server.create(&account("later", &json!({})));
    let given = pod("later", "later", &json!({}));
    assert!(!has_role(&server.would_be(&given)));
    let annotation = format!("{ROLE_ANNOTATION}={ROLE}");
    server.kubectl(&["annotate", "serviceaccount", "later", &annotation]).expect(0);
    server.until("the role has come", |server| has_role(&server.would_be(&given)));
    let none = format!("{ROLE_ANNOTATION}=");
    server.kubectl(&["annotate", "--overwrite", "serviceaccount", "later", &none]).expect(0);
    server.until("the role has gone", |server| !has_role(&server.would_be(&given)));
}

/// Another policy, of a name that sorts behind ours.
fn containers_that_others_add_have_it_too(server: &Server) {
    let resource = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
    });
    let patch = r#"[JSONPatch{op: "add", path: "/spec/containers/-", value:
        Object.spec.containers{name: "added", image: "registry.example/added:1"}}]"#;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": "zz-adds-a-container" },
        "spec": {
            "matchConstraints": { "resourceRules": [resource] },
            "matchConditions": [{
                "name": "once",
                "expression": "object.metadata.?name.orValue('') == 'added' && object.spec.containers.size() == 1",
            }],
            "reinvocationPolicy": "Never",
            "failurePolicy": "Fail",
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": patch } }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": "zz-adds-a-container" },
        "spec": { "policyName": "zz-adds-a-container" },
    });
    server.apply(&[policy, binding], &[]).expect(0);
    let given = pod("added", "iam-account", &json!({}));
    let count = |pod: &Value| pod["spec"]["containers"].as_array().unwrap().len();
    server.until("the container is added", |server| count(&server.would_be(&given)) == 2);
    let made = server.create(&given);
    for container in made["spec"]["containers"].as_array().unwrap() {
        assert_eq!(environment(container), whole_environment(), "{}", container["name"]);
        assert_eq!(container["volumeMounts"], json!([mount()]), "{}", container["name"]);
    }
    assert_eq!(made["spec"]["volumes"], json!([volume("amazonaws.com", 86400)]));
}

fn pods_that_controllers_make_have_it(server: &Server) {
    let template = json!({
        "metadata": { "labels": { "app": "shop" } },
        "spec": {
            "serviceAccountName": "iam-account",
            "containers": [{ "name": "shop", "image": "registry.example/shop:1" }],
        },
    });
    server.create(&json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "selector": { "matchLabels": { "app": "shop" } }, "template": template },
    }));
    server.kubectl(&["wait", "--for=create", "--timeout=60s", "pod", "--selector=app=shop"]).expect(0);
    let pods = server.kubectl(&["get", "pods", "--selector=app=shop", "-o", "json"]).expect(0);
    let pods: Value = serde_json::from_str(&pods.stdout).unwrap();
    assert_eq!(environment(&pods["items"][0]["spec"]["containers"][0]), whole_environment());
    let stored = server.kubectl(&["get", "deployment", "shop", "-o", "json"]).expect(0);
    let stored: Value = serde_json::from_str(&stored.stdout).unwrap();
    let container = &stored["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container.get("env"), None, "the template is the user's");
}

#[test]
fn only_where_aws_trusts_the_cluster() {
    let mut given = Given::example("karlaru");
    assert_eq!(given.objects("pod-identity").len(), 2);
    let issuer = given.cluster.service_account_issuer.as_mut().unwrap();
    issuer.enable_aws_oidc_provider = false;
    assert_eq!(given.objects("pod-identity").len(), 0);
    given.cluster.service_account_issuer = None;
    assert_eq!(given.objects("pod-identity").len(), 0);
}

#[test]
fn older_releases_are_refused() {
    let mut given = Given::example("karlaru");
    given.cluster.kubernetes_version = KubernetesVersion { major: 1, minor: 35, patch: 9 };
    let error = given.render().unwrap_err();
    assert!(matches!(error, Error::Version { needed: "1.36", .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "giving pods the roles of their service accounts needs Kubernetes 1.36 or newer, and the cluster has \
         1.35.9"
    );
    given.cluster.kubernetes_version = KubernetesVersion { major: 1, minor: 37, patch: 0 };
    given.render().unwrap();
    given.cluster.service_account_issuer = None;
    given.cluster.kubernetes_version = KubernetesVersion { major: 1, minor: 34, patch: 0 };
    given.render().unwrap();
}
