"""What moto does wrong inside itself, where no proxy in front of it can help.

Each function mends one thing and says what AWS does. tests/canaries.rs has a test per function that
shows the fault in moto as published: when it fails, the function can go.
"""

import functools
import json
import os
import threading

from moto.autoscaling import models as autoscaling
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult
from moto.ec2 import utils as ec2_utils
from moto.ec2.models import amis, instances, launch_templates
from moto.ec2.models import tags as ec2_tags
from moto.ec2.responses import dhcp_options as dhcp_responses
from moto.ec2.responses import subnets as subnet_responses
from moto.ec2.utils import parse_user_data
from moto.elbv2 import models as elbv2
from moto.iam.access_control import IAMPolicy
from moto.iam.exceptions import NotFoundException as IamNotFound
from moto.iam.models import IAMBackend
from moto.iam.responses import IamResponse
from moto.s3 import models as s3
from moto.s3.responses import S3Response
from moto.ssm import models as ssm

OURS = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "amis.json")))


def images():
    """Ubuntu and Debian as they are today, beside Amazon Linux 2023 (the only current one of moto's own).

    The rest of moto's 1,300 images is left out: they cost each new account a third of a second.
    """

    @functools.lru_cache(maxsize=None)
    def of_region(region):
        try:
            current = amis.load_resource(f"ec2/resources/latest_amis/{region}.json")
        except FileNotFoundError:
            current = []
        amazon = [dict(image, owner_alias="amazon") for image in current if image["name"].startswith("al2023-")]
        ours = [{k: v for k, v in image.items() if k != "ssm_parameters"} for image in OURS]
        return amazon + ours

    def load(self):
        for image in of_region(self.region_name):
            image = dict(image)
            if image.get("creation_date"):
                image["creation_date"] = amis.parse_timestamp(image["creation_date"])
            self.amis[image["ami_id"]] = amis.Ami(self, **image)

    amis.AmiBackend._load_amis = load


def image_parameters():
    """The public SSM parameters of those images."""
    by_name = {name: image["ami_id"] for image in OURS for name in image["ssm_parameters"]}
    check = ssm.ParameterDict._check_loading_status

    def check_loading_status(self, key):
        check(self, key)
        name = str(key or "")
        # `in` on the dict itself would come back here.
        if name in by_name and not dict.__contains__(self, name):
            parameter = ssm.Parameter(
                account_id=self.account_id,
                name=name,
                value=by_name[name],
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=ssm.utcnow(),
                version=1,
                data_type="aws:ec2:image",
            )
            dict.__setitem__(self, name, [parameter])

    ssm.ParameterDict._check_loading_status = check_loading_status


def template_versions():
    """User data of a template's second and later versions: a group that uses one could start no machine.

    Also: the template's own tags are no part of its data.
    """
    plain = launch_templates.LaunchTemplateVersion.__init__

    def init(self, template, number, data, description):
        data = dict(data)
        if isinstance(data.get("UserData"), str):
            data["UserData"] = parse_user_data(data["UserData"])
        specs = data.get("TagSpecifications")
        if specs is not None:
            data["TagSpecifications"] = [s for s in specs if s.get("ResourceType") != "launch-template"]
            if not data["TagSpecifications"]:
                del data["TagSpecifications"]
        plain(self, template, number, data, description)

    # moto reads a template's tags once, before the template is listed, and never again.
    launch_templates.LaunchTemplate.tags = property(
        lambda self: self.get_tags(), lambda self, value: None
    )
    launch_templates.LaunchTemplateVersion.__init__ = init


def subnet_host_names():
    """ModifySubnetAttribute keeps the host name type and the AAAA switch too."""
    plain = subnet_responses.Subnets.modify_subnet_attribute

    def modify_subnet_attribute(self):
        options = self.ec2_backend.get_subnet(
            self._get_param("SubnetId")
        ).private_dns_name_options_on_launch
        kind = self._get_param("PrivateDnsHostnameTypeOnLaunch")
        if kind is not None:
            options["HostnameType"] = kind
        aaaa = self._get_param("EnableResourceNameDnsAAAARecordOnLaunch.Value")
        if aaaa is not None:
            options["EnableResourceNameDnsAAAARecord"] = aaaa
        return plain(self)

    subnet_responses.Subnets.modify_subnet_attribute = modify_subnet_attribute


def dhcp_option_tags():
    """CreateDhcpOptions tags what it makes."""
    plain = dhcp_responses.DHCPOptions.create_dhcp_options

    def create_dhcp_options(self):
        tags = self._parse_tag_specification().get("dhcp-options", {})
        create = self.ec2_backend.create_dhcp_options

        def tagged(**kwargs):
            options = create(**kwargs)
            options.add_tags(tags)
            return options

        # Shadows the method for this one call: the backend object is shared, so a lock guards it.
        with DHCP_LOCK:
            self.ec2_backend.create_dhcp_options = tagged
            try:
                return plain(self)
            finally:
                del self.ec2_backend.create_dhcp_options

    dhcp_responses.DHCPOptions.create_dhcp_options = create_dhcp_options


DHCP_LOCK = threading.Lock()


def interfaces_of_terminated_machines():
    """A machine's own network interfaces go with it."""
    plain = instances.Instance.terminate

    def terminate(self):
        own = list(self.nics.values())
        result = plain(self)
        for nic in own:
            if nic.id in self.ec2_backend.enis:
                try:
                    nic.delete()
                finally:
                    self.ec2_backend.enis.pop(nic.id, None)
        return result

    instances.Instance.terminate = terminate


def subnets_of_network_load_balancers():
    """A network load balancer may stand in one zone; only an application one needs two."""
    plain = elbv2.ELBv2Backend.set_subnets

    def set_subnets(self, arn, subnets, subnet_mappings):
        balancer = self.load_balancers.get(arn)
        ids = list(subnets) + [mapping["SubnetId"] for mapping in subnet_mappings]
        if balancer is None or balancer.type != "network" or len(ids) != 1:
            return plain(self, arn, subnets, subnet_mappings)
        subnet = self._get_subnet({}, ids[0])
        balancer.subnets = [subnet]
        return [elbv2.AvailabilityZone(subnet)]

    elbv2.ELBv2Backend.set_subnets = set_subnets


def network_load_balancer_names():
    """ARN, DNS name and zone of a network load balancer are those of one (moto's are an application one's)."""
    kind_of_thread = threading.local()
    create = elbv2.ELBv2Backend.create_load_balancer
    make_arn = elbv2.make_arn_for_load_balancer
    # https://docs.aws.amazon.com/general/latest/gr/elb.html
    zones = {
        "eu-central-1": "Z3F0SRJ5LGBH90",
        "eu-north-1": "Z1UDT6IFJ4EJM",
        "eu-west-1": "Z2IFOLAFXWLO4F",
        "us-east-1": "Z26RNL4JYFTOTI",
    }

    def arn_of_kind(**kwargs):
        arn = make_arn(**kwargs)
        if getattr(kind_of_thread, "kind", None) == "network":
            arn = arn.replace(":loadbalancer/app/", ":loadbalancer/net/")
        return arn

    def create_load_balancer(self, *args, **kwargs):
        kind_of_thread.kind = kwargs.get("loadbalancer_type")
        try:
            balancer = create(self, *args, **kwargs)
        finally:
            kind_of_thread.kind = None
        if balancer.type == "network":
            own_id = balancer.arn.rsplit("/", 1)[1]
            balancer.dns_name = f"{balancer.name}-{own_id}.elb.{self.region_name}.amazonaws.com"
            balancer.canonical_hosted_zone_id = zones.get(self.region_name, "Z2P70J7EXAMPLE")
        return balancer

    elbv2.make_arn_for_load_balancer = arn_of_kind
    elbv2.ELBv2Backend.create_load_balancer = create_load_balancer


def tags_of_what_is_gone():
    """DescribeTags tells the tags of what is there; moto keeps those of what was deleted.

    Two resource types have other names than AWS'.
    """
    plain = ec2_tags.TagBackend.describe_tags

    def rules_of(group):
        return list(group.ingress_rules) + list(group.egress_rules)

    def exists(backend, resource_id):
        prefix = resource_id.split("-")[0]
        if prefix == "eni":
            return resource_id in backend.enis
        if prefix == "vol":
            return resource_id in backend.volumes
        if prefix == "sgr":
            groups = [group for vpc in backend.groups.values() for group in vpc.values()]
            return any(rule.id == resource_id for group in groups for rule in rules_of(group))
        if prefix == "eipalloc":
            return any(address.allocation_id == resource_id for address in backend.addresses)
        if prefix == "key":
            return any(pair.id == resource_id for pair in backend.key_pairs.values())
        if prefix == "eigw":
            return resource_id in backend.egress_only_internet_gateways
        if prefix == "vpce":
            endpoint = backend.vpc_end_points.get(resource_id)
            return endpoint is not None and endpoint.state != "deleted"
        if prefix == "nat":
            gateway = backend.nat_gateways.get(resource_id)
            return gateway is not None and gateway.state != "deleted"
        try:
            backend.do_resources_exist([resource_id])
        except Exception:
            return False
        return True

    def describe_tags(self, filters=None):
        found = plain(self, filters)
        there = {tag["resource_id"]: None for tag in found}
        for resource_id in there:
            there[resource_id] = exists(self, resource_id)
        types = {"vpc-elastic-ip": "elastic-ip", "nat-gateway": "natgateway"}
        return [
            {**tag, "resource_type": types.get(tag["resource_type"], tag["resource_type"])}
            for tag in found
            if there[tag["resource_id"]]
        ]

    ec2_tags.TagBackend.describe_tags = describe_tags


def alternatives_of_a_filter():
    """The values of one filter are alternatives: one of several tag keys is enough."""
    plain = ec2_utils.is_filter_matching

    def is_filter_matching(obj, name, values):
        if name == "tag-key" and isinstance(values, list):
            return any(plain(obj, name, [value]) for value in values)
        return plain(obj, name, values)

    ec2_utils.is_filter_matching = is_filter_matching


def disable_metrics():
    """DisableMetricsCollection exists; without a list it means all."""

    def disable_metrics_collection(self):
        name = self._get_param("AutoScalingGroupName")
        gone = self._get_param("Metrics") or []
        group = self.autoscaling_backend.autoscaling_groups[name]
        group.metrics = [m for m in group.metrics if gone and m not in gone]
        return EmptyResult()

    AutoScalingResponse.disable_metrics_collection = disable_metrics_collection


def lifetimes_of_machines():
    """A group keeps how long its machines may live at most; 0: for ever."""

    def mend(action):
        plain = getattr(AutoScalingResponse, action)

        def keep(self):
            result = plain(self)
            seconds = self._get_int_param("MaxInstanceLifetime")
            if seconds is not None:
                name = self._get_param("AutoScalingGroupName")
                group = self.autoscaling_backend.autoscaling_groups[name]
                group.max_instance_lifetime = seconds or None
            return result

        setattr(AutoScalingResponse, action, keep)

    mend("create_auto_scaling_group")
    mend("update_auto_scaling_group")


def listeners_that_begin_to_speak_tls():
    """ModifyListener takes TLS too; back to TCP, the certificate is gone."""
    plain = elbv2.ELBv2Backend.modify_listener

    def modify_listener(self, arn, port=None, protocol=None, ssl_policy=None, certificates=None, actions=None):
        known = None if protocol == "TLS" else protocol
        listener = plain(self, arn, port, known, ssl_policy, certificates, actions)
        if protocol == "TLS":
            listener.protocol = "TLS"
            listener.certificates = [given["CertificateArn"] for given in certificates]
            listener.certificate = listener.certificates[0]
        elif protocol == "TCP":
            listener.certificates, listener.certificate = [], None
        return listener

    elbv2.ELBv2Backend.modify_listener = modify_listener


def audiences_of_providers():
    """AddClientIDToOpenIDConnectProvider exists, and its opposite."""

    def provider(self):
        return self.backend.get_open_id_connect_provider(self._get_param("OpenIDConnectProviderArn"))

    def add(self):
        ids = provider(self).client_id_list
        if self._get_param("ClientID") not in ids:
            ids.append(self._get_param("ClientID"))
        return EmptyResult()

    def remove(self):
        ids = provider(self).client_id_list
        if self._get_param("ClientID") in ids:
            ids.remove(self._get_param("ClientID"))
        return EmptyResult()

    IamResponse.add_client_id_to_open_id_connect_provider = add
    IamResponse.remove_client_id_from_open_id_connect_provider = remove


def one_write_at_a_time():
    """S3 looks at a write's condition and writes in one step; moto's threads come between the two.

    Without a canary: the fault shows itself only now and then, under load.
    """
    lock = threading.Lock()

    def mend(action):
        plain = getattr(S3Response, action)

        def alone(self):
            with lock:
                return plain(self)

        setattr(S3Response, action, alone)

    mend("put_object")
    mend("delete_object")


def machines_of_groups():
    """Machines of a group have what its template says: version, type, security groups, profile, spot.

    They are spread over the group's subnets.
    """
    group_of_thread = threading.local()
    replace = autoscaling.FakeAutoScalingGroup.replace_autoscaling_group_instances
    run = instances.InstanceBackend.run_instances

    def replace_autoscaling_group_instances(self, count_needed, propagated_tags):
        group_of_thread.group = self
        try:
            for _ in range(count_needed):
                replace(self, 1, propagated_tags)
        finally:
            group_of_thread.group = None

    def run_instances(self, image_id, count, user_data, security_group_names, **kwargs):
        group = getattr(group_of_thread, "group", None)
        if group is not None and group.ec2_launch_template:
            version = group.ec2_launch_template.get_version(group.launch_template_version)
            kwargs["launch_template"] = {
                "LaunchTemplateId": group.ec2_launch_template.id,
                "Version": str(version.number),
            }
            subnet_ids = [s for s in (group.vpc_zone_identifier or "").split(",") if s]
            if subnet_ids:
                used = [s.instance.subnet_id for s in group.instance_states]
                kwargs["subnet_id"] = min(subnet_ids, key=used.count)
            as_template_says(version.data, kwargs)
            as_policy_says(group.mixed_instances_policy, kwargs)
        return run(self, image_id, count, user_data, security_group_names, **kwargs)

    def as_template_says(data, kwargs):
        nics = data.get("NetworkInterfaces") or []
        groups = data.get("SecurityGroupIds") or (nics[0].get("Groups") if nics else None)
        if groups:
            kwargs["security_group_ids"] = list(groups)
        if nics and nics[0].get("AssociatePublicIpAddress") is not None:
            kwargs["associate_public_ip"] = nics[0]["AssociatePublicIpAddress"] in (True, "true")
        # What a type brings along (`VirtualName: ephemeral0`) is no volume; moto takes every entry for one.
        disks = [d for d in data.get("BlockDeviceMappings") or [] if isinstance(d.get("Ebs"), dict)]
        if disks:
            # As given: otherwise moto adds a root disk of its own.
            kwargs["block_device_mappings"] = [
                {**disk, "Ebs": {"DeleteOnTermination": True, **disk["Ebs"]}} for disk in disks
            ]
        if data.get("KeyName"):
            kwargs["key_name"] = data["KeyName"]
        if data.get("MetadataOptions"):
            kwargs["metadata_options"] = data["MetadataOptions"]
        if (data.get("InstanceMarketOptions") or {}).get("MarketType") == "spot":
            kwargs["lifecycle"] = "spot"
        tags = {s["ResourceType"]: s["Tags"] for s in data.get("TagSpecifications") or []}
        volume = {t["Key"]: t.get("Value", "") for t in tags.get("volume", [])}
        kwargs["tags"] = {**kwargs.get("tags", {}), "volume": volume}

    def as_policy_says(policy, kwargs):
        if not policy:
            return
        overrides = policy.get("LaunchTemplate", {}).get("Overrides") or []
        if overrides and overrides[0].get("InstanceType"):
            kwargs["instance_type"] = overrides[0]["InstanceType"]
        spread = policy.get("InstancesDistribution") or {}
        on_demand = spread.get("OnDemandPercentageAboveBaseCapacity")
        if int(spread.get("OnDemandBaseCapacity") or 0) == 0 and str(on_demand) == "0":
            kwargs["lifecycle"] = "spot"

    autoscaling.FakeAutoScalingGroup.replace_autoscaling_group_instances = (
        replace_autoscaling_group_instances
    )
    instances.InstanceBackend.run_instances = run_instances


def bucket_policies():
    """A bucket's policy denies what it denies to everybody.

    moto takes a statement about another account for one about the caller, and does not know most of the
    conditions: "deny what comes without TLS" would close the bucket. Statements with conditions count for
    nobody here; src/rules/public_access.rs is stricter with callers that have no name.
    """

    def about_everybody(statement):
        principal = statement.get("Principal")
        names = principal.get("AWS") if isinstance(principal, dict) else principal
        return "Condition" not in statement and (names == "*" or isinstance(names, list) and "*" in names)

    def get_permission(self, action, resource):
        policy = json.loads(self.policy or "{}")
        statements = policy.get("Statement") or []
        if isinstance(statements, dict):
            statements = [statements]
        kept = {"Version": "2012-10-17", "Statement": [s for s in statements if about_everybody(s)]}
        return IAMPolicy(json.dumps(kept)).is_action_permitted(action, resource)

    s3.FakeBucket.get_permission = get_permission


def roles_of_profiles():
    """A role that is not in a profile (any more) cannot be taken out of it: `NoSuchEntity`. moto crashes."""

    def remove_role_from_instance_profile(self, profile_name, role_name):
        profile = self.get_instance_profile(profile_name)
        role = self.get_role(role_name)
        try:
            profile.roles.remove(role)
        except ValueError:
            raise IamNotFound(f"The role with name {role_name} cannot be found.") from None

    IAMBackend.remove_role_from_instance_profile = remove_role_from_instance_profile


def apply():
    """All of them."""
    images()
    image_parameters()
    template_versions()
    subnet_host_names()
    dhcp_option_tags()
    interfaces_of_terminated_machines()
    subnets_of_network_load_balancers()
    network_load_balancer_names()
    tags_of_what_is_gone()
    alternatives_of_a_filter()
    disable_metrics()
    lifetimes_of_machines()
    listeners_that_begin_to_speak_tls()
    audiences_of_providers()
    machines_of_groups()
    one_write_at_a_time()
    bucket_policies()
    roles_of_profiles()
