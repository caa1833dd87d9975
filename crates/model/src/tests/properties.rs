//! What holds for every cluster.

use std::collections::BTreeSet;

use kcl_engine::{LiveNode, Options, Owner, ResourceId, Wanted, plan};
use kcl_spec::cluster::*;
use proptest::prelude::*;
use serde_json::Value;

use super::fixture::{self, facts};
use crate::kubernetes::objects;
use crate::resource::catalogue;
use crate::{Documents, Facts, add_state, build, policy};

const ZONES: [&str; 3] = ["eu-north-1a", "eu-north-1b", "eu-north-1c"];

/// What varies; [`cluster`] makes a sound cluster of it.
#[derive(Clone, Debug)]
struct Choices {
    name: String,
    zones: usize,
    private: bool,
    shared_vpc: bool,
    api: Option<(bool, bool, bool)>,
    dns: DnsType,
    bastion: bool,
    queue: bool,
    rebalance: bool,
    node_groups: usize,
    purchase: u8,
    ingress: Option<bool>,
    accounts: usize,
    addons: bool,
    roles: bool,
    pod_network: PodNetwork,
    store: bool,
    hosted_zone: bool,
}

fn choices() -> impl Strategy<Value = Choices> {
    let name = "[a-z][a-z0-9-]{0,40}[a-z0-9](\\.[a-z][a-z0-9]{1,12}){1,3}";
    let dns = prop_oneof![Just(DnsType::Public), Just(DnsType::Private), Just(DnsType::None)];
    let pods = prop_oneof![Just(PodNetwork::Cni), Just(PodNetwork::AmazonVpc), Just(PodNetwork::Kubenet)];
    let place = (name, 1..=3_usize, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let api = proptest::option::of((any::<bool>(), any::<bool>(), any::<bool>()));
    let access = (api, dns, any::<bool>(), proptest::option::of(any::<bool>()), pods);
    let addons = (any::<bool>(), any::<bool>());
    let rest = (any::<bool>(), any::<bool>(), 0..=3_usize, 0..=3_u8, 0..=3_usize, addons);
    (place, access, rest).prop_map(|(place, access, rest)| {
        let (name, zones, private, shared_vpc, store, hosted_zone) = place;
        let (api, dns, bastion, ingress, pod_network) = access;
        let (queue, rebalance, node_groups, purchase, accounts, (addons, roles)) = rest;
        Choices {
            name,
            zones,
            private,
            shared_vpc,
            api,
            dns,
            bastion,
            queue,
            rebalance,
            node_groups,
            purchase,
            ingress,
            accounts,
            addons,
            roles,
            pod_network,
            store,
            hosted_zone,
        }
    })
}

fn subnets(choices: &Choices) -> Vec<Subnet> {
    let mut subnets = Vec::new();
    for (number, zone) in ZONES.into_iter().enumerate().take(choices.zones) {
        let cidr = format!("172.20.{}.0/19", 32 * (number + 1));
        let kind = if choices.private { SubnetType::Private } else { SubnetType::Public };
        subnets.push(fixture::subnet(zone, zone, kind, &cidr));
        if choices.private {
            let name = format!("utility-{zone}");
            subnets.push(fixture::subnet(
                &name,
                zone,
                SubnetType::Utility,
                &format!("172.20.{}.0/22", 4 * number),
            ));
        }
    }
    subnets
}

fn purchase(kind: u8) -> Purchase {
    let mixed = |requirements| MixedInstances {
        instance_types: vec!["t3.small".to_owned()],
        requirements,
        on_demand_base: None,
        on_demand_above_base: Some(0),
        on_demand_allocation_strategy: None,
        spot_allocation_strategy: None,
        spot_instance_pools: None,
        max_price: None,
    };
    let some =
        InstanceRequirements { cpu_min: 2, cpu_max: None, memory_min_mib: 2048, memory_max_mib: Some(8192) };
    match kind {
        0 => Purchase::OnDemand,
        1 => Purchase::Mixed(mixed(None)),
        2 => Purchase::Mixed(MixedInstances { instance_types: Vec::new(), ..mixed(Some(some)) }),
        _ => Purchase::Spot(SpotOptions {
            max_price: "0.1".to_owned(),
            duration_minutes: None,
            interruption_behavior: Some(InterruptionBehavior::Stop),
        }),
    }
}

fn cluster(choices: &Choices) -> Cluster {
    let mut cluster = fixture::cluster();
    cluster.name.clone_from(&choices.name);
    cluster.api.public_name = format!("api.{}", choices.name);
    cluster.api.internal_name = format!("api.internal.{}", choices.name);
    cluster.network.subnets = subnets(choices);
    cluster.network.dns = choices.dns;
    cluster.network.pod_network = choices.pod_network;
    if choices.shared_vpc {
        cluster.network.vpc = Vpc::Shared { id: "vpc-0123".to_owned() };
    }
    let zones = &ZONES[..choices.zones];
    let public: Vec<String> = zones
        .iter()
        .map(|zone| if choices.private { format!("utility-{zone}") } else { (*zone).to_owned() })
        .collect();
    let public: Vec<&str> = public.iter().map(String::as_str).collect();
    groups(&mut cluster, choices, zones, &public);
    access(&mut cluster, choices, &public);
    identity(&mut cluster, choices);
    cluster
}

fn groups(cluster: &mut Cluster, choices: &Choices, zones: &[&str], public: &[&str]) {
    let masters = if zones.len() == 3 { zones } else { &zones[..1] };
    let names: Vec<String> = masters.iter().map(|zone| format!("control-plane-{zone}")).collect();
    let members: Vec<_> =
        names.iter().zip(masters).map(|(name, zone)| (*zone, name.as_str(), *zone)).collect();
    cluster.etcd_clusters = vec![fixture::etcd("main", &members), fixture::etcd("events", &members)];
    cluster.instance_groups = names
        .iter()
        .zip(masters)
        .map(|(name, zone)| fixture::group(name, Role::ControlPlane, &[zone]))
        .collect();
    for number in 0..choices.node_groups {
        let mut group = fixture::group(&format!("nodes-{number}"), Role::Node, zones);
        group.purchase = purchase(choices.purchase);
        cluster.instance_groups.push(group);
    }
    if choices.bastion {
        cluster.instance_groups.push(fixture::group("bastion", Role::Bastion, public));
        cluster.bastion = Some(Bastion {
            public_name: Some(format!("ssh.{}", choices.name)),
            scheme: Scheme::Public,
            additional_security_groups: Vec::new(),
            subnets: public.iter().map(ToString::to_string).collect(),
        });
    }
}

fn access(cluster: &mut Cluster, choices: &Choices, public: &[&str]) {
    cluster.api.access = fixture::nets(&["0.0.0.0/0", "::/0", "192.0.2.7/24"]);
    let shared = choices.ingress == Some(true) && choices.api.is_some();
    cluster.api.load_balancer = choices.api.map(|(internal, certificate, for_machines)| ApiLoadBalancer {
        scheme: if internal && !shared { Scheme::Internal } else { Scheme::Public },
        ssl_certificate: certificate.then(|| "arn:aws:acm:eu-north-1:1:certificate/1".to_owned()),
        use_for_internal_api: for_machines,
        ..fixture::api_load_balancer(public)
    });
    if choices.ingress.is_some() {
        let mut ingress = fixture::ingress("nginx");
        ingress.load_balancer.share_with_api = shared;
        cluster.ingress_controllers.push(ingress);
    }
    cluster.api.port = if shared { 6443 } else { 443 };
    cluster.node_termination_handler.sqs_termination_draining = choices.queue;
    cluster.node_termination_handler.rebalance = choices.rebalance;
}

fn identity(cluster: &mut Cluster, choices: &Choices) {
    if choices.addons {
        cluster.addons = fixture::every_addon();
    }
    // Validation asks for an issuer then; the model can do without.
    cluster.iam.use_service_account_external_permissions = choices.roles;
    if choices.accounts == 0 {
        return;
    }
    cluster.service_account_issuer = Some(ServiceAccountIssuer {
        discovery_store: "s3://discovery".to_owned(),
        bucket: Some(IssuerBucket { name: "discovery".to_owned(), prefix: String::new() }),
        enable_aws_oidc_provider: true,
        additional_audiences: Vec::new(),
    });
    let account = |number| ServiceAccountRole {
        name: format!("account-{number}"),
        namespace: if number == 1 { "a-*".to_owned() } else { "default".to_owned() },
        permissions: ServiceAccountPermissions::Managed(vec!["arn:aws:iam::aws:policy/X".to_owned()]),
    };
    cluster.iam.service_accounts = (0..choices.accounts).map(account).collect();
}

fn facts_for(choices: &Choices) -> Facts {
    let mut facts = facts();
    if !choices.store {
        facts.store = None;
    }
    if !choices.hosted_zone {
        facts.zones.clear();
    }
    facts
}

/// What AWS takes as a name of that kind, in characters; `None`: the name is ours alone.
fn limit(kind: &str) -> Option<usize> {
    match kind {
        "iam-role" | "instance-profile" | "event-rule" => Some(64),
        "target-group" => Some(32),
        "queue" => Some(80),
        "launch-template" | "auto-scaling-group" => Some(128),
        "security-group" | "key-pair" => Some(255),
        _ => None,
    }
}

/// All of it, as if it were there.
fn as_live(wanted: &Wanted) -> Vec<LiveNode> {
    let live = wanted.nodes().map(|(id, node)| LiveNode {
        id: id.clone(),
        fields: node.fields.clone(),
        attrs: ["id", "arn", "name", "dns_name", "zone_id"]
            .map(|attr| (attr.to_owned(), format!("{attr} of {id}")))
            .into_iter()
            .collect(),
        owner: Owner::Cluster,
    });
    live.collect()
}

/// Every `$json` document that is a policy.
fn policies(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(object) => match object.get("$json") {
            Some(document) if document.get("Statement").is_some() => found.push(document.clone()),
            _ => object.values().for_each(|inner| policies(inner, found)),
        },
        Value::Array(items) => items.iter().for_each(|inner| policies(inner, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_cluster_can_be_planned(choices in choices()) {
        let (cluster, facts) = (cluster(&choices), facts_for(&choices));
        let mut model = build(&cluster, &facts).unwrap();
        let again = build(&cluster, &facts).unwrap();
        prop_assert_eq!(&model.wanted, &again.wanted);
        prop_assert_eq!(&model.warnings, &again.warnings);

        let plan_new = plan(&catalogue(), &model.wanted, Vec::new(), Options::default()).unwrap();
        prop_assert_eq!(plan_new.steps.len(), model.wanted.nodes().count());

        add_state(&mut model.wanted, &cluster.name, None, &Documents { completed: "", objects: "" }).unwrap();
        let plan_new = plan(&catalogue(), &model.wanted, Vec::new(), Options::default()).unwrap();
        let first: Vec<&ResourceId> =
            plan_new.steps.iter().filter(|step| step.after.is_empty()).map(|step| &step.id).collect();
        prop_assert_eq!(first, [&ResourceId::new("registered-spec", cluster.name.clone())]);
    }

    #[test]
    fn the_registered_spec_goes_last(choices in choices()) {
        let cluster = cluster(&choices);
        let mut model = build(&cluster, &facts_for(&choices)).unwrap();
        add_state(&mut model.wanted, &cluster.name, None, &Documents { completed: "", objects: "" }).unwrap();
        let teardown = Options { prune: true, teardown: true };
        let plan = plan(&catalogue(), &Wanted::default(), as_live(&model.wanted), teardown).unwrap();
        let needed: BTreeSet<usize> = plan.steps.iter().flat_map(|step| step.after.iter().copied()).collect();
        let last = plan.steps.iter().enumerate().filter(|(index, _)| !needed.contains(index));
        let last: Vec<&ResourceId> = last.map(|(_, step)| &step.id).collect();
        prop_assert_eq!(last, [&ResourceId::new("registered-spec", cluster.name.clone())]);
    }

    #[test]
    fn what_is_there_as_wanted_needs_nothing(choices in choices()) {
        let model = build(&cluster(&choices), &facts_for(&choices)).unwrap();
        let plan = plan(&catalogue(), &model.wanted, as_live(&model.wanted), Options { prune: true, teardown: false }).unwrap();
        prop_assert!(plan.is_empty());
    }

    #[test]
    fn every_cluster_holds_each_object_once(choices in choices()) {
        let (cluster, facts) = (cluster(&choices), facts_for(&choices));
        let groups = objects(&cluster, &facts).unwrap();
        prop_assert_eq!(&groups, &objects(&cluster, &facts).unwrap());
        let mut seen = BTreeSet::new();
        for object in groups.iter().flat_map(|group| &group.objects) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            let id = [&object["apiVersion"], &object["kind"], &metadata["name"], &metadata["namespace"]].map(text);
            prop_assert!(id[..3].iter().all(|part| !part.is_empty()), "{object}");
            prop_assert!(seen.insert(id), "{object}");
        }
    }

    #[test]
    fn names_and_policies_are_within_bounds(choices in choices()) {
        let model = build(&cluster(&choices), &facts_for(&choices)).unwrap();
        for (id, node) in model.wanted.nodes() {
            if let Some(limit) = limit(id.kind.as_str()) {
                prop_assert!(id.name.len() <= limit, "{id}");
            }
            if let Some(name) = node.fields.get("lb_name").and_then(Value::as_str) {
                prop_assert!(name.len() <= 32 && !name.starts_with('-') && !name.ends_with('-'));
            }
            let mut found = Vec::new();
            policies(&node.fields, &mut found);
            for document in found {
                prop_assert_eq!(&policy::normalise(&document), &document);
                prop_assert!(document.to_string().len() < 10_240);
            }
            if let Some(tags) = node.fields.get("tags").and_then(Value::as_object) {
                prop_assert_eq!(tags.get("KubernetesCluster").and_then(Value::as_str), Some(choices.name.as_str()));
                prop_assert!(tags.contains_key("Name"));
            }
        }
    }
}
