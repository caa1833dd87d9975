//! Every rule, through the front.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{Client, through};
use kcl_testkit::{Decision, FrontConfig, LocalAws, Protocol, Reply, Response, TargetState};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn aws() -> LocalAws {
    LocalAws::shared().unwrap()
}

fn instant() -> LocalAws {
    LocalAws::shared_with(FrontConfig::instant()).unwrap()
}

#[track_caller]
fn refused(client: &Client, line: &str, code: &str) {
    assert_eq!(client.call(line).code(), code, "{line}");
}

#[test]
fn calls_are_recorded() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    client.call(&format!("ec2 DescribeVpcs VpcId.1={vpc}")).ok();
    refused(&client, "ec2 DeleteVpc VpcId=vpc-0", "InvalidVpcID.NotFound");
    let calls = aws.take_calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.number, call.name(), call.mutating, call.status, call.error_code.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "ec2:CreateVpc".to_owned(), true, 200, None),
            (1, "ec2:DescribeVpcs".to_owned(), false, 200, None),
            (2, "ec2:DeleteVpc".to_owned(), true, 400, Some("InvalidVpcID.NotFound")),
        ]
    );
    assert_eq!(calls[0].param("CidrBlock"), "10.0.0.0/16");
    assert!(aws.calls().is_empty());
    client.call("ec2 DescribeVpcs").ok();
    assert_eq!(aws.count("ec2", "DescribeVpcs"), 1);
    assert!(aws.mutating_calls().is_empty());
    assert_eq!(aws.calls()[0].number, 3);
}

#[test]
fn accounts_are_apart() {
    let (one, other) = (aws(), aws());
    let vpc = through(&one).vpc();
    let find = format!("ec2 DescribeVpcs VpcId.1={vpc}");
    through(&one).call(&find).ok();
    refused(&through(&other), &find, "InvalidVpcID.NotFound");
    let found = one.direct("ec2", "DescribeVpcs", &[("VpcId.1", &vpc)]).unwrap();
    assert_eq!(found.value("vpcSet/item/ownerId"), one.account());
    Client::new(one.direct_endpoint()).call(&find).ok();
    assert_eq!(one.calls().len(), 2, "the way past the rules is not recorded");
}

#[test]
fn what_moto_lacks_is_loud() {
    let aws = aws();
    let answer = through(&aws).call("autoscaling StartInstanceRefresh AutoScalingGroupName=x");
    assert_eq!((answer.status, answer.code().as_str()), (400, "KclLocalAwsUnsupported"));
    assert!(answer.body.contains("autoscaling:StartInstanceRefresh"), "{answer:?}");
    assert_eq!(aws.unsupported(), ["autoscaling:StartInstanceRefresh"]);
}

#[test]
fn faults_are_injected() {
    let aws = aws();
    let client = through(&aws);
    aws.before(|call| {
        if call.action == "DescribeVpcs" {
            return Decision::Respond(Response::error(Protocol::Ec2, 503, "RequestLimitExceeded", "slow"));
        }
        if call.action == "CreateVpc" { Decision::Drop } else { Decision::Forward }
    });
    refused(&client, "ec2 DescribeVpcs", "RequestLimitExceeded");
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let body = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.9.0.0%2F16";
    assert!(client.try_http("POST", "/", Some("ec2"), &form, body).is_none());
    aws.clear_rules();
    let vpcs = || client.call("ec2 DescribeVpcs Filter.1.Name=cidr Filter.1.Value.1=10.9.0.0/16").ok();
    assert!(vpcs().all("vpcSet/item").is_empty(), "never forwarded");
    // Forwarded, answer lost.
    aws.after(|call, response| if call.action == "CreateVpc" { Reply::Drop } else { Reply::Send(response) });
    assert!(client.try_http("POST", "/", Some("ec2"), &form, body).is_none());
    aws.clear_rules();
    assert_eq!(vpcs().all("vpcSet/item").len(), 1);
    assert_eq!(aws.calls()[1].status, 0);
}

#[test]
fn security_groups_in_use_stay() {
    let aws = instant();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let (one, other, third) =
        (client.group(&vpc, "one"), client.group(&vpc, "other"), client.group(&vpc, "third"));
    let rule = |group: &str, from: &str| {
        format!(
            "ec2 AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=tcp \
             IpPermissions.1.FromPort=1 IpPermissions.1.ToPort=2 IpPermissions.1.Groups.1.GroupId={from}"
        )
    };
    client.call(&rule(&one, &other)).ok();
    client.call(&rule(&one, &one)).ok();
    refused(&client, &rule(&one, &one), "InvalidPermission.Duplicate");
    refused(
        &client,
        &format!("ec2 CreateSecurityGroup VpcId={vpc} GroupName=one GroupDescription=d"),
        "InvalidGroup.Duplicate",
    );
    refused(&client, &format!("ec2 DeleteSecurityGroup GroupId={other}"), "DependencyViolation");
    // A rule that names the group itself is no obstacle.
    client.call(&format!("ec2 DeleteSecurityGroup GroupId={one}")).ok();
    client.call(&format!("ec2 DeleteSecurityGroup GroupId={other}")).ok();
    // Machines of a group hold theirs.
    client.machines(&subnet, &third, "workers");
    refused(&client, &format!("ec2 DeleteSecurityGroup GroupId={third}"), "DependencyViolation");
    refused(&client, &format!("ec2 DeleteSubnet SubnetId={subnet}"), "DependencyViolation");
    refused(&client, &format!("ec2 DeleteVpc VpcId={vpc}"), "DependencyViolation");
    client.call("autoscaling DeleteAutoScalingGroup AutoScalingGroupName=workers ForceDelete=true").ok();
    client.call(&format!("ec2 DeleteSecurityGroup GroupId={third}")).ok();
    client.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
    client.call(&format!("ec2 DeleteVpc VpcId={vpc}")).ok();
    assert!(aws.unsupported().is_empty());
}

#[test]
fn default_security_group_stays() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let find = format!("ec2 DescribeSecurityGroups Filter.1.Name=vpc-id Filter.1.Value.1={vpc}");
    let default = client.id(&find, "securityGroupInfo/item/groupId");
    refused(&client, &format!("ec2 DeleteSecurityGroup GroupId={default}"), "CannotDelete");
}

#[test]
fn vpc_goes_last() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let delete = format!("ec2 DeleteVpc VpcId={vpc}");
    let gateway = client.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    client.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
    refused(&client, &delete, "DependencyViolation");
    refused(
        &client,
        &format!("ec2 DeleteInternetGateway InternetGatewayId={gateway}"),
        "DependencyViolation",
    );
    client.call(&format!("ec2 DetachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
    let group = client.group(&vpc, "g");
    refused(&client, &delete, "DependencyViolation");
    client.call(&format!("ec2 DeleteSecurityGroup GroupId={group}")).ok();
    let endpoint = client.id(
        &format!("ec2 CreateVpcEndpoint VpcId={vpc} ServiceName=com.amazonaws.eu-north-1.s3 VpcEndpointType=Gateway"),
        "vpcEndpoint/vpcEndpointId",
    );
    refused(&client, &delete, "DependencyViolation");
    client.call(&format!("ec2 DeleteVpcEndpoints VpcEndpointId.1={endpoint}")).ok();
    let table = client.id(&format!("ec2 CreateRouteTable VpcId={vpc}"), "routeTable/routeTableId");
    refused(&client, &delete, "DependencyViolation");
    client.call(&format!("ec2 DeleteRouteTable RouteTableId={table}")).ok();
    client.call(&delete).ok();
    assert!(aws.unsupported().is_empty());
}

#[test]
fn one_internet_gateway_and_one_route_table() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let gateway = || client.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    let (one, other) = (gateway(), gateway());
    let attach = |gateway: &str| format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={gateway}");
    client.call(&attach(&one)).ok();
    refused(&client, &attach(&one), "Resource.AlreadyAssociated");
    refused(&client, &attach(&other), "InvalidParameterValue");
    let table = || client.id(&format!("ec2 CreateRouteTable VpcId={vpc}"), "routeTable/routeTableId");
    let (one, other) = (table(), table());
    let associate = |table: &str| format!("ec2 AssociateRouteTable RouteTableId={table} SubnetId={subnet}");
    let association = client.id(&associate(&one), "associationId");
    refused(&client, &associate(&other), "Resource.AlreadyAssociated");
    refused(&client, &format!("ec2 DeleteRouteTable RouteTableId={one}"), "DependencyViolation");
    client.call(&format!("ec2 DisassociateRouteTable AssociationId={association}")).ok();
    client.call(&associate(&other)).ok();
}

#[test]
fn nat_gateway_takes_its_time() {
    let aws = LocalAws::shared_with(FrontConfig { nat_asks: 2, ..FrontConfig::default() }).unwrap();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let gateway = client.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    client.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
    let address = client.id("ec2 AllocateAddress Domain=vpc", "allocationId");
    let create = format!("ec2 CreateNatGateway SubnetId={subnet} AllocationId={address}");
    let made = client.call(&create).ok();
    assert_eq!(made.value("natGateway/state"), "pending");
    let nat = made.value("natGateway/natGatewayId").to_owned();
    refused(&client, &create, "Resource.AlreadyAssociated");
    let state =
        || client.id(&format!("ec2 DescribeNatGateways NatGatewayId.1={nat}"), "natGatewaySet/item/state");
    assert_eq!([state(), state(), state()], ["pending", "pending", "available"]);

    let release = format!("ec2 ReleaseAddress AllocationId={address}");
    let detach = format!("ec2 DetachInternetGateway VpcId={vpc} InternetGatewayId={gateway}");
    refused(&client, &release, "AuthFailure");
    refused(&client, &detach, "DependencyViolation");
    let interfaces = format!("ec2 DescribeNetworkInterfaces Filter.1.Name=vpc-id Filter.1.Value.1={vpc}");
    let found = client.call(&interfaces).ok();
    assert_eq!(found.value("networkInterfaceSet/item/interfaceType"), "nat_gateway");
    assert_eq!(
        found.value("networkInterfaceSet/item/description"),
        format!("Interface for NAT Gateway {nat}")
    );
    let interface = found.value("networkInterfaceSet/item/networkInterfaceId");
    refused(
        &client,
        &format!("ec2 DeleteNetworkInterface NetworkInterfaceId={interface}"),
        "InvalidParameterValue",
    );

    client.call(&format!("ec2 DeleteNatGateway NatGatewayId={nat}")).ok();
    assert_eq!(state(), "deleting");
    let filtered = format!(
        "ec2 DescribeNatGateways NatGatewayId.1={nat} Filter.1.Name=state Filter.1.Value.1=available"
    );
    assert!(client.call(&filtered).ok().all("natGatewaySet/item").is_empty());
    // Two looks were those; the third finds it gone, whichever it is.
    client.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
    assert_eq!(state(), "deleted");
    client.call(&release).ok();
    client.call(&detach).ok();
    refused(&client, "ec2 DeleteNatGateway NatGatewayId=nat-0", "NatGatewayNotFound");
    assert!(aws.unsupported().is_empty());
}

#[test]
fn load_balancer_takes_its_time_and_its_interfaces_longer() {
    let aws = LocalAws::shared_with(FrontConfig {
        load_balancer_asks: 2,
        interface_asks: 3,
        ..FrontConfig::default()
    })
    .unwrap();
    let client = through(&aws);
    let vpc = client.vpc();
    let (subnet, other) = (client.subnet(&vpc, 1), client.subnet(&vpc, 2));
    let group = client.group(&vpc, "lb");
    let gateway = client.id("ec2 CreateInternetGateway", "internetGateway/internetGatewayId");
    client.call(&format!("ec2 AttachInternetGateway VpcId={vpc} InternetGatewayId={gateway}")).ok();
    let arn = client.balancer("api", &subnet, &group, "internet-facing");
    let state = || {
        let describe = format!("elasticloadbalancing DescribeLoadBalancers LoadBalancerArns.member.1={arn}");
        client.id(&describe, "DescribeLoadBalancersResult/LoadBalancers/member/State/Code")
    };
    assert_eq!([state(), state(), state()], ["provisioning", "provisioning", "active"]);
    assert!(arn.contains(":loadbalancer/net/api/"), "{arn}");

    // The same again is the same one; with other settings it is a mistake.
    assert_eq!(client.balancer("api", &subnet, &group, "internet-facing"), arn);
    let different = format!(
        "elasticloadbalancing CreateLoadBalancer Name=api Type=network Scheme=internal Subnets.member.1={subnet}"
    );
    refused(&client, &different, "DuplicateLoadBalancerName");

    let interfaces = || {
        let describe = format!("ec2 DescribeNetworkInterfaces Filter.1.Name=vpc-id Filter.1.Value.1={vpc}");
        client.call(&describe).ok()
    };
    let found = interfaces();
    assert_eq!(found.all("networkInterfaceSet/item").len(), 1);
    assert!(found.value("networkInterfaceSet/item/description").starts_with("ELB net/api/"));
    assert_eq!(found.value("networkInterfaceSet/item/interfaceType"), "network_load_balancer");
    assert_eq!(found.value("networkInterfaceSet/item/groupSet/item/groupId"), group);
    client
        .call(&format!(
            "elasticloadbalancing SetSubnets LoadBalancerArn={arn} Subnets.member.1={subnet} Subnets.member.2={other}"
        ))
        .ok();
    assert_eq!(interfaces().all("networkInterfaceSet/item").len(), 2);
    client
        .call(&format!("elasticloadbalancing SetSubnets LoadBalancerArn={arn} Subnets.member.1={subnet}"))
        .ok();
    let found = interfaces();
    let interface = found.value("networkInterfaceSet/item/networkInterfaceId");
    refused(
        &client,
        &format!("ec2 DeleteNetworkInterface NetworkInterfaceId={interface}"),
        "InvalidParameterValue",
    );

    let delete_group = format!("ec2 DeleteSecurityGroup GroupId={group}");
    let detach = format!("ec2 DetachInternetGateway VpcId={vpc} InternetGatewayId={gateway}");
    refused(&client, &delete_group, "DependencyViolation");
    refused(&client, &detach, "DependencyViolation");
    let protect = |on: &str| {
        format!(
            "elasticloadbalancing ModifyLoadBalancerAttributes LoadBalancerArn={arn} \
             Attributes.member.1.Key=deletion_protection.enabled Attributes.member.1.Value={on}"
        )
    };
    let delete = format!("elasticloadbalancing DeleteLoadBalancer LoadBalancerArn={arn}");
    client.call(&protect("true")).ok();
    refused(&client, &delete, "OperationNotPermitted");
    client.call(&protect("false")).ok();
    client.call(&delete).ok();
    refused(&client, &delete_group, "DependencyViolation");
    refused(&client, &detach, "DependencyViolation");
    refused(&client, &format!("ec2 DeleteSubnet SubnetId={subnet}"), "DependencyViolation");
    client.call(&delete_group).ok();
    client.call(&detach).ok();
    client.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
    // Gone is fine.
    client.call(&delete).ok();
    assert!(aws.unsupported().is_empty());
}

#[test]
fn listeners_and_target_groups() {
    let aws = instant();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let group = client.group(&vpc, "lb");
    let arn = client.balancer("ingress", &subnet, &group, "internal");
    let create = format!("elasticloadbalancing CreateTargetGroup Name=tcp Protocol=TCP Port=80 VpcId={vpc}");
    let target = client.id(&create, "CreateTargetGroupResult/TargetGroups/member/TargetGroupArn");
    let other = format!("elasticloadbalancing CreateTargetGroup Name=tcp Protocol=TCP Port=81 VpcId={vpc}");
    refused(&client, &other, "DuplicateTargetGroupName");
    let listener = |port: u16| {
        format!(
            "elasticloadbalancing CreateListener LoadBalancerArn={arn} Protocol=TCP Port={port} \
             DefaultActions.member.1.Type=forward DefaultActions.member.1.TargetGroupArn={target}"
        )
    };
    client.call(&listener(80)).ok();
    refused(&client, &listener(80), "DuplicateListener");
    client.call(&listener(443)).ok();
    refused(
        &client,
        &format!("elasticloadbalancing DeleteTargetGroup TargetGroupArn={target}"),
        "ResourceInUse",
    );
    client.call(&format!("elasticloadbalancing DeleteLoadBalancer LoadBalancerArn={arn}")).ok();
    client.call(&format!("elasticloadbalancing DeleteTargetGroup TargetGroupArn={target}")).ok();
    // No look at all with FrontConfig::instant.
    client.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
}

#[test]
fn groups_of_machines() {
    let aws = LocalAws::shared_with(FrontConfig { group_asks: 2, ..FrontConfig::default() }).unwrap();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let group = client.group(&vpc, "nodes");
    let template = client.machines(&subnet, &group, "nodes");
    let create = format!(
        "autoscaling CreateAutoScalingGroup AutoScalingGroupName=nodes MinSize=0 MaxSize=1 \
         VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template}"
    );
    refused(&client, &create, "AlreadyExists");
    let describe = "autoscaling DescribeAutoScalingGroups AutoScalingGroupNames.member.1=nodes";
    let member = "DescribeAutoScalingGroupsResult/AutoScalingGroups/member";
    let machine = client.id(describe, &format!("{member}/Instances/member/InstanceId"));
    let delete_template = format!("ec2 DeleteLaunchTemplate LaunchTemplateId={template}");
    refused(&client, &delete_template, "DependencyViolation");
    refused(&client, "autoscaling DeleteAutoScalingGroup AutoScalingGroupName=nodes", "ResourceInUse");
    let delete = "autoscaling DeleteAutoScalingGroup AutoScalingGroupName=nodes ForceDelete=true";
    client.call(delete).ok();
    client.call(delete).ok();
    refused(&client, &create, "AlreadyExists");
    refused(
        &client,
        "autoscaling UpdateAutoScalingGroup AutoScalingGroupName=nodes MaxSize=2",
        "ValidationError",
    );
    let seen = client.call(describe).ok();
    assert_eq!(seen.value(&format!("{member}/Status")), "Delete in progress");
    assert_eq!(seen.value(&format!("{member}/Instances/member/LifecycleState")), "Terminating");
    let state = || {
        let path = "reservationSet/item/instancesSet/item/instanceState/name";
        client.id(&format!("ec2 DescribeInstances InstanceId.1={machine}"), path)
    };
    assert_eq!([state(), state()], ["shutting-down", "terminated"]);
    assert!(client.call(describe).ok().all(member).is_empty());
    client.call(&delete_template).ok();
    client.call(&format!("ec2 DeleteSecurityGroup GroupId={group}")).ok();
    assert!(aws.unsupported().is_empty());
}

#[test]
fn hooks_given_at_creation_are_made() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let group = client.group(&vpc, "nodes");
    let template = client.machines(&subnet, &group, "first");
    client
        .call(&format!(
            "autoscaling CreateAutoScalingGroup AutoScalingGroupName=second MinSize=0 MaxSize=1 \
             VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template} \
             LifecycleHookSpecificationList.member.1.LifecycleHookName=hook \
             LifecycleHookSpecificationList.member.1.LifecycleTransition=autoscaling:EC2_INSTANCE_TERMINATING \
             LifecycleHookSpecificationList.member.1.HeartbeatTimeout=300 \
             LifecycleHookSpecificationList.member.1.DefaultResult=CONTINUE"
        ))
        .ok();
    let hooks = client.call("autoscaling DescribeLifecycleHooks AutoScalingGroupName=second").ok();
    let hook = hooks.get("DescribeLifecycleHooksResult/LifecycleHooks/member").unwrap();
    assert_eq!(
        ["LifecycleHookName", "HeartbeatTimeout", "DefaultResult"].map(|name| hook.value(name)),
        ["hook", "300", "CONTINUE"]
    );
    assert!(hook.get("NotificationTargetARN").is_none() && hook.get("RoleARN").is_none());
    let named = "autoscaling PutLifecycleHook AutoScalingGroupName=second LifecycleHookName=a.b \
                 LifecycleTransition=autoscaling:EC2_INSTANCE_TERMINATING";
    refused(&client, named, "ValidationError");
    let given = format!(
        "autoscaling CreateAutoScalingGroup AutoScalingGroupName=third MinSize=0 MaxSize=1 \
         VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template} \
         LifecycleHookSpecificationList.member.1.LifecycleHookName=a.b"
    );
    refused(&client, &given, "ValidationError");
}

#[test]
fn machines_are_as_their_template_says() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let (one, other) = (client.subnet(&vpc, 1), client.subnet(&vpc, 2));
    let group = client.group(&vpc, "nodes");
    let template = client.machines(&one, &group, "first");
    client
        .call(&format!(
            "ec2 CreateLaunchTemplateVersion LaunchTemplateId={template} LaunchTemplateData.ImageId=ami-0a1b2c3d4e5f60001 \
             LaunchTemplateData.InstanceType=t3.micro LaunchTemplateData.UserData=aGVsbG8= \
             LaunchTemplateData.NetworkInterface.1.DeviceIndex=0 \
             LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1={group}"
        ))
        .ok();
    client
        .call(&format!(
            "autoscaling CreateAutoScalingGroup AutoScalingGroupName=second MinSize=2 MaxSize=2 \
             VPCZoneIdentifier={one},{other} \
             MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateId={template} \
             MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.Version=2 \
             MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.InstanceType=t3.nano \
             MixedInstancesPolicy.InstancesDistribution.OnDemandBaseCapacity=0 \
             MixedInstancesPolicy.InstancesDistribution.OnDemandPercentageAboveBaseCapacity=0"
        ))
        .ok();
    let machines = client
        .call("ec2 DescribeInstances Filter.1.Name=tag:aws:autoscaling:groupName Filter.1.Value.1=second")
        .ok();
    let path = "reservationSet/item/instancesSet/item";
    let all = |name: &str| machines.values(&format!("{path}/{name}")).join(" ");
    assert_eq!(all("instanceType"), "t3.nano t3.nano");
    assert_eq!(all("subnetId"), format!("{one} {other}"));
    assert_eq!(all("groupSet/item/groupId"), format!("{group} {group}"));
    assert_eq!(all("instanceLifecycle"), "spot spot");
    client
        .call(
            "autoscaling DisableMetricsCollection AutoScalingGroupName=second Metrics.member.1=GroupMaxSize",
        )
        .ok();
    assert!(aws.unsupported().is_empty());
}

#[test]
fn tokens_make_calls_idempotent() {
    let aws = instant();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let address = client.id("ec2 AllocateAddress Domain=vpc", "allocationId");
    let cases = [
        (
            "ec2 CreateVolume AvailabilityZone=eu-north-1a Size=20".to_owned(),
            "volumeId",
            "ec2 CreateVolume AvailabilityZone=eu-north-1a Size=21".to_owned(),
        ),
        (
            format!("ec2 CreateNatGateway SubnetId={subnet} AllocationId={address}"),
            "natGateway/natGatewayId",
            format!("ec2 CreateNatGateway SubnetId={subnet}"),
        ),
        (
            format!("ec2 CreateRouteTable VpcId={vpc}"),
            "routeTable/routeTableId",
            format!("ec2 CreateRouteTable VpcId={vpc} TagSpecification.1.ResourceType=route-table"),
        ),
        (
            "ec2 CreateLaunchTemplate LaunchTemplateName=abc LaunchTemplateData.InstanceType=t3.small"
                .to_owned(),
            "launchTemplate/launchTemplateId",
            "ec2 CreateLaunchTemplate LaunchTemplateName=abc LaunchTemplateData.InstanceType=t3.micro"
                .to_owned(),
        ),
        (
            format!("ec2 RunInstances ImageId=ami-0a1b2c3d4e5f60001 MinCount=1 MaxCount=1 SubnetId={subnet}"),
            "instancesSet/item/instanceId",
            format!("ec2 RunInstances ImageId=ami-0a1b2c3d4e5f60001 MinCount=2 MaxCount=2 SubnetId={subnet}"),
        ),
    ];
    for (line, path, other) in cases {
        let first = client.id(&format!("{line} ClientToken=token"), path);
        assert_eq!(client.id(&format!("{line} ClientToken=token"), path), first, "{line}");
        refused(&client, &format!("{other} ClientToken=token"), "IdempotentParameterMismatch");
    }
    let long = "t".repeat(65);
    refused(&client, &format!("ec2 CreateVolume Size=1 ClientToken={long}"), "InvalidParameterValue");
    refused(
        &client,
        "ec2 CreateLaunchTemplate LaunchTemplateName=abc LaunchTemplateData.InstanceType=t3.micro",
        "InvalidLaunchTemplateName.AlreadyExistsException",
    );
}

#[test]
fn values_are_checked() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let group = client.group(&vpc, "g");
    refused(&client, "ec2 CreateVpc CidrBlock=10.0.0.1/16", "InvalidVpc.Range");
    refused(&client, &format!("ec2 CreateSubnet VpcId={vpc} CidrBlock=10.0.1.1/24"), "InvalidSubnet.Range");
    refused(&client, &format!("ec2 CreateSubnet VpcId={vpc} CidrBlock=10.1.0.0/24"), "InvalidSubnet.Range");
    client.subnet(&vpc, 7);
    refused(
        &client,
        &format!("ec2 CreateSubnet VpcId={vpc} CidrBlock=10.0.7.0/25"),
        "InvalidSubnet.Conflict",
    );
    for (port, cidr) in [("70000", "10.0.0.0/8"), ("22", "10.0.0.1/8")] {
        let rule = format!(
            "ec2 AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=tcp \
             IpPermissions.1.FromPort=22 IpPermissions.1.ToPort={port} IpPermissions.1.IpRanges.1.CidrIp={cidr}"
        );
        refused(&client, &rule, "InvalidParameterValue");
    }
    let named = format!("ec2 CreateSecurityGroup VpcId={vpc} GroupName=sg-x GroupDescription=d");
    refused(&client, &named, "InvalidParameterValue");
    let data = |size: usize| {
        // Four characters for three bytes.
        format!(
            "ec2 CreateLaunchTemplate LaunchTemplateName=t{size} LaunchTemplateData.UserData={}",
            "AAAA".repeat(size / 3)
        )
    };
    refused(&client, &data(16 * 1024 + 3), "InvalidParameterValue");
    client.call(&data(16 * 1024)).ok();
    let long = format!("elasticloadbalancing CreateTargetGroup Name={} VpcId={vpc}", "n".repeat(33));
    refused(&client, &long, "ValidationError");
    let role = |name: &str, policy: &str| {
        client.query("iam", "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", policy)])
    };
    assert_eq!(role("r", "not json").code(), "MalformedPolicyDocument");
    assert_eq!(role(&"r".repeat(65), TRUST).code(), "ValidationError");
    role("r", TRUST).ok();
    let inline = [("RoleName", "r"), ("PolicyName", "p"), ("PolicyDocument", "{}")];
    assert_eq!(client.query("iam", "PutRolePolicy", &inline).code(), "MalformedPolicyDocument");
}

#[test]
fn roles_and_policies_in_use_stay() {
    let aws = aws();
    let client = through(&aws);
    for name in ["one", "other"] {
        client.query("iam", "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", TRUST)]).ok();
    }
    let document =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    let made = client.query("iam", "CreatePolicy", &[("PolicyName", "p"), ("PolicyDocument", document)]).ok();
    let policy = made.value("CreatePolicyResult/Policy/Arn").to_owned();
    client.call(&format!("iam AttachRolePolicy RoleName=one PolicyArn={policy}")).ok();
    refused(&client, &format!("iam DeletePolicy PolicyArn={policy}"), "DeleteConflict");
    refused(&client, "iam DeleteRole RoleName=one", "DeleteConflict");
    client.call("iam CreateInstanceProfile InstanceProfileName=profile").ok();
    client.call("iam AddRoleToInstanceProfile InstanceProfileName=profile RoleName=one").ok();
    let second = "iam AddRoleToInstanceProfile InstanceProfileName=profile RoleName=other";
    refused(&client, second, "LimitExceeded");
    let not_in_it = "iam RemoveRoleFromInstanceProfile InstanceProfileName=profile RoleName=other";
    refused(&client, not_in_it, "NoSuchEntity");
    refused(&client, "iam DeleteInstanceProfile InstanceProfileName=profile", "DeleteConflict");
    client.call(&format!("iam DetachRolePolicy RoleName=one PolicyArn={policy}")).ok();
    refused(&client, "iam DeleteRole RoleName=one", "DeleteConflict");
    client.call("iam RemoveRoleFromInstanceProfile InstanceProfileName=profile RoleName=one").ok();
    client.call("iam DeleteInstanceProfile InstanceProfileName=profile").ok();
    client.call("iam DeleteRole RoleName=one").ok();
    client.call(&format!("iam DeletePolicy PolicyArn={policy}")).ok();
    // AWS's own policies are there.
    client
        .call("iam AttachRolePolicy RoleName=other PolicyArn=arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
        .ok();
}

#[test]
fn volumes_in_use_stay() {
    let aws = aws();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 0);
    let run =
        format!("ec2 RunInstances ImageId=ami-0a1b2c3d4e5f60001 MinCount=1 MaxCount=1 SubnetId={subnet}");
    let machine = client.id(&run, "instancesSet/item/instanceId");
    let volume = client.id("ec2 CreateVolume AvailabilityZone=eu-north-1a Size=1", "volumeId");
    client.call(&format!("ec2 AttachVolume VolumeId={volume} InstanceId={machine} Device=/dev/sdf")).ok();
    refused(&client, &format!("ec2 DeleteVolume VolumeId={volume}"), "VolumeInUse");
    client.call(&format!("ec2 TerminateInstances InstanceId.1={machine}")).ok();
    client.call(&format!("ec2 DeleteSubnet SubnetId={subnet}")).ok();
}

#[test]
fn buckets() {
    let aws = aws();
    let client = through(&aws);
    let bucket = format!("kcl-{}", aws.account());
    let s3 = |method: &str, path: &str, body: &str| client.http(method, path, Some("s3"), &[], body);
    client.bucket(&bucket);
    let again = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(s3("PUT", &format!("/{bucket}"), again).code(), "BucketAlreadyOwnedByYou");
    assert_eq!(s3("GET", &format!("/{bucket}?versioning"), "").ok().name, "VersioningConfiguration");
    // What AWS sets by itself.
    let block = s3("GET", &format!("/{bucket}?publicAccessBlock"), "").ok();
    assert_eq!(block.value("BlockPublicPolicy"), "true");
    let encryption = s3("GET", &format!("/{bucket}?encryption"), "").ok();
    assert_eq!(encryption.value("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm"), "AES256");
    s3("GET", &format!("/{bucket}?ownershipControls"), "").ok();

    let document = format!("/{bucket}/c/.well-known/openid-configuration");
    s3("PUT", &document, "{\"issuer\":\"x\"}").ok();
    let anonymous = |method: &str, path: &str| client.http(method, path, None, &[], "");
    assert_eq!(anonymous("GET", &document).code(), "AccessDenied");
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::{bucket}/c/.well-known/*"}}]}}"#
    );
    assert_eq!(s3("PUT", &format!("/{bucket}?policy"), &policy).code(), "AccessDenied");
    s3("DELETE", &format!("/{bucket}?publicAccessBlock"), "").ok();
    s3("PUT", &format!("/{bucket}?policy"), &policy).ok();
    assert_eq!(anonymous("GET", &document).body, "{\"issuer\":\"x\"}");
    assert_eq!(anonymous("GET", &format!("/{bucket}/c/config")).code(), "AccessDenied");
    assert_eq!(anonymous("PUT", &document).code(), "AccessDenied");
    assert_eq!(anonymous("GET", &format!("/{bucket}-not/x")).code(), "NoSuchBucket");

    // Elsewhere S3 says where the bucket is, and it serves nobody who expects another owner.
    let west = "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, \
                SignedHeaders=host, Signature=0";
    let elsewhere = client.http("GET", &format!("/{bucket}/c/config"), None, &[west], "");
    assert_eq!(elsewhere.status, 301);
    assert!(elsewhere.body.contains("<Code>PermanentRedirect</Code>"), "{elsewhere:?}");
    assert!(elsewhere.head.to_lowercase().contains("x-amz-bucket-region: eu-north-1"), "{elsewhere:?}");
    let head = |owner: &str| {
        let header = format!("x-amz-expected-bucket-owner: {owner}");
        client.http("HEAD", &format!("/{bucket}"), Some("s3"), &[&header], "").status
    };
    assert_eq!((head(aws.account()), head("123456789012")), (200, 403));

    // What it is made with.
    let tagged = format!("{bucket}-tagged");
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint><Tags><Tag>\
                <Key>k</Key><Value>v</Value></Tag></Tags></CreateBucketConfiguration>";
    s3("PUT", &format!("/{tagged}"), body).ok();
    assert_eq!(s3("GET", &format!("/{tagged}?tagging"), "").ok().value("TagSet/Tag/Value"), "v");

    // A conditional write has one winner, whoever comes at the same time.
    let put = |header: &str| client.http("PUT", &format!("/{bucket}/lock"), Some("s3"), &[header], "me");
    let winners = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..10).map(|_| scope.spawn(|| put("If-None-Match: *").status)).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).filter(|s| *s == 200).count()
    });
    assert_eq!(winners, 1);
    assert_eq!(put("If-Match: \"0\"").code(), "PreconditionFailed");
    let head = s3("HEAD", &format!("/{bucket}/lock"), "").head.to_lowercase();
    assert!(head.contains("content-length: 2"), "{head}");
}

#[test]
fn what_comes_at_the_same_time_is_judged_one_by_one() {
    let aws = instant();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let group = client.group(&vpc, "g");
    let template = client.machines(&subnet, &group, "first");
    let lines = [
        format!(
            "autoscaling CreateAutoScalingGroup AutoScalingGroupName=same MinSize=0 MaxSize=0 \
             VPCZoneIdentifier={subnet} LaunchTemplate.LaunchTemplateId={template}"
        ),
        format!("ec2 CreateSecurityGroup VpcId={vpc} GroupName=same GroupDescription=d"),
    ];
    for line in lines {
        let made = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..10).map(|_| scope.spawn(|| client.call(&line).status)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).filter(|status| *status == 200).count()
        });
        assert_eq!(made, 1, "{line}");
    }
    let volumes: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let create = "ec2 CreateVolume AvailabilityZone=eu-north-1a Size=1 ClientToken=same";
        let callers: Vec<_> = (0..10).map(|_| scope.spawn(|| client.id(create, "volumeId"))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(volumes.len(), 1);
}

#[test]
fn tags_go_with_what_they_are_on() {
    let aws = instant();
    let client = through(&aws);
    let tagged = |kind: &str| {
        format!(
            "TagSpecification.1.ResourceType={kind} TagSpecification.1.Tag.1.Key=k TagSpecification.1.Tag.1.Value=v"
        )
    };
    let create =
        format!("ec2 CreateVpc CidrBlock=10.0.0.0/16 AmazonProvidedIpv6CidrBlock=true {}", tagged("vpc"));
    let vpc = client.id(&create, "vpc/vpcId");
    let create = format!(
        "ec2 CreateDhcpOptions DhcpConfiguration.1.Key=domain-name DhcpConfiguration.1.Value.1=x {}",
        tagged("dhcp-options")
    );
    let options = client.id(&create, "dhcpOptions/dhcpOptionsId");
    let address = client.id(&format!("ec2 AllocateAddress {}", tagged("elastic-ip")), "allocationId");
    let tags = || {
        let found = client.call("ec2 DescribeTags Filter.1.Name=key Filter.1.Value.1=k").ok();
        found.values("tagSet/item/resourceType").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tags(), ["vpc", "dhcp-options", "elastic-ip"]);
    client.call(&format!("ec2 DeleteVpc VpcId={vpc}")).ok();
    client.call(&format!("ec2 DeleteDhcpOptions DhcpOptionsId={options}")).ok();
    client.call(&format!("ec2 ReleaseAddress AllocationId={address}")).ok();
    assert!(tags().is_empty());
}

#[test]
fn subnets_keep_what_they_are_told() {
    let aws = aws();
    let client = through(&aws);
    let made = client.call("ec2 CreateVpc CidrBlock=10.0.0.0/16 AmazonProvidedIpv6CidrBlock=true").ok();
    let block = made.value("vpc/ipv6CidrBlockAssociationSet/item/ipv6CidrBlock").replace("/56", "/64");
    let vpc = made.value("vpc/vpcId");
    let create = format!("ec2 CreateSubnet VpcId={vpc} CidrBlock=10.0.0.0/24 Ipv6CidrBlock={block}");
    let subnet = client.id(&create, "subnet/subnetId");
    client
        .call(&format!(
            "ec2 ModifySubnetAttribute SubnetId={subnet} PrivateDnsHostnameTypeOnLaunch=resource-name"
        ))
        .ok();
    let found = client.call(&format!("ec2 DescribeSubnets SubnetId.1={subnet}")).ok();
    let item = found.get("subnetSet/item").unwrap();
    assert_eq!(item.value("privateDnsNameOptionsOnLaunch/hostnameType"), "resource-name");
    assert_eq!(item.value("ipv6CidrBlockAssociationSet/item/ipv6CidrBlockState/state"), "associated");
}

#[test]
fn records_must_be_there_to_be_deleted() {
    let aws = aws();
    let client = through(&aws);
    let zone = client.zone("example.com");
    let change = |action: &str| client.change_record(&zone, action, "api.example.com");
    assert_eq!(change("DELETE").code(), "InvalidChangeBatch");
    change("UPSERT").ok();
    change("DELETE").ok();
    assert_eq!(change("DELETE").code(), "InvalidChangeBatch");
    assert_eq!(aws.count("route53", "ChangeResourceRecordSets"), 4);
}

#[test]
fn images_and_their_parameters() {
    let aws = aws();
    let client = through(&aws);
    let image = |owner: &str, name: &str| {
        client.id(
            &format!("ec2 DescribeImages Owner.1={owner} Filter.1.Name=name Filter.1.Value.1={name}"),
            "imagesSet/item/imageId",
        )
    };
    let ubuntu =
        image("099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-amd64-server-20220404");
    image("136693071363", "debian-13-amd64-*");
    let names = [
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
        "/aws/service/canonical/ubuntu/server/26.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "/aws/service/debian/release/13/latest/arm64",
    ];
    let body = serde_json::json!({ "Names": names }).to_string();
    let headers = ["X-Amz-Target: AmazonSSM.GetParameters", "Content-Type: application/x-amz-json-1.1"];
    let answer = client.http("POST", "/", Some("ssm"), &headers, &body);
    let parameters: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(parameters["InvalidParameters"], serde_json::json!([]), "{answer:?}");
    let values: Vec<&str> = parameters["Parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["Value"].as_str().unwrap())
        .collect();
    assert!(values.contains(&ubuntu.as_str()));
    for value in values {
        client.id(&format!("ec2 DescribeImages ImageId.1={value}"), "imagesSet/item/architecture");
    }
    assert_eq!(aws.count("ssm", "GetParameters"), 1);
}

#[test]
fn health_of_targets() {
    let aws = LocalAws::shared_with(FrontConfig { group_asks: 3, ..FrontConfig::instant() }).unwrap();
    let client = through(&aws);
    let (subnet, group, machine) = client.targets("web-health");
    let health = || {
        let asked = format!("elasticloadbalancing DescribeTargetHealth TargetGroupArn={group}");
        let answer = client.call(&asked).ok();
        let targets = answer.all("DescribeTargetHealthResult/TargetHealthDescriptions/member");
        assert_eq!(targets.len(), 1);
        let of = |path: &str| targets[0].value(path).to_owned();
        assert_eq!((of("Target/Id"), of("Target/Port")), (machine.clone(), "80".to_owned()));
        assert_eq!(of("HealthCheckPort"), "80");
        format!("{} {}", of("TargetHealth/State"), of("TargetHealth/Reason"))
    };
    assert_eq!(health(), "unused Target.NotInUse");

    let vpc = client.id(&format!("ec2 DescribeSubnets SubnetId.1={subnet}"), "subnetSet/item/vpcId");
    let balancer = client.balancer("web", &subnet, &client.group(&vpc, "lb"), "internal");
    client
        .call(&format!(
            "elasticloadbalancing CreateListener LoadBalancerArn={balancer} Protocol=TCP Port=80 \
             DefaultActions.member.1.Type=forward DefaultActions.member.1.TargetGroupArn={group}"
        ))
        .ok();
    assert_eq!(health(), "healthy ");
    aws.set_target_health("web-", TargetState::Unhealthy);
    assert_eq!(health(), "unhealthy Target.FailedHealthChecks");
    aws.set_target_health("web-health", TargetState::Initial);
    assert_eq!(health(), "initial Elb.RegistrationInProgress");
    aws.set_target_health("web-health", TargetState::Healthy);
    assert_eq!(health(), "healthy ");

    client.call("autoscaling DeleteAutoScalingGroup AutoScalingGroupName=web-health ForceDelete=true").ok();
    assert_eq!(health(), "draining Target.DeregistrationInProgress");
}
