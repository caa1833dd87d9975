//! Our side: what the audit found in the account, in the neutral form.
//!
//! Attributes carry Terraform's names. Where Terraform leaves an attribute out because it is what AWS does
//! anyway, it is left out here too; any other value of it shows.

use std::collections::BTreeMap;

use kcl_testkit::{Audit, Call};
use serde_json::Value;

use crate::neutral::{Attributes, Graph, canonical, flatten, policy, text};

/// Reads an account. `given` says which ids were there before.
pub(crate) fn read(audit: &Audit, given: impl Fn(&Value) -> bool, calls: &[Call]) -> Graph {
    let reader = Reader { audit, names: names(audit, &given) };
    let mut graph = Graph::default();
    network(&reader, &given, &mut graph);
    security_groups(&reader, &given, &mut graph);
    machines(&reader, calls, &mut graph);
    identity(&reader, &given, &mut graph);
    load_balancers(&reader, &mut graph);
    events_and_names(&reader, &mut graph);
    graph
}

/// `masters.N ingress tcp 443-443 0.0.0.0/0`.
pub(crate) fn rule_name(
    group: &str,
    direction: &str,
    protocol: &str,
    ports: &(String, String),
    peer: &str,
) -> String {
    match protocol {
        "-1" => format!("{group} {direction} all {peer}"),
        _ => format!("{group} {direction} {protocol} {}-{} {peer}", ports.0, ports.1),
    }
}

struct Reader<'a> {
    audit: &'a Audit,
    names: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// The name of what has an id; the id itself where it has none.
    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    fn of(&self, id: &Value) -> String {
        self.name(field(id))
    }

    /// Names of a list of ids, or of ids with commas between.
    fn all(&self, ids: &[&str]) -> String {
        let mut names: Vec<String> = ids.iter().map(|id| self.name(id)).collect();
        names.sort();
        names.join(", ")
    }

    fn list(&self, ids: &Value) -> String {
        let ids: Vec<&str> = ids.as_array().into_iter().flatten().map(field).collect();
        self.all(&ids)
    }
}

fn field(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Id or ARN -> name, of everything that others refer to. What was there before is called by its id, as in
/// the spec.
fn names(audit: &Audit, given: &impl Fn(&Value) -> bool) -> BTreeMap<String, String> {
    const BY_TAG: [(&str, &str); 7] = [
        ("vpcs", "VpcId"),
        ("dhcp_options", "DhcpOptionsId"),
        ("internet_gateways", "InternetGatewayId"),
        ("subnets", "SubnetId"),
        ("route_tables", "RouteTableId"),
        ("nat_gateways", "NatGatewayId"),
        ("addresses", "AllocationId"),
    ];
    const BY_NAME: [(&str, &str, &str); 5] = [
        ("security_groups", "GroupId", "GroupName"),
        ("launch_templates", "LaunchTemplateId", "LaunchTemplateName"),
        ("load_balancers", "LoadBalancerArn", "LoadBalancerName"),
        ("load_balancers", "DNSName", "LoadBalancerName"),
        ("target_groups", "TargetGroupArn", "TargetGroupName"),
    ];
    let own = |list| audit.list(list).iter().filter(|item| !given(item));
    let tagged = BY_TAG
        .into_iter()
        .flat_map(|(list, id)| own(list).map(move |item| (field(&item[id]), tag(&item["Tags"], "Name"))));
    let named = BY_NAME.into_iter().flat_map(|(list, id, name)| {
        own(list).map(move |item| (field(&item[id]), field(&item[name]).to_owned()))
    });
    let all = tagged.chain(named).filter(|(_, name)| !name.is_empty());
    all.map(|(id, name)| (id.to_owned(), name)).collect()
}

fn tag(tags: &Value, key: &str) -> String {
    let found = items(tags).find(|tag| tag["Key"] == key);
    found.map(|tag| text(&tag["Value"])).unwrap_or_default()
}

/// Attributes under construction.
struct Builder(Attributes);

impl Builder {
    /// With tags as most services list them.
    fn tagged(tags: &Value) -> Self {
        let tags = items(tags).map(|tag| (format!("tags.{}", text(&tag["Key"])), text(&tag["Value"])));
        Self(tags.collect())
    }

    fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn value(self, name: &str, value: &Value) -> Self {
        self.set(name, text(value))
    }

    /// Only if it is not what AWS does anyway, nor absent.
    fn unless(self, default: &str, name: &str, value: &Value) -> Self {
        if value.is_null() || text(value) == default { self } else { self.value(name, value) }
    }

    fn policy(mut self, document: &str) -> Self {
        policy(&mut self.0, document);
        self
    }
}

fn network(reader: &Reader<'_>, given: &impl Fn(&Value) -> bool, graph: &mut Graph) {
    let own = |list| reader.audit.list(list).iter().filter(|item| !given(item));
    for vpc in own("vpcs") {
        let mut attributes = Builder::tagged(&vpc["Tags"])
            .value("cidr_block", &vpc["CidrBlock"])
            .value("enable_dns_support", &vpc["dnsSupport"])
            .value("enable_dns_hostnames", &vpc["dnsHostnames"])
            .set("dhcp_options_id", reader.of(&vpc["DhcpOptionsId"]))
            .unless("default", "instance_tenancy", &vpc["InstanceTenancy"]);
        if items(&vpc["Ipv6CidrBlockAssociationSet"]).next().is_some() {
            attributes = attributes.set("assign_generated_ipv6_cidr_block", "true");
        }
        graph.add("vpc", &reader.of(&vpc["VpcId"]), attributes.0);
    }
    for options in own("dhcp_options") {
        let mut attributes = Builder::tagged(&options["Tags"]);
        for configuration in items(&options["DhcpConfigurations"]) {
            let values: Value = items(&configuration["Values"]).map(|value| value["Value"].clone()).collect();
            attributes = attributes.value(&text(&configuration["Key"]).replace('-', "_"), &values);
        }
        graph.add("vpc_dhcp_options", &reader.of(&options["DhcpOptionsId"]), attributes.0);
    }
    for gateway in own("internet_gateways") {
        let vpcs: Value =
            items(&gateway["Attachments"]).map(|at| Value::from(reader.of(&at["VpcId"]))).collect();
        let attributes = Builder::tagged(&gateway["Tags"]).value("vpc_id", &vpcs);
        graph.add("internet_gateway", &reader.of(&gateway["InternetGatewayId"]), attributes.0);
    }
    for gateway in own("egress_only_internet_gateways") {
        graph.add(
            "egress_only_internet_gateway",
            &text(&gateway["EgressOnlyInternetGatewayId"]),
            Attributes::new(),
        );
    }
    for endpoint in own("vpc_endpoints") {
        graph.add("vpc_endpoint", &text(&endpoint["VpcEndpointId"]), Attributes::new());
    }
    for subnet in own("subnets") {
        let names = &subnet["PrivateDnsNameOptionsOnLaunch"];
        let blocks: Value = items(&subnet["Ipv6CidrBlockAssociationSet"])
            .map(|block| block["Ipv6CidrBlock"].clone())
            .collect();
        let attributes = Builder::tagged(&subnet["Tags"])
            .value("availability_zone", &subnet["AvailabilityZone"])
            .value("cidr_block", &subnet["CidrBlock"])
            .set("vpc_id", reader.of(&subnet["VpcId"]))
            .unless("ip-name", "private_dns_hostname_type_on_launch", &names["HostnameType"])
            .unless(
                "false",
                "enable_resource_name_dns_a_record_on_launch",
                &names["EnableResourceNameDnsARecord"],
            )
            .unless(
                "false",
                "enable_resource_name_dns_aaaa_record_on_launch",
                &names["EnableResourceNameDnsAAAARecord"],
            )
            .unless("false", "map_public_ip_on_launch", &subnet["MapPublicIpOnLaunch"])
            .unless("false", "assign_ipv6_address_on_creation", &subnet["AssignIpv6AddressOnCreation"])
            .unless("false", "ipv6_native", &subnet["Ipv6Native"])
            .unless("", "ipv6_cidr_block", &blocks);
        graph.add("subnet", &reader.of(&subnet["SubnetId"]), attributes.0);
    }
    for table in own("route_tables") {
        route_table(reader, table, graph);
    }
    for gateway in own("nat_gateways").filter(|gateway| gateway["State"] != "deleted") {
        let addresses: Value = items(&gateway["NatGatewayAddresses"])
            .map(|address| Value::from(reader.of(&address["AllocationId"])))
            .collect();
        let attributes = Builder::tagged(&gateway["Tags"])
            .value("allocation_id", &addresses)
            .set("subnet_id", reader.of(&gateway["SubnetId"]))
            .unless("public", "connectivity_type", &gateway["ConnectivityType"]);
        graph.add("nat_gateway", &reader.of(&gateway["NatGatewayId"]), attributes.0);
    }
    for address in own("addresses") {
        let attributes = Builder::tagged(&address["Tags"]).value("domain", &address["Domain"]);
        graph.add("eip", &reader.of(&address["AllocationId"]), attributes.0);
    }
}

fn route_table(reader: &Reader<'_>, table: &Value, graph: &mut Graph) {
    let name = reader.of(&table["RouteTableId"]);
    for route in items(&table["Routes"]).filter(|route| route["GatewayId"] != "local") {
        let mut attributes = Builder(Attributes::new());
        for (field, attribute) in [
            ("GatewayId", "gateway_id"),
            ("NatGatewayId", "nat_gateway_id"),
            ("EgressOnlyInternetGatewayId", "egress_only_gateway_id"),
            ("TransitGatewayId", "transit_gateway_id"),
            ("VpcPeeringConnectionId", "vpc_peering_connection_id"),
            ("InstanceId", "instance_id"),
            ("NetworkInterfaceId", "network_interface_id"),
        ] {
            if let Some(id) = route[field].as_str() {
                attributes = attributes.set(attribute, reader.name(id));
            }
        }
        let destination = route["DestinationCidrBlock"].as_str();
        let destination = destination.or_else(|| route["DestinationIpv6CidrBlock"].as_str());
        graph.add("route", &format!("{name} {}", destination.unwrap_or("(a prefix list)")), attributes.0);
    }
    let associations = || items(&table["Associations"]);
    // The table that every VPC has by itself is not one that somebody made.
    if associations().any(|association| association["Main"] == true) {
        return;
    }
    let attributes = Builder::tagged(&table["Tags"]).set("vpc_id", reader.of(&table["VpcId"]));
    graph.add("route_table", &name, attributes.0);
    for association in associations() {
        let attributes = Builder(Attributes::new()).set("route_table_id", &name);
        graph.add("route_table_association", &reader.of(&association["SubnetId"]), attributes.0);
    }
}

fn security_groups(reader: &Reader<'_>, given: &impl Fn(&Value) -> bool, graph: &mut Graph) {
    let groups = reader.audit.list("security_groups").iter();
    for group in groups.filter(|group| group["GroupName"] != "default" && !given(group)) {
        let attributes = Builder::tagged(&group["Tags"])
            .value("description", &group["Description"])
            .set("vpc_id", reader.of(&group["VpcId"]));
        graph.add("security_group", field(&group["GroupName"]), attributes.0);
    }
    for rule in reader.audit.list("security_group_rules").iter().filter(|rule| !given(rule)) {
        let group = reader.of(&rule["GroupId"]);
        // The rule that AWS puts into every VPC's own group.
        if group == "default" {
            continue;
        }
        let direction = if rule["IsEgress"] == true { "egress" } else { "ingress" };
        let cidr = rule["CidrIpv4"].as_str().or_else(|| rule["CidrIpv6"].as_str());
        let peer = match cidr.or_else(|| rule["PrefixListId"].as_str()) {
            Some(peer) => peer.to_owned(),
            None => reader.of(&rule["ReferencedGroupInfo"]["GroupId"]),
        };
        let ports = (text(&rule["FromPort"]), text(&rule["ToPort"]));
        let name = rule_name(&group, direction, field(&rule["IpProtocol"]), &ports, &peer);
        let attributes = Builder::tagged(&rule["Tags"]).unless("", "description", &rule["Description"]);
        graph.add("security_group_rule", &name, attributes.0);
    }
}

fn machines(reader: &Reader<'_>, calls: &[Call], graph: &mut Graph) {
    for pair in reader.audit.list("key_pairs") {
        graph.add("key_pair", field(&pair["KeyName"]), Builder::tagged(&pair["Tags"]).0);
    }
    for template in reader.audit.list("launch_templates") {
        graph.add(
            "launch_template",
            field(&template["LaunchTemplateName"]),
            launch_template(reader, template),
        );
    }
    for group in reader.audit.list("auto_scaling_groups") {
        auto_scaling_group(reader, group, calls, graph);
    }
    for configuration in reader.audit.list("launch_configurations") {
        graph.add(
            "launch_configuration",
            field(&configuration["LaunchConfigurationName"]),
            Attributes::new(),
        );
    }
    // Disks of machines follow from the launch template.
    let volumes = reader.audit.list("volumes").iter();
    for volume in volumes.filter(|volume| items(&volume["Attachments"]).next().is_none()) {
        let attributes = Builder::tagged(&volume["Tags"])
            .value("availability_zone", &volume["AvailabilityZone"])
            .value("encrypted", &volume["Encrypted"])
            .value("iops", &volume["Iops"])
            .value("size", &volume["Size"])
            .value("throughput", &volume["Throughput"])
            .value("type", &volume["VolumeType"])
            .unless("", "snapshot_id", &volume["SnapshotId"]);
        graph.add("ebs_volume", &tag(&volume["Tags"], "Name"), attributes.0);
    }
}

/// `IamInstanceProfile` -> `iam_instance_profile`, in the whole value.
fn snake(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (snake_case(name), snake(value))).collect())
        }
        Value::Array(items) => items.iter().map(snake).collect(),
        other => other.clone(),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn launch_template(reader: &Reader<'_>, template: &Value) -> Attributes {
    let mut data = snake(&template["latest"]);
    let mut attributes = Builder::tagged(&template["Tags"]).0;
    let Some(fields) = data.as_object_mut() else { return attributes };
    fields.remove("user_data");
    for device in items(&fields.remove("block_device_mappings").unwrap_or_default()) {
        let path = format!("block_device_mappings.{}", text(&device["device_name"]));
        flatten(&mut attributes, &path, device);
    }
    for specification in items(&fields.remove("tag_specifications").unwrap_or_default()) {
        let kind = text(&specification["resource_type"]);
        // moto shows the template's own tags here as well.
        if kind == "launch-template" {
            continue;
        }
        for tag in items(&specification["tags"]) {
            attributes
                .insert(format!("tag_specifications.{kind}.{}", text(&tag["key"])), text(&tag["value"]));
        }
    }
    if let Some(interfaces) = fields.get_mut("network_interfaces").and_then(Value::as_array_mut) {
        for interface in interfaces.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(groups) = interface.remove("groups") {
                interface.insert("security_groups".to_owned(), reader.list(&groups).into());
            }
            // The first one is meant where Terraform names none.
            if interface.get("device_index").is_some_and(|index| index == 0) {
                interface.remove("device_index");
            }
        }
    }
    flatten(&mut attributes, "", &data);
    // A profile may be referred to by name or ARN.
    if let Some(arn) = attributes.remove("iam_instance_profile.arn") {
        let name = arn.rsplit('/').next().unwrap_or_default();
        attributes.insert("iam_instance_profile.name".to_owned(), name.to_owned());
    }
    attributes
}

fn auto_scaling_group(reader: &Reader<'_>, group: &Value, calls: &[Call], graph: &mut Graph) {
    let name = field(&group["AutoScalingGroupName"]);
    let subnets: Vec<&str> = field(&group["VPCZoneIdentifier"]).split(',').collect();
    let metrics: Value = items(&group["EnabledMetrics"]).map(|metric| metric["Metric"].clone()).collect();
    let granularity =
        items(&group["EnabledMetrics"]).next().map_or(Value::Null, |one| one["Granularity"].clone());
    let suspended: Value =
        items(&group["SuspendedProcesses"]).map(|one| one["ProcessName"].clone()).collect();
    let mut attributes = Builder(Attributes::new())
        .value("min_size", &group["MinSize"])
        .value("max_size", &group["MaxSize"])
        .set("vpc_zone_identifier", reader.all(&subnets))
        .value("enabled_metrics", &metrics)
        .value("metrics_granularity", &granularity)
        .value("protect_from_scale_in", &group["NewInstancesProtectedFromScaleIn"])
        .set("max_instance_lifetime", requested(calls, name, "MaxInstanceLifetime").unwrap_or("0"))
        .unless("", "suspended_processes", &suspended)
        .unless("", "load_balancers", &group["LoadBalancerNames"])
        .unless("false", "capacity_rebalance", &group["CapacityRebalance"])
        .unless("EC2", "health_check_type", &group["HealthCheckType"])
        .unless("300", "default_cooldown", &group["DefaultCooldown"])
        .unless("Default", "termination_policies", &group["TerminationPolicies"])
        .unless("", "target_group_arns", &Value::from(reader.list(&group["TargetGroupARNs"])));
    for tag in items(&group["Tags"]) {
        let propagated = if tag["PropagateAtLaunch"] == true { " (propagated)" } else { "" };
        let value = format!("{}{propagated}", text(&tag["Value"]));
        attributes = attributes.set(&format!("tags.{}", text(&tag["Key"])), value);
    }
    let mut attributes = attributes.0;
    template_of(reader, &mut attributes, "launch_template", &group["LaunchTemplate"], "id");
    let mixed = &group["MixedInstancesPolicy"];
    if !mixed.is_null() {
        let path = "mixed_instances_policy.instances_distribution";
        flatten(&mut attributes, path, &snake(&mixed["InstancesDistribution"]));
        let path = "mixed_instances_policy.launch_template";
        let template = &mixed["LaunchTemplate"];
        let specification = format!("{path}.launch_template_specification");
        template_of(
            reader,
            &mut attributes,
            &specification,
            &template["LaunchTemplateSpecification"],
            "launch_template_id",
        );
        let types: Vec<String> =
            items(&template["Overrides"]).map(|one| text(&one["InstanceType"])).collect();
        attributes.insert(format!("{path}.override"), types.join(", "));
    }
    graph.add("autoscaling_group", name, attributes);
    for hook in items(&group["hooks"]) {
        let attributes = Builder(Attributes::new())
            .value("default_result", &hook["DefaultResult"])
            .value("heartbeat_timeout", &hook["HeartbeatTimeout"])
            .value("lifecycle_transition", &hook["LifecycleTransition"]);
        let name = format!("{name} {}", field(&hook["LifecycleHookName"]));
        graph.add("autoscaling_lifecycle_hook", &name, attributes.0);
    }
}

/// A parameter of the last request about a group: moto does not show every one.
fn requested<'a>(calls: &'a [Call], group: &str, parameter: &str) -> Option<&'a str> {
    let of_group = calls.iter().filter(|call| {
        call.service == "autoscaling"
            && call.params.get("AutoScalingGroupName").is_some_and(|name| name == group)
    });
    of_group.filter_map(|call| call.params.get(parameter)).next_back().map(String::as_str)
}

/// A group that starts its machines from the newest version says so with its number, or with `$Latest`;
/// Terraform's `latest_version` is the number, and the name of the template stands for it here.
fn template_of(reader: &Reader<'_>, into: &mut Attributes, path: &str, template: &Value, id: &str) {
    if template.is_null() {
        return;
    }
    let template_id = &template["LaunchTemplateId"];
    let name = reader.of(template_id);
    let templates = reader.audit.list("launch_templates").iter();
    let newest = templates
        .filter(|one| one["LaunchTemplateId"] == *template_id)
        .map(|one| text(&one["LatestVersionNumber"]))
        .next();
    let version = text(&template["Version"]);
    let is_newest = version == "$Latest" || newest.is_some_and(|newest| newest == version);
    into.insert(format!("{path}.version"), if is_newest { name.clone() } else { version });
    into.insert(format!("{path}.{id}"), name);
}

fn identity(reader: &Reader<'_>, given: &impl Fn(&Value) -> bool, graph: &mut Graph) {
    for role in reader.audit.list("roles") {
        let name = field(&role["RoleName"]);
        let attributes = Builder::tagged(&role["Tags"])
            .policy(&role["AssumeRolePolicyDocument"].to_string())
            .unless("/", "path", &role["Path"])
            .unless("", "description", &role["Description"])
            .unless("3600", "max_session_duration", &role["MaxSessionDuration"])
            .unless("", "permissions_boundary", &role["PermissionsBoundary"]["PermissionsBoundaryArn"]);
        graph.add("iam_role", name, attributes.0);
        for inline in items(&role["RolePolicyList"]) {
            let attributes = Builder(Attributes::new()).policy(&inline["PolicyDocument"].to_string());
            graph.add("iam_role_policy", &format!("{name} {}", field(&inline["PolicyName"])), attributes.0);
        }
        for attached in items(&role["AttachedManagedPolicies"]) {
            let name = format!("{name} {}", field(&attached["PolicyArn"]));
            graph.add("iam_role_policy_attachment", &name, Attributes::new());
        }
    }
    for profile in reader.audit.list("instance_profiles") {
        let roles: Value = items(&profile["Roles"]).map(|role| role["RoleName"].clone()).collect();
        let attributes =
            Builder::tagged(&profile["Tags"]).value("role", &roles).unless("/", "path", &profile["Path"]);
        graph.add("iam_instance_profile", field(&profile["InstanceProfileName"]), attributes.0);
    }
    for provider in reader.audit.list("oidc_providers") {
        let attributes = Builder::tagged(&provider["Tags"])
            .value("client_id_list", &provider["ClientIDList"])
            .value("thumbprint_list", &provider["ThumbprintList"]);
        let url = field(&provider["Url"]).trim_start_matches("https://");
        graph.add("iam_openid_connect_provider", url, attributes.0);
    }
    for policy in reader.audit.list("policies").iter().filter(|policy| !given(policy)) {
        graph.add("iam_policy", field(&policy["PolicyName"]), Attributes::new());
    }
    for user in reader.audit.list("users") {
        graph.add("iam_user", field(&user["UserName"]), Attributes::new());
    }
}

fn load_balancers(reader: &Reader<'_>, graph: &mut Graph) {
    for balancer in reader.audit.list("load_balancers") {
        let own = &balancer["attributes"];
        let subnets: Vec<&str> =
            items(&balancer["AvailabilityZones"]).map(|zone| field(&zone["SubnetId"])).collect();
        let internal = (balancer["Scheme"] == "internal").to_string();
        let attributes = Builder::tagged(&balancer["Tags"])
            .value("load_balancer_type", &balancer["Type"])
            .set("internal", internal)
            .set("security_groups", reader.list(&balancer["SecurityGroups"]))
            .set("subnets", reader.all(&subnets))
            .value("enable_cross_zone_load_balancing", &own["load_balancing.cross_zone.enabled"])
            .unless("false", "enable_deletion_protection", &own["deletion_protection.enabled"])
            .unless("false", "access_logs.enabled", &own["access_logs.s3.enabled"])
            .unless("ipv4", "ip_address_type", &balancer["IpAddressType"]);
        graph.add("lb", field(&balancer["LoadBalancerName"]), attributes.0);
    }
    for listener in reader.audit.list("listeners") {
        let mut attributes = Builder::tagged(&listener["Tags"])
            .value("protocol", &listener["Protocol"])
            .unless("", "certificate_arn", &listener["Certificates"][0]["CertificateArn"]);
        // moto shows a policy for plain TCP too.
        if listener["Protocol"] == "TLS" {
            attributes = attributes.value("ssl_policy", &listener["SslPolicy"]);
        }
        let mut attributes = attributes.0;
        for (index, action) in items(&listener["DefaultActions"]).enumerate() {
            let path = if index == 0 {
                "default_action".to_owned()
            } else {
                format!("default_action#{}", index + 1)
            };
            attributes.insert(format!("{path}.type"), text(&action["Type"]));
            attributes.insert(format!("{path}.target_group_arn"), reader.of(&action["TargetGroupArn"]));
        }
        let name = format!("{} {}", reader.of(&listener["LoadBalancerArn"]), text(&listener["Port"]));
        graph.add("lb_listener", &name, attributes);
    }
    for group in reader.audit.list("target_groups") {
        let own = &group["attributes"];
        let attributes = Builder::tagged(&group["Tags"])
            .value("port", &group["Port"])
            .value("protocol", &group["Protocol"])
            .set("vpc_id", reader.of(&group["VpcId"]))
            .unless("instance", "target_type", &group["TargetType"])
            .unless("ipv4", "ip_address_type", &group["IpAddressType"])
            .value("connection_termination", &own["deregistration_delay.connection_termination.enabled"])
            .value("deregistration_delay", &own["deregistration_delay.timeout_seconds"])
            .unless("false", "proxy_protocol_v2", &own["proxy_protocol_v2.enabled"])
            .unless("true", "preserve_client_ip", &own["preserve_client_ip.enabled"])
            .unless("false", "stickiness.enabled", &own["stickiness.enabled"])
            .value("health_check.protocol", &group["HealthCheckProtocol"])
            .value("health_check.interval", &group["HealthCheckIntervalSeconds"])
            .value("health_check.healthy_threshold", &group["HealthyThresholdCount"])
            .value("health_check.unhealthy_threshold", &group["UnhealthyThresholdCount"])
            .unless("traffic-port", "health_check.port", &group["HealthCheckPort"])
            .unless("", "health_check.path", &group["HealthCheckPath"]);
        graph.add("lb_target_group", field(&group["TargetGroupName"]), attributes.0);
    }
}

fn events_and_names(reader: &Reader<'_>, graph: &mut Graph) {
    let queues = reader.audit.list("queues");
    for queue in queues {
        let own = &queue["attributes"];
        let mut attributes = Builder(Attributes::new());
        for (key, value) in queue["tags"].as_object().into_iter().flatten() {
            attributes = attributes.value(&format!("tags.{key}"), value);
        }
        let attributes = attributes
            .policy(own["Policy"].as_str().unwrap_or("{}"))
            .value("message_retention_seconds", &own["MessageRetentionPeriod"])
            .unless("30", "visibility_timeout_seconds", &own["VisibilityTimeout"])
            .unless("0", "delay_seconds", &own["DelaySeconds"])
            .unless("0", "receive_wait_time_seconds", &own["ReceiveMessageWaitTimeSeconds"])
            .unless("", "kms_master_key_id", &own["KmsMasterKeyId"])
            .unless("", "redrive_policy", &own["RedrivePolicy"]);
        graph.add("sqs_queue", field(&queue["QueueName"]), attributes.0);
    }
    for rule in reader.audit.list("event_rules") {
        let name = field(&rule["Name"]);
        let attributes = Builder::tagged(&rule["Tags"])
            .set("event_pattern", canonical(field(&rule["EventPattern"])))
            .unless("ENABLED", "state", &rule["State"])
            .unless("", "description", &rule["Description"]);
        graph.add("cloudwatch_event_rule", name, attributes.0);
        for target in items(&rule["targets"]) {
            let arn = field(&target["Arn"]);
            let queue = queues.iter().find(|queue| queue["attributes"]["QueueArn"] == arn);
            let queue = queue.map_or(arn, |queue| field(&queue["QueueName"]));
            let attributes = Builder(Attributes::new()).unless("", "input", &target["Input"]).unless(
                "",
                "role_arn",
                &target["RoleArn"],
            );
            graph.add("cloudwatch_event_target", &format!("{name} {queue}"), attributes.0);
        }
    }
    for zone in reader.audit.list("hosted_zones") {
        for record in
            items(&zone["records"]).filter(|record| record["Type"] != "NS" && record["Type"] != "SOA")
        {
            route53_record(reader, zone, record, graph);
        }
    }
    for bucket in reader.audit.list("buckets") {
        graph.add("s3_bucket", field(&bucket["Name"]), Attributes::new());
    }
}

fn route53_record(reader: &Reader<'_>, zone: &Value, record: &Value, graph: &mut Graph) {
    let mut attributes = Builder(Attributes::new())
        .set("zone_id", field(&zone["Id"]).trim_start_matches("/hostedzone/"))
        .unless("", "records", &record["ResourceRecords"]);
    let alias = &record["AliasTarget"];
    if !alias.is_null() {
        let balancer = reader.name(field(&alias["DNSName"]).trim_end_matches('.'));
        let balancers = reader.audit.list("load_balancers").iter();
        let of_balancer = balancers.filter(|one| one["CanonicalHostedZoneId"] == alias["HostedZoneId"]);
        let alias_zone =
            match of_balancer.map(|one| field(&one["LoadBalancerName"])).find(|name| *name == balancer) {
                Some(name) => name.to_owned(),
                None => text(&alias["HostedZoneId"]),
            };
        attributes = attributes
            .value("alias.evaluate_target_health", &alias["EvaluateTargetHealth"])
            .set("alias.name", balancer)
            .set("alias.zone_id", alias_zone);
    }
    let name = field(&record["Name"]).trim_end_matches('.');
    graph.add("route53_record", &format!("{name} {}", field(&record["Type"])), attributes.0);
}
