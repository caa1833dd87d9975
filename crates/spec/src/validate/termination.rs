//! Draining of machines that AWS is about to take away.

use super::check::Check;
use super::container::ContainerFields;
use super::{Scope, flag, syntax, value};
use crate::cluster::{NodeTerminationHandler, TerminationHandler};
use crate::schema::cluster::NodeTerminationHandlerSpec;

/// The port of the handler's metrics.
const PROMETHEUS_PORT: u16 = 9092;

/// The events that reach the handler, and what it does about them; the latter where it runs. kOps runs it, with its
/// queue, unless told otherwise.
pub(super) fn node_termination_handler(
    scope: &Scope<'_>,
    check: &mut Check,
) -> (NodeTerminationHandler, Option<TerminationHandler>) {
    let empty = NodeTerminationHandlerSpec::default();
    let spec = scope.spec.node_termination_handler.as_ref().map_or(&empty, |handler| &handler.value);
    let handler = TerminationHandler {
        container: container(spec, check),
        spot_interruption_draining: flag(spec.enable_spot_interruption_draining.as_ref(), true),
        scheduled_event_draining: flag(spec.enable_scheduled_event_draining.as_ref(), true),
        rebalance_monitoring: flag(spec.enable_rebalance_monitoring.as_ref(), false),
        rebalance_draining: flag(spec.enable_rebalance_draining.as_ref(), false),
        exclude_from_load_balancers: flag(spec.exclude_from_load_balancers.as_ref(), true),
        taint_node: flag(spec.taint_node.as_ref(), false),
        pod_termination_grace_period: grace_period(spec, check),
        prometheus_port: (flag(spec.enable_prometheus_metrics.as_ref(), false)
            || flag(spec.prometheus_enable.as_ref(), false))
        .then_some(PROMETHEUS_PORT),
        delete_sqs_message_if_node_not_found: flag(spec.delete_sqs_msg_if_node_not_found.as_ref(), false),
    };
    let events = NodeTerminationHandler {
        enabled: flag(spec.enabled.as_ref(), true),
        sqs_termination_draining: flag(spec.enable_sqs_termination_draining.as_ref(), true),
        rebalance: handler.rebalance_draining || handler.rebalance_monitoring,
        managed_asg_tag: value(spec.managed_asg_tag.as_ref())
            .unwrap_or_else(|| "aws-node-termination-handler/managed".to_owned()),
    };
    let handler = events.enabled.then_some(handler);
    (events, handler)
}

fn container(spec: &NodeTerminationHandlerSpec, check: &mut Check) -> crate::cluster::Container {
    let fields = ContainerFields {
        version: spec.version.as_ref(),
        cpu_request: spec.cpu_request.as_ref(),
        memory_request: spec.memory_request.as_ref(),
        ..ContainerFields::default()
    };
    fields.container(check)
}

/// A negative number is the way to say "what each pod asks for".
fn grace_period(spec: &NodeTerminationHandlerSpec, check: &mut Check) -> Option<i32> {
    let field = spec.pod_termination_grace_period.as_ref().filter(|field| field.value >= 0);
    let seconds = syntax::bounded(field, "the grace period", 0, i32::MAX.unsigned_abs(), check);
    seconds.and_then(|seconds| i32::try_from(seconds).ok())
}
