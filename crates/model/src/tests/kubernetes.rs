//! What a cluster holds, and who its addons are to AWS.

use std::collections::{BTreeMap, BTreeSet};

use kcl_manifests::Manifest;
use kcl_spec::cluster::*;
use kcl_spec::{Source, load};
use serde_json::{Value, json};

use super::fixture::{self, NAME, facts, model};
use crate::kubernetes::{SERVICE_ACCOUNTS, SPEC_ORIGIN, objects, system_namespaces};
use crate::resource::IamRole;
use crate::{Facts, ModelError, ROLE_ANNOTATION};

/// The smallest example with fields of the Cluster put in, and documents after it.
fn cluster(fields: &str, documents: &str) -> Cluster {
    let text = include_str!("../../../../examples/minimal.yaml");
    let text = text.replacen("\nspec:\n", &format!("\nspec:\n{fields}"), 1);
    let loaded = load(&[Source::new("cluster.yaml", text + documents)]);
    loaded.map_err(|errors| errors.to_string()).unwrap().cluster
}

const EVERYTHING: &str = "  clusterAutoscaler: {enabled: true}
  metricsServer: {enabled: true}
  externalDns: {provider: external-dns}
  authentication: {aws: {}}
";

const ISSUER: &str =
    "  serviceAccountIssuerDiscovery: {discoveryStore: s3://example-oidc, enableAWSOIDCProvider: true}\n";

/// Facts for any cluster: made up where AWS would be asked.
fn assumed(cluster: &Cluster) -> Facts {
    let mut facts = Facts { account: "123456789012".to_owned(), ..Facts::assumed(cluster, facts().store) };
    facts.zones = fixture::facts().zones;
    facts
}

fn roles(cluster: &Cluster) -> BTreeMap<String, IamRole> {
    let wanted = crate::build(cluster, &assumed(cluster)).unwrap().wanted;
    let of_roles = wanted.nodes().filter(|(id, _)| id.kind.as_str() == "iam-role");
    of_roles.map(|(id, _)| (id.name.clone(), wanted.get(&id.name).unwrap())).collect()
}

fn group<'a>(groups: &'a [Manifest], name: &str) -> &'a [Value] {
    groups.iter().find(|group| group.addon == name).map_or(&[], |group| &group.objects)
}

fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let metadata = &object["metadata"];
        format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    };
    objects.iter().map(name).collect()
}

/// Every action on everything that a policy allows, whatever its condition.
fn actions(document: &Value) -> BTreeSet<String> {
    let statements = document["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        single => vec![single.clone()],
    });
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

#[test]
fn addons_that_are_somebody_to_aws_are_known() {
    for fields in ["", EVERYTHING, "  cloudConfig: {awsEBSCSIDriver: {enabled: false}}\n"] {
        let cluster =
            cluster(&format!("{ISSUER}{fields}  iam: {{useServiceAccountExternalPermissions: true}}\n"), "");
        let known: BTreeSet<String> = cluster
            .addons
            .service_accounts()
            .into_iter()
            .map(|(namespace, name)| format!("{name}.{namespace}.sa.{}", cluster.name))
            .collect();
        let found: BTreeSet<String> =
            roles(&cluster).into_keys().filter(|name| name.contains(".sa.")).collect();
        assert_eq!(found, known);
    }
}

#[test]
fn addons_have_roles_of_their_own() {
    let cluster =
        cluster(&format!("{ISSUER}{EVERYTHING}  iam: {{useServiceAccountExternalPermissions: true}}\n"), "");
    let roles = roles(&cluster);
    let masters = &roles[&format!("masters.{}", cluster.name)];
    let mut text = String::new();
    for (name, role) in &roles {
        if name.starts_with("nodes.") {
            continue;
        }
        for policy in role.inline_policies.values() {
            text += &format!("== {name}\n{}\n", serde_json::to_string_pretty(&policy.document).unwrap());
        }
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
    // What an addon may change, the machines may not.
    let of_masters = actions(&masters.inline_policies.values().next().unwrap().document);
    for action in &of_masters {
        let reads = ["ec2:Describe", "s3:", "route53:", "kms:"].iter().any(|start| action.starts_with(start));
        let moves_volume = ["ec2:AttachVolume", "ec2:DetachVolume"].contains(&action.as_str());
        assert!(reads || moves_volume, "{action}");
    }
    let autoscaler = &roles[&format!("cluster-autoscaler.kube-system.sa.{}", cluster.name)];
    assert_eq!(
        autoscaler.trust_policy.document["Statement"][0]["Condition"]["StringEquals"]["example-oidc.s3.eu-north-1.amazonaws.com:sub"],
        "system:serviceaccount:kube-system:cluster-autoscaler"
    );
    assert_eq!(autoscaler.tags["service-account.kops.k8s.io/name"], "cluster-autoscaler");
}

/// Without roles of their own the addons have the machines', and that allows no less.
#[test]
fn the_machines_role_allows_what_addons_do() {
    let own =
        cluster(&format!("{ISSUER}{EVERYTHING}  iam: {{useServiceAccountExternalPermissions: true}}\n"), "");
    let shared = cluster(EVERYTHING, "");
    let of = |roles: BTreeMap<String, IamRole>| -> BTreeSet<String> {
        let policies = roles.into_values().flat_map(|role| role.inline_policies.into_values());
        policies.flat_map(|policy| actions(&policy.document)).collect()
    };
    let (own, shared) = (of(roles(&own)), of(roles(&shared)));
    let missing: Vec<&String> = own.difference(&shared).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// kOps lets its control plane do the same whichever addons there are.
#[test]
fn addons_that_kops_always_allows_change_no_policy() {
    let policy = |fields: &str| {
        let cluster = cluster(fields, "");
        roles(&cluster)[&format!("masters.{}", cluster.name)].inline_policies.clone()
    };
    let plain = policy("");
    assert_eq!(policy("  clusterAutoscaler: {enabled: true}\n  metricsServer: {enabled: true}\n"), plain);
    assert_eq!(policy("  cloudConfig: {awsEBSCSIDriver: {managed: false}}\n"), plain);
    assert_eq!(policy("  authentication: {aws: {}}\n"), plain);
}

#[test]
fn objects_of_every_origin() {
    let documents = "---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- apiVersion: v1
  kind: ConfigMapList
  items:
  - metadata: {name: a, namespace: shop}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: shop}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: app, namespace: shop, labels: {team: web}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app}
";
    let account = |name: &str, namespace: &str| {
        format!(
            "    - {{name: {name}, namespace: {namespace}, aws: {{policyARNs: ['arn:aws:iam::aws:policy/X']}}}}\n"
        )
    };
    let accounts =
        [("app", "shop"), ("app", "default"), ("job", "shop"), ("job", "batch"), ("any", "team-*")]
            .map(|(name, namespace)| account(name, namespace))
            .concat();
    let fields = format!("{ISSUER}  iam:\n    serviceAccountExternalPermissions:\n{accounts}");
    let cluster = cluster(&fields, documents);
    let groups = objects(&cluster, &assumed(&cluster)).unwrap();
    assert_eq!(
        names(group(&groups, SPEC_ORIGIN)),
        [
            "Namespace -/shop",
            "ConfigMap shop/a",
            "ConfigMap shop/b",
            "ServiceAccount shop/app",
            "ServiceAccount -/app",
        ]
    );
    assert_eq!(
        names(group(&groups, SERVICE_ACCOUNTS)),
        ["Namespace -/batch", "ServiceAccount shop/job", "ServiceAccount batch/job"]
    );
    let own = group(&groups, SPEC_ORIGIN);
    assert_eq!(own[1]["apiVersion"], "v1");
    assert_eq!(own[3]["metadata"]["labels"]["team"], "web");
    let role = |object: &Value| object["metadata"]["annotations"][ROLE_ANNOTATION].clone();
    let arn = |role: &str| format!("arn:aws:iam::123456789012:role/{role}.sa.minimal.example.com");
    assert_eq!(role(&own[3]), arn("app.shop"));
    assert_eq!(role(&own[4]), arn("app.default"));
    assert_eq!(role(&group(&groups, SERVICE_ACCOUNTS)[2]), arn("job.batch"));
    let last = &groups[groups.len() - 1];
    assert_eq!(last.addon, SPEC_ORIGIN);
}

#[test]
fn without_trust_nobody_is_told_a_role() {
    let mut cluster = fixture::cluster();
    cluster.iam.service_accounts = vec![ServiceAccountRole {
        name: "app".to_owned(),
        namespace: "default".to_owned(),
        permissions: ServiceAccountPermissions::Managed(Vec::new()),
    }];
    cluster.iam.use_service_account_external_permissions = true;
    let groups = objects(&cluster, &facts()).unwrap();
    assert!(
        !serde_json::to_string(&group(&groups, "node-termination-handler")).unwrap().contains("role-arn")
    );
    assert!(group(&groups, SERVICE_ACCOUNTS).is_empty());
    let masters: IamRole = model(&cluster).wanted.get(&format!("masters.{NAME}")).unwrap();
    let policy = &masters.inline_policies[&format!("masters.{NAME}")].document;
    assert!(actions(policy).contains("ec2:CreateVolume"));
}

fn own(value: Value) -> KubernetesObject {
    KubernetesObject {
        api_version: value["apiVersion"].as_str().unwrap_or_default().to_owned(),
        kind: value["kind"].as_str().unwrap_or_default().to_owned(),
        namespace: None,
        name: None,
        value: serde_yaml::to_value(value).unwrap(),
    }
}

#[test]
fn one_object_has_one_origin() {
    let mut cluster = cluster(EVERYTHING, "");
    let made = objects(&cluster, &assumed(&cluster)).unwrap();
    let addons = made.iter().filter(|group| group.addon != SPEC_ORIGIN);
    let taken: Vec<(String, Value)> = addons
        .flat_map(|group| group.objects.iter().map(|object| (group.addon.clone(), object.clone())))
        .collect();
    assert!(taken.len() > 20);
    for (addon, object) in taken {
        cluster.objects = vec![own(json!({ "apiVersion": "v1", "kind": "List", "items": [object] }))];
        let result = objects(&cluster, &assumed(&cluster));
        if object["kind"] == "Namespace" {
            assert!(result.is_ok(), "a namespace of the spec is the spec's");
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, ModelError::SameObject { .. }) && error.hint().is_some());
        let text = error.to_string();
        assert!(text.contains(&addon) && text.contains("the spec"), "{text}");
    }
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } });
    cluster.objects =
        vec![own(secret.clone()), own(json!({ "apiVersion": "v1", "kind": "List", "items": [secret] }))];
    let error = objects(&cluster, &assumed(&cluster)).unwrap_err();
    assert_eq!(error.to_string(), "an object of the spec and an object of the spec are both the Secret s");
}

#[test]
fn what_has_no_name_is_refused() {
    for object in [
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "a" } }),
        json!({ "apiVersion": "v1", "kind": "List", "items": [{ "apiVersion": "v1", "kind": "Pod" }] }),
        json!({ "apiVersion": "v1", "kind": "List", "items": ["text"] }),
        json!({ "apiVersion": "v1", "kind": "List", "items": [{ "kind": "Pod", "metadata": { "name": "a" } }] }),
        json!({ "apiVersion": "v1", "kind": "List", "items": [null] }),
    ] {
        let mut cluster = fixture::cluster();
        cluster.objects = vec![own(object.clone())];
        let error = objects(&cluster, &facts()).unwrap_err();
        assert!(matches!(error, ModelError::Unnamed { .. }) && error.hint().is_some(), "{object}");
    }
    let mut cluster = fixture::cluster();
    cluster.objects = vec![own(json!({ "apiVersion": "v1", "kind": "List", "items": [] }))];
    assert!(group(&objects(&cluster, &facts()).unwrap(), SPEC_ORIGIN).is_empty());
}

#[test]
fn every_example_holds_objects_that_are_the_same_each_time() {
    for text in [
        include_str!("../../../../examples/karlaru.yaml"),
        include_str!("../../../../examples/minimal.yaml"),
        include_str!("../../../../examples/private-ha.yaml"),
        include_str!("../../../../examples/shared-vpc.yaml"),
    ] {
        let cluster = load(&[Source::new("example.yaml", text)]).unwrap().cluster;
        let facts = assumed(&cluster);
        let groups = objects(&cluster, &facts).unwrap();
        assert_eq!(groups, objects(&cluster, &facts).unwrap());
        assert!(groups.iter().all(|group| !group.objects.is_empty()));
    }
}

/// What the spec says of an addon is in its objects.
#[test]
fn addons_are_as_the_spec_has_them() {
    let text = include_str!("../../../../examples/minimal.yaml")
        .replace("flannel: {}", "flannel: {backend: udp, iptablesResyncSeconds: 360}")
        .replacen(
            "\nspec:\n",
            "\nspec:\n  clusterAutoscaler: {enabled: true}\n  nodeTerminationHandler: {version: v9.8.7}\n",
            1,
        );
    let group_text = "---\napiVersion: kops.k8s.io/v1alpha2\nkind: InstanceGroup\nmetadata: {name: fixed}\nspec: {role: Node, subnets: [eu-north-1a], autoscale: false}\n";
    let cluster = load(&[Source::new("cluster.yaml", text + group_text)]).unwrap().cluster;
    let groups = objects(&cluster, &assumed(&cluster)).unwrap();
    let has = |addon: &str, text: &str| serde_json::to_string(group(&groups, addon)).unwrap().contains(text);
    assert!(has("flannel", r#"\"Type\":\"udp\""#) && has("flannel", "--iptables-resync=360"));
    assert!(has("cluster-autoscaler", "--nodes=2:2:nodes.minimal.example.com"));
    assert!(!has("cluster-autoscaler", "fixed.minimal.example.com"));
    assert!(has("node-termination-handler", "aws-node-termination-handler:v9.8.7"));
}

#[test]
fn where_addons_run_is_known_whatever_the_version() {
    let ingress = "---
apiVersion: kcl.dev/v1alpha1
kind: IngressController
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: own, namespace: shop}
spec: {template: {spec: {}}}
";
    let mut cluster = cluster(&format!("{ISSUER}{EVERYTHING}"), ingress);
    let now = system_namespaces(&cluster);
    assert_eq!(now, ["kube-flannel", "kube-system", "web"]);
    cluster.kubernetes_version.minor = 35;
    assert!(objects(&cluster, &assumed(&cluster)).is_err());
    assert_eq!(system_namespaces(&cluster), now);
}
