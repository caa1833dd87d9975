//! etcd clusters and the volumes of their members.

use super::check::Check;
use super::subnets::SubnetDraft;
use super::volumes::{VolumeFields, not_for_streams, volume};
use super::{Scope, syntax, value};
use crate::cluster::{EtcdCluster, EtcdMember, InstanceGroup, Role};
use crate::schema::cluster::{EtcdClusterSpec, EtcdMemberSpec};
use crate::source::{Located, Place};
use crate::suggest;

/// The names that kOps gives a meaning.
const NAMES: &[&str] = &["main", "events", "cilium"];
/// The size of a member's volume in GiB.
const DEFAULT_SIZE: u32 = 20;
/// For how many days backups are kept.
const DEFAULT_RETENTION: u32 = 90;
/// Ten years; more is a mistake.
const LONGEST_RETENTION: u32 = 3650;

/// The etcd clusters, `main` first.
pub(super) fn clusters(
    scope: &Scope<'_>,
    groups: &[Located<InstanceGroup>],
    drafts: &[SubnetDraft],
    check: &mut Check,
) -> Vec<EtcdCluster> {
    let control_plane: Vec<&InstanceGroup> =
        groups.iter().map(|group| &group.value).filter(|group| group.role == Role::ControlPlane).collect();
    let context = Context { control_plane, drafts };
    let Some(list) = scope.spec.etcd_clusters.as_ref().filter(|list| !list.value.is_empty()) else {
        // kOps makes a second one for events; kubeadm runs one etcd.
        return vec![context.default_cluster("main", scope.spec_place, check)];
    };
    check.unique("etcd cluster", list.value.iter().filter_map(|cluster| cluster.value.name.as_ref()));
    let mut clusters: Vec<EtcdCluster> = list.value.iter().map(|spec| context.cluster(spec, check)).collect();
    let known = clusters.iter().all(|cluster| NAMES.contains(&cluster.name.as_str()));
    if known && !clusters.iter().any(|cluster| cluster.name == "main") {
        check.hinted(
            &list.place,
            "there is no etcd cluster `main`",
            "it holds the cluster's state: add one named `main`",
        );
    }
    clusters.sort_by_key(|cluster| NAMES.iter().position(|name| *name == cluster.name));
    clusters
}

struct Context<'a> {
    control_plane: Vec<&'a InstanceGroup>,
    drafts: &'a [SubnetDraft],
}

impl Context<'_> {
    /// A member per control-plane group, named after what is particular in the group's name.
    fn default_cluster(&self, name: &str, place: &Place, check: &mut Check) -> EtcdCluster {
        let empty = EtcdMemberSpec::default();
        let member = |group: &&InstanceGroup| {
            let prefixes = ["control-plane-", "master-", "masters-"];
            let short = prefixes.iter().find_map(|prefix| group.name.strip_prefix(prefix));
            self.member(
                short.unwrap_or(&group.name),
                group,
                &Located::new(empty.clone(), place.clone()),
                check,
            )
        };
        let members = self.control_plane.iter().map(member).collect();
        EtcdCluster { name: name.to_owned(), members, backup_retention_days: DEFAULT_RETENTION }
    }

    fn cluster(&self, spec: &Located<EtcdClusterSpec>, check: &mut Check) -> EtcdCluster {
        let Located { value: fields, place } = spec;
        let name = fields.name.as_ref();
        match name {
            Some(name) if !NAMES.contains(&name.value.as_str()) => {
                let title = format!("unknown etcd cluster `{}`", name.value);
                check.hinted(&name.place, title, suggest::hint(&name.value, NAMES.iter().copied()));
            }
            Some(_) => {}
            None => check.lacking(place, "name", "an etcd cluster without a name", "`main` or `events`"),
        }
        let name = value(name).unwrap_or_default();
        let days = fields.manager.as_ref().and_then(|manager| manager.value.backup_retention_days.as_ref());
        let days = syntax::bounded(days, "`backupRetentionDays`", 1, LONGEST_RETENTION, check);
        let backup_retention_days = days.unwrap_or(DEFAULT_RETENTION);
        let Some(list) = fields.members.as_ref().filter(|list| !list.value.is_empty()) else {
            check.lacking(
                place,
                "etcdMembers",
                format!("etcd cluster `{name}` has no members"),
                "one per control-plane group",
            );
            return EtcdCluster { name, members: Vec::new(), backup_retention_days };
        };
        let members = &list.value;
        check.unique("etcd member", members.iter().filter_map(|member| member.value.name.as_ref()));
        check.unique(
            "the etcd member of group",
            members.iter().filter_map(|member| member.value.instance_group.as_ref()),
        );
        if members.len().is_multiple_of(2) {
            let title =
                format!("etcd cluster `{name}` has {} members: it needs an odd number", members.len());
            check.hinted(&list.place, title, "an even number survives no more failures than one less");
        }
        self.complete(&name, spec, check);
        let members = members.iter().filter_map(|member| self.written_member(member, check)).collect();
        EtcdCluster { name, members, backup_retention_days }
    }

    /// Every control-plane machine runs a member.
    fn complete(&self, name: &str, spec: &Located<EtcdClusterSpec>, check: &mut Check) {
        let members = spec.value.members.as_ref().map_or(&[][..], |list| &list.value);
        let is_known = |member: &Located<EtcdMemberSpec>| {
            let name = member.value.instance_group.as_ref();
            name.is_some_and(|name| self.control_plane.iter().any(|group| group.name == name.value))
        };
        // A member of an unknown group is most likely the one that is missing.
        let all_known = members.iter().all(is_known);
        for group in self.control_plane.iter().filter(|_| all_known) {
            let has = |member: &Located<EtcdMemberSpec>| {
                member.value.instance_group.as_ref().is_some_and(|field| field.value == group.name)
            };
            if !group.name.is_empty() && !members.iter().any(has) {
                let title =
                    format!("control-plane group `{}` has no member in etcd cluster `{name}`", group.name);
                check.hinted(&spec.place, title, "every control-plane machine runs one");
            }
        }
    }

    fn written_member(&self, spec: &Located<EtcdMemberSpec>, check: &mut Check) -> Option<EtcdMember> {
        let (Some(name), Some(group)) = (&spec.value.name, &spec.value.instance_group) else {
            let field = if spec.value.name.is_none() { "name" } else { "instanceGroup" };
            check.missing(&spec.place, field);
            return None;
        };
        if !syntax::is_dns_name(&name.value) {
            check.hinted(
                &name.place,
                format!("etcd member name `{}` is not possible", name.value),
                "lower-case letters, digits and `-`",
            );
        }
        let Some(found) = self.control_plane.iter().find(|known| known.name == group.value) else {
            let title = format!("there is no control-plane group `{}`", group.value);
            let known = self.control_plane.iter().map(|group| group.name.as_str());
            if !self.control_plane.is_empty() {
                check.hinted(&group.place, title, suggest::hint(&group.value, known));
            }
            return None;
        };
        Some(self.member(&name.value, found, spec, check))
    }

    fn member(
        &self,
        name: &str,
        group: &InstanceGroup,
        spec: &Located<EtcdMemberSpec>,
        check: &mut Check,
    ) -> EtcdMember {
        let fields = &spec.value;
        let what = format!("the volume of etcd member `{name}`");
        if let Some(field) = fields.encrypted_volume.as_ref().filter(|field| !field.value) {
            let hint = "it holds the cluster's secrets; leave the field out, kcl encrypts by default";
            check.warn(&field.place, format!("{what} is not encrypted"), hint);
        }
        let kind = fields.volume_type.as_ref();
        not_for_streams(kind, "an st1 or sc1 volume is too slow for what etcd writes", check);
        let volume = volume(
            &VolumeFields {
                what: &what,
                size: fields.volume_size.as_ref(),
                default_size: DEFAULT_SIZE,
                kind,
                iops: fields.volume_iops.as_ref(),
                throughput: fields.volume_throughput.as_ref(),
                raised: false,
                encrypted: fields.encrypted_volume.as_ref(),
                kms_key: fields.kms_key_id.as_ref(),
            },
            check,
        );
        let zone = self.drafts.iter().find(|draft| group.subnets.contains(&draft.subnet.name));
        EtcdMember {
            name: name.to_owned(),
            instance_group: group.name.clone(),
            zone: zone.map_or_else(String::new, |draft| draft.subnet.zone.clone()),
            volume,
        }
    }
}
