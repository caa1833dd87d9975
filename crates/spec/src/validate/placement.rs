//! Which subnets a group's machines stand in, and whether they have public addresses there.

use std::collections::BTreeSet;

use super::check::Check;
use super::flag;
use super::subnets::SubnetDraft;
use crate::cluster::{Role, SubnetType};
use crate::schema::instance_group::InstanceGroupSpec;
use crate::source::{Located, Place};
use crate::suggest;

/// Names of the subnets of a group: those of the spec, else all that suit its role.
pub(super) fn subnets(
    spec: &InstanceGroupSpec,
    role: Role,
    drafts: &[SubnetDraft],
    place: &Place,
    check: &mut Check,
) -> Vec<String> {
    let written = spec.subnets.as_ref().filter(|list| !list.value.is_empty());
    let names: Vec<String> = match written {
        Some(list) => {
            check.unique("subnet", &list.value);
            list.value
                .iter()
                .filter(|name| known_subnet(name, drafts, check))
                .map(|name| name.value.clone())
                .collect()
        }
        None => default_subnets(role, drafts),
    };
    let place = written.map_or(place, |list| &list.place);
    if written.is_none() && names.is_empty() && !drafts.is_empty() {
        let title = "no subnet of the cluster suits this group";
        check.lacking(place, "subnets", title, "name its subnets in `spec.subnets`");
    }
    if role == Role::ControlPlane {
        let zones: BTreeSet<&str> = drafts
            .iter()
            .filter(|draft| names.contains(&draft.subnet.name))
            .map(|draft| draft.subnet.zone.as_str())
            .collect();
        if zones.len() > 1 {
            let list = zones.into_iter().collect::<Vec<_>>().join(", ");
            let hint = "its etcd volume is in one zone: name a subnet of one zone, and make a group per zone";
            let title = format!("a control-plane group in several zones: {list}");
            match written {
                Some(_) => check.hinted(place, title, hint),
                None => check.lacking(place, "subnets", title, hint),
            }
        }
    }
    names
}

fn known_subnet(name: &Located<String>, drafts: &[SubnetDraft], check: &mut Check) -> bool {
    let mut known = drafts.iter().map(|draft| draft.subnet.name.as_str());
    let is_known = known.any(|known| known == name.value);
    // A subnet whose name could not be read is not an unknown one.
    if !is_known && !drafts.is_empty() && drafts.iter().all(|draft| !draft.subnet.name.is_empty()) {
        let hint = suggest::hint(&name.value, drafts.iter().map(|draft| draft.subnet.name.as_str()));
        check.hinted(&name.place, format!("the cluster has no subnet `{}`", name.value), hint);
    }
    is_known
}

/// Machines stand in all subnets but the utility ones; bastions in those, else in public ones.
fn default_subnets(role: Role, drafts: &[SubnetDraft]) -> Vec<String> {
    let of = |suits: &dyn Fn(SubnetType) -> bool| -> Vec<String> {
        drafts
            .iter()
            .filter(|draft| suits(draft.subnet.kind))
            .map(|draft| draft.subnet.name.clone())
            .collect()
    };
    match role {
        Role::ControlPlane | Role::Node => of(&|kind| kind != SubnetType::Utility),
        Role::Bastion => {
            let utility = of(&|kind| kind == SubnetType::Utility);
            if utility.is_empty() { of(&|kind| kind == SubnetType::Public) } else { utility }
        }
    }
}

/// By the subnets' type; the spec may decide otherwise, but not in a private subnet.
pub(super) fn public_ip(
    spec: &InstanceGroupSpec,
    names: &[String],
    drafts: &[SubnetDraft],
    place: &Place,
    check: &mut Check,
) -> bool {
    let kinds: Vec<SubnetType> = drafts
        .iter()
        .filter(|draft| names.contains(&draft.subnet.name))
        .map(|draft| draft.subnet.kind)
        .collect();
    let private = kinds.contains(&SubnetType::Private);
    let is_mixed = private && kinds.iter().any(|kind| *kind != SubnetType::Private);
    if is_mixed {
        let title = "a group in private and in public subnets";
        let hint = "one launch template cannot give a public address here and none there: name its subnets";
        match &spec.subnets {
            Some(list) => check.hinted(&list.place, title, hint),
            None => check.lacking(place, "subnets", title, hint),
        }
    }
    if let Some(field) = spec.associate_public_ip.as_ref().filter(|field| field.value && private) {
        check.warn(
            &field.place,
            "no public address in a private subnet",
            "`associatePublicIp` changes nothing here",
        );
    }
    !private && flag(spec.associate_public_ip.as_ref(), true)
}
