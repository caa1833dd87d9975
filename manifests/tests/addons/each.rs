//! What single addons are made of.

use std::fmt::Write as _;

use kcl_manifests::Manifest;
use kcl_spec::cluster::{AccessEntry, Principal};
use serde_json::{Value, json};

use crate::given::{Given, name, pods, reference, with_roles, with_the_machines_role};

#[test]
fn the_reference_cluster() {
    let manifests = reference().render().unwrap();
    let mut text = String::new();
    for Manifest { addon, objects } in &manifests {
        writeln!(text, "{addon}").unwrap();
        for object in objects {
            writeln!(text, "  {}", name(object)).unwrap();
        }
    }
    insta::assert_snapshot!("reference", text);
    let ingress = manifests.iter().find(|manifest| manifest.addon == "nginx-ingress").unwrap();
    let shown = ["ConfigMap", "DaemonSet", "IngressClass", "Namespace"];
    let objects = ingress.objects.iter().filter(|object| shown.contains(&object["kind"].as_str().unwrap()));
    let yaml: Vec<String> = objects.map(|object| serde_yaml::to_string(object).unwrap()).collect();
    insta::assert_snapshot!("reference_nginx_ingress", yaml.join("---\n"));
}

#[test]
fn the_service_in_front_of_an_ingress_controller() {
    let mut given = with_roles();
    let watches = |given: &mut Given, namespace: Option<&str>| {
        let external_dns = given.cluster.addons.external_dns.as_mut().unwrap();
        external_dns.watch_namespace = namespace.map(str::to_owned);
    };
    watches(&mut given, None);
    let objects = given.objects("nginx-ingress");
    let service =
        objects.iter().find(|object| name(object) == "Service nginx-service/nginx-ingress").unwrap();
    let wanted = json!({
        "service.beta.kubernetes.io/aws-load-balancer-backend-protocol": "tcp",
        "service.beta.kubernetes.io/aws-load-balancer-healthcheck-port": "traffic-port",
        "service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol": "TCP",
        "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol": "*",
        "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes": "proxy_protocol_v2.enabled=true",
        "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
        "external-dns.alpha.kubernetes.io/hostname": "example.com,docs.example.com",
    });
    assert_eq!(service["metadata"]["annotations"], wanted);
    for (namespace, published) in [("nginx-service", true), ("shop", false)] {
        watches(&mut given, Some(namespace));
        let text = json!(given.objects("nginx-ingress")).to_string();
        assert_eq!(text.contains("external-dns"), published, "external-dns watches {namespace}");
    }
    let ports = json!([
        { "name": "http", "port": 80, "targetPort": 80, "protocol": "TCP" },
        { "name": "https", "port": 443, "targetPort": 443, "protocol": "TCP" },
    ]);
    assert_eq!(service["spec"]["ports"], ports);
    assert_eq!(service["spec"]["selector"], json!({ "app": "nginx-ingress" }));
    // The cloud controller leaves a target group's attributes alone that are not named, and health is kube-proxy's.
    let plain = objects.iter().find(|object| name(object) == "Service nginx-service/inner").unwrap();
    let wanted = json!({
        "service.beta.kubernetes.io/aws-load-balancer-backend-protocol": "tcp",
        "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes": "proxy_protocol_v2.enabled=false",
        "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
        "external-dns.alpha.kubernetes.io/hostname": "example.com,docs.example.com",
    });
    assert_eq!(plain["metadata"]["annotations"], wanted);
    assert_eq!(plain["spec"]["externalTrafficPolicy"], "Local");
    // Without proxy protocol there is nobody to be believed.
    let plain = objects.iter().find(|object| name(object) == "ConfigMap nginx-service/inner").unwrap();
    assert_eq!(plain["data"], json!({}));
    let namespaces: Vec<String> =
        objects.iter().filter(|object| object["kind"] == "Namespace").map(name).collect();
    assert_eq!(namespaces, ["Namespace nginx-service"], "once, and none that Kubernetes makes");
}

#[test]
fn a_namespace_of_the_spec_is_the_specs_own() {
    let mut given = reference();
    let has_namespace = |given: &Given| {
        given.objects("nginx-ingress").iter().any(|object| name(object) == "Namespace nginx-ingress")
    };
    assert!(has_namespace(&given));
    given.cluster.objects.push(kcl_spec::cluster::KubernetesObject {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: Some("nginx-ingress".to_owned()),
        value: serde_yaml::Value::Null,
    });
    assert!(!has_namespace(&given));
}

#[test]
fn who_comes_in_by_iam() {
    let mapped = |given: &Given| {
        let objects = given.objects("iam-authenticator");
        let mappings = objects.iter().filter(|object| object["kind"] == "IAMIdentityMapping");
        mappings.map(|object| object["spec"].clone()).collect::<Vec<_>>()
    };
    let wanted = [
        json!({
            "arn": "arn:aws:iam::123456789012:user/ann",
            "username": "ann",
            "groups": ["system:masters"],
        }),
        json!({
            "arn": "arn:aws:iam::123456789012:role/admins",
            "username": "kcl:admins:{{SessionName}}",
            "groups": ["kcl:admins"],
        }),
    ];
    assert_eq!(mapped(&with_the_machines_role()), wanted);

    let objects = with_roles().objects("iam-authenticator");
    let file = objects.iter().find(|object| name(object) == "ConfigMap kube-system/aws-iam-authenticator");
    let file: Value = serde_json::from_str(file.unwrap()["data"]["config.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(file["server"]["mapRoles"][0]["rolearn"], wanted[1]["arn"]);
    assert_eq!(file["server"]["mapUsers"][0]["userarn"], wanted[0]["arn"]);
    let aws_auth = objects.iter().find(|object| name(object) == "ConfigMap kube-system/aws-auth").unwrap();
    let roles: Value = serde_json::from_str(aws_auth["data"]["mapRoles"].as_str().unwrap()).unwrap();
    assert_eq!(roles, file["server"]["mapRoles"]);
}

/// The driver stops at a tag that it does not take.
#[test]
fn volumes_have_only_tags_that_the_driver_takes() {
    let mut given = with_roles();
    let tags = |given: &Given| {
        let objects = given.objects("ebs-csi-driver");
        let pods = pods(&objects);
        let (_, spec) =
            pods.iter().find(|(pod, _)| pod == "Deployment kube-system/ebs-csi-controller").unwrap();
        let arguments = spec["containers"][0]["args"].as_array().unwrap();
        assert!(arguments.contains(&json!("--k8s-tag-cluster-id=k8s.karlaru.com")), "{arguments:?}");
        let tags = arguments.iter().find_map(|argument| argument.as_str()?.strip_prefix("--extra-tags="));
        tags.unwrap().split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let long = "l".repeat(129);
    let refused = [
        "kubernetes.io/cluster/k8s.karlaru.com",
        "kubernetes.io/role/elb",
        " kubernetes.io/role",
        "CSIVolumeName",
        "CSIVolumeSnapshotName",
        "ebs.csi.aws.com/cluster",
        "aws:own",
        "a,b",
        "a=b",
        " ",
        long.as_str(),
    ];
    let labels = &mut given.cluster.cloud_labels;
    labels.clear();
    labels.extend(refused.iter().map(|key| ((*key).to_owned(), "x".to_owned())));
    labels.insert("list".to_owned(), "a,b".to_owned());
    labels.insert("wide".to_owned(), "ä".repeat(129));
    labels.insert("KubernetesCluster".to_owned(), "another".to_owned());
    labels.insert("Team".to_owned(), "a=b c".to_owned());
    assert_eq!(tags(&given), ["KubernetesCluster=k8s.karlaru.com", "Team=a=b c"]);

    given.cluster.cloud_labels = (0..60).map(|at| (format!("label-{at}"), String::new())).collect();
    let tags = tags(&given);
    assert_eq!(tags.len(), 43, "with the driver's own a volume has as many as it can have");
    assert_eq!(tags[0], "KubernetesCluster=k8s.karlaru.com");
}

/// The authenticator takes one mapping of an ARN, and nobody knows which.
#[test]
fn who_comes_in_by_iam_is_mapped_once() {
    let mut given = with_the_machines_role();
    let entry = |name: &str, arn: &str| {
        let admins = given.cluster.access_entries[0].clone();
        AccessEntry { name: name.to_owned(), principal: Principal::Iam(arn.to_owned()), ..admins }
    };
    let more = [
        entry("viewers", "arn:aws:iam::123456789012:role/Admins"),
        entry("ann", "arn:aws:iam::123456789012:user/ann"),
        entry("bob", "arn:aws:iam::123456789012:user/bob"),
    ];
    given.cluster.access_entries.extend(more);
    let objects = given.objects("iam-authenticator");
    let mappings = objects.iter().filter(|object| object["kind"] == "IAMIdentityMapping");
    let mappings: Vec<Value> = mappings.map(|object| object["spec"].clone()).collect();
    assert_eq!(
        mappings,
        [
            json!({
                "arn": "arn:aws:iam::123456789012:user/ann",
                "username": "ann",
                "groups": ["system:masters", "kcl:ann"],
            }),
            json!({
                "arn": "arn:aws:iam::123456789012:role/admins",
                "username": "kcl:admins:{{SessionName}}",
                "groups": ["kcl:admins", "kcl:viewers"],
            }),
            json!({
                "arn": "arn:aws:iam::123456789012:user/bob",
                "username": "kcl:bob",
                "groups": ["kcl:bob"],
            }),
        ]
    );
}

#[test]
fn the_autoscaler_knows_the_groups() {
    let objects = with_the_machines_role().objects("cluster-autoscaler");
    let objects = &objects;
    let (_, spec) = pods(objects).remove(0);
    let arguments = spec["containers"][0]["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--nodes=2:2:nodes.k8s.karlaru.com")), "{arguments:?}");
    assert!(arguments.contains(&json!("--expander=priority")));
    let priorities = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert_eq!(priorities["data"]["priorities"], "20: [\".*\"]\n100: [\".*spot.*\"]\n");
}
