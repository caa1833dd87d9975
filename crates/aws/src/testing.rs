//! The kinds' tests: an AWS account on this machine, and a resource's whole life in it.
//!
//! ```ignore
//! let world = World::start().await;
//! world.round_trip(&first, &second).await;
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::future::BoxFuture;
use kcl_engine::{Action, LiveNode, Options, Plan, Ref, Resource, Wanted, plan};
use kcl_model::resource::{self, Tags, catalogue};
use kcl_testkit::{Fault, FrontConfig, LocalAws, Point, Strikes, When};
use tempfile::TempDir;

use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::observe::{Depth, Scope, observe};
use crate::refusals::Refusals;
use crate::store::configurations::{self, Entry, Turns};
use crate::store::lock::{self, Fence, Holder, Lock, SystemClock, break_lock, lock_key};
use crate::store::{Condition, FileStore, Object, Store, Version};

/// The cluster that the tests make.
pub(crate) const CLUSTER: &str = "k.example.com";

/// An account, and kcl connected to it.
pub(crate) struct World {
    pub(crate) local: LocalAws,
    pub(crate) aws: Aws,
}

impl World {
    /// An account with a state store in a folder, which goes with the last value.
    pub(crate) async fn with_folder() -> (Self, Arc<dyn Store>, TempDir) {
        let mut world = Self::start().await;
        let folder = tempfile::tempdir().expect("there is a folder");
        let store: Arc<dyn Store> = Arc::new(FileStore::new(folder.path().to_owned()));
        world.aws = world.aws.with_state(Arc::clone(&store), CLUSTER);
        (world, store, folder)
    }

    /// A hosted zone; gives its id.
    pub(crate) async fn zone(&self, name: &str) -> String {
        let call = self.aws.route53.create_hosted_zone().name(name).caller_reference(name);
        let zone = call.send().await.expect("a zone is made").hosted_zone.expect("a zone is made");
        zone.id.trim_start_matches("/hostedzone/").to_owned()
    }

    /// The records of a zone by their types and names, sorted, but for the zone's own.
    pub(crate) async fn records(&self, zone: &str) -> Vec<String> {
        let answer = self.aws.route53.list_resource_record_sets().hosted_zone_id(zone).send().await;
        let records = answer.expect("it can be read").resource_record_sets.into_iter();
        let records = records.filter(|record| !["NS", "SOA"].contains(&record.r#type().as_str()));
        let records = records.map(|record| {
            let alias = if record.alias_target().is_some() { " alias" } else { "" };
            format!("{} {}{alias}", record.r#type().as_str(), record.name())
        });
        let mut records: Vec<String> = records.collect();
        records.sort();
        records
    }

    /// A record as machines make it.
    pub(crate) async fn record(&self, zone: &str, name: &str) {
        use aws_sdk_route53::types::{
            Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
        };
        let address = ResourceRecord::builder().value("10.0.0.7").build().expect("it is whole");
        let record = ResourceRecordSet::builder().name(name).r#type(RrType::A).ttl(60);
        let record = record.resource_records(address).build().expect("it is whole");
        let change = Change::builder().action(ChangeAction::Upsert).resource_record_set(record).build();
        let batch = ChangeBatch::builder().changes(change.expect("it is whole")).build();
        let call = self.aws.route53.change_resource_record_sets().hosted_zone_id(zone);
        call.change_batch(batch.expect("it is whole")).send().await.expect("it is made");
    }

    /// Loses the answer of the next call of an action, once AWS has done what it says.
    pub(crate) fn lose_answer(&self, service: &str, action: &str) -> Strikes {
        let point = Point { service: service.to_owned(), action: action.to_owned(), nth: 1 };
        self.local.inject(Fault::ResponseLost, When::At(point), 0)
    }

    /// An account of its own on the tests' common server; nothing takes time in it.
    pub(crate) async fn start() -> Self {
        Self::with(FrontConfig::instant()).await
    }

    /// Likewise, where what takes time on AWS takes some here too.
    pub(crate) async fn slow() -> Self {
        Self::with(FrontConfig::default()).await
    }

    /// Likewise, where things take as long as this says.
    pub(crate) async fn with(config: FrontConfig) -> Self {
        // It blocks, and may drop a runtime that lost a race: neither is for an asynchronous thread.
        let local = tokio::task::spawn_blocking(move || LocalAws::shared_with(config)).await;
        let local = local.expect("nothing panics").expect("the local AWS starts");
        let aws = Aws::over(&sdk_config(&local), Refusals::default()).await.expect("the local AWS answers");
        Self { local, aws }
    }

    /// A bucket of its own, in a region, as somebody else would make it.
    pub(crate) async fn bucket(&self, name: &str, region: &str) -> String {
        let name = format!("{name}-{}", self.aws.account);
        let place = aws_sdk_s3::types::BucketLocationConstraint::from(region);
        let place =
            aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(place).build();
        let config = self.aws.s3.config().to_builder().region(Region::new(region.to_owned())).build();
        let call = aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(&name);
        call.create_bucket_configuration(place).send().await.expect("a bucket is made");
        name
    }

    /// A client of its own, as another process would have.
    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&sdk_config(&self.local))
    }

    /// What is there.
    pub(crate) async fn live(&self, wanted: &Wanted, depth: Depth) -> Vec<LiveNode> {
        let scope = Scope::new(&self.aws, CLUSTER, wanted, depth);
        observe(&scope).await.expect("everything can be read")
    }

    /// The way to `wanted`, with pruning.
    pub(crate) async fn plan(&self, wanted: &Wanted) -> Plan {
        let options = Options { prune: true, teardown: false };
        plan(&catalogue(), wanted, self.live(wanted, Depth::Deep).await, options).expect("there is a plan")
    }

    /// Applies a plan that is expected to work.
    pub(crate) async fn apply(&self, plan: &Plan) {
        if let Err(failures) = self.try_apply(plan).await {
            panic!("failed:\n{failures}");
        }
    }

    /// Applies a plan; what failed is the error.
    pub(crate) async fn try_apply(&self, plan: &Plan) -> Result<(), String> {
        let broken = |reference: kcl_engine::UnresolvedRef| {
            Error::new(ErrorKind::Unexpected, "kcl", reference.to_string())
        };
        let report = kcl_apply::apply(plan, &self.aws, std::future::pending(), broken, |_| {}).await;
        let failures: Vec<String> = report
            .failures
            .iter()
            .map(|failure| format!("{:?} {}: {}", failure.action, failure.id, failure.error))
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    /// Brings the account to `wanted`, and checks that nothing is left to do then. Gives what was done.
    pub(crate) async fn reach(&self, wanted: &Wanted) -> Vec<(Action, String)> {
        let first = self.plan(wanted).await;
        self.apply(&first).await;
        let second = self.plan(wanted).await;
        assert!(second.is_empty(), "not as wanted:\n{}", describe(&second));
        assert!(second.refusals.is_empty(), "refused: {:?}", second.refusals);
        let wanted = wanted.nodes().count();
        assert_eq!(second.unchanged, wanted, "everything wanted is there");
        first.steps.iter().map(|step| (step.action, step.id.to_string())).collect()
    }

    /// Removes all that the cluster has, and checks that nothing is left and that removing it a second time
    /// is no error.
    pub(crate) async fn remove(&self) {
        let nothing = Wanted::default();
        let options = Options { prune: true, teardown: true };
        let live = self.live(&nothing, Depth::Everything).await;
        let plan = plan(&catalogue(), &nothing, live, options).expect("there is a plan");
        self.apply(&plan).await;
        let left = self.live(&nothing, Depth::Everything).await;
        assert!(left.is_empty(), "left: {left:#?}");
        self.apply(&plan).await;
    }

    /// A whole life: made as `first`, changed to `second`, removed. Gives what the change did.
    pub(crate) async fn round_trip(&self, first: &Wanted, second: &Wanted) -> Vec<(Action, String)> {
        self.reach(first).await;
        let done = self.reach(second).await;
        self.remove().await;
        assert_eq!(self.local.unsupported(), Vec::<String>::new(), "calls that the local AWS does not know");
        done
    }
}

/// How to reach it.
pub(crate) fn sdk_config(local: &LocalAws) -> SdkConfig {
    let credentials = Credentials::new("AKIDLOCALAWSTEST", "local-aws-secret", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(local.region().to_owned()))
        .endpoint_url(local.endpoint())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(20)))
        .build()
}

fn describe(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|step| {
        let changes = step
            .changes
            .iter()
            .map(|change| format!("\n    {}: {} -> {}", change.path, change.old, change.new));
        format!("{:?} {} {:?}{}", step.action, step.id, step.because, changes.collect::<String>())
    });
    steps.collect::<Vec<_>>().join("\n")
}

/// The tags of a resource of the cluster.
pub(crate) fn tags(name: &str) -> Tags {
    let tags = [
        ("Name".to_owned(), name.to_owned()),
        ("KubernetesCluster".to_owned(), CLUSTER.to_owned()),
        (format!("kubernetes.io/cluster/{CLUSTER}"), "owned".to_owned()),
    ];
    tags.into_iter().collect()
}

/// Likewise, with one more.
pub(crate) fn tags_and(name: &str, key: &str, value: &str) -> Tags {
    let mut tags = tags(name);
    tags.insert(key.to_owned(), value.to_owned());
    tags
}

/// Adds a resource.
pub(crate) fn add<R: Resource>(wanted: &mut Wanted, name: &str, resource: &R) {
    wanted.add(name, resource).expect("a resource is plain data");
}

/// A reference to the `id` of a resource.
pub(crate) fn id(kind: &'static str, name: &str) -> Ref {
    Ref::to(kind, name, "id")
}

/// A VPC.
pub(crate) fn vpc() -> resource::Vpc {
    resource::Vpc {
        cidr: "10.0.0.0/16".to_owned(),
        additional_cidrs: kcl_engine::Set::default(),
        amazon_ipv6: true,
        dns_support: true,
        dns_hostnames: true,
        dhcp_options: None,
        tags: tags(CLUSTER),
    }
}

/// A subnet in the VPC, of the zone with this letter.
pub(crate) fn subnet(zone: char, name: &str) -> resource::Subnet {
    resource::Subnet {
        vpc: id("vpc", CLUSTER),
        cidr: format!("10.0.{}.0/24", u32::from(zone) - u32::from('a')),
        zone: format!("eu-north-1{zone}"),
        ipv6_cidr: None,
        hostname_type: "resource-name".to_owned(),
        resource_name_dns_a: true,
        tags: tags(name),
    }
}

/// A VPC with an internet gateway, subnets in the zones with these letters (`a.k.example.com`), and a
/// security group for nodes (`nodes.k.example.com`).
pub(crate) fn network(zones: &str) -> Wanted {
    let mut wanted = Wanted::default();
    add(&mut wanted, CLUSTER, &vpc());
    let gateway = resource::InternetGateway { vpc: Some(id("vpc", CLUSTER)), tags: tags(CLUSTER) };
    add(&mut wanted, CLUSTER, &gateway);
    for zone in zones.chars() {
        let name = format!("{zone}.{CLUSTER}");
        add(&mut wanted, &name, &subnet(zone, &name));
    }
    let name = format!("nodes.{CLUSTER}");
    let group = resource::SecurityGroup {
        vpc: id("vpc", CLUSTER),
        description: "Security group for nodes".to_owned(),
        tags: tags(&name),
    };
    add(&mut wanted, &name, &group);
    for cidr in ["0.0.0.0/0", "::/0"] {
        let rule = resource::SecurityGroupRule {
            group: id("security-group", &name),
            direction: resource::Direction::Egress,
            protocol: resource::Protocol::all(),
            peer: resource::Peer::Cidr(cidr.to_owned()),
        };
        let rule_name = resource::SecurityGroupRule::name(&name, rule.direction, &rule.protocol, cidr);
        add(&mut wanted, &rule_name, &rule);
    }
    wanted
}

/// What machines are made from: a launch template in the network's security group.
pub(crate) fn launch_template(name: &str) -> resource::LaunchTemplate {
    resource::LaunchTemplate {
        image: "ami-12345678".to_owned(),
        instance_type: "t3.micro".to_owned(),
        key_pair: None,
        instance_profile: None,
        block_devices: vec![resource::BlockDevice {
            device: "/dev/xvda".to_owned(),
            virtual_name: None,
            size: Some(20),
            volume_type: Some("gp3".to_owned()),
            iops: Some(3000),
            throughput: Some(125),
            encrypted: Some(true),
            kms_key: None,
            delete_on_termination: Some(true),
        }],
        public_ip: Some(true),
        ipv6_address_count: Some(0),
        security_groups: [id("security-group", &format!("nodes.{CLUSTER}"))].into_iter().collect(),
        imds_tokens_required: true,
        imds_hop_limit: 1,
        imds_ipv6: false,
        monitoring: false,
        cpu_credits: Some("standard".to_owned()),
        tenancy: None,
        spot: None,
        ebs_optimized: None,
        user_data: kcl_engine::Text::new("#!/bin/sh\necho first\n"),
        node_configuration: None,
        node_agent: None,
        default_is_old: false,
        machine_tags: group_tags(name),
        tags: group_tags(name),
    }
}

/// A group of machines in the network's subnet `a`.
pub(crate) fn auto_scaling_group(name: &str) -> resource::AutoScalingGroup {
    resource::AutoScalingGroup {
        launch_template: id("launch-template", name),
        mixed_instances: None,
        min_size: 1,
        max_size: 1,
        subnets: [id("subnet", &format!("a.{CLUSTER}"))].into_iter().collect(),
        target_groups: kcl_engine::Set::default(),
        classic_load_balancers: kcl_engine::Set::default(),
        max_instance_lifetime: 0,
        protect_from_scale_in: false,
        capacity_rebalance: false,
        suspended_processes: kcl_engine::Set::default(),
        metrics: ["GroupMinSize", "GroupMaxSize"].into_iter().map(str::to_owned).collect(),
        lifecycle_hooks: std::collections::BTreeMap::new(),
        tags: group_tags(name),
    }
}

/// The tags of an instance group, its machines and their disks.
fn group_tags(name: &str) -> Tags {
    tags_and(name, "kops.k8s.io/instancegroup", "nodes")
}

/// A load balancer in the network's subnet `a`, with its target group and a listener at 443.
pub(crate) fn add_balancing(wanted: &mut Wanted) {
    let load_balancer = resource::LoadBalancer {
        lb_name: "api-k-example-com-0a1b2c".to_owned(),
        internal: false,
        subnets: [id("subnet", &format!("a.{CLUSTER}"))].into_iter().collect(),
        security_groups: [id("security-group", &format!("nodes.{CLUSTER}"))].into_iter().collect(),
        cross_zone: false,
        ip_address_type: "ipv4".to_owned(),
        access_log: None,
        tags: tags(&format!("api.{CLUSTER}")),
    };
    add(wanted, &format!("api.{CLUSTER}"), &load_balancer);
    wanted.order(
        &kcl_engine::ResourceId::new("load-balancer", format!("api.{CLUSTER}")),
        kcl_engine::ResourceId::new("internet-gateway", CLUSTER),
    );
    add(wanted, TARGET_GROUP, &target_group());
    add(wanted, &format!("api.{CLUSTER} 443"), &listener(443));
}

/// The name of [`target_group`].
pub(crate) const TARGET_GROUP: &str = "tcp-k-example-com-3d4e5f";

/// A target group.
pub(crate) fn target_group() -> resource::TargetGroup {
    resource::TargetGroup {
        tg_name: TARGET_GROUP.to_owned(),
        vpc: id("vpc", CLUSTER),
        port: 443,
        protocol: "TCP".to_owned(),
        health_check: resource::HealthCheck {
            protocol: "TCP".to_owned(),
            port: "traffic-port".to_owned(),
            path: None,
            interval: 10,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        },
        deregistration_delay: 30,
        connection_termination: true,
        proxy_protocol: false,
        tags: tags(TARGET_GROUP),
    }
}

/// A listener of the load balancer of [`add_balancing`].
pub(crate) fn listener(port: u16) -> resource::Listener {
    resource::Listener {
        load_balancer: Ref::to("load-balancer", format!("api.{CLUSTER}"), "arn"),
        port,
        protocol: "TCP".to_owned(),
        target_group: Some(Ref::to("target-group", TARGET_GROUP, "arn")),
        certificate: None,
        ssl_policy: None,
        tags: tags(&format!("api.{CLUSTER} {port}")),
    }
}

/// Tells machines of the control plane to keep a name in a zone.
pub(crate) async fn tell_to_keep(store: &dyn Store, zone: &str, name: &str) {
    let document = format!(
        "apiVersion: kcl.dev/v1alpha1\nkind: NodeConfig\ncluster: {CLUSTER}\naccount: '123456789012'\n\
         instanceGroup: control-plane\nrole: ControlPlane\nkubernetesVersion: 1.36.4\n\
         store: {{location: 's3://state/{CLUSTER}'}}\n\
         api: {{endpoint: {name}, port: 443, bindPort: 443, \
         caBundle: \"-----BEGIN CERTIFICATE-----\\n-----END CERTIFICATE-----\\n\"}}\n\
         controlPlane:\n  nodeRoles: []\n  etcd: {{member: a, members: [a], backupRetentionDays: 90}}\n  \
         dns: [{{zone: {zone}, names: [{{name: {name}, address: private}}]}}]\n\
         network: {{podCIDR: 100.96.0.0/11, serviceCIDR: 100.64.0.0/13, dnsDomain: cluster.local, \
         dnsIP: 100.64.0.10}}\ncloudProvider: External\nassets: []\n"
    );
    kcl_node_config::NodeConfig::parse(&document).expect("it is a configuration");
    let entry = Entry::new("control-plane", document);
    let turns = Turns::default();
    let told = configurations::change(store, CLUSTER, &turns, |index| index.push(entry.clone()));
    told.await.expect("it is told");
}

/// Takes the free lock of `cluster`, for no longer than a test can wait.
pub(crate) async fn lock(store: &Arc<dyn Store>, cluster: &str) -> Lock {
    let holder = Holder {
        user: "me".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        command: "kcl update".to_owned(),
        region: None,
    };
    let options = lock::Options { lease: Duration::from_secs(6), ..lock::Options::default() };
    let (clock, never) = (Arc::new(SystemClock::new()), std::future::pending());
    let lock = Lock::acquire(Arc::clone(store), cluster, holder, &options, clock, |_| {}, never).await;
    lock.expect("it is free")
}

/// Somebody removes the lock of `cluster`; until its holder knows.
pub(crate) async fn lose(lock: &Lock, store: &dyn Store, cluster: &str) {
    let object = store.get(&lock_key(cluster)).await.expect("it is read").expect("it is there");
    break_lock(store, cluster, object.version).await.expect("it is removed");
    lock.lost().await;
}

/// A store that takes some writes more, and then none.
#[derive(Debug)]
pub(crate) struct CutShort {
    store: FileStore,
    left: AtomicUsize,
}

impl CutShort {
    /// One that takes all writes.
    pub(crate) fn new(store: FileStore) -> Self {
        Self { store, left: AtomicUsize::new(usize::MAX) }
    }

    /// Takes so many more.
    pub(crate) fn after(&self, writes: usize) {
        self.left.store(writes, Ordering::Relaxed);
    }

    /// Takes all of them again.
    pub(crate) fn never(&self) {
        self.after(usize::MAX);
    }

    fn take(&self) -> Result<(), Error> {
        let took = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        took.map(drop).map_err(|_| Error::new(ErrorKind::Unexpected, "state store", "it was cut short"))
    }
}

impl Store for CutShort {
    fn location(&self) -> String {
        self.store.location()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>> {
        self.store.get(key)
    }

    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        Box::pin(async move {
            self.take()?;
            self.store.try_put(key, body, condition).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.take()?;
            self.store.delete(key, version).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.store.list(prefix)
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.store.folders()
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>> {
        self.store.purge(folder)
    }

    fn finish_purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.finish_purge(folder)
    }

    fn change_under(&self, fence: Fence) {
        self.store.change_under(fence);
    }
}
