//! Instance groups.

use super::check::Check;
use super::subnets::SubnetDraft;
use super::{
    Scope, document_name, flag, image, labels, placement, purchase, syntax, sysctls, value, volumes,
};
use crate::cluster::{Architecture, InstanceGroup, InstanceMetadata, Role, Tenancy, UserData};
use crate::document::{Document, Spec};
use crate::machine_types::MachineType;
use crate::read::List;
use crate::schema::InstanceGroupDocument;
use crate::schema::instance_group::{
    ExternalLoadBalancerSpec, HttpTokensSpec, InstanceGroupSpec, InstanceMetadataSpec, RoleSpec, TenancySpec,
    UserDataSpec,
};
use crate::source::{Located, Place};
use crate::suggest;

/// The instance groups of the spec by name, each located at its name.
pub(super) fn groups(
    spec: &Spec,
    scope: &Scope<'_>,
    subnets: &[SubnetDraft],
    check: &mut Check,
) -> Vec<Located<InstanceGroup>> {
    let mut groups: Vec<Located<InstanceGroup>> =
        spec.instance_groups().map(|(document, body)| group(document, body, scope, subnets, check)).collect();
    let names: Vec<Located<String>> = groups
        .iter()
        .filter(|group| !group.value.name.is_empty())
        .map(|group| group.with(group.value.name.clone()))
        .collect();
    check.unique("instance group", &names);
    let of_role = |role| groups.iter().filter(move |group| group.value.role == role);
    match of_role(Role::ControlPlane).collect::<Vec<_>>().as_slice() {
        [] => {
            let hint = "add an InstanceGroup with `role: ControlPlane`";
            check.lacking(scope.place, "role", "the cluster has no control plane", hint);
        }
        groups if groups.len().is_multiple_of(2) => {
            if let Some(last) = groups.last() {
                let title = format!("{} control-plane groups: etcd needs an odd number", groups.len());
                check.hinted(&last.place, title, "an even number survives no more failures than one less");
            }
        }
        _ => {}
    }
    if of_role(Role::Node).next().is_none() {
        check.warn(
            scope.place,
            "the cluster has no nodes",
            "pods have nowhere to run: add a group with `role: Node`",
        );
    }
    // Documents may come in any order, and the state store has its own.
    groups.sort_by(|a, b| a.value.name.cmp(&b.value.name));
    groups
}

/// One group, located at its name.
fn group(
    document: &Document,
    body: &InstanceGroupDocument,
    scope: &Scope<'_>,
    drafts: &[SubnetDraft],
    check: &mut Check,
) -> Located<InstanceGroup> {
    let name = document_name(document, body.metadata.as_ref(), check);
    if let Some(name) = &name {
        group_name(name, scope, check);
    }
    let name = name.unwrap_or_else(|| Located::new(String::new(), document.place.clone()));
    let Some(spec) = &body.spec else {
        check.missing(&document.place, "spec");
        // One mistake is enough: what else is missing is missing for the same reason.
        let empty = InstanceGroupSpec::default();
        return name.with(machines(&name, Role::Node, &empty, scope, drafts, &mut Check::default()));
    };
    let role = role(&spec.value, &spec.place, check);
    name.with(machines(&name, role, &spec.value, scope, drafts, check))
}

/// The group itself, field by field.
fn machines(
    name: &Located<String>,
    role: Role,
    spec: &InstanceGroupSpec,
    scope: &Scope<'_>,
    drafts: &[SubnetDraft],
    check: &mut Check,
) -> InstanceGroup {
    let machine = match &spec.machine_type {
        Some(field) => machine_type(field, check),
        None => default_machine_type(role).to_owned(),
    };
    if role == Role::ControlPlane {
        weak_control_plane(spec, &machine, &name.place, check);
    }
    unsupported(spec, check);
    let known = MachineType::parse(&machine);
    let architecture = known.map_or(Architecture::X86_64, MachineType::architecture);
    let (min_size, max_size) = sizes(spec, role, check);
    let subnets = placement::subnets(spec, role, drafts, &name.place, check);
    let (root_volume, ebs_optimized) = volumes::root(spec, default_root_size(role), check);
    let purchase = purchase::purchase(spec, &machine, max_size, check);
    let own_group = spec.security_group_override.as_ref();
    InstanceGroup {
        name: name.value.clone(),
        role,
        image: image::image(spec.image.as_ref(), architecture, check),
        architecture,
        memory_mib: known.and_then(MachineType::memory_mib),
        min_size,
        max_size,
        autoscale: role == Role::Node && flag(spec.autoscale.as_ref(), true),
        autoscale_priority: autoscale_priority(spec, check),
        associate_public_ip: placement::public_ip(spec, &subnets, drafts, &name.place, check),
        subnets,
        root_volume,
        ebs_optimized,
        volumes: volumes::further(spec.volumes.as_ref(), check),
        cpu_credits: purchase::cpu_credits(spec, &machine, &purchase, check),
        purchase,
        machine_type: machine,
        instance_metadata: instance_metadata(spec.instance_metadata.as_ref(), check),
        detailed_monitoring: flag(spec.detailed_instance_monitoring.as_ref(), false),
        instance_protection: flag(spec.instance_protection.as_ref(), false),
        tenancy: spec.tenancy.as_ref().map(|tenancy| self::tenancy(tenancy.value)),
        max_instance_lifetime_seconds: lifetime(spec, check),
        suspend_processes: suspend_processes(spec, check),
        additional_security_groups: syntax::security_groups(spec.additional_security_groups.as_ref(), check),
        security_group_override: syntax::id(own_group, "sg-", "a security group", check),
        iam_profile: iam_profile(spec, check),
        target_group_arns: target_groups(spec.external_load_balancers.as_ref(), check),
        additional_user_data: user_data(spec.additional_user_data.as_ref(), check),
        cloud_labels: labels::of_group(scope, spec.cloud_labels.as_ref(), check),
        node_labels: labels::node_labels(spec.node_labels.as_ref(), check),
        taints: labels::taints(spec.taints.as_ref(), check),
        sysctls: sysctls::of(scope, spec.sysctl_parameters.as_ref(), check),
    }
}

/// The autoscaler reads priorities as Go's `int`.
fn autoscale_priority(spec: &InstanceGroupSpec, check: &mut Check) -> u32 {
    let field = spec.autoscale_priority.as_ref();
    syntax::bounded(field, "`autoscalePriority`", 0, i32::MAX.unsigned_abs(), check).unwrap_or(0)
}

fn tenancy(tenancy: TenancySpec) -> Tenancy {
    match tenancy {
        TenancySpec::Default => Tenancy::Default,
        TenancySpec::Dedicated => Tenancy::Dedicated,
        TenancySpec::Host => Tenancy::Host,
    }
}

/// A name of a launch template has 128 characters at most, and the group's is a part of it.
fn group_name(name: &Located<String>, scope: &Scope<'_>, check: &mut Check) {
    const MAX: usize = 128;
    let full = name.value.len() + ".masters.".len() + scope.name.len();
    if !syntax::is_dns_name(&name.value) {
        let title = format!("instance group name `{}` is not possible", name.value);
        check.hinted(&name.place, title, "lower-case letters, digits, `-` and dots");
    } else if full > MAX {
        let title = format!("the launch template's name would have {full} characters");
        check.hinted(&name.place, title, format!("at most {MAX}: choose a shorter group name"));
    }
}

fn role(spec: &InstanceGroupSpec, place: &Place, check: &mut Check) -> Role {
    match spec.role.as_ref().map(|role| role.value) {
        Some(RoleSpec::ControlPlane) => Role::ControlPlane,
        Some(RoleSpec::Node) => Role::Node,
        Some(RoleSpec::Bastion) => Role::Bastion,
        Some(RoleSpec::ApiServer) => {
            if let Some(field) = &spec.role {
                let hint = "every control-plane machine runs an API server: use `role: ControlPlane`";
                check.hinted(&field.place, "groups of API servers alone are not supported", hint);
            }
            Role::Node
        }
        None => {
            check.lacking(
                place,
                "role",
                "the group has no `role`",
                "one of `ControlPlane`, `Node`, `Bastion`",
            );
            Role::Node
        }
    }
}

fn default_machine_type(role: Role) -> &'static str {
    match role {
        Role::ControlPlane | Role::Node => "t3.medium",
        Role::Bastion => "t3.micro",
    }
}

/// kOps' own sizes, in GiB.
fn default_root_size(role: Role) -> u32 {
    match role {
        Role::ControlPlane => 64,
        Role::Node => 128,
        Role::Bastion => 32,
    }
}

/// An instance type's name; what is none is noted.
pub(super) fn machine_type(field: &Located<String>, check: &mut Check) -> String {
    if MachineType::parse(&field.value).is_none() {
        let title = format!("`{}` is not an instance type", field.value);
        let hint = if field.value.contains(',') {
            "for several types use `mixedInstancesPolicy.instances`"
        } else {
            "write it as EC2 does, as in `t3.small`"
        };
        check.hinted(&field.place, title, hint);
    }
    field.value.clone()
}

fn sizes(spec: &InstanceGroupSpec, role: Role, check: &mut Check) -> (u32, u32) {
    let default = if role == Role::Node { 2 } else { 1 };
    let (min, max) = (spec.min_size.as_ref(), spec.max_size.as_ref());
    let read = |field, name: &str, check: &mut Check| syntax::bounded(field, name, 0, 10_000, check);
    let min_size = read(min, "`minSize`", check);
    let max_size = read(max, "`maxSize`", check);
    // One of them alone moves the other's default out of its way.
    let (min_size, max_size) = match (min_size, max_size) {
        (Some(min), Some(max)) => (min, max),
        (Some(min), None) => (min, default.max(min)),
        (None, Some(max)) => (default.min(max), max),
        (None, None) => (default, default),
    };
    if let Some(field) = max.filter(|_| min_size > max_size) {
        check.error(&field.place, format!("`maxSize` {max_size} is less than `minSize` {min_size}"));
    }
    if role == Role::ControlPlane {
        let hint = "a control-plane group is one machine: make more groups for more machines";
        for (field, size, name) in [(min, min_size, "minSize"), (max, max_size, "maxSize")] {
            if let Some(field) = field.filter(|_| size > 1) {
                check.hinted(
                    &field.place,
                    format!("`{name}` of a control-plane group cannot be {size}"),
                    hint,
                );
            }
        }
        if let Some(field) = max.filter(|_| max_size == 0) {
            check.hinted(&field.place, "a control-plane group of no machine", "`maxSize` is 1");
        }
    }
    (min_size, max_size.max(min_size))
}

/// kubeadm's own least for a control plane: two CPUs and 1700 MB.
fn weak_control_plane(spec: &InstanceGroupSpec, machine: &str, place: &Place, check: &mut Check) {
    const LEAST_VCPUS: u32 = 2;
    const LEAST_MIB: u32 = 1700 * 1_000_000 / 1_048_576;
    let Some(machine_type) = MachineType::parse(machine) else { return };
    let place = spec.machine_type.as_ref().map_or(place, |field| &field.place);
    let hint = "kubeadm refuses less than 2 vCPUs and 1700 MB; a t3.small has both";
    if let Some(vcpus) = machine_type.vcpus().filter(|vcpus| *vcpus < LEAST_VCPUS) {
        check.warn(place, format!("{machine} has {vcpus} vCPU: too few for a control plane"), hint);
    } else if let Some(memory) = machine_type.memory_mib().filter(|memory| *memory < LEAST_MIB) {
        check.warn(place, format!("{machine} has {memory} MiB of memory: too few for a control plane"), hint);
    }
}

/// An auto scaling group.
pub(crate) const MANAGER: &str = "CloudGroup";

fn unsupported(spec: &InstanceGroupSpec, check: &mut Check) {
    if let Some(manager) = spec.manager.as_ref().filter(|manager| manager.value != MANAGER) {
        let title = format!("groups managed by `{}` are not supported", manager.value);
        check.hinted(&manager.place, title, format!("only `{MANAGER}`: leave it out"));
    }
}

fn instance_metadata(field: Option<&Located<InstanceMetadataSpec>>, check: &mut Check) -> InstanceMetadata {
    let spec = field.map(|field| &field.value);
    let tokens = spec.and_then(|spec| spec.http_tokens.as_ref());
    if let Some(tokens) = tokens.filter(|tokens| tokens.value == HttpTokensSpec::Optional) {
        let hint = "any pod that can make the machine fetch a URL gets its role; `required` is the default";
        check.warn(&tokens.place, "the metadata service answers without a token", hint);
    }
    let limit = spec.and_then(|spec| spec.http_put_response_hop_limit.as_ref());
    let limit = syntax::bounded(limit, "`httpPutResponseHopLimit`", 1, 64, check);
    InstanceMetadata {
        tokens_required: tokens.is_none_or(|tokens| tokens.value == HttpTokensSpec::Required),
        hop_limit: limit.and_then(|limit| u8::try_from(limit).ok()).unwrap_or(1),
    }
}

/// EC2 Auto Scaling allows a day to a year, or 0 for never.
fn lifetime(spec: &InstanceGroupSpec, check: &mut Check) -> u32 {
    const DAY: u64 = 86_400;
    let Some(field) = &spec.max_instance_lifetime else { return 0 };
    let text = &field.value.0;
    match syntax::go_duration(text) {
        Some(0) => 0,
        Some(seconds) if (DAY..=365 * DAY).contains(&seconds) => u32::try_from(seconds).unwrap_or(0),
        Some(_) => {
            check.hinted(
                &field.place,
                format!("`maxInstanceLifetime` cannot be {text}"),
                "from `24h` to `8760h`, or `0` for never",
            );
            0
        }
        None => {
            check.hinted(
                &field.place,
                format!("`{text}` is not a duration"),
                "hours, minutes and seconds, as in `48h20m`",
            );
            0
        }
    }
}

/// The processes of EC2 Auto Scaling that can be switched off.
const PROCESSES: &[&str] = &[
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
];

fn suspend_processes(spec: &InstanceGroupSpec, check: &mut Check) -> Vec<String> {
    let Some(list) = &spec.suspend_processes else { return Vec::new() };
    check.unique("process", &list.value);
    for process in list.value.iter().filter(|process| !PROCESSES.contains(&process.value.as_str())) {
        let title = format!("unknown auto scaling process `{}`", process.value);
        check.hinted(&process.place, title, suggest::hint(&process.value, PROCESSES.iter().copied()));
    }
    list.value.iter().map(|process| process.value.clone()).collect()
}

fn iam_profile(spec: &InstanceGroupSpec, check: &mut Check) -> Option<String> {
    let profile = spec.iam.as_ref()?.value.profile.as_ref()?;
    syntax::arn(profile, "iam", "instance-profile/", "an instance profile", check);
    Some(profile.value.clone())
}

fn target_groups(list: Option<&Located<List<ExternalLoadBalancerSpec>>>, check: &mut Check) -> Vec<String> {
    let items = list.map_or(&[][..], |list| &list.value);
    check.unique("target group", items.iter().filter_map(|item| item.value.target_group_arn.as_ref()));
    let mut arns = Vec::new();
    for item in items {
        if let Some(name) = &item.value.load_balancer_name {
            let hint = "give the `targetGroupArn` of a network or application load balancer";
            check.hinted(&name.place, "classic load balancers are not supported", hint);
        } else if let Some(arn) = &item.value.target_group_arn {
            syntax::arn(arn, "elasticloadbalancing", "targetgroup/", "a target group", check);
            arns.push(arn.value.clone());
        } else {
            check.missing(&item.place, "targetGroupArn");
        }
    }
    arns
}

/// The content types that cloud-init has a handler for.
const USER_DATA_TYPES: &[&str] = &[
    "text/x-shellscript",
    "text/cloud-config",
    "text/cloud-boothook",
    "text/cloud-config-archive",
    "text/part-handler",
    "text/upstart-job",
    "text/x-include-once-url",
    "text/x-include-url",
];

fn user_data(list: Option<&Located<List<UserDataSpec>>>, check: &mut Check) -> Vec<UserData> {
    let items = list.map_or(&[][..], |list| &list.value);
    check.unique("user data part", items.iter().filter_map(|item| item.value.name.as_ref()));
    items.iter().map(|item| user_data_part(item, check)).collect()
}

fn user_data_part(item: &Located<UserDataSpec>, check: &mut Check) -> UserData {
    let Located { value: part, place } = item;
    for (field, value) in [("name", &part.name), ("type", &part.content_type), ("content", &part.content)] {
        match value {
            None => check.missing(place, field),
            Some(value) if value.value.is_empty() => check.error(&value.place, format!("empty `{field}`")),
            Some(_) => {}
        }
    }
    if let Some(kind) =
        part.content_type.as_ref().filter(|kind| !USER_DATA_TYPES.contains(&kind.value.as_str()))
    {
        let title = format!("unknown type of user data `{}`", kind.value);
        check.hinted(&kind.place, title, suggest::hint(&kind.value, USER_DATA_TYPES.iter().copied()));
    }
    UserData {
        name: value(part.name.as_ref()).unwrap_or_default(),
        content_type: value(part.content_type.as_ref()).unwrap_or_default(),
        content: value(part.content.as_ref()).unwrap_or_default(),
    }
}
