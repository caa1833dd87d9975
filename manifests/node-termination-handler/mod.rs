//! The AWS node termination handler: drains machines that AWS is about to take away.
//!
//! With a queue it is one controller for all machines, told by AWS' events; without one it runs on every
//! machine and asks that machine's metadata service.

use std::collections::BTreeMap;

use kcl_spec::cluster::TerminationHandler;
use serde::Serialize;
use serde_json::Value;

use crate::iam::{anything, change_owned};
use crate::pods::{Access, control_plane_replicas, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Identity, Inputs, images};

pub(crate) const ADDON: Addon = Addon { name: "node-termination-handler", objects, identity };

const HANDLER: Template = template!("node-termination-handler/handler.yaml");

const NAMESPACE: &str = "kube-system";
const SERVICE_ACCOUNT: &str = "aws-node-termination-handler";

#[derive(Serialize)]
struct Values {
    image: String,
    access: Access,
    annotations: BTreeMap<String, String>,
    /// There is a queue: one controller.
    queue: bool,
    environment: Vec<(&'static str, String)>,
    replicas: u32,
    prometheus_port: Option<u16>,
    resources: Value,
}

fn wish<'a>(inputs: &Inputs<'a>) -> Option<&'a TerminationHandler> {
    let wish = inputs.cluster.addons.node_termination_handler.as_ref();
    wish.filter(|_| inputs.cluster.node_termination_handler.enabled)
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = wish(inputs) else { return Ok(Vec::new()) };
    let access = Access::of(inputs, NAMESPACE, SERVICE_ACCOUNT);
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::NODE_TERMINATION_HANDLER),
        annotations: access.annotations(&BTreeMap::new()),
        access,
        queue: inputs.queue.is_some(),
        environment: environment(inputs, wish),
        replicas: control_plane_replicas(inputs.cluster),
        prometheus_port: wish.prometheus_port,
        resources: resources(&wish.container, "20m", "32Mi"),
    };
    template::objects(&HANDLER, &values)
}

fn environment(inputs: &Inputs<'_>, wish: &TerminationHandler) -> Vec<(&'static str, String)> {
    let own = |value: &str| value.to_owned();
    let mut environment = vec![
        ("AWS_REGION", inputs.cluster.region.clone()),
        ("DELETE_LOCAL_DATA", own("true")),
        ("IGNORE_DAEMON_SETS", own("true")),
        // By default pods get what they ask for themselves.
        ("POD_TERMINATION_GRACE_PERIOD", wish.pod_termination_grace_period.unwrap_or(-1).to_string()),
        ("NODE_TERMINATION_GRACE_PERIOD", own("120")),
        ("EMIT_KUBERNETES_EVENTS", own("true")),
        ("EXCLUDE_FROM_LOAD_BALANCERS", wish.exclude_from_load_balancers.to_string()),
        ("TAINT_NODE", wish.taint_node.to_string()),
        ("ENABLE_PROMETHEUS_SERVER", wish.prometheus_port.is_some().to_string()),
        ("JSON_LOGGING", own("true")),
        ("LOG_FORMAT_VERSION", own("2")),
    ];
    if let Some(port) = wish.prometheus_port {
        environment.push(("PROMETHEUS_SERVER_PORT", port.to_string()));
    }
    environment.push(("ENABLE_SQS_TERMINATION_DRAINING", inputs.queue.is_some().to_string()));
    match inputs.queue {
        // Which events there are is a matter of the rules that fill the queue.
        Some(queue) => environment.extend([
            ("QUEUE_URL", queue_url(inputs, queue)),
            ("CHECK_TAG_BEFORE_DRAINING", own("true")),
            ("MANAGED_TAG", inputs.cluster.node_termination_handler.managed_asg_tag.clone()),
            // Nodes are known by their machine's id, whatever they are called.
            ("USE_PROVIDER_ID", own("true")),
            ("DELETE_SQS_MSG_IF_NODE_NOT_FOUND", wish.delete_sqs_message_if_node_not_found.to_string()),
            ("ENABLE_PROBES_SERVER", own("true")),
            ("PROBES_SERVER_PORT", own("8092")),
        ]),
        None => environment.extend([
            ("ENABLE_SPOT_INTERRUPTION_DRAINING", wish.spot_interruption_draining.to_string()),
            ("ENABLE_SCHEDULED_EVENT_DRAINING", wish.scheduled_event_draining.to_string()),
            ("ENABLE_REBALANCE_MONITORING", wish.rebalance_monitoring.to_string()),
            ("ENABLE_REBALANCE_DRAINING", wish.rebalance_draining.to_string()),
            // A drained node is free again if its machine has come back in the meantime.
            ("UPTIME_FROM_FILE", own("/proc/uptime")),
        ]),
    }
    environment
}

fn queue_url(inputs: &Inputs<'_>, queue: &str) -> String {
    let (region, account) = (&inputs.cluster.region, inputs.account);
    format!("https://sqs.{region}.{}/{account}/{queue}", inputs.dns_suffix())
}

/// Who asks the metadata service is nobody to AWS.
fn identity(inputs: &Inputs<'_>) -> Option<Identity> {
    wish(inputs)?;
    inputs.queue?;
    let statements = vec![
        anything(&[
            "autoscaling:DescribeAutoScalingInstances",
            "autoscaling:DescribeTags",
            "ec2:DescribeInstances",
            "sqs:DeleteMessage",
            "sqs:ReceiveMessage",
        ]),
        change_owned(inputs, &["autoscaling:CompleteLifecycleAction"]),
    ];
    Some(Identity { namespace: NAMESPACE, service_account: SERVICE_ACCOUNT, statements })
}
