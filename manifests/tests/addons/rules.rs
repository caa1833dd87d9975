//! What holds for every addon, in every variant.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kcl_manifests::{Error, Manifest, identities, images};
use kcl_spec::cluster::{Addons, ImageMirror, PodNetwork, Principal};
use serde_json::{Value, json};

use crate::given::{
    Given, all_objects, containers, name, pods, reference, variants, with_roles, with_the_machines_role,
};

#[test]
fn nothing_is_made_twice_or_without_a_name() {
    for (variant, given) in variants() {
        let mut seen = BTreeSet::new();
        for object in all_objects(&given) {
            for field in [&object["apiVersion"], &object["kind"], &object["metadata"]["name"]] {
                assert!(field.is_string(), "{variant}: {object}");
            }
            assert!(seen.insert(name(&object)), "{variant}: {} is there twice", name(&object));
            if object["kind"] != "Namespace" {
                let by = &object["metadata"]["labels"]["app.kubernetes.io/managed-by"];
                assert_eq!(by, "kcl", "{variant}: {}", name(&object));
            }
        }
    }
}

#[test]
fn images_are_pinned_in_one_place() {
    let pinned: BTreeSet<String> = images::ALL.iter().map(ToString::to_string).collect();
    let mut used = BTreeSet::new();
    for (variant, mut given) in variants() {
        // One variant chooses a release of its own.
        given.cluster.addons.ebs_csi_driver.as_mut().unwrap().container.version = None;
        let objects = all_objects(&given);
        for (pod, spec) in pods(&objects) {
            for container in containers(spec) {
                let image = container["image"].as_str().unwrap().to_owned();
                assert!(pinned.contains(&image), "{variant}: {pod}: {image} is not pinned");
                used.insert(image);
            }
        }
    }
    let unused: Vec<_> = pinned.difference(&used).collect();
    assert_eq!(unused, [&images::PAUSE.to_string()], "what no pod needs");
}

#[test]
fn every_image_comes_by_way_of_a_mirror() {
    for (variant, mut given) in variants() {
        given.cluster.image_mirror = Some(ImageMirror::Proxy("mirror.example".to_owned()));
        let objects = all_objects(&given);
        for (pod, spec) in pods(&objects) {
            for container in containers(spec) {
                let image = container["image"].as_str().unwrap();
                assert!(image.starts_with("mirror.example/"), "{variant}: {pod}: {image}");
            }
        }
    }
    let mut given = reference();
    given.cluster.addons.ebs_csi_driver.as_mut().unwrap().container.version = Some("v1.57.0".to_owned());
    let objects = given.objects("ebs-csi-driver");
    let image = |given: &str| objects.iter().any(|object| object.to_string().contains(given));
    assert!(image("\"public.ecr.aws/ebs-csi-driver/aws-ebs-csi-driver:v1.57.0\""));
}

/// Why a container may write to its image.
const WRITABLE: [(&str, &str); 1] =
    [("DaemonSet kube-flannel/kube-flannel-ds kube-flannel", "iptables' wrapper sets links in /usr/sbin")];
/// Why a container is privileged.
const PRIVILEGED: [(&str, &str); 1] =
    [("DaemonSet kube-system/ebs-csi-node ebs-plugin", "it formats disks, and mounts them for others")];

#[test]
fn pods_may_no_more_than_they_must() {
    for (variant, given) in variants() {
        let objects = all_objects(&given);
        for (pod, spec) in pods(&objects) {
            let why = format!("{variant}: {pod}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{why}");
            assert!(spec["priorityClassName"].is_string(), "{why}");
            assert!(spec["serviceAccountName"].is_string(), "{why}");
            assert!(spec["nodeSelector"].is_object(), "{why}");
            for container in containers(spec) {
                let name = format!("{pod} {}", container["name"].as_str().unwrap());
                let context = &container["securityContext"];
                let is_excepted = |list: &[(&str, &str)]| list.iter().any(|(known, _)| *known == name);
                let writable = context["readOnlyRootFilesystem"] != true;
                assert_eq!(writable, is_excepted(&WRITABLE), "{why}: {name}");
                let privileged = context["privileged"] == true;
                assert_eq!(privileged, is_excepted(&PRIVILEGED), "{why}: {name}");
                if !privileged {
                    assert_eq!(context["allowPrivilegeEscalation"], false, "{why}: {name}");
                    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{why}: {name}");
                }
                for resource in ["cpu", "memory"] {
                    assert!(container["resources"]["requests"][resource].is_string(), "{why}: {name}");
                }
            }
        }
    }
}

/// A t3.micro has 1 GiB, of which the kubelet, the container runtime and kube-proxy need a good part.
#[test]
fn what_every_node_runs_fits_a_small_one() {
    let objects = all_objects(&reference());
    let every_node = pods(&objects)
        .into_iter()
        .filter(|(name, _)| name.starts_with("DaemonSet"))
        .filter(|(_, spec)| spec["nodeSelector"].get("node-role.kubernetes.io/control-plane").is_none());
    let memory = |container: &Value| {
        let request = container["resources"]["requests"]["memory"].as_str().unwrap();
        request.strip_suffix("Mi").unwrap().parse::<u32>().unwrap()
    };
    let mebibytes: u32 = every_node
        .map(|(_, spec)| spec["containers"].as_array().unwrap().iter().map(memory).sum::<u32>())
        .sum();
    assert!(mebibytes <= 300, "{mebibytes} MiB");
}

#[test]
fn without_a_role_pods_are_on_the_control_planes_network() {
    let names = ["ebs-csi-controller", "cluster-autoscaler", "aws-node-termination-handler", "external-dns"];
    for (given, has_role) in [(with_the_machines_role(), false), (with_roles(), true)] {
        let objects = all_objects(&given);
        for wanted in names {
            let (_, spec) =
                pods(&objects).into_iter().find(|(pod, _)| pod.ends_with(&format!("/{wanted}"))).unwrap();
            let on_host = spec["hostNetwork"] == true;
            assert_eq!(on_host, !has_role, "{wanted}");
            let control_plane = spec["nodeSelector"].get("node-role.kubernetes.io/control-plane");
            assert!(control_plane.is_some(), "{wanted}");
            let account = spec["serviceAccountName"].as_str().unwrap();
            let account = objects
                .iter()
                .find(|object| object["kind"] == "ServiceAccount" && object["metadata"]["name"] == account)
                .unwrap();
            let role = account["metadata"]["annotations"][kcl_manifests::ROLE_ANNOTATION].as_str();
            assert_eq!(role.is_some(), has_role, "{wanted}");
        }
    }
}

/// Who may read every Secret, and why.
const READS_SECRETS: [(&str, &str); 3] = [
    ("ClusterRole kcl:ingress:nginx-ingress", "certificates of Ingresses are in their own namespaces"),
    ("ClusterRole kcl:ingress:inner", "likewise"),
    ("ClusterRole kcl:ingress:in-default", "likewise"),
];

#[test]
fn roles_name_what_they_allow() {
    for (variant, given) in variants() {
        for object in all_objects(&given) {
            let Some(rules) = object["rules"].as_array() else { continue };
            let name = name(&object);
            assert!(!rules.is_empty(), "{variant}: {name}");
            for rule in rules {
                for field in ["apiGroups", "resources", "verbs"] {
                    let list = rule[field].as_array().unwrap();
                    assert!(!list.is_empty(), "{variant}: {name}: {rule}");
                    assert!(!list.contains(&json!("*")), "{variant}: {name}: {rule}");
                }
                for verb in ["bind", "deletecollection", "escalate", "impersonate"] {
                    assert!(!rule["verbs"].as_array().unwrap().contains(&json!(verb)), "{variant}: {name}");
                }
                if rule["resources"].as_array().unwrap().contains(&json!("secrets")) {
                    assert!(READS_SECRETS.iter().any(|(known, _)| *known == name), "{variant}: {name}");
                    assert_eq!(rule["verbs"], json!(["get", "list", "watch"]), "{variant}: {name}");
                }
            }
        }
    }
}

/// Pods are given their role when they are made: those of an account whose role changes have to be made anew.
#[test]
fn pods_are_replaced_when_their_role_changes() {
    let given = with_roles();
    let (mut without, mut another) = (given.clone(), given.clone());
    without.roles.clear();
    another.roles.values_mut().for_each(|role| role.push_str("-new"));
    for identity in identities(&given.inputs()) {
        let templates = |given: &Given| {
            let mut templates: Vec<Value> =
                all_objects(given).iter().map(|object| object["spec"]["template"].clone()).collect();
            templates.retain(|template| template["spec"]["serviceAccountName"] == identity.service_account);
            for template in &mut templates {
                // That they move to the pod network need not be what replaces them.
                template["spec"] = Value::Null;
            }
            templates
        };
        let [now, before, later] = [&given, &without, &another].map(templates);
        assert_eq!(now.len(), 1, "{}", identity.service_account);
        assert_ne!(now, before, "{}", identity.service_account);
        assert_ne!(now, later, "{}", identity.service_account);
    }
}

/// The statements of policies can be made one per kind: reading anything, changing what is the cluster's,
/// making what becomes the cluster's. The few others are listed here.
#[test]
fn what_addons_may_do_in_aws() {
    let mut text = String::new();
    for identity in identities(&with_roles().inputs()) {
        writeln!(text, "{}/{}", identity.namespace, identity.service_account).unwrap();
        for statement in identity.statements {
            let condition = statement.get("Condition").map(ToString::to_string).unwrap_or_default();
            writeln!(text, "  {} {condition}", statement["Resource"]).unwrap();
            let actions = match &statement["Action"] {
                Value::Array(actions) => actions.clone(),
                single => vec![single.clone()],
            };
            for action in actions {
                writeln!(text, "    {}", action.as_str().unwrap()).unwrap();
            }
        }
    }
    insta::assert_snapshot!("identities", text);
    let mut bare = reference();
    bare.cluster.addons = Addons::default();
    assert!(identities(&bare.inputs()).is_empty());
    let mut by_metadata = reference();
    assert_eq!(identities(&by_metadata.inputs()).len(), 2, "the handler asks the metadata service");
    by_metadata.cluster.addons.ebs_csi_driver = None;
    assert_eq!(identities(&by_metadata.inputs()).len(), 1);
}

/// What has the same form has the same meaning: a text can only stand where another one stood.
fn form(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(form).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), form(value))).collect(),
        Value::String(_) => json!("text"),
        other => other.clone(),
    }
}

#[test]
fn hostile_values_cannot_break_out() {
    for hostile in [
        "a\n  hostNetwork: true",
        "\"\n---\nkind: Secret\n\"",
        "' # {{ 7 }} {% raw %}",
        "\u{85}- \u{2028}&a *a",
    ] {
        for given in [with_the_machines_role(), with_roles()] {
            let mut poisoned = given.clone();
            poison(&mut poisoned, hostile);
            let (wanted, made) = (given.render().unwrap(), poisoned.render().unwrap());
            assert_eq!(wanted.len(), made.len());
            for (wanted, made) in wanted.iter().zip(&made) {
                let forms = |manifest: &Manifest| manifest.objects.iter().map(form).collect::<Vec<_>>();
                assert_eq!(forms(wanted), forms(made), "{}: {hostile:?}", wanted.addon);
            }
            let text =
                serde_json::to_string(&made.iter().map(|one| &one.objects).collect::<Vec<_>>()).unwrap();
            assert!(text.contains(&json!(hostile).to_string()), "{hostile:?}");
        }
    }
}

/// Puts the text behind every text of the spec that gets into a manifest.
fn poison(given: &mut Given, hostile: &str) {
    let cluster = &mut given.cluster;
    let mut texts: Vec<&mut String> = vec![&mut cluster.name, &mut cluster.region];
    for controller in &mut cluster.ingress_controllers {
        texts.extend([&mut controller.name, &mut controller.ingress_class]);
        texts.extend(&mut controller.hosts);
    }
    for group in &mut cluster.instance_groups {
        texts.push(&mut group.name);
    }
    let addons = &mut cluster.addons;
    let autoscaler = addons.cluster_autoscaler.as_mut().unwrap();
    texts.extend([&mut autoscaler.expander, &mut autoscaler.scale_down_utilization_threshold]);
    texts.extend(autoscaler.pod_annotations.values_mut());
    texts.extend(autoscaler.priorities.values_mut().flatten());
    texts.extend(addons.cloud_controller_manager.as_mut().unwrap().controllers.iter_mut());
    texts.extend(addons.ebs_csi_driver.as_mut().unwrap().pod_annotations.values_mut());
    texts.extend(addons.external_dns.as_mut().unwrap().watch_namespace.as_mut());
    let authenticator = addons.iam_authenticator.as_mut().unwrap();
    texts.push(&mut authenticator.cluster_id);
    for mapping in &mut authenticator.identity_mappings {
        texts.extend([&mut mapping.arn, &mut mapping.username]);
        texts.extend(&mut mapping.groups);
    }
    texts.extend(addons.limit_range.as_mut().unwrap().default_requests.values_mut());
    for entry in &mut cluster.access_entries {
        texts.extend([&mut entry.name, &mut entry.role]);
        texts.extend(&mut entry.namespaces);
        match &mut entry.principal {
            Principal::Iam(text) | Principal::Group(text) => texts.push(text),
        }
    }
    texts.push(&mut cluster.node_termination_handler.managed_asg_tag);
    texts.extend(given.roles.values_mut());
    texts.extend(&mut given.zones);
    texts.extend(&mut given.vpc_cidrs);
    for text in texts {
        text.push_str(hostile);
    }
    let exact = [&mut cluster.namespace_defaults[0].namespace, given.queue.as_mut().unwrap()];
    for text in exact {
        hostile.clone_into(text);
    }
}

#[test]
fn no_template_is_wrong_for_any_cluster() {
    for example in ["karlaru", "minimal", "private-ha", "shared-vpc"] {
        for network in [PodNetwork::Cni, PodNetwork::Flannel, PodNetwork::AmazonVpc] {
            for (variant, wishes) in variants() {
                let mut given = Given::example(example);
                given.cluster.addons = wishes.cluster.addons.clone();
                given.cluster.network.pod_network = network;
                let made = given.render();
                assert!(!matches!(made, Err(Error::Template { .. })), "{example}, {variant}: {made:?}");
            }
        }
    }
}

/// Roles are made for the accounts that the spec knows of, and statements for those that addons have.
#[test]
fn the_spec_knows_the_accounts_of_addons() {
    for (variant, given) in variants() {
        let known: BTreeSet<_> = given.cluster.addons.service_accounts().into_iter().collect();
        let ours: BTreeSet<_> =
            identities(&given.inputs()).iter().map(|one| (one.namespace, one.service_account)).collect();
        assert!(ours.is_subset(&known), "{variant}: {ours:?}, {known:?}");
    }
    let with_roles = with_roles();
    let all = with_roles.cluster.addons.service_accounts().len();
    assert_eq!(identities(&with_roles.inputs()).len(), all);
}
