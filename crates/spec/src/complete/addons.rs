//! The components of a Cluster as their defaults make them.
//!
//! What a component is given by default inside of its manifest (images, resources) is not a spec's to say.

use super::{At, sort};
use crate::cluster::{
    Addons, CloudControllerManager, ClusterAutoscaler, EbsCsiDriver, ExternalDns, IamAuthenticator,
    MetricsServer, NodeTerminationHandler, TerminationHandler,
};
use crate::read::Scalar;
use crate::schema::addons::{AuthenticationSpec, ClusterAutoscalerSpec};
use crate::schema::cluster::ClusterSpec;

pub(super) fn addons(spec: &mut ClusterSpec, addons: &Addons, handler: &NodeTerminationHandler, at: At<'_>) {
    let Addons {
        cloud_controller_manager,
        ebs_csi_driver,
        metrics_server,
        cluster_autoscaler,
        node_termination_handler,
        external_dns,
        iam_authenticator,
        // From the NamespaceDefaults of `default`, where there are some.
        limit_range: _,
    } = addons;
    if let Some(manager) = cloud_controller_manager {
        let CloudControllerManager { container: _, log_level: _, controllers: _, configure_cloud_routes } =
            manager;
        let manager = at.open(&mut spec.cloud_controller_manager);
        at.fill(&mut manager.configure_cloud_routes, *configure_cloud_routes);
    }
    self::ebs_csi_driver(spec, ebs_csi_driver.as_ref(), at);
    // Without a field there is neither of these.
    if let Some(server) = &mut spec.metrics_server {
        at.fill(&mut server.value.enabled, metrics_server.is_some());
        if let Some(MetricsServer { container: _, insecure }) = metrics_server {
            at.fill(&mut server.value.insecure, *insecure);
        }
    }
    if let Some(autoscaler) = &mut spec.cluster_autoscaler {
        at.fill(&mut autoscaler.value.enabled, cluster_autoscaler.is_some());
        sort(autoscaler.value.pod_annotations.as_mut());
        sort(autoscaler.value.custom_priority_expander_config.as_mut());
        if let Some(wanted) = cluster_autoscaler {
            self::cluster_autoscaler(&mut autoscaler.value, wanted, at);
        }
    }
    if let (Some(dns), Some(wanted)) = (&mut spec.external_dns, external_dns) {
        let ExternalDns { watch_ingress, watch_namespace: _ } = wanted;
        at.fill(&mut dns.value.watch_ingress, *watch_ingress);
    }
    if let (Some(authentication), Some(wanted)) = (&mut spec.authentication, iam_authenticator) {
        self::authentication(&mut authentication.value, wanted, at);
    }
    termination_handler(spec, handler, node_termination_handler.as_ref(), at);
}

fn ebs_csi_driver(spec: &mut ClusterSpec, driver: Option<&EbsCsiDriver>, at: At<'_>) {
    let config = at.open(&mut spec.cloud_config);
    let fields = at.open(&mut config.aws_ebs_csi_driver);
    sort(fields.pod_annotations.as_mut());
    let Some(driver) = driver else { return };
    let EbsCsiDriver { container: _, volume_attach_limit: _, pod_annotations: _, storage_classes } = driver;
    at.fill(&mut fields.enabled, true);
    at.fill(&mut fields.managed, true);
    at.fill(&mut config.manage_storage_classes, *storage_classes);
}

fn cluster_autoscaler(spec: &mut ClusterAutoscalerSpec, autoscaler: &ClusterAutoscaler, at: At<'_>) {
    let ClusterAutoscaler {
        container: _,
        expander,
        balance_similar_node_groups,
        skip_nodes_with_system_pods,
        skip_nodes_with_local_storage,
        // The autoscaler's own defaults.
        skip_nodes_with_custom_controller_pods: _,
        ignore_daemon_sets_utilization: _,
        scale_down_utilization_threshold,
        new_pod_scale_up_delay,
        scale_down_delay_after_add,
        scale_down_unneeded_time,
        scale_down_unready_time,
        max_node_provision_time,
        cordon_node_before_terminating,
        pod_annotations: _,
        // The user's own, or those of the groups.
        priorities: _,
    } = autoscaler;
    at.fill(&mut spec.expander, expander.clone());
    at.fill(&mut spec.balance_similar_node_groups, *balance_similar_node_groups);
    at.fill(&mut spec.skip_nodes_with_system_pods, *skip_nodes_with_system_pods);
    at.fill(&mut spec.skip_nodes_with_local_storage, *skip_nodes_with_local_storage);
    let threshold = Scalar(scale_down_utilization_threshold.clone());
    at.fill(&mut spec.scale_down_utilization_threshold, threshold);
    at.fill(&mut spec.new_pod_scale_up_delay, new_pod_scale_up_delay.clone());
    at.fill(&mut spec.scale_down_delay_after_add, scale_down_delay_after_add.clone());
    at.fill(&mut spec.scale_down_unneeded_time, scale_down_unneeded_time.clone());
    at.fill(&mut spec.scale_down_unready_time, scale_down_unready_time.clone());
    at.fill(&mut spec.max_node_provision_time, max_node_provision_time.clone());
    at.fill(&mut spec.cordon_node_before_terminating, *cordon_node_before_terminating);
}

fn authentication(spec: &mut AuthenticationSpec, authenticator: &IamAuthenticator, at: At<'_>) {
    let IamAuthenticator { container: _, cluster_id, backend_mode, identity_mappings: _ } = authenticator;
    if let Some(aws) = &mut spec.aws {
        at.fill(&mut aws.value.cluster_id, cluster_id.clone());
        at.fill(&mut aws.value.backend_mode, backend_mode.join(","));
    }
}

fn termination_handler(
    spec: &mut ClusterSpec,
    events: &NodeTerminationHandler,
    handler: Option<&TerminationHandler>,
    at: At<'_>,
) {
    let NodeTerminationHandler { enabled, sqs_termination_draining, rebalance, managed_asg_tag } = events;
    let fields = at.open(&mut spec.node_termination_handler);
    at.fill(&mut fields.enabled, *enabled);
    at.fill(&mut fields.enable_sqs_termination_draining, *sqs_termination_draining);
    at.fill(&mut fields.managed_asg_tag, managed_asg_tag.clone());
    let Some(handler) = handler else {
        at.fill(&mut fields.enable_rebalance_draining, *rebalance);
        return;
    };
    let TerminationHandler {
        container: _,
        spot_interruption_draining,
        scheduled_event_draining,
        rebalance_monitoring,
        rebalance_draining,
        exclude_from_load_balancers,
        taint_node,
        // Absent, it is what each pod asks for.
        pod_termination_grace_period: _,
        prometheus_port,
        delete_sqs_message_if_node_not_found,
    } = handler;
    at.fill(&mut fields.enable_spot_interruption_draining, *spot_interruption_draining);
    at.fill(&mut fields.enable_scheduled_event_draining, *scheduled_event_draining);
    at.fill(&mut fields.enable_rebalance_monitoring, *rebalance_monitoring);
    at.fill(&mut fields.enable_rebalance_draining, *rebalance_draining);
    at.fill(&mut fields.exclude_from_load_balancers, *exclude_from_load_balancers);
    at.fill(&mut fields.taint_node, *taint_node);
    if fields.enable_prometheus_metrics.is_none() {
        at.fill(&mut fields.prometheus_enable, prometheus_port.is_some());
    }
    at.fill(&mut fields.delete_sqs_msg_if_node_not_found, *delete_sqs_message_if_node_not_found);
}
