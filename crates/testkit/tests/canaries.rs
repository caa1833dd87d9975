//! What moto as published does wrong, and what we lean on.
//!
//! One test per quirk, straight at moto without front and mends. A test that fails after moto was upgraded
//! says which mend (moto/mends.py) or rule (src/rules) can go, or what no longer holds.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::sync::{Mutex, OnceLock};

use common::{Answer, Client};
use kcl_testkit::{Flavour, Moto};

/// moto as published, one for all tests, an account for each.
fn plain() -> Client {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    static NEXT: Mutex<u64> = Mutex::new(300_000_000_000);
    let moto = MOTO.get_or_init(|| Moto::start(Flavour::Plain).unwrap());
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    Client { endpoint: format!("http://{}", moto.address()), account: next.to_string() }
}

#[track_caller]
fn html_500(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
}

#[test]
fn unknown_action_is_an_html_page() {
    let moto = plain();
    html_500(&moto.call("autoscaling StartInstanceRefresh AutoScalingGroupName=x"));
    html_500(&moto.call("autoscaling AttachTrafficSources AutoScalingGroupName=x"));
    html_500(&moto.call("autoscaling DisableMetricsCollection AutoScalingGroupName=x"));
    html_500(&moto.call("iam ListInstanceProfileTags InstanceProfileName=x"));
    html_500(&moto.call("iam AddClientIDToOpenIDConnectProvider OpenIDConnectProviderArn=x ClientID=y"));
}

#[test]
fn bucket_versioning_has_a_wrong_root() {
    let moto = plain();
    let bucket = moto.bucket(&format!("canary-{}", moto.account));
    let root = moto.http("GET", &format!("{bucket}?versioning"), Some("s3"), &[], "").ok();
    assert_eq!(root.name, "GetBucketVersioningResponse");
}

#[test]
fn new_bucket_has_no_tags_and_answers_everywhere() {
    let moto = plain();
    let name = format!("/tagged-{}", moto.account);
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint><Tags><Tag>\
                <Key>k</Key><Value>v</Value></Tag></Tags></CreateBucketConfiguration>";
    moto.http("PUT", &name, Some("s3"), &[], body).ok();
    assert_eq!(moto.http("GET", &format!("{name}?tagging"), Some("s3"), &[], "").code(), "NoSuchTagSet");
    let west = "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, \
                SignedHeaders=host, Signature=0";
    moto.http("GET", &format!("{name}?versioning"), None, &[west], "").ok();
    let owner = ["x-amz-expected-bucket-owner: 999999999999"];
    moto.http("GET", &format!("{name}?versioning"), Some("s3"), &owner, "").ok();
}

#[test]
fn new_bucket_is_open() {
    let moto = plain();
    let bucket = moto.bucket(&format!("canary-open-{}", moto.account));
    let block = moto.http("GET", &format!("{bucket}?publicAccessBlock"), Some("s3"), &[], "");
    assert_eq!(block.code(), "NoSuchPublicAccessBlockConfiguration");
    let encryption = moto.http("GET", &format!("{bucket}?encryption"), Some("s3"), &[], "");
    assert_eq!(encryption.code(), "ServerSideEncryptionConfigurationNotFoundError");
    moto.http("PUT", &format!("{bucket}/anonymous"), None, &[], "x").ok();
    moto.http("GET", &bucket, None, &[], "").ok();
    assert_eq!(moto.http("GET", &format!("{bucket}/nothing"), None, &[], "").code(), "NoSuchKey");
    let discovery = format!("{bucket}/.well-known/openid-configuration");
    moto.http("PUT", &discovery, Some("s3"), &[], "{}").ok();
    assert!(moto.http("GET", &discovery, None, &[], "").status >= 400, "taken for Cognito's");
    assert_eq!(moto.http("GET", &discovery, Some("s3"), &[], "").body, "{}");
}

#[test]
fn public_access_blocks_are_stored_only() {
    let moto = plain();
    let bucket = moto.bucket(&format!("canary-block-{}", moto.account));
    let block = "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy>\
                 <RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
    moto.http("PUT", &format!("{bucket}?publicAccessBlock"), Some("s3"), &[], block).ok();
    let account = format!("x-amz-account-id: {}", moto.account);
    let of_account = |method: &str, body: &str| {
        moto.http(method, "/v20180820/configuration/publicAccessBlock", Some("s3"), &[&account], body)
    };
    assert_eq!(of_account("GET", "").code(), "NoSuchPublicAccessBlockConfiguration");
    of_account("PUT", block).ok();
    assert_eq!(of_account("GET", "").ok().value("RestrictPublicBuckets"), "true");
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::{}/*"}}]}}"#,
        bucket.trim_start_matches('/')
    );
    // AWS would refuse this one.
    assert!(moto.http("PUT", &format!("{bucket}?policy"), Some("s3"), &[], &policy).status < 300);
    of_account("DELETE", "").ok();
    assert_eq!(of_account("GET", "").code(), "NoSuchPublicAccessBlockConfiguration");
}

#[test]
fn statements_of_a_bucket_policy_are_taken_for_others() {
    let moto = plain();
    for (name, statement) in [
        ("tls", r#""Effect":"Deny","Principal":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}"#),
        ("other", r#""Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:root"}"#),
    ] {
        let bucket = moto.bucket(&format!("canary-{name}-{}", moto.account));
        let object = format!("{bucket}/x");
        moto.http("PUT", &object, Some("s3"), &[], "x").ok();
        let resource = bucket.trim_start_matches('/');
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{{statement},"Action":"s3:*","Resource":"arn:aws:s3:::{resource}/*"}}]}}"#
        );
        moto.http("PUT", &format!("{bucket}?policy"), Some("s3"), &[], &policy);
        let answer = moto.http("GET", &object, Some("s3"), &[], "");
        assert_eq!((answer.status, answer.body.as_str()), (403, ""), "{name}");
        assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
    }
}

#[test]
fn buckets_of_other_accounts_are_open() {
    let (one, other) = (plain(), plain());
    let bucket = one.bucket(&format!("canary-other-{}", one.account));
    one.http("PUT", &format!("{bucket}/x"), Some("s3"), &[], "x").ok();
    assert_eq!(other.http("GET", &format!("{bucket}/x"), Some("s3"), &[], "").body, "x");
    assert_eq!(
        other.http("GET", &format!("{bucket}?policy"), Some("s3"), &[], "").code(),
        "NoSuchBucketPolicy"
    );
}

#[test]
fn buckets_of_us_east_1_are_created_again() {
    let moto = plain();
    let bucket = format!("/canary-again-{}", moto.account);
    let scope = "Credential=AKID/20260101/us-east-1/s3/aws4_request";
    let signature = format!("Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    moto.http("PUT", &bucket, None, &[&signature], "").ok();
    moto.http("PUT", &bucket, None, &[&signature], "").ok();
}

#[test]
fn web_identities_are_not_looked_at() {
    let moto = plain();
    let role = format!("arn:aws:iam::{}:role/nobody", moto.account);
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&WebIdentityToken=no.jwt.&RoleArn={role}"
    );
    let assumed = moto.http("POST", "/", None, &form, &body).ok();
    let result = assumed.get("AssumeRoleWithWebIdentityResult").unwrap();
    assert!(result.value("Credentials/AccessKeyId").starts_with("ASIA"));
    // AWS tells them.
    for missing in ["SubjectFromWebIdentityToken", "Audience", "Provider"] {
        assert!(result.get(missing).is_none(), "{missing}");
    }
}

#[test]
fn conditional_writes_work() {
    let moto = plain();
    let bucket = moto.bucket(&format!("canary-lock-{}", moto.account));
    let put = |header| moto.http("PUT", &format!("{bucket}/lock"), Some("s3"), &[header], "x");
    put("If-None-Match: *").ok();
    assert_eq!(put("If-None-Match: *").code(), "PreconditionFailed");
    assert_eq!(put("If-Match: \"0\"").code(), "PreconditionFailed");
}

#[test]
fn deletes_of_what_is_in_use_succeed() {
    let moto = plain();
    let vpc = moto.vpc();
    let (subnet, group, other) = (moto.subnet(&vpc, 1), moto.group(&vpc, "one"), moto.group(&vpc, "other"));
    moto.call(&format!(
        "ec2 AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=1 \
         IpPermissions.1.ToPort=2 IpPermissions.1.Groups.1.GroupId={other}"
    ))
    .ok();
    moto.call(&format!("ec2 DeleteSecurityGroup GroupId={other}")).ok();
    let template = moto.machines(&subnet, &group, "nodes");
    let address = moto.id("ec2 AllocateAddress Domain=vpc", "allocationId");
    moto.id(
        &format!("ec2 CreateNatGateway SubnetId={subnet} AllocationId={address}"),
        "natGateway/natGatewayId",
    );
    moto.call(&format!("ec2 ReleaseAddress AllocationId={address}")).ok();
    moto.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
    moto.call(&format!("ec2 DeleteLaunchTemplate LaunchTemplateId={template}")).ok();
}

#[test]
fn several_tag_keys_must_all_be_there() {
    let moto = plain();
    let vpc = moto.vpc();
    let tags = "Tag.1.Key=one Tag.1.Value=1 Tag.2.Key=two Tag.2.Value=2";
    moto.call(&format!("ec2 CreateTags ResourceId.1={vpc} {tags}")).ok();
    let filter = "Filter.1.Name=tag-key Filter.1.Value.1=one Filter.1.Value.2=three";
    let found = moto.call(&format!("ec2 DescribeVpcs {filter}")).ok();
    assert!(found.all("vpcSet/item").is_empty());
}

#[test]
fn vpc_and_gateway_in_use_go() {
    let moto = plain();
    let vpc = moto.vpc();
    let gateway = || moto.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    let (one, other) = (gateway(), gateway());
    moto.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={one}")).ok();
    // A second one too.
    moto.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={other}")).ok();
    moto.group(&vpc, "g");
    moto.call(&format!("ec2 DeleteVpc VpcId={vpc}")).ok();
}

#[test]
fn gateway_goes_under_public_addresses() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let gateway = moto.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    moto.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
    let address = moto.id("ec2 AllocateAddress Domain=vpc", "allocationId");
    moto.call(&format!("ec2 CreateNatGateway SubnetId={subnet} AllocationId={address}")).ok();
    moto.call(&format!("ec2 DetachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
}

#[test]
fn subnet_can_be_associated_twice() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    for _ in 0..2 {
        let table = moto.id(&format!("ec2 CreateRouteTable VpcId={vpc}"), "routeTable/routeTableId");
        moto.call(&format!("ec2 AssociateRouteTable RouteTableId={table} SubnetId={subnet}")).ok();
    }
}

#[test]
fn tokens_are_ignored() {
    let moto = plain();
    let create = "ec2 CreateVolume AvailabilityZone=eu-north-1a Size=1 ClientToken=t";
    assert_ne!(moto.id(create, "volumeId"), moto.id(create, "volumeId"));
}

#[test]
fn nat_gateway_is_instant_and_its_interface_stays() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let address = moto.id("ec2 AllocateAddress Domain=vpc", "allocationId");
    let made = moto.call(&format!("ec2 CreateNatGateway SubnetId={subnet} AllocationId={address}")).ok();
    assert_eq!(made.value("natGateway/state"), "available");
    let nat = made.value("natGateway/natGatewayId");
    moto.call(&format!("ec2 DeleteNatGateway NatGatewayId={nat}")).ok();
    let find = format!("ec2 DescribeNatGateways NatGatewayId.1={nat}");
    assert_eq!(moto.id(&find, "natGatewaySet/item/state"), "deleted");
    let find = format!("ec2 DescribeNetworkInterfaces Filter.1.Name=subnet-id Filter.1.Value.1={subnet}");
    moto.id(&find, "networkInterfaceSet/item/association/publicIp");
}

#[test]
fn load_balancers_are_instant_nameless_and_unprotected() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let group = moto.group(&vpc, "lb");
    let arn = moto.balancer("api", &subnet, &group, "internal");
    assert_ne!(moto.balancer("api", &subnet, &group, "internet-facing"), arn, "a second one of the name");
    assert!(arn.contains(":loadbalancer/app/"), "{arn}");
    let find = format!("elasticloadbalancing DescribeLoadBalancers LoadBalancerArns.member.1={arn}");
    let state = || moto.id(&find, "DescribeLoadBalancersResult/LoadBalancers/member/State/Code");
    assert_eq!(state(), "active");
    let find = format!("ec2 DescribeNetworkInterfaces Filter.1.Name=vpc-id Filter.1.Value.1={vpc}");
    assert!(moto.call(&find).ok().all("networkInterfaceSet/item").is_empty(), "no interfaces");
    let subnets = format!("elasticloadbalancing SetSubnets LoadBalancerArn={arn} Subnets.member.1={subnet}");
    assert_eq!(moto.call(&subnets).code(), "InvalidConfigurationRequest", "one zone is enough for AWS");
    let listener = format!(
        "elasticloadbalancing CreateListener LoadBalancerArn={arn} Protocol=TCP Port=80 \
         DefaultActions.member.1.Type=fixed-response DefaultActions.member.1.FixedResponseConfig.StatusCode=200"
    );
    moto.call(&listener).ok();
    let made = moto.id(&listener, "CreateListenerResult/Listeners/member/ListenerArn");
    let modify = format!("elasticloadbalancing ModifyListener ListenerArn={made} Protocol=TLS");
    assert_eq!(moto.call(&modify).code(), "UnsupportedProtocol");
    moto.call(&format!(
        "elasticloadbalancing ModifyLoadBalancerAttributes LoadBalancerArn={arn} \
         Attributes.member.1.Key=deletion_protection.enabled Attributes.member.1.Value=true"
    ))
    .ok();
    moto.call(&format!("elasticloadbalancing DeleteLoadBalancer LoadBalancerArn={arn}")).ok();
}

#[test]
fn groups_are_overwritten_and_go_with_their_machines() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let group = moto.group(&vpc, "nodes");
    let template = moto.machines(&subnet, &group, "nodes");
    moto.call("autoscaling DeleteAutoScalingGroup AutoScalingGroupName=nodes").ok();
    let create = format!(
        "autoscaling CreateAutoScalingGroup AutoScalingGroupName=nodes MinSize=0 MaxSize=1 \
         VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template} MaxInstanceLifetime=86400 \
         LifecycleHookSpecificationList.member.1.LifecycleHookName=hook \
         LifecycleHookSpecificationList.member.1.LifecycleTransition=autoscaling:EC2_INSTANCE_TERMINATING"
    );
    moto.call(&create).ok();
    moto.call(&create).ok();
    let groups = moto.call("autoscaling DescribeAutoScalingGroups").ok();
    let lifetime = "DescribeAutoScalingGroupsResult/AutoScalingGroups/member/MaxInstanceLifetime";
    assert!(groups.all(lifetime).is_empty(), "the life of machines");
    let hooks = || moto.call("autoscaling DescribeLifecycleHooks AutoScalingGroupName=nodes").ok();
    let member = "DescribeLifecycleHooksResult/LifecycleHooks/member";
    assert!(hooks().all(member).is_empty(), "hooks given at creation");
    moto.call(
        "autoscaling PutLifecycleHook AutoScalingGroupName=nodes LifecycleHookName=hook \
         LifecycleTransition=autoscaling:EC2_INSTANCE_TERMINATING",
    )
    .ok();
    let invented = hooks();
    assert_eq!(
        invented.value(&format!("{member}/NotificationTargetARN")),
        "arn:aws:sqs:us-east-1:123456789012:my-queue"
    );
    assert_eq!(
        invented.value(&format!("{member}/RoleARN")),
        "arn:aws:iam::1234567890:role/my-auto-scaling-role"
    );
}

#[test]
fn machines_do_not_follow_their_template() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let group = moto.group(&vpc, "nodes");
    let template = moto.machines(&subnet, &group, "nodes");
    let find = "ec2 DescribeInstances Filter.1.Name=tag:aws:autoscaling:groupName Filter.1.Value.1=nodes";
    let machine = moto.call(find).ok();
    let path = "reservationSet/item/instancesSet/item";
    assert!(machine.all(&format!("{path}/groupSet/item")).is_empty(), "no security group");
    let id = machine.value(&format!("{path}/instanceId"));
    moto.call(&format!("ec2 TerminateInstances InstanceId.1={id}")).ok();
    let find =
        format!("ec2 DescribeNetworkInterfaces Filter.1.Name=attachment.instance-id Filter.1.Value.1={id}");
    moto.id(&find, "networkInterfaceSet/item/networkInterfaceId");

    moto.call(&format!(
        "ec2 CreateLaunchTemplateVersion LaunchTemplateId={template} LaunchTemplateData.InstanceType=t3.small \
         LaunchTemplateData.UserData=aGVsbG8="
    ))
    .ok();
    html_500(&moto.call(&format!(
        "autoscaling CreateAutoScalingGroup AutoScalingGroupName=other MinSize=1 MaxSize=1 \
         VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template} LaunchTemplate.Version=2"
    )));
}

#[test]
fn template_tags_land_in_its_data() {
    let moto = plain();
    moto.call(
        "ec2 CreateLaunchTemplate LaunchTemplateName=abc LaunchTemplateData.InstanceType=t3.small \
         TagSpecification.1.ResourceType=launch-template TagSpecification.1.Tag.1.Key=k TagSpecification.1.Tag.1.Value=v",
    )
    .ok();
    let path = "launchTemplateVersionSet/item/launchTemplateData/tagSpecificationSet/item/resourceType";
    let find = "ec2 DescribeLaunchTemplateVersions LaunchTemplateName=abc LaunchTemplateVersion.1=1";
    assert_eq!(moto.id(find, path), "launch-template");
    // Without a name: one per template of the account. kcl leans on it.
    let all = moto.call("ec2 DescribeLaunchTemplateVersions LaunchTemplateVersion.1=$Latest").ok();
    assert_eq!(all.all("launchTemplateVersionSet/item").len(), 1);
}

#[test]
fn subnet_host_names_and_dhcp_tags_are_dropped() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    moto.call(&format!(
        "ec2 ModifySubnetAttribute SubnetId={subnet} PrivateDnsHostnameTypeOnLaunch=resource-name"
    ))
    .ok();
    let find = format!("ec2 DescribeSubnets SubnetId.1={subnet}");
    assert_eq!(moto.id(&find, "subnetSet/item/privateDnsNameOptionsOnLaunch/hostnameType"), "ip-name");
    let options = moto
        .call(
            "ec2 CreateDhcpOptions DhcpConfiguration.1.Key=domain-name DhcpConfiguration.1.Value.1=x \
             TagSpecification.1.ResourceType=dhcp-options TagSpecification.1.Tag.1.Key=k \
             TagSpecification.1.Tag.1.Value=v",
        )
        .ok();
    assert!(options.all("dhcpOptions/tagSet/item").is_empty());
}

#[test]
fn tags_outlive_what_they_are_on() {
    let moto = plain();
    let create = "ec2 CreateVpc CidrBlock=10.0.0.0/16 TagSpecification.1.ResourceType=vpc TagSpecification.1.Tag.1.Key=k \
                  TagSpecification.1.Tag.1.Value=v";
    let vpc = moto.id(create, "vpc/vpcId");
    moto.call(&format!("ec2 DeleteVpc VpcId={vpc}")).ok();
    assert_eq!(moto.id("ec2 DescribeTags", "tagSet/item/resourceId"), vpc);
}

#[test]
fn subnet_ipv6_state_is_python() {
    let moto = plain();
    let made = moto.call("ec2 CreateVpc CidrBlock=10.0.0.0/16 AmazonProvidedIpv6CidrBlock=true").ok();
    let block = made.value("vpc/ipv6CidrBlockAssociationSet/item/ipv6CidrBlock").replace("/56", "/64");
    let create = format!(
        "ec2 CreateSubnet VpcId={} CidrBlock=10.0.0.0/24 Ipv6CidrBlock={block}",
        made.value("vpc/vpcId")
    );
    let state = "subnet/ipv6CidrBlockAssociationSet/item/ipv6CidrBlockState/state";
    assert_eq!(moto.id(&create, state), "{'State': 'associated'}");
}

#[test]
fn machines_get_a_root_disk_of_motos_own() {
    let moto = plain();
    let vpc = moto.vpc();
    let subnet = moto.subnet(&vpc, 1);
    let template = moto.id(
        "ec2 CreateLaunchTemplate LaunchTemplateName=abc LaunchTemplateData.InstanceType=t3.small \
         LaunchTemplateData.BlockDeviceMapping.1.DeviceName=/dev/xvda \
         LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize=64",
        "launchTemplate/launchTemplateId",
    );
    moto.call(&format!(
        "autoscaling CreateAutoScalingGroup AutoScalingGroupName=g MinSize=1 MaxSize=1 VPCZoneIdentifier={subnet} \
         LaunchTemplate.LaunchTemplateId={template}"
    ))
    .ok();
    assert_eq!(moto.call("ec2 DescribeVolumes").ok().all("volumeSet/item").len(), 2);
}

#[test]
fn targets_are_healthy_that_nobody_asks() {
    let moto = plain();
    let (_, group, _) = moto.targets("nobody");
    let health = moto.call(&format!("elasticloadbalancing DescribeTargetHealth TargetGroupArn={group}")).ok();
    let target = health.get("DescribeTargetHealthResult/TargetHealthDescriptions/member").unwrap();
    assert_eq!(target.value("HealthCheckPort"), "traffic-port");
    // No listener forwards to it.
    assert_eq!(target.value("TargetHealth/State"), "healthy");
}

#[test]
fn validation_is_thin() {
    let moto = plain();
    moto.call("ec2 CreateVpc CidrBlock=10.0.0.1/16").ok();
    let vpc = moto.vpc();
    let group = moto.group(&vpc, "sg-x");
    moto.call(&format!(
        "ec2 AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=1 \
         IpPermissions.1.ToPort=70000 IpPermissions.1.IpRanges.1.CidrIp=10.0.0.1/8"
    ))
    .ok();
    moto.query("iam", "CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", "not json")]).ok();
    let data = format!(
        "ec2 CreateLaunchTemplate LaunchTemplateName=big LaunchTemplateData.UserData={}",
        "AAAA".repeat(20 * 1024 / 3)
    );
    moto.call(&data).ok();
}

#[test]
fn attached_policy_goes_and_profiles_take_two_roles() {
    let moto = plain();
    let document =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    let made = moto.query("iam", "CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", document)]).ok();
    let policy = made.value("CreatePolicyResult/Policy/Arn").to_owned();
    let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
    moto.query("iam", "CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", trust)]).ok();
    moto.call(&format!("iam AttachRolePolicy RoleName=r PolicyArn={policy}")).ok();
    moto.call(&format!("iam DeletePolicy PolicyArn={policy}")).ok();
}

#[test]
fn a_role_that_is_not_in_a_profile_is_a_crash() {
    let moto = plain();
    let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
    moto.query("iam", "CreateRole", &[("RoleName", "r"), ("AssumeRolePolicyDocument", trust)]).ok();
    moto.call("iam CreateInstanceProfile InstanceProfileName=p").ok();
    html_500(&moto.call("iam RemoveRoleFromInstanceProfile InstanceProfileName=p RoleName=r"));
}

#[test]
fn only_amazon_linux_is_current() {
    let moto = plain();
    let find = "ec2 DescribeImages Filter.1.Name=name Filter.1.Value.1=ubuntu/images/hvm-ssd-gp3/*26.04*";
    assert!(moto.call(find).ok().all("imagesSet/item").is_empty());
}

#[test]
fn records_can_be_deleted_twice() {
    let moto = plain();
    let zone = moto.zone("example.com");
    moto.change_record(&zone, "UPSERT", "a.example.com").ok();
    moto.change_record(&zone, "DELETE", "a.example.com").ok();
    moto.change_record(&zone, "DELETE", "a.example.com").ok();
}

#[test]
fn accounts_are_told_apart_by_a_header() {
    let (one, other) = (plain(), plain());
    let vpc = one.vpc();
    one.call(&format!("ec2 DescribeVpcs VpcId.1={vpc}")).ok();
    assert_eq!(other.call(&format!("ec2 DescribeVpcs VpcId.1={vpc}")).code(), "InvalidVpcID.NotFound");
}
