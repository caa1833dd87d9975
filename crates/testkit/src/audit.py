"""Lists what an AWS account holds, with plain SDK calls, as one JSON document a line on stdout.

Each line on stdin is ENDPOINT REGION; it ends with stdin. Nothing of kcl is used here: it is the second opinion about what kcl
made, and about whether anything is left after a delete. Each list holds what boto3 answered, with what
only further calls tell put under names that begin with a small letter.
"""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SESSION = boto3.Session(aws_access_key_id="AUDIT", aws_secret_access_key="audit")
# Of objects, by their ETags.
TEXTS = {}
CONFIG = Config(retries={"max_attempts": 1}, max_pool_connections=4, s3={"addressing_style": "path"})


def client(service, endpoint, region):
    return SESSION.client(service, region_name=region, endpoint_url=endpoint, config=CONFIG)


def pages(api, action, key, **parameters):
    """Every item of a listing."""
    if not api.can_paginate(action):
        return getattr(api, action)(**parameters)[key]
    return [item for page in api.get_paginator(action).paginate(**parameters) for item in page[key]]


def in_groups(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def attribute(api, vpc, name):
    return api.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=name)[name[0].upper() + name[1:]]["Value"]


def ec2(api):
    vpcs = pages(api, "describe_vpcs", "Vpcs")
    for vpc in vpcs:
        vpc["dnsSupport"] = attribute(api, vpc, "enableDnsSupport")
        vpc["dnsHostnames"] = attribute(api, vpc, "enableDnsHostnames")
    templates = pages(api, "describe_launch_templates", "LaunchTemplates")
    for template in templates:
        version = api.describe_launch_template_versions(
            LaunchTemplateId=template["LaunchTemplateId"], Versions=["$Latest"]
        )
        template["latest"] = version["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    reservations = pages(api, "describe_instances", "Reservations")
    return {
        "vpcs": vpcs,
        "dhcp_options": pages(api, "describe_dhcp_options", "DhcpOptions"),
        "internet_gateways": pages(api, "describe_internet_gateways", "InternetGateways"),
        "egress_only_internet_gateways": pages(
            api, "describe_egress_only_internet_gateways", "EgressOnlyInternetGateways"
        ),
        "subnets": pages(api, "describe_subnets", "Subnets"),
        "route_tables": pages(api, "describe_route_tables", "RouteTables"),
        "nat_gateways": pages(api, "describe_nat_gateways", "NatGateways"),
        "addresses": pages(api, "describe_addresses", "Addresses"),
        "security_groups": pages(api, "describe_security_groups", "SecurityGroups"),
        "security_group_rules": pages(api, "describe_security_group_rules", "SecurityGroupRules"),
        "network_interfaces": pages(api, "describe_network_interfaces", "NetworkInterfaces"),
        "vpc_endpoints": pages(api, "describe_vpc_endpoints", "VpcEndpoints"),
        "instances": [instance for one in reservations for instance in one["Instances"]],
        "key_pairs": pages(api, "describe_key_pairs", "KeyPairs"),
        "launch_templates": templates,
        "volumes": pages(api, "describe_volumes", "Volumes"),
    }


def elbv2(api):
    balancers = pages(api, "describe_load_balancers", "LoadBalancers")
    groups = pages(api, "describe_target_groups", "TargetGroups")
    listeners = []
    for balancer in balancers:
        arn = balancer["LoadBalancerArn"]
        balancer["attributes"] = flat(api.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
        listeners += pages(api, "describe_listeners", "Listeners", LoadBalancerArn=arn)
    for group in groups:
        arn = group["TargetGroupArn"]
        group["attributes"] = flat(api.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
    tagged = {
        item[kind]: item
        for kind, items in (
            ("LoadBalancerArn", balancers),
            ("TargetGroupArn", groups),
            ("ListenerArn", listeners),
        )
        for item in items
    }
    for arns in in_groups(list(tagged), 20):
        for description in api.describe_tags(ResourceArns=arns)["TagDescriptions"]:
            tagged[description["ResourceArn"]]["Tags"] = description["Tags"]
    return {"load_balancers": balancers, "listeners": listeners, "target_groups": groups}


def elb(api):
    balancers = pages(api, "describe_load_balancers", "LoadBalancerDescriptions")
    named = {balancer["LoadBalancerName"]: balancer for balancer in balancers}
    for names in in_groups(list(named), 20):
        for description in api.describe_tags(LoadBalancerNames=names)["TagDescriptions"]:
            named[description["LoadBalancerName"]]["Tags"] = description["Tags"]
    return {"classic_load_balancers": balancers}


def flat(pairs):
    return {pair["Key"]: pair["Value"] for pair in pairs}


def autoscaling(api):
    groups = pages(api, "describe_auto_scaling_groups", "AutoScalingGroups")
    for group in groups:
        name = group["AutoScalingGroupName"]
        group["hooks"] = api.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    return {
        "auto_scaling_groups": groups,
        "launch_configurations": pages(api, "describe_launch_configurations", "LaunchConfigurations"),
    }


def iam(api):
    roles = pages(api, "get_account_authorization_details", "RoleDetailList", Filter=["Role"])
    profiles = pages(api, "list_instance_profiles", "InstanceProfiles")
    for profile in profiles:
        name = profile["InstanceProfileName"]
        profile["Tags"] = api.get_instance_profile(InstanceProfileName=name)["InstanceProfile"].get("Tags", [])
    providers = []
    for provider in api.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = provider["Arn"]
        answer = api.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        answer.pop("ResponseMetadata")
        providers.append({"Arn": arn, **answer})
    policies = pages(api, "list_policies", "Policies", Scope="Local")
    for policy in policies:
        # Says something about roles, not about the policy.
        policy.pop("AttachmentCount", None)
    return {
        "roles": roles,
        "instance_profiles": profiles,
        "oidc_providers": providers,
        "policies": policies,
        "users": pages(api, "list_users", "Users"),
    }


def sqs(api):
    queues = []
    for url in api.list_queues().get("QueueUrls", []):
        queues.append(
            {
                "QueueUrl": url,
                "QueueName": url.rsplit("/", 1)[1],
                "attributes": api.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"],
                "tags": api.list_queue_tags(QueueUrl=url).get("Tags", {}),
            }
        )
    return {"queues": queues}


def events(api):
    rules = pages(api, "list_rules", "Rules")
    for rule in rules:
        rule["targets"] = pages(api, "list_targets_by_rule", "Targets", Rule=rule["Name"])
        rule["Tags"] = api.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
    return {"event_rules": rules}


def route53(api):
    zones = pages(api, "list_hosted_zones", "HostedZones")
    for zone in zones:
        zone["records"] = pages(api, "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone["Id"])
    return {"hosted_zones": zones}


def s3(api):
    buckets = api.list_buckets()["Buckets"]
    for bucket in buckets:
        name = bucket["Name"]
        items = list(contents(api, name))
        bucket["keys"] = [item["Key"] for item in items]
        bucket["objects"] = [
            {"key": item["Key"], "text": text(api, name, item)} for item in items if not is_secret(item["Key"])
        ]
        bucket["versioning"] = api.get_bucket_versioning(Bucket=name).get("Status")
    return {"buckets": buckets}


def contents(api, bucket):
    try:
        for page in api.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            yield from page.get("Contents", [])
    except ClientError as error:
        # Listed by another account of the same server, or deleted since.
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def is_secret(key):
    """Private keys and what Secrets are encrypted with are listed, and not read."""
    return "/pki/private/" in key or "/secrets/" in key


def text(api, bucket, item):
    """What a listed object holds. moto's ETag is the MD5 of what is in it, so that each content is read once."""
    if item["ETag"] in TEXTS:
        return TEXTS[item["ETag"]]
    try:
        answer = api.get_object(Bucket=bucket, Key=item["Key"])
    except ClientError:
        # Deleted since it was listed.
        return None
    content = answer["Body"].read()
    try:
        TEXTS[answer["ETag"]] = content.decode()
    except UnicodeDecodeError:
        digest = hashlib.sha256(content).digest().hex("-", 8)
        TEXTS[answer["ETag"]] = f"{len(content)} bytes, SHA-256 {digest}"
    return TEXTS[answer["ETag"]]


PARTS = {
    "ec2": ec2,
    "elb": elb,
    "elbv2": elbv2,
    "autoscaling": autoscaling,
    "iam": iam,
    "sqs": sqs,
    "events": events,
    "route53": route53,
    "s3": s3,
}


def listing(endpoint, region):
    # Clients one after another: making them is not safe to do from several threads.
    jobs = [(part, client(service, endpoint, region)) for service, part in PARTS.items()]
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        answers = list(pool.map(lambda job: job[0](job[1]), jobs))
    return {name: items for answer in answers for name, items in answer.items()}


def main():
    for line in sys.stdin:
        json.dump(listing(*line.split()), sys.stdout, default=str, sort_keys=True)
        print(flush=True)


main()
