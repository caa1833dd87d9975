//! The cluster autoscaler.

use std::collections::BTreeMap;

use super::check::Check;
use super::container::{ContainerFields, annotations};
use super::{Scope, flag, syntax, value};
use crate::cluster::{ClusterAutoscaler, InstanceGroup};
use crate::read::Scalar;
use crate::schema::addons::ClusterAutoscalerSpec;
use crate::source::Located;
use crate::suggest;

/// The cluster autoscaler, where it is enabled, with kOps' defaults. Its fields are judged either way.
pub(super) fn autoscaler(
    scope: &Scope<'_>,
    groups: &[Located<InstanceGroup>],
    check: &mut Check,
) -> Option<ClusterAutoscaler> {
    let spec = &scope.spec.cluster_autoscaler.as_ref()?.value;
    let default = ClusterAutoscaler::default();
    let expander = expander(spec, check).unwrap_or(default.expander);
    let fields = ContainerFields {
        image: spec.image.as_ref(),
        cpu_request: spec.cpu_request.as_ref(),
        memory_request: spec.memory_request.as_ref(),
        ..ContainerFields::default()
    };
    let pick = |field: &Option<Located<bool>>, default| flag(field.as_ref(), default);
    let mut duration = |field: &Option<Located<String>>, default| {
        syntax::duration_field(field.as_ref(), check).unwrap_or(default)
    };
    let autoscaler = ClusterAutoscaler {
        balance_similar_node_groups: pick(
            &spec.balance_similar_node_groups,
            default.balance_similar_node_groups,
        ),
        skip_nodes_with_system_pods: pick(
            &spec.skip_nodes_with_system_pods,
            default.skip_nodes_with_system_pods,
        ),
        skip_nodes_with_local_storage: pick(
            &spec.skip_nodes_with_local_storage,
            default.skip_nodes_with_local_storage,
        ),
        cordon_node_before_terminating: pick(
            &spec.cordon_node_before_terminating,
            default.cordon_node_before_terminating,
        ),
        skip_nodes_with_custom_controller_pods: value(spec.skip_nodes_with_custom_controller_pods.as_ref()),
        ignore_daemon_sets_utilization: value(spec.ignore_daemon_sets_utilization.as_ref()),
        new_pod_scale_up_delay: duration(&spec.new_pod_scale_up_delay, default.new_pod_scale_up_delay),
        scale_down_delay_after_add: duration(
            &spec.scale_down_delay_after_add,
            default.scale_down_delay_after_add,
        ),
        scale_down_unneeded_time: duration(&spec.scale_down_unneeded_time, default.scale_down_unneeded_time),
        scale_down_unready_time: duration(&spec.scale_down_unready_time, default.scale_down_unready_time),
        max_node_provision_time: duration(&spec.max_node_provision_time, default.max_node_provision_time),
        scale_down_utilization_threshold: threshold(spec, check)
            .unwrap_or(default.scale_down_utilization_threshold),
        container: fields.container(check),
        pod_annotations: annotations(spec.pod_annotations.as_ref(), check),
        priorities: priorities(spec, scope, groups, &expander, check),
        expander,
    };
    flag(spec.enabled.as_ref(), false).then_some(autoscaler)
}

const EXPANDERS: &[&str] = &["least-waste", "most-pods", "priority", "random"];

fn expander(spec: &ClusterAutoscalerSpec, check: &mut Check) -> Option<String> {
    let field = spec.expander.as_ref()?;
    for word in field.value.split(',') {
        if word == "price" {
            let hint = "choose another one: `least-waste` comes near";
            check.hinted(&field.place, "the autoscaler knows no prices of AWS", hint);
        } else if !EXPANDERS.contains(&word) {
            let title = format!("unknown expander `{word}`");
            check.hinted(&field.place, title, suggest::hint(word, EXPANDERS.iter().copied()));
        }
    }
    Some(field.value.clone())
}

/// A part of a machine.
fn threshold(spec: &ClusterAutoscalerSpec, check: &mut Check) -> Option<String> {
    let Located { value: Scalar(text), place } = spec.scale_down_utilization_threshold.as_ref()?;
    let is_plain = text.chars().all(|char| char.is_ascii_digit() || char == '.');
    if !text.parse::<f64>().is_ok_and(|part| is_plain && (0.0..=1.0).contains(&part)) {
        let title = format!("`{text}` is not a part of a machine");
        check.hinted(place, title, "from 0 to 1, as in `0.5`");
    }
    Some(text.clone())
}

/// Priorities of groups, where the expander asks for them: those of the spec, or those that the groups have.
fn priorities(
    spec: &ClusterAutoscalerSpec,
    scope: &Scope<'_>,
    groups: &[Located<InstanceGroup>],
    expander: &str,
    check: &mut Check,
) -> BTreeMap<String, Vec<String>> {
    let is_asked = expander.split(',').any(|word| word == "priority");
    if let Some(custom) = &spec.custom_priority_expander_config {
        if !is_asked {
            let hint = "set `expander: priority`, or leave it out";
            let title = "`customPriorityExpanderConfig` has no effect with this expander";
            check.warn(&custom.place, title, hint);
            return BTreeMap::new();
        }
        let mut priorities = BTreeMap::new();
        for (priority, patterns) in &custom.value.0 {
            if priority.value.parse::<u32>().is_err() {
                let title = format!("`{}` is not a priority", priority.value);
                check.hinted(&priority.place, title, "a whole number, at least 0");
            }
            for pattern in patterns.value.iter().filter(|pattern| pattern.value.is_empty()) {
                check.hinted(&pattern.place, "an empty pattern", "`.*` is every group");
            }
            let patterns = patterns.value.iter().map(|pattern| pattern.value.clone()).collect();
            priorities.insert(priority.value.clone(), patterns);
        }
        return priorities;
    }
    let mut priorities: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if !is_asked || !flag(spec.create_priority_expander_config.as_ref(), true) {
        return priorities;
    }
    for group in groups.iter().map(|group| &group.value).filter(|group| group.autoscale) {
        // A pattern finds what is anywhere in a name, and `nodes` is in `spot-nodes`.
        let pattern = format!("^{}.{}$", group.name, scope.name).replace('.', r"\.");
        priorities.entry(group.autoscale_priority.to_string()).or_default().push(pattern);
    }
    priorities
}
