//! The daemon on a machine of the control plane, as a process: it lets workers in, keeps the API's names, and hands
//! over what it alone has when it goes.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use aws_credential_types::Credentials;
use common::etcd::backups;
use common::member::{CLUSTER, ControlPlaneMachine, World, in_seconds, in_the_cloud, write};
use common::told::Keys;
use kcl_http::{AwsService, Signer};
use kcl_join::{Claim, ClientConfig, JoinError, Joined, join};
use kcl_node::agent::kubernetes::{Identity, Kubernetes, MERGE_PATCH};
use kcl_node::agent::labels::{Labels, Later};
use kcl_node::ec2::Ec2;
use kcl_node_config::{BackupReason, MemberRecord, State};
use kcl_testkit::{Decision, Element, LocalAws, Response};

/// A machine of the control plane whose etcd works, in a cluster that knows its node.
fn machine() -> (World, ControlPlaneMachine) {
    let aws = LocalAws::shared().unwrap();
    let (instance, volume, zone) = in_the_cloud(&aws);
    let world = World::start(&[&instance]);
    let mut machine = ControlPlaneMachine::new(&world, aws, &zone, &instance, &volume);
    let initial = machine.etcd.initial();
    machine.etcd.start(&initial, false);
    (world, machine)
}

/// A worker in the local AWS, which STS knows.
fn worker(aws: &LocalAws) -> String {
    let images = aws.direct("ec2", "DescribeImages", &[]).unwrap();
    let image = images.value("imagesSet/item/imageId").to_owned();
    let owned = format!("kubernetes.io/cluster/{CLUSTER}");
    let run = [
        ("ImageId", image.as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("InstanceType", "t3.micro"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "KubernetesCluster"),
        ("TagSpecification.1.Tag.1.Value", CLUSTER),
        ("TagSpecification.1.Tag.2.Key", &owned),
        ("TagSpecification.1.Tag.2.Value", "owned"),
        ("TagSpecification.1.Tag.3.Key", "k8s.io/role/node"),
        ("TagSpecification.1.Tag.3.Value", "1"),
        ("TagSpecification.1.Tag.4.Key", "kops.k8s.io/instancegroup"),
        ("TagSpecification.1.Tag.4.Value", "nodes"),
    ];
    let made = aws.direct("ec2", "RunInstances", &run).unwrap();
    let instance = made.value("instancesSet/item/instanceId").to_owned();
    let arn = format!("arn:aws:sts::{}:assumed-role/nodes.{CLUSTER}/{instance}", aws.account());
    let answer = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>AROAEXAMPLE:{instance}</UserId><Account>{}</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>",
        aws.account()
    );
    aws.before(move |call| {
        if call.is("sts", "GetCallerIdentity") {
            return Decision::Respond(Response::xml(answer.clone()));
        }
        Decision::Forward
    });
    instance
}

/// Tags of an instance, as its launch template gives them.
fn tag(aws: &LocalAws, instance: &str, tags: &[(&str, &str)]) {
    let mut parameters = vec![("ResourceId.1".to_owned(), instance)];
    for (number, (key, value)) in (1..).zip(tags) {
        parameters.extend([(format!("Tag.{number}.Key"), *key), (format!("Tag.{number}.Value"), *value)]);
    }
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    aws.direct("ec2", "CreateTags", &parameters).unwrap();
}

/// What a worker does, whose authorities these are.
fn joins(machine: &ControlPlaneMachine, worker: &str, ca_pem: &str) -> Result<Joined, JoinError> {
    let claim = machine.member.folder.home.path().join("claim");
    let config = ClientConfig {
        url: format!("https://127.0.0.1:{}", machine.member.port),
        ca_pem: ca_pem.to_owned(),
        cluster: CLUSTER.to_owned(),
        region: machine.aws.region().to_owned(),
        instance_id: worker.to_owned(),
        claim: Claim::load_or_create(&claim).unwrap(),
        signer: Signer::new(Credentials::new(
            "ASIA0123456789ABCDEF",
            "secret",
            Some("session".to_owned()),
            None,
            "test",
        )),
        give_up_after: Duration::from_mins(2),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(join(config))
}

/// The addresses of a name in Route53.
fn addresses(machine: &ControlPlaneMachine, name: &str) -> Vec<String> {
    let zone = &machine.member.config.control_plane.as_ref().unwrap().dns[0].zone;
    let path = format!("/2013-04-01/hostedzone/{zone}/rrset");
    let answer = kcl_testkit::http(&machine.aws.direct_endpoint(), "GET", &path, Some("route53"), &[], "");
    let answer = Element::parse(&answer.unwrap().body);
    let sets = answer.all("ResourceRecordSets/ResourceRecordSet");
    let set = sets.into_iter().find(|set| set.value("Name").trim_end_matches('.') == name);
    let records = set.map(|set| set.all("ResourceRecords/ResourceRecord")).unwrap_or_default();
    records.into_iter().map(|record| record.value("Value").to_owned()).collect()
}

fn ca(machine: &ControlPlaneMachine, name: &str) -> String {
    fs::read_to_string(machine.member.system().path(&format!("/etc/kubernetes/pki/{name}"))).unwrap()
}

#[test]
fn a_notice_frees_the_volume_for_the_next_machine() {
    let (world, machine) = machine();
    let (member, instance) = (&machine.member, machine.member.instance.clone());
    world.pods(&instance);
    let daemon = member.start();
    member.until("ready", |status| status.step == "ready");

    // It lets a worker in, and has the API's names lead to itself.
    let worker = worker(&machine.aws);
    let joined = joins(&machine, &worker, &ca(&machine, "ca.crt")).unwrap();
    assert_eq!(joined.api_endpoint, member.config.api_address());
    daemon.says("join granted peer=127.0.0.1");
    let record = || fs::read(member.store_folder().join(MemberRecord::path("a")));
    let internal = format!("api.internal.{CLUSTER}");
    daemon.until("the name leads somewhere", || !addresses(&machine, &internal).is_empty());
    assert_eq!(addresses(&machine, &internal), ["127.0.0.1"]);
    assert_eq!(addresses(&machine, &format!("api.{CLUSTER}")), ["198.51.100.7"]);
    let said = MemberRecord::read("a", &record().unwrap()).unwrap();
    assert_eq!((said.instance, said.waits_with), (instance.clone(), None));

    let at = in_seconds(120);
    member.imds.interrupt(&at);
    member.until("drained as far as budgets allow", |status| {
        let waits = status.waits_for.as_deref().unwrap_or_default();
        status.step == "drain" && waits.contains("default/held: ")
    });
    assert!(world.is_cordoned(&instance));
    // The budget's owner gives way, so that this test need not wait for the deadline.
    world.kubectl(&["delete", "pdb", "held"]);
    let left = member.until("left", |status| status.step == "left");
    assert_eq!((left.state, left.error.as_deref()), (State::Leaving, None), "{}", daemon.log());
    assert!(left.at < at, "{left:?}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let backups = runtime.block_on(backups(&member.store()));
    let [backup] = backups.as_slice() else { unreachable!("{backups:?}") };
    assert_eq!((backup.reason, &backup.instance), (BackupReason::Termination, &instance));
    assert!(!machine.etcd.manifest("etcd").exists() && machine.etcd.manifest("kube-apiserver").exists());
    assert!(!runtime.block_on(machine.etcd.etcd().listens()));
    let ran = member.folder.ran();
    assert!(ran.contains("sync \numount ROOT/var/lib/etcd\n"), "{ran}");
    assert_eq!(machine.volume_state(), "available");
    assert_eq!(
        machine.aws.count("route53", "ChangeResourceRecordSets"),
        1,
        "nobody else is there to lead to"
    );
    assert!(machine.aws.unsupported().is_empty());
    // A t3.micro has 1 GiB for everything. `cargo test --release` looks at what is shipped.
    let most = if cfg!(debug_assertions) { 32 } else { 15 };
    assert!(daemon.resident() < most << 10, "{} KiB", daemon.resident());

    // Killed and begun again while the notice stands, it takes nothing back.
    drop(daemon);
    let mut daemon = member.start();
    let again = member.until("left again", |status| status.step == "left" && status.error.is_some());
    assert!(again.error.unwrap().starts_with("snapshot: "), "there is no etcd any more");
    assert_eq!(machine.volume_state(), "available");
    assert!(!machine.etcd.manifest("etcd").exists());

    // What it left for was called off, or it was only stopped: it has everything again.
    member.imds.calm();
    daemon.says("it begins anew");
    assert!(daemon.ends_well());
    let daemon = member.start();
    daemon.says("etcd's volume and manifest are back");
    member.until("ready again", |status| status.step == "ready" && status.error.is_none());
    assert!(machine.etcd.manifest("etcd").exists());
    runtime.block_on(machine.etcd.healthy());
    assert_eq!(machine.volume_state(), "in-use");
    assert!(member.folder.ran().contains("systemctl start kubelet.service\n"));
    daemon.until("the cordon is lifted", || !world.is_cordoned(&instance));
}

/// Nobody announced it, and etcd is gone already, as systemd ends everything at the same time: the volume is free
/// all the same.
#[test]
fn a_machine_that_is_turned_off_frees_its_volume_even_without_etcd() {
    let (_world, mut machine) = machine();
    machine.member.more.extend(["--stop-within", "60"].map(str::to_owned));
    machine.member.folder.add_program("systemctl", "echo '77 poweroff.target start waiting'");
    let mut daemon = machine.member.start();
    daemon.says("begins");
    machine.etcd.terminate();
    assert!(daemon.terminate());
    let left = machine.member.status().unwrap();
    assert_eq!((left.state, left.step.as_str()), (State::Leaving, "left"), "{}", daemon.log());
    assert!(left.error.unwrap().starts_with("snapshot: "), "that it is not saved is said");
    assert_eq!(machine.volume_state(), "available");
}

#[test]
fn a_join_service_waits_for_its_api_server_and_follows_its_certificate() {
    let (mut world, mut machine) = machine();
    let kubeadm = machine.member.folder.program("kubeadm").display().to_string();
    let more = ["--certificates-every", "0.2", "--kubeadm", &kubeadm];
    machine.member.more.extend(more.map(str::to_owned));
    machine.member.folder.fails("kubeadm", true);
    let worker = worker(&machine.aws);
    world.kill_api_server();
    let daemon = machine.member.start();
    machine.member.until("trouble", |status| {
        status.error.as_ref().is_some_and(|error| error.contains("join service: "))
    });
    world.server.start_again().unwrap();
    joins(&machine, &worker, &ca(&machine, "ca.crt")).unwrap();
    machine.member.until("well again", |status| status.error.is_none());

    // Another certificate, of another authority.
    for (to, from) in [("apiserver.crt", "etcd/server.crt"), ("apiserver.key", "etcd/server.key")] {
        write(&machine.member.system(), &format!("/etc/kubernetes/pki/{to}"), &ca(&machine, from));
    }
    daemon.until("it has the other certificate", || {
        joins(&machine, &worker, &ca(&machine, "etcd/ca.crt")).is_ok()
    });
    let error = joins(&machine, &worker, &ca(&machine, "ca.crt")).unwrap_err();
    assert!(matches!(error, JoinError::Untrusted { .. }), "{error}");
    assert!(machine.aws.unsupported().is_empty());

    // One that is about to end. That it is not renewed is said.
    assert!(!machine.member.folder.ran().contains("kubeadm"));
    let issued = Keys::fresh().server();
    write(&machine.member.system(), "/etc/kubernetes/pki/apiserver.crt", &issued.certificate_pem);
    let key = issued.private_key.to_pem();
    write(&machine.member.system(), "/etc/kubernetes/pki/apiserver.key", key.reveal());
    machine.member.until("not renewed", |status| {
        status.error.as_ref().is_some_and(|error| error.contains("renewal of certificates: `"))
    });
    let ran = machine.member.folder.ran();
    assert!(ran.contains("kubeadm certs renew all --config ROOT/etc/kubernetes/kubeadm.yaml"), "{ran}");
}

const GROUP: &str = "kops.k8s.io/instancegroup";
const ROLE: &str = "node-role.kubernetes.io/node";

/// The labels of a node in Kubernetes' own domains, as far as they are not kubelets'.
fn labels(world: &World, node: &str) -> Vec<(String, String)> {
    let text = world.kubectl(&["get", "node", node, "-o=jsonpath={.metadata.labels}"]);
    let all: BTreeMap<String, String> =
        if text.is_empty() { BTreeMap::new() } else { serde_json::from_str(&text).unwrap() };
    all.into_iter().filter(|(key, _)| key.contains("k8s.io/") || key == ROLE || key == "disk").collect()
}

/// A client of the world's API server.
fn client(world: &World, user: &str, group: &str) -> Kubernetes {
    let client = world.keys.client(user, Some(group)).unwrap();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let identity = Identity {
        server: world.server.url().clone(),
        authorities: read(&world.keys.folder().join("ca.crt")),
        certificate: read(&client.certificate),
        key: read(&client.key).into(),
    };
    Kubernetes::new(&identity).unwrap()
}

/// What the tags of its instance say, whatever the node says of itself; asked of EC2 once, and of nobody while all have
/// theirs.
#[test]
fn nodes_get_the_labels_that_they_may_not_give_themselves() {
    let aws = LocalAws::shared().unwrap();
    let (instance, volume, zone) = in_the_cloud(&aws);
    let [first, second, broken, stranger] = [(); 4].map(|()| worker(&aws));
    let label = |key: &str| format!("k8s.io/cluster-autoscaler/node-template/label/{key}");
    let (role, team, disk) = (label(ROLE), label("team.k8s.io/a"), label("disk"));
    for worker in [&first, &second, &broken] {
        tag(&aws, worker, &[(&role, ""), (&team, "b"), (&disk, "fast")]);
    }
    tag(&aws, &broken, &[(&label("k8s.io/no label"), "")]);
    tag(&aws, &stranger, &[(&role, ""), ("KubernetesCluster", "another.example.com")]);
    let nodes = [&instance, &first, &second, &broken, &stranger, "i-0aaaaaaaaaaaaaaaa", "by-hand"];
    let world = World::start(&nodes);
    let mut machine = ControlPlaneMachine::new(&world, aws, &zone, &instance, &volume);
    machine.member.more.extend(["--labels-every", "0.1"].map(str::to_owned));
    let owned = format!("kubernetes.io/cluster/{CLUSTER}");
    let own = [
        ("KubernetesCluster", CLUSTER),
        (&owned, "owned"),
        (GROUP, "control-plane-a"),
        (&label("kops.k8s.io/kops-controller-pki"), ""),
    ];
    tag(&machine.aws, &instance, &own);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    // It cannot do so itself.
    let kubelet = client(&world, &format!("system:node:{first}"), "system:nodes");
    let fields = serde_json::json!({"metadata": {"labels": {ROLE: ""}}});
    let path = format!("/api/v1/nodes/{first}");
    let refused = runtime.block_on(kubelet.patch("label the node", &path, MERGE_PATCH, &fields)).unwrap_err();
    assert_eq!(refused.status(), Some(403), "{refused}");

    machine.aws.take_calls();
    let (daemon, begun) = (machine.member.start(), std::time::Instant::now());
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let wanted = pairs(&[(GROUP, "nodes"), (ROLE, ""), ("team.k8s.io/a", "b")]);
    for worker in [&first, &second] {
        daemon.until("the worker has its labels", || labels(&world, worker) == wanted);
    }
    let controls = pairs(&[(GROUP, "control-plane-a"), ("kops.k8s.io/kops-controller-pki", "")]);
    daemon.until("the control plane has its labels", || labels(&world, &instance) == controls);
    // What the API server does not take ends nothing, and is said.
    let trouble = machine.member.until("trouble", |status| status.error.is_some()).error.unwrap();
    assert!(
        trouble.starts_with(&format!("node labels: the API server does not label the node {broken}: ")),
        "{trouble}"
    );
    daemon.says("nodes without labels, as they are no instances of this cluster: ");
    for node in [broken.as_str(), &stranger, "i-0aaaaaaaaaaaaaaaa", "by-hand"] {
        assert_eq!(labels(&world, node), [], "{node}");
    }
    std::thread::sleep(Duration::from_secs(1));
    // Those that got none are looked at again each minute.
    let (asked, minutes) = (machine.aws.count("ec2", "DescribeInstances"), begun.elapsed().as_secs() / 60);
    assert!((1..=1 + minutes).contains(&(asked as u64)), "{asked} in {minutes} minutes: {}", daemon.log());
    assert!(machine.aws.unsupported().is_empty());

    // A node that came back without, and another one whose labels somebody has changed since.
    world.kubectl(&["label", "node", &second, "team.k8s.io/a=c", "--overwrite"]);
    world.kubectl(&["label", "node", &first, &format!("{GROUP}-"), &format!("{ROLE}-")]);
    daemon.until("the worker has its labels again", || labels(&world, &first) == wanted);
    assert_eq!(labels(&world, &second)[2].1, "c");
    drop(daemon);

    // Two machines at once, who are not told of each other.
    world.kubectl(&["label", "node", &first, &second, &format!("{GROUP}-")]);
    let kubernetes = client(&world, "admin", "system:masters");
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    let (http, signer) = (common::client(), Signer::new(credentials));
    let region = machine.aws.region().to_owned();
    let service = AwsService::regional(http, signer, "ec2", &region, Some(&machine.aws.endpoint())).unwrap();
    let ec2 = Ec2::new(service, common::patience());
    let own = Labels { kubernetes: &kubernetes, ec2: &ec2, cluster: CLUSTER };
    let (mut one, mut other) = (Later::default(), Later::default());
    let given = runtime.block_on(async { tokio::join!(own.give(&mut one), own.give(&mut other)) });
    let (given, other) = (given.0.unwrap(), given.1.unwrap());
    let all: BTreeSet<String> = given.labelled.iter().chain(&other.labelled).cloned().collect();
    assert_eq!(all, BTreeSet::from([first.clone(), second.clone()]));
    for worker in [&first, &second] {
        assert_eq!(labels(&world, worker), wanted);
    }
    assert!(one.refusal().is_some());
    let again = runtime.block_on(own.give(&mut one)).unwrap();
    assert!(again.labelled.is_empty() && again.strangers.is_empty(), "{again:?}");
}
