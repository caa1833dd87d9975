//! `kcl policy`: what a cluster's whole life asks of AWS is what its policy allows, no more and no less.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use kcl_testkit::{Call, Decision, Response, World, example, examples, http, run_without_cloud};
use serde_json::{Value, json};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// How many characters a managed policy may have, white space aside.
const MAX_CHARACTERS: usize = 6144;

type Actions = BTreeSet<String>;

/// What the policy allows and kcl never calls itself, and why AWS wants it all the same.
const NEVER_CALLED: [(&str, &str); 6] = [
    (
        "autoscaling:DescribeScalingActivities",
        "asked for when the cluster is validated and machines are missing",
    ),
    ("ec2:DescribeAccountAttributes", "ELB looks for a place in its caller's name"),
    ("ec2:RunInstances", "asked for when a group is made or changed that has a launch template"),
    (
        "elasticloadbalancing:DescribeTargetHealth",
        "asked for when the cluster is validated (tests/bootstrap.rs)",
    ),
    ("iam:CreateServiceLinkedRole", "AWS makes its services' roles in the name of whoever uses them first"),
    ("iam:PassRole", "asked for when a role is put into a profile, and when a group uses the profile"),
];

/// The IAM actions that AWS asks for before it does what `call` says. Where that is not the call's own name:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>.
fn asked_for(call: &Call) -> Actions {
    // What anybody may read, and who one is, needs no permission.
    if !call.signed || call.is("sts", "GetCallerIdentity") {
        return Actions::new();
    }
    let header = |name: &str| call.headers.contains_key(name);
    let s3 = |action: &str| format!("s3:{action}");
    let name = match (call.service.as_str(), call.action.as_str()) {
        ("s3", "HeadBucket" | "ListObjectsV2") => s3("ListBucket"),
        ("s3", "ListObjectVersions") => s3("ListBucketVersions"),
        ("s3", "GetBucketEncryption") => s3("GetEncryptionConfiguration"),
        ("s3", "PutBucketEncryption") => s3("PutEncryptionConfiguration"),
        ("s3", "GetPublicAccessBlock") => s3("GetBucketPublicAccessBlock"),
        ("s3", "PutPublicAccessBlock") => s3("PutBucketPublicAccessBlock"),
        // Either all of them are named with their versions, or none.
        ("s3", "DeleteObjects") if call.body.contains("<VersionId>") => s3("DeleteObjectVersion"),
        ("s3", "DeleteObjects") => s3("DeleteObject"),
        _ => call.name(),
    };
    let tags = |action: &'static str, marks: &[&str]| {
        let tagged = marks.iter().any(|mark| {
            call.params.keys().any(|key| key.starts_with(mark)) || call.body.contains(&format!("\"{mark}\""))
        });
        tagged.then_some(action)
    };
    let more = match (call.service.as_str(), call.action.as_str()) {
        // A bucket that is made with tags, and a condition on what an object is now.
        ("s3", "CreateBucket") => call.body.contains("<Tag>").then_some("s3:TagResource"),
        ("s3", "PutObject" | "DeleteObject") => header("if-match").then_some("s3:GetObject"),
        // That there is no such object is told only to who may list the bucket.
        ("s3", "GetObject" | "HeadObject") => (call.status == 404).then_some("s3:ListBucket"),
        ("ec2", _) => tags("ec2:CreateTags", &["TagSpecification."]),
        ("elasticloadbalancing", action) if action.starts_with("Create") => {
            tags("elasticloadbalancing:AddTags", &["Tags."])
        }
        ("iam", "CreateRole") => tags("iam:TagRole", &["Tags."]),
        ("iam", "CreateInstanceProfile") => tags("iam:TagInstanceProfile", &["Tags."]),
        ("iam", "CreateOpenIDConnectProvider") => tags("iam:TagOpenIDConnectProvider", &["Tags."]),
        ("sqs", "CreateQueue") => tags("sqs:TagQueue", &["tags"]),
        ("events", "PutRule") => tags("events:TagResource", &["Tags"]),
        _ => None,
    };
    [name].into_iter().chain(more.map(str::to_owned)).collect()
}

/// The statements of the policies that `kcl policy` prints for a spec file.
fn statements(world: &World, path: &str) -> Vec<Value> {
    let printed = world.kcl(&["policy", "-f", path]).expect(0).stdout;
    let documents: Vec<Value> = serde_json::from_str(&printed).unwrap();
    documents.iter().flat_map(|document| document["Statement"].as_array().unwrap().clone()).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn granted(world: &World, path: &str) -> Actions {
    statements(world, path).iter().flat_map(|statement| strings(&statement["Action"])).collect()
}

/// What a call is about, as the ARN that AWS would judge `action` of it by, where the call itself says it by name.
/// What EC2 and ELB call by ids is judged by its tags, which no call shows.
fn targets(call: &Call, action: &str, region: &str, account: &str) -> Vec<String> {
    let arn = |service: &str, resource: String| format!("arn:aws:{service}:{region}:{account}:{resource}");
    let iam = |resource: String| format!("arn:aws:iam::{account}:{resource}");
    let param = |name: &str| Some(call.param(name).to_owned()).filter(|value| !value.is_empty());
    let body = call.json().unwrap_or_default();
    let field = |name: &str| body[name].as_str().map(str::to_owned);
    match call.service.as_str() {
        "s3" => {
            let (bucket, key) = call.bucket_and_key();
            let is_of_bucket = key.is_empty() || action == "s3:ListBucket";
            let key = if is_of_bucket { String::new() } else { format!("/{key}") };
            // Which objects are deleted stands in the body.
            let objects = call.body.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
            let objects: Vec<String> =
                objects.map(|(key, _)| format!("arn:aws:s3:::{bucket}/{key}")).collect();
            let is_batch = call.action == "DeleteObjects";
            if is_batch { objects } else { vec![format!("arn:aws:s3:::{bucket}{key}")] }
        }
        "iam" if call.action.contains("OpenIDConnect") => {
            let named =
                param("Url").map(|url| iam(format!("oidc-provider/{}", url.trim_start_matches("https://"))));
            named.or_else(|| param("OpenIDConnectProviderArn")).into_iter().collect()
        }
        // Of the two that putting a role into a profile names, the profile counts.
        "iam" => {
            let profile = param("InstanceProfileName").map(|name| iam(format!("instance-profile/{name}")));
            profile
                .or_else(|| param("RoleName").map(|name| iam(format!("role/{name}"))))
                .into_iter()
                .collect()
        }
        "autoscaling" if call.mutating => {
            let name = param("AutoScalingGroupName").or_else(|| param("Tags.member.1.ResourceId"));
            let group = |name: String| format!("autoScalingGroup:0a1b:autoScalingGroupName/{name}");
            name.map(|name| arn("autoscaling", group(name))).into_iter().collect()
        }
        "elasticloadbalancing" => {
            let kind = match call.action.as_str() {
                "CreateLoadBalancer" => "loadbalancer/net",
                "CreateTargetGroup" => "targetgroup",
                _ => return Vec::new(),
            };
            vec![arn("elasticloadbalancing", format!("{kind}/{}/0a1b", call.param("Name")))]
        }
        "sqs" => {
            let url = field("QueueUrl").and_then(|url| url.rsplit('/').next().map(str::to_owned));
            url.or_else(|| field("QueueName")).map(|name| arn("sqs", name)).into_iter().collect()
        }
        "events" if call.mutating || call.action == "ListTagsForResource" => {
            let named =
                field("Rule").or_else(|| field("Name")).map(|name| arn("events", format!("rule/{name}")));
            named.or_else(|| field("ResourceARN")).into_iter().collect()
        }
        "ssm" => {
            let names = body["Names"].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.map(|name| arn("ssm", format!("parameter{name}"))).collect()
        }
        "route53" if call.mutating => {
            let id = call.path.split('/').nth(3).unwrap_or_default();
            vec![format!("arn:aws:route53:::hostedzone/{id}")]
        }
        _ => Vec::new(),
    }
}

/// Whether `text` is what an ARN pattern of IAM means: `*` is any text.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).any(|at| text.is_char_boundary(at) && is_like(&text[at..], rest))
}

/// The names in the conditions of a statement about records.
fn record_names(statement: &Value) -> Vec<String> {
    let names = &statement["Condition"]["ForAllValues:StringLike"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"];
    if names.is_array() { strings(names) } else { names.as_str().map(str::to_owned).into_iter().collect() }
}

/// Whether a statement allows `action` on `target`, as far as the call shows it.
fn allows(statement: &Value, call: &Call, action: &str, target: &str) -> bool {
    let has = strings(&statement["Action"]).iter().any(|one| one == action);
    let fits = strings(&statement["Resource"]).iter().any(|pattern| is_like(target, pattern));
    let changed = call.body.split("<Name>").skip(1).filter_map(|rest| rest.split_once("</Name>"));
    let known = record_names(statement);
    let is_known = |name: &str| known.iter().any(|pattern| is_like(name.trim_end_matches('.'), pattern));
    has && fits && (call.service != "route53" || changed.map(|(name, _)| name).all(is_known))
}

/// A cluster that lives.
struct Life {
    world: World,
    cluster: &'static str,
    spec: String,
    resources: Vec<Value>,
}

impl Life {
    fn begin(cluster: &'static str, spec: String) -> Self {
        let world = World::with_bucket(KCL);
        let mut life = Self { world, cluster, spec, resources: Vec::new() };
        for zone in ["karlaru.com", "example.com"] {
            life.world.make_zone(zone);
        }
        // Bucket names are one namespace for all accounts of the local AWS.
        let issuer = format!("oidc-{}", life.world.aws.account());
        life.spec = life.spec.replace("karlaru-kcl-oidc", &issuer);
        let path = life.path();
        life.kcl(&["create", "cluster", "-f", &path], 0);
        life.kcl(&["create", "cluster", "-f", &path, "--yes"], 0);
        life.look();
        life
    }

    fn path(&self) -> String {
        self.world.spec(&self.spec)
    }

    #[track_caller]
    fn kcl(&self, args: &[&str], code: i32) -> String {
        self.world.kcl(args).expect(code).stdout
    }

    /// Learns the ids of what there is.
    fn look(&mut self) {
        let resources = self.kcl(&["get", "resources", "-o", "json"], 0);
        self.resources = serde_json::from_str(&resources).unwrap();
    }

    /// An attribute of the resource of that kind whose name begins so.
    #[track_caller]
    fn attr(&self, kind: &str, name: &str, attr: &str) -> String {
        let fits =
            |one: &&Value| one["id"]["kind"] == kind && one["id"]["name"].as_str().unwrap().starts_with(name);
        let found = self.resources.iter().find(fits).unwrap_or_else(|| panic!("no {kind} {name}"));
        found["attrs"][attr].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn id(&self, kind: &str) -> String {
        self.attr(kind, "", "id")
    }

    /// Another spec, applied.
    #[track_caller]
    fn edit(&mut self, from: &str, to: &str) {
        assert!(self.spec.contains(from), "{from}");
        self.spec = self.spec.replacen(from, to, 1);
        let path = self.path();
        self.kcl(&["update", "-f", &path, "--yes", "--prune"], 0);
    }

    /// Somebody does something past kcl.
    #[track_caller]
    fn tamper(&self, service: &str, action: &str, params: &[(&str, &str)]) -> String {
        let answer = self.world.aws.direct(service, action, params);
        format!("{:?}", answer.unwrap_or_else(|error| panic!("{action}: {error}")))
    }

    /// Likewise; gives what was made.
    #[track_caller]
    fn make(&self, service: &str, action: &str, params: &[(&str, &str)], path: &str) -> String {
        self.world.aws.direct(service, action, params).unwrap().value(path).to_owned()
    }

    /// Everything is seen, brought back, and stays so.
    #[track_caller]
    fn repair(&mut self) {
        let path = self.path();
        self.kcl(&["update", "-f", &path, "--detailed-exitcode", "--deep", "--prune"], 2);
        self.kcl(&["update", "-f", &path, "--yes", "--deep", "--prune"], 0);
        let left = self.kcl(&["update", "-f", &path, "--detailed-exitcode", "--deep"], 0);
        assert_eq!(left, "");
        self.look();
    }

    /// The commands that change nothing on AWS but the state.
    fn commands(&self) {
        let kubeconfig = self.world.folder.path().join("kubeconfig").display().to_string();
        self.kcl(&["get", "clusters"], 0);
        self.kcl(&["get", "instancegroups"], 0);
        self.kcl(&["get", "instances"], 0);
        self.kcl(&["get", "keypairs"], 0);
        self.kcl(&["create", "keypair", "all"], 0);
        self.kcl(&["update", "--yes"], 0);
        self.kcl(&["promote", "keypair", "all"], 0);
        self.kcl(&["update", "--yes"], 0);
        self.kcl(&["distrust", "keypair", "service-account"], 0);
        self.kcl(&["update", "--yes"], 0);
        self.kcl(&["export", "kubeconfig", "--admin", "--kubeconfig", &kubeconfig], 0);
        let path = self.path();
        self.kcl(&["replace", "-f", &path], 0);
        self.kcl(&["unlock"], 0);
    }

    /// What anybody can do to the network by hand.
    fn tamper_with_network(&self) {
        let (vpc, table) = (self.id("vpc"), self.attr("route-table", self.cluster, "id"));
        let subnet = self.id("subnet");
        let owned = format!("kubernetes.io/cluster/{}", self.cluster);
        for resource in [&vpc, &subnet] {
            let odd =
                [("ResourceId.1", resource.as_str()), ("Tag.1.Key", "k8s.io/odd"), ("Tag.1.Value", "1")];
            self.tamper("ec2", "CreateTags", &odd);
        }
        let block = [("VpcId", vpc.as_str()), ("CidrBlock", "10.77.0.0/16")];
        self.tamper("ec2", "AssociateVpcCidrBlock", &block);
        let lost = [("ResourceId.1", vpc.as_str()), ("Tag.1.Key", owned.as_str())];
        self.tamper("ec2", "DeleteTags", &lost);

        let vpcs = [("VpcId.1", vpc.as_str())];
        let path = "vpcSet/item/ipv6CidrBlockAssociationSet/item/ipv6CidrBlock";
        let ipv6 = self.make("ec2", "DescribeVpcs", &vpcs, path).replace("/56", "/64");
        let ipv6 = [("SubnetId", subnet.as_str()), ("Ipv6CidrBlock", &ipv6)];
        self.tamper("ec2", "AssociateSubnetCidrBlock", &ipv6);

        // A way out that is not ours, one that nobody asked for, and a stranger's subnet on our table.
        let gateway = self.make("ec2", "CreateInternetGateway", &[], "internetGateway/internetGatewayId");
        let route = |to: &'static str| [("DestinationCidrBlock", to)];
        let way = [("RouteTableId", table.as_str()), ("GatewayId", &gateway)];
        self.tamper("ec2", "ReplaceRoute", &[&way[..], &route("0.0.0.0/0")].concat());
        self.tamper("ec2", "CreateRoute", &[&way[..], &route("192.0.2.0/24")].concat());

        let rule = |group: &'static str| {
            [("IpPermissions.1.IpProtocol", "tcp"), ("IpPermissions.1.FromPort", group)]
        };
        let nodes = self.attr("security-group", "nodes.", "id");
        let to = [
            ("GroupId", nodes.as_str()),
            ("IpPermissions.1.ToPort", "31337"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.0/24"),
        ];
        for direction in ["AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress"] {
            self.tamper("ec2", direction, &[&rule("31337")[..], &to].concat());
        }
    }

    /// Which table a subnet uses, and where the load balancer is, with a subnet and a table of somebody's own; gives
    /// what takes these away again.
    fn tamper_with_places(&self, cidr: &str) -> [(&'static str, &'static str, String); 2] {
        let (vpc, table) = (self.id("vpc"), self.attr("route-table", self.cluster, "id"));
        let theirs = self.make("ec2", "CreateRouteTable", &[("VpcId", &vpc)], "routeTable/routeTableId");
        let association = self.id("route-table-association");
        let other = [("AssociationId", association.as_str()), ("RouteTableId", &theirs)];
        self.tamper("ec2", "ReplaceRouteTableAssociation", &other);
        let place = [("VpcId", vpc.as_str()), ("CidrBlock", cidr), ("AvailabilityZone", "eu-north-1b")];
        let stranger = self.make("ec2", "CreateSubnet", &place, "subnet/subnetId");
        self.tamper("ec2", "AssociateRouteTable", &[("SubnetId", &stranger), ("RouteTableId", &table)]);
        let balancer = self.attr("load-balancer", "api", "arn");
        let places = [("LoadBalancerArn", balancer.as_str()), ("Subnets.member.1", &stranger)];
        self.tamper("elasticloadbalancing", "SetSubnets", &places);
        [("DeleteSubnet", "SubnetId", stranger), ("DeleteRouteTable", "RouteTableId", theirs)]
    }

    fn tamper_with_roles(&self, role: &str) {
        let name = [("RoleName", role)];
        let document =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}}]}"#;
        let odd = [("Tags.member.1.Key", "k8s.io/odd"), ("Tags.member.1.Value", "1")];
        let policy = [("PolicyName", "by-hand"), ("PolicyDocument", document)];
        let arn = self.make("iam", "CreatePolicy", &policy, "CreatePolicyResult/Policy/Arn");
        self.tamper("iam", "AttachRolePolicy", &[&name[..], &[("PolicyArn", arn.as_str())]].concat());
        self.tamper("iam", "PutRolePolicy", &[&name[..], &policy].concat());
        self.tamper(
            "iam",
            "PutRolePermissionsBoundary",
            &[&name[..], &[("PermissionsBoundary", arn.as_str())]].concat(),
        );
        self.tamper("iam", "UpdateAssumeRolePolicy", &[&name[..], &[("PolicyDocument", trust)]].concat());
        self.tamper("iam", "TagRole", &[&name[..], &odd].concat());
        let profile = [("InstanceProfileName", role)];
        self.tamper("iam", "TagInstanceProfile", &[&profile[..], &odd].concat());
        self.tamper("iam", "RemoveRoleFromInstanceProfile", &[&profile[..], &name].concat());
    }

    fn tamper_with_issuer(&self) {
        let arn = self.attr("oidc-provider", "", "arn");
        let provider = [("OpenIDConnectProviderArn", arn.as_str())];
        let odd = [("Tags.member.1.Key", "k8s.io/odd"), ("Tags.member.1.Value", "1")];
        let other = [("ThumbprintList.member.1", "990f4193972f2becf12ddeda5237f9c952f20d9e")];
        self.tamper("iam", "TagOpenIDConnectProvider", &[&provider[..], &odd].concat());
        self.tamper("iam", "UpdateOpenIDConnectProviderThumbprint", &[&provider[..], &other].concat());
    }

    /// Another audience than the spec's. The local AWS cannot change the audiences of a provider, so that one is made
    /// anew, and the calls that would bring it back are answered here.
    fn tamper_with_audiences(&self) {
        let arn = self.attr("oidc-provider", "", "arn");
        let url = format!("https://{}", arn.split_once("oidc-provider/").unwrap().1);
        let remake = |audience: &str| {
            self.tamper("iam", "DeleteOpenIDConnectProvider", &[("OpenIDConnectProviderArn", &arn)]);
            let provider = [
                ("Url", url.as_str()),
                ("ClientIDList.member.1", "amazonaws.com"),
                ("ClientIDList.member.2", audience),
                ("ThumbprintList.member.1", "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"),
                ("Tags.member.1.Key", "KubernetesCluster"),
                ("Tags.member.1.Value", self.cluster),
            ];
            self.tamper("iam", "CreateOpenIDConnectProvider", &provider);
        };
        remake("example");
        self.world.aws.before(|call| {
            if call.service == "iam" && call.action.contains("ClientID") {
                let mut done = Response::error(call.protocol, 200, "", "");
                done.body = format!("<{0}Response><ResponseMetadata/></{0}Response>", call.action).into();
                return Decision::Respond(done);
            }
            Decision::Forward
        });
        let path = self.path();
        self.kcl(&["update", "-f", &path, "--yes"], 0);
        self.world.aws.clear_rules();
        remake("sts.amazonaws.com");
    }

    /// Two listeners by the beginnings of their names: one that will lead to the target group `to`, one that goes.
    fn tamper_with_balancing(&self, led: &str, to: &str, gone: &str) {
        let balancer = self.attr("load-balancer", "api", "arn");
        let target = self.attr("target-group", "tcp", "arn");
        let listener = |name: &str| self.attr("listener", name, "arn");
        let odd = [("Tags.member.1.Key", "k8s.io/odd"), ("Tags.member.1.Value", "1")];
        for arn in [&balancer, &target] {
            let arn = [("ResourceArns.member.1", arn.as_str())];
            self.tamper("elasticloadbalancing", "AddTags", &[&arn[..], &odd].concat());
        }
        let of_balancer = [("LoadBalancerArn", balancer.as_str())];
        let nodes = self.attr("security-group", "nodes.", "id");
        let tampering: [(&str, &[(&str, &str)]); 2] = [
            ("SetIpAddressType", &[("IpAddressType", "dualstack")]),
            ("SetSecurityGroups", &[("SecurityGroups.member.1", &nodes)]),
        ];
        for (action, params) in tampering {
            self.tamper("elasticloadbalancing", action, &[&of_balancer[..], params].concat());
        }
        let health = [("TargetGroupArn", target.as_str()), ("HealthCheckIntervalSeconds", "30")];
        self.tamper("elasticloadbalancing", "ModifyTargetGroup", &health);
        let delay = [
            ("TargetGroupArn", target.as_str()),
            ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
            ("Attributes.member.1.Value", "77"),
        ];
        self.tamper("elasticloadbalancing", "ModifyTargetGroupAttributes", &delay);
        let elsewhere = [
            ("ListenerArn", listener(led)),
            ("DefaultActions.member.1.Type", "forward".to_owned()),
            ("DefaultActions.member.1.TargetGroupArn", self.attr("target-group", to, "arn")),
        ];
        let elsewhere: Vec<(&str, &str)> =
            elsewhere.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.tamper("elasticloadbalancing", "ModifyListener", &elsewhere);
        self.tamper("elasticloadbalancing", "DeleteListener", &[("ListenerArn", &listener(gone))]);
        // A listener that nobody asked for.
        let more = [
            ("LoadBalancerArn", balancer.as_str()),
            ("Port", "8080"),
            ("Protocol", "TCP"),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", &self.attr("target-group", "tcp", "arn")),
        ];
        self.tamper("elasticloadbalancing", "CreateListener", &more);
    }

    /// The group whose name begins with `name`, which is behind the target group `behind`.
    fn tamper_with_group(&self, name: &str, behind: &str) {
        let nodes = format!("{name}.{}", self.cluster);
        let group = [("AutoScalingGroupName", nodes.as_str())];
        let tag = [
            ("Tags.member.1.ResourceId", nodes.as_str()),
            ("Tags.member.1.ResourceType", "auto-scaling-group"),
            ("Tags.member.1.Key", "k8s.io/odd"),
            ("Tags.member.1.Value", "1"),
            ("Tags.member.1.PropagateAtLaunch", "true"),
        ];
        self.tamper("autoscaling", "CreateOrUpdateTags", &tag);
        let hook = [
            ("LifecycleHookName", "by-hand"),
            ("LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING"),
        ];
        let http = self.attr("target-group", behind, "arn");
        let api = self.attr("target-group", "tcp-", "arn");
        let classic = [
            ("LoadBalancerName", "by-hand"),
            ("AvailabilityZones.member.1", "eu-north-1a"),
            ("Listeners.member.1.Protocol", "TCP"),
            ("Listeners.member.1.LoadBalancerPort", "80"),
            ("Listeners.member.1.InstancePort", "80"),
        ];
        self.tamper("classic-elb", "CreateLoadBalancer", &classic);
        let tampering: [(&str, &[(&str, &str)]); 6] = [
            ("PutLifecycleHook", &hook),
            ("SuspendProcesses", &[("ScalingProcesses.member.1", "AZRebalance")]),
            ("DetachLoadBalancerTargetGroups", &[("TargetGroupARNs.member.1", &http)]),
            ("AttachLoadBalancerTargetGroups", &[("TargetGroupARNs.member.1", &api)]),
            ("AttachLoadBalancers", &[("LoadBalancerNames.member.1", "by-hand")]),
            (
                "EnableMetricsCollection",
                &[("Granularity", "1Minute"), ("Metrics.member.1", "WarmPoolMinSize")],
            ),
        ];
        for (action, params) in tampering {
            self.tamper("autoscaling", action, &[&group[..], params].concat());
        }
    }

    /// What runs in the cluster makes things in its name.
    fn controllers(&self) {
        let owned = format!("kubernetes.io/cluster/{}", self.cluster);
        let (subnet, vpc) = (self.id("subnet"), self.id("vpc"));
        let group = self.attr("security-group", "nodes.", "id");
        let volume = [
            ("AvailabilityZone", "eu-north-1a"),
            ("Size", "1"),
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", &owned),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ];
        self.tamper("ec2", "CreateVolume", &volume);
        let marks = [
            ("Tags.member.1.Key", owned.as_str()),
            ("Tags.member.1.Value", "owned"),
            ("Tags.member.2.Key", "kubernetes.io/service-name"),
            ("Tags.member.2.Value", "default/web"),
        ];
        let network = [("Name", "a1b2c3d4e5"), ("Type", "network"), ("Subnets.member.1", subnet.as_str())];
        self.tamper("elasticloadbalancing", "CreateLoadBalancer", &[&network[..], &marks].concat());
        let target = [("Name", "k8s-web"), ("Protocol", "TCP"), ("Port", "80"), ("VpcId", vpc.as_str())];
        self.tamper("elasticloadbalancing", "CreateTargetGroup", &[&target[..], &marks].concat());
        let classic = [
            ("LoadBalancerName", "c1b2c3d4e5"),
            ("Subnets.member.1", &subnet),
            ("SecurityGroups.member.1", &group),
            ("Listeners.member.1.Protocol", "TCP"),
            ("Listeners.member.1.LoadBalancerPort", "80"),
            ("Listeners.member.1.InstancePort", "30080"),
        ];
        self.tamper("classic-elb", "CreateLoadBalancer", &[&classic[..], &marks].concat());
        let security = [
            ("GroupName", "k8s-elb-a1b2c3d4e5"),
            ("GroupDescription", "Security group for Kubernetes ELB"),
            ("VpcId", &vpc),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", &owned),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ];
        self.tamper("ec2", "CreateSecurityGroup", &security);
        let backend = [
            ("GroupName", "k8s-traffic-backend"),
            ("GroupDescription", "[k8s] Shared Backend SecurityGroup for LoadBalancer"),
            ("VpcId", &vpc),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "elbv2.k8s.aws/cluster"),
            ("TagSpecification.1.Tag.1.Value", self.cluster),
        ];
        self.tamper("ec2", "CreateSecurityGroup", &backend);
        let interface =
            [("SubnetId", subnet.as_str()), ("SecurityGroupId.1", &group), ("Description", "aws-K8S-i-1")];
        self.tamper("ec2", "CreateNetworkInterface", &interface);
        let image = self.make("ec2", "DescribeImages", &[], "imagesSet/item/imageId");
        let machine = [
            ("ImageId", image.as_str()),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("InstanceType", "t3.micro"),
            ("SubnetId", &subnet),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", &owned),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ];
        self.tamper("ec2", "RunInstances", &machine);
    }

    /// A call to a service that speaks JSON, past kcl.
    #[track_caller]
    fn json(&self, service: &str, target: &str, body: &Value) {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=TEST/20260101/eu-north-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let version = if service == "sqs" { "1.0" } else { "1.1" };
        let kind = format!("application/x-amz-json-{version}");
        let headers = [("Authorization", scope.as_str()), ("X-Amz-Target", target), ("Content-Type", &kind)];
        let body = body.to_string();
        let answer = http(&self.world.aws.direct_endpoint(), "POST", "/", None, &headers, &body).unwrap();
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    }

    /// An EventBridge rule of somebody's own whose name begins as the cluster's would.
    fn strange_rule(&self) {
        let rule = json!({ "Name": format!("{}-mine", self.cluster), "ScheduleExpression": "rate(1 hour)" });
        self.json("events", "AWSEvents.PutRule", &rule);
    }

    fn tamper_with_events(&self) {
        let url = self.attr("queue", "", "url");
        let kept = json!({ "QueueUrl": url, "Attributes": { "MessageRetentionPeriod": "600" } });
        self.json("sqs", "AmazonSQS.SetQueueAttributes", &kept);
        let odd = json!({ "QueueUrl": url, "Tags": { "k8s.io/odd": "1" } });
        self.json("sqs", "AmazonSQS.TagQueue", &odd);
        let (name, arn) = (self.attr("event-rule", "", "name"), self.attr("event-rule", "", "arn"));
        let pattern = json!({ "source": ["aws.ec2"], "detail-type": ["odd"] }).to_string();
        self.json("events", "AWSEvents.PutRule", &json!({ "Name": name, "EventPattern": pattern }));
        let odd = json!({ "ResourceARN": arn, "Tags": [{ "Key": "k8s.io/odd", "Value": "1" }] });
        self.json("events", "AWSEvents.TagResource", &odd);
        self.json("events", "AWSEvents.RemoveTargets", &json!({ "Rule": name, "Ids": ["1"] }));
    }

    /// A target that is in the way of a rule's end.
    fn strange_target(&self) {
        let (name, arn) = (self.attr("event-rule", "", "name"), self.attr("queue", "", "arn"));
        let target = json!({ "Rule": name, "Targets": [{ "Id": "mine", "Arn": arn }] });
        self.json("events", "AWSEvents.PutTargets", &target);
    }

    /// The end: first refused over something that is not the cluster's, then complete.
    fn end(&self) {
        let vpc = self.id("vpc");
        let group = [("GroupName", "theirs"), ("GroupDescription", "theirs"), ("VpcId", vpc.as_str())];
        let group = self.make("ec2", "CreateSecurityGroup", &group, "groupId");
        self.kcl(&["delete", self.cluster, "--detailed-exitcode"], 2);
        // Somebody hung something on a role after it was read.
        let is_first = AtomicBool::new(true);
        self.world.aws.before(move |call| {
            if !(call.is("iam", "DeleteRole") && is_first.swap(false, Ordering::Relaxed)) {
                return Decision::Forward;
            }
            let message = "Cannot delete entity, must detach all policies first.";
            Decision::Respond(Response::error(call.protocol, 409, "DeleteConflict", message))
        });
        let run = self.world.kcl(&["delete", self.cluster, "--yes"]).expect(1);
        assert!(run.stderr.contains("security group"), "{}", run.stderr);
        self.tamper("ec2", "DeleteSecurityGroup", &[("GroupId", &group)]);
        self.kcl(&["delete", self.cluster, "--yes"], 0);
        // The state's bucket stays; whoever begins again looks whether it is still protected.
        let block = format!("/{}?publicAccessBlock", self.world.bucket());
        let lifted = http(&self.world.aws.direct_endpoint(), "DELETE", &block, Some("s3"), &[], "").unwrap();
        assert_eq!(lifted.status, 204, "{}", lifted.body);
        let path = self.path();
        self.kcl(&["create", "cluster", "-f", &path], 0);
        self.kcl(&["delete", "-f", &path, "--yes", "--purge-state"], 0);
    }

    /// What is called by name is within what the policy names.
    fn assert_within(&self, statements: &[Value]) {
        let (region, account) = (self.world.aws.region(), self.world.aws.account());
        let mut judged = 0;
        for call in self.world.aws.calls() {
            for (action, target) in asked_for(&call).iter().flat_map(|it| {
                targets(&call, it, region, account).into_iter().map(move |target| (it, target))
            }) {
                let is_allowed = statements.iter().any(|one| allows(one, &call, action, &target));
                assert!(is_allowed, "{action} on {target} is not granted: {}", call.body);
                judged += 1;
            }
        }
        assert!(judged > 300, "{judged} calls were judged");
    }

    /// Whatever is made in EC2 has the mark in the same call.
    fn assert_marked(&self) {
        let calls = self.world.aws.calls();
        let made =
            calls.iter().filter(|call| call.params.keys().any(|key| key.starts_with("TagSpecification.")));
        for call in made.filter(|call| call.service == "ec2") {
            let place = call.params.iter().find(|(_, value)| *value == "KubernetesCluster");
            let key = place.unwrap_or_else(|| panic!("{} without the mark", call.name())).0;
            assert_eq!(call.param(&key.replace(".Key", ".Value")), self.cluster, "{}", call.name());
        }
    }

    /// Each action that was called, and an example of how.
    fn called(&self) -> BTreeMap<String, String> {
        assert_eq!(self.world.aws.unsupported(), Vec::<String>::new());
        let calls = self.world.aws.calls();
        let asked =
            calls.iter().flat_map(|call| asked_for(call).into_iter().map(|action| (action, call.name())));
        asked.collect()
    }
}

#[track_caller]
fn assert_granted_is_called(granted: &Actions, called: &BTreeMap<String, String>) {
    let missing: Vec<_> = called.iter().filter(|(action, _)| !granted.contains(*action)).collect();
    assert!(missing.is_empty(), "called and not granted: {missing:#?}");
    let excused = |action: &str| NEVER_CALLED.iter().any(|(excused, _)| *excused == action);
    let idle: Vec<_> =
        granted.iter().filter(|action| !called.contains_key(*action) && !excused(action)).collect();
    assert!(idle.is_empty(), "granted and never called: {idle:#?}");
    let stale: Vec<_> = NEVER_CALLED.iter().filter(|(action, _)| called.contains_key(*action)).collect();
    assert!(stale.is_empty(), "called after all: {stale:#?}");
}

#[test]
fn the_reference_clusters_life_asks_for_what_is_granted_and_nothing_else() {
    let mut life = Life::begin("k8s.karlaru.com", example("karlaru.yaml"));
    let before = granted(&life.world, &life.path());
    life.commands();

    life.edit("  minSize: 2\n  maxSize: 2\n", "  minSize: 2\n  maxSize: 3\n");
    life.edit("\"s3:PutObject\",", "\"s3:GetObject\",\n                  \"s3:PutObject\",");
    life.edit("machineType: t3.micro", "machineType: t3.small");
    life.edit("volumeSize: 6", "volumeSize: 8");
    life.edit("    - 203.0.113.0/24\n", "    - 203.0.113.0/24\n    - 198.51.100.0/24\n");
    life.edit("    - docs.karlaru.com\n", "");
    life.edit("    - karlaru.com\n", "    - karlaru.com\n    - docs.karlaru.com\n");
    life.edit("    proxyProtocol: true\n", "    proxyProtocol: false\n");
    life.edit("      class: Network\n", "      class: Network\n      crossZoneLoadBalancing: true\n");
    let block = "  networkCIDR: 172.20.0.0/16\n";
    life.edit(block, &format!("{block}  additionalNetworkCIDRs:\n    - 10.88.0.0/16\n"));
    life.edit("  additionalNetworkCIDRs:\n    - 10.88.0.0/16\n", "");
    life.edit("  metricsServer:\n", "  cloudLabels:\n    team: web\n  metricsServer:\n");

    life.tamper_with_network();
    life.tamper_with_roles("nodes.k8s.karlaru.com");
    life.tamper_with_audiences();
    life.tamper_with_issuer();
    life.tamper_with_balancing("api.k8s.karlaru.com 4", "tcp-", "api.k8s.karlaru.com 6");
    life.tamper_with_group("nodes", "http-");
    life.repair();
    let strangers = life.tamper_with_places("172.20.224.0/24");
    life.repair();
    for (action, key, id) in &strangers {
        life.tamper("ec2", action, &[(*key, id)]);
    }

    life.controllers();
    life.strange_rule();
    life.look();
    life.end();
    let after = granted(&life.world, &life.path());
    assert_eq!(before, after, "what was changed along the way needs no other actions");
    assert_granted_is_called(&after, &life.called());
    life.assert_within(&statements(&life.world, &life.path()));
    life.assert_marked();
}

/// What the reference cluster does not have: NAT gateways, bastions, an SSH key, a queue, lifecycle hooks, suspended
/// processes, attached policies and a boundary.
#[test]
fn so_does_the_life_of_a_cluster_that_has_everything_else() {
    const BOUNDARY: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
    let text = example("private-ha.yaml");
    let text = text.replacen("    kcl.dev/protect: \"true\"\n", "    kcl.dev/protect: \"false\"\n", 1);
    let iam = format!(
        "  iam:\n    permissionsBoundary: {BOUNDARY}\n  externalPolicies:\n    node:\n      - {BOUNDARY}\n"
    );
    let text = text.replacen("  topology:\n", &format!("{iam}  topology:\n"), 1);
    let text = text.replacen("  role: Node\n", "  role: Node\n  suspendProcesses:\n    - AZRebalance\n", 1);
    let mut life = Life::begin("prod.example.com", text);
    let before = granted(&life.world, &life.path());
    life.commands();

    life.edit("team: platform", "team: web");
    life.edit("  maxSize: 9\n", "  maxSize: 10\n");
    life.edit("        - name: a\n", "        - volumeSize: 24\n          name: a\n");
    let block = "  networkCIDR: 10.20.0.0/16\n";
    life.edit(block, &format!("{block}  additionalNetworkCIDRs:\n    - 10.88.0.0/16\n"));

    life.tamper_with_network();
    life.tamper_with_roles("nodes.prod.example.com");
    life.tamper_with_balancing("api.prod.example.com 4", "bastion-", "bastion.prod.example.com 2");
    life.tamper_with_group("bastion", "bastion-");
    life.tamper_with_events();
    let hook =
        [("AutoScalingGroupName", "nodes.prod.example.com"), ("LifecycleHookName", "nodes-NTHLifecycleHook")];
    life.tamper("autoscaling", "DeleteLifecycleHook", &hook);
    life.repair();
    let strangers = life.tamper_with_places("10.20.224.0/24");
    life.repair();
    for (action, key, id) in &strangers {
        life.tamper("ec2", action, &[(*key, id)]);
    }

    life.controllers();
    life.strange_target();
    let issuer = [
        ("Url", "https://example.org"),
        ("ThumbprintList.member.1", "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"),
    ];
    life.tamper("iam", "CreateOpenIDConnectProvider", &issuer);
    life.look();
    life.end();
    let after = granted(&life.world, &life.path());
    assert_eq!(before, after, "what was changed along the way needs no other actions");
    assert_granted_is_called(&after, &life.called());
    life.assert_within(&statements(&life.world, &life.path()));
    life.assert_marked();
}

#[test]
fn statements_are_sound_and_scoped() {
    /// Actions that cannot be narrowed to a resource, tag or name of the cluster.
    const UNSCOPED: [(&str, &str); 1] = [(
        "ec2:DeleteNetworkInterface",
        "what plugins leave behind has no tags of the cluster; the VPC's id is known only where it is given",
    )];
    let world = World::with_bucket(KCL);
    for name in specs() {
        let path = world.spec(&example(&name));
        let printed = world.kcl(&["policy", "-f", &path]).expect(0).stdout;
        let documents: Vec<Value> = serde_json::from_str(&printed).unwrap();
        let mut sids = BTreeSet::new();
        for document in &documents {
            assert_eq!(document["Version"], "2012-10-17");
            let size = document.to_string().chars().filter(|c| !c.is_whitespace()).count();
            assert!(size <= MAX_CHARACTERS, "{name}: {size} characters");
            for statement in document["Statement"].as_array().unwrap() {
                let text = statement.to_string();
                assert_eq!(statement["Effect"], "Allow");
                let sid = statement["Sid"].as_str().unwrap();
                assert!(
                    sid.chars().all(|c| c.is_ascii_alphanumeric()) && sids.insert(sid.to_owned()),
                    "{sid}"
                );
                let (actions, resources) = (strings(&statement["Action"]), strings(&statement["Resource"]));
                assert!(!actions.is_empty() && !resources.is_empty(), "{text}");
                assert!(actions.iter().all(|action| !action.contains('*')), "{text}");
                assert!(resources.iter().all(|it| it == "*" || it.starts_with("arn:aws:")), "{text}");
                let reads = ["Describe", "Get", "List"];
                let is_read = |action: &&String| {
                    let (_, verb) = action.split_once(':').unwrap();
                    reads.iter().any(|prefix| verb.starts_with(prefix))
                };
                let excused = |action: &&String| UNSCOPED.iter().any(|(excused, _)| excused == *action);
                let writes = actions.iter().filter(|action| !is_read(action) && !excused(action)).count();
                let short = world_of(&name);
                let named = resources.iter().all(|arn| is_named(arn, &short));
                let scoped = named || statement.get("Condition").is_some();
                assert!(writes == 0 || scoped, "{name}: neither name nor condition: {text}");
            }
        }
    }
}

fn specs() -> Vec<String> {
    let files = std::fs::read_dir(examples()).unwrap().map(|file| file.unwrap().path());
    let specs = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> =
        specs.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The cluster's name in an example, and as load balancers and queues spell it.
fn world_of(example_name: &str) -> [String; 2] {
    let text = example(example_name);
    let name = text.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap().to_owned();
    let dashed = name.replace('.', "-");
    [name, dashed]
}

/// Whether an ARN names something of the cluster, or a bucket, or one thing that is given by its id.
fn is_named(arn: &str, names: &[String]) -> bool {
    let given = arn.rsplit_once('/').is_some_and(|(_, id)| !id.contains('*'));
    given || arn.starts_with("arn:aws:s3:::") || names.iter().any(|name| arn.contains(name.as_str()))
}

#[test]
fn the_policy_of_the_reference_cluster() {
    let path = examples().join("karlaru.yaml").display().to_string();
    let run = run_without_cloud(KCL, &["policy", "-f", &path]).expect(0);
    insta::assert_snapshot!(run.stdout);
}

/// The one statement for `purpose` in the policy of a spec.
fn statement(spec: &str, purpose: &str) -> Value {
    let world = World::with_bucket(KCL);
    let path = world.spec(spec);
    let found = statements(&world, &path).into_iter().find(|statement| statement["Sid"] == purpose);
    found.unwrap_or_else(|| panic!("no {purpose}"))
}

#[test]
fn keys_of_the_users_own_may_be_used_through_their_service() {
    let key = "arn:aws:kms:eu-north-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f";
    let state = "apiVersion: kcl.dev/v1alpha1\nkind: StateStore\nmetadata:\n  name: state\nspec:\n  kmsKeyID: alias/state\n";
    let spec = example("karlaru.yaml");
    let spec = spec.replace("volumeSize: 6\n", &format!("volumeSize: 6\n          kmsKeyId: {key}\n"));
    let spec = format!("{spec}---\n{state}");
    let disks = statement(&spec, "DiskKeys");
    assert_eq!(disks["Resource"], json!([key]));
    assert_eq!(disks["Condition"], json!({ "StringLike": { "kms:ViaService": "ec2.*.amazonaws.com" } }));
    assert_eq!(statement(&spec, "DiskKeyGrants")["Action"], json!(["kms:CreateGrant"]));
    let state = statement(&spec, "StateKey");
    assert_eq!(state["Resource"], json!(["arn:aws:kms:eu-north-1:*:key/*"]));
    assert_eq!(state["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"], "alias/state");
}

#[test]
fn many_names_are_told_by_their_ends() {
    let hosts: Vec<String> = (0..40).map(|n| format!("    - h{n}.apps.karlaru.com\n")).collect();
    let spec = example("karlaru.yaml");
    let spec =
        spec.replace("    - docs.karlaru.com\n", &format!("    - \"*.karlaru.com\"\n{}", hosts.concat()));
    let names = record_names(&statement(&spec, "DnsRecords"));
    // The star is a character of a name there, not a pattern.
    let api = ["api.internal.k8s.karlaru.com", "api.k8s.karlaru.com"];
    let expected = ["*.apps.karlaru.com", "\\052.karlaru.com"].into_iter().chain(api).chain(["karlaru.com"]);
    assert_eq!(names, expected.collect::<Vec<_>>());
}

#[test]
fn many_service_accounts_add_nothing() {
    let size = |count: usize| {
        let text = example("karlaru.yaml");
        let (head, rest) = text.split_once("      - name: iam-account\n").unwrap();
        let (entry, tail) = rest.split_once("---\n").unwrap();
        let entries: Vec<String> = (0..count).map(|n| format!("      - name: app-{n}\n{entry}")).collect();
        let world = World::with_bucket(KCL);
        let path = world.spec(&format!("{head}{}---\n{tail}", entries.concat()));
        world.kcl(&["policy", "-f", &path]).expect(0).stdout.len()
    };
    assert_eq!(size(1), size(20));
}

#[test]
fn the_registered_spec_will_do_and_partitions_follow_the_region() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let from_file = world.kcl(&["policy", "-f", &path]).expect(0).stdout;
    assert_eq!(world.kcl(&["policy"]).expect(0).stdout, from_file);
    assert_eq!(world.kcl(&["policy", "minimal.example.com"]).expect(0).stdout, from_file);
    world.kcl(&["policy", "other.example.com", "-f", &path]).expect(2);

    let china = world.spec(&example("minimal.yaml").replace("eu-north-1", "cn-north-1"));
    let china = world.kcl(&["policy", "-f", &china]).expect(0).stdout;
    assert!(china.contains("arn:aws-cn:") && !china.contains("arn:aws:"), "{china}");
    assert!(china.contains("ec2.amazonaws.com.cn"), "{china}");
}
