//! What runs in the cluster beside Kubernetes itself.

use super::check::Check;
use super::container::{ContainerFields, annotations};
use super::{Scope, flag, syntax, value};
use crate::cluster::{
    Addons, CloudControllerManager, DnsType, EbsCsiDriver, ExternalDns, InstanceGroup, LimitRange,
    MetricsServer, NamespaceDefaults, Network, PodNetwork, TerminationHandler,
};
use crate::schema::addons::{
    CloudConfigSpec, CloudControllerManagerSpec, ExternalDnsProvider, ExternalDnsSpec, MetricsServerSpec,
};
use crate::source::Located;
use crate::suggest;

/// The addons, as the cluster's network, groups and namespaces need them.
pub(super) fn addons(
    scope: &Scope<'_>,
    network: &Network,
    groups: &[Located<InstanceGroup>],
    namespaces: &[NamespaceDefaults],
    termination_handler: Option<TerminationHandler>,
    check: &mut Check,
) -> Addons {
    of_urls(scope, check);
    Addons {
        cloud_controller_manager: Some(cloud_controller_manager(scope, network.pod_network, check)),
        ebs_csi_driver: ebs_csi_driver(scope, check),
        metrics_server: metrics_server(scope, check),
        cluster_autoscaler: super::autoscaler::autoscaler(scope, groups, check),
        node_termination_handler: termination_handler,
        external_dns: external_dns(scope, network.dns, check),
        iam_authenticator: super::authentication::iam_authenticator(scope, check),
        limit_range: limit_range(namespaces),
    }
}

/// kOps fetches these at every node's start, whatever they have become.
fn of_urls(scope: &Scope<'_>, check: &mut Check) {
    if let Some(addons) = scope.spec.addons.as_ref().filter(|addons| !addons.value.is_empty()) {
        let hint = "give each manifest's address and SHA-256 in a document `kind: Manifest` of \
                    `kcl.dev/v1alpha1`";
        check.warn(&addons.place, "`addons` is not acted on", hint);
    }
}

/// Each works under an account of its own, for which alone the manager may have tokens: what else there were could not
/// work.
const CONTROLLERS: &[&str] = &[
    "cloud-node",
    "cloud-node-controller",
    "cloud-node-lifecycle",
    "cloud-node-lifecycle-controller",
    "node-route-controller",
    "route",
    "service",
    "service-lb-controller",
];

fn cloud_controller_manager(
    scope: &Scope<'_>,
    pod_network: PodNetwork,
    check: &mut Check,
) -> CloudControllerManager {
    let empty = CloudControllerManagerSpec::default();
    let spec = scope.spec.cloud_controller_manager.as_ref().map_or(&empty, |spec| &spec.value);
    let controllers = spec.controllers.as_ref().map_or(&[][..], |list| &list.value);
    check.unique("controller", controllers);
    for controller in controllers {
        let off = controller.value.strip_prefix('-');
        let is_known = CONTROLLERS.contains(&off.unwrap_or(&controller.value))
            // It is off by itself, and would need permissions that the manager has not.
            || controller.value == "-tagging";
        if controller.value != "*" && !is_known {
            let title = format!("`{}` is no controller of the cloud controller manager", controller.value);
            let hint = format!(
                "`*` for all, {}; with `-` before the name it is off",
                suggest::one_of(CONTROLLERS.iter().copied())
            );
            check.hinted(&controller.place, title, hint);
        }
    }
    let fields = ContainerFields {
        image: spec.image.as_ref(),
        cpu_request: spec.cpu_request.as_ref(),
        ..ContainerFields::default()
    };
    let log_level = syntax::bounded(spec.log_level.as_ref(), "the log level", 0, 10, check);
    CloudControllerManager {
        container: fields.container(check),
        log_level: log_level.and_then(|level| u8::try_from(level).ok()),
        controllers: controllers.iter().map(|controller| controller.value.clone()).collect(),
        // Without an overlay each node's pods are reached by a route.
        configure_cloud_routes: flag(
            spec.configure_cloud_routes.as_ref(),
            pod_network == PodNetwork::Kubenet,
        ),
    }
}

fn ebs_csi_driver(scope: &Scope<'_>, check: &mut Check) -> Option<EbsCsiDriver> {
    let empty = CloudConfigSpec::default();
    let config = scope.spec.cloud_config.as_ref().map_or(&empty, |config| &config.value);
    let spec = config.aws_ebs_csi_driver.as_ref().map(|spec| spec.value.clone()).unwrap_or_default();
    let fields = ContainerFields { version: spec.version.as_ref(), ..ContainerFields::default() };
    let limit = spec.volume_attach_limit.as_ref();
    let driver = EbsCsiDriver {
        container: fields.container(check),
        volume_attach_limit: syntax::bounded(limit, "the number of volumes", 1, u32::MAX, check),
        pod_annotations: annotations(spec.pod_annotations.as_ref(), check),
        storage_classes: flag(
            config.manage_storage_classes.as_ref(),
            EbsCsiDriver::default().storage_classes,
        ),
    };
    (flag(spec.enabled.as_ref(), true) && flag(spec.managed.as_ref(), true)).then_some(driver)
}

fn metrics_server(scope: &Scope<'_>, check: &mut Check) -> Option<MetricsServer> {
    let MetricsServerSpec { enabled, image, insecure } = &scope.spec.metrics_server.as_ref()?.value;
    let fields = ContainerFields { image: image.as_ref(), ..ContainerFields::default() };
    let server =
        MetricsServer { container: fields.container(check), insecure: flag(insecure.as_ref(), true) };
    flag(enabled.as_ref(), false).then_some(server)
}

fn external_dns(scope: &Scope<'_>, dns: DnsType, check: &mut Check) -> Option<ExternalDns> {
    let spec = scope.spec.external_dns.as_ref()?;
    let ExternalDnsSpec { disable, priority_class_name: _, provider, watch_ingress, watch_namespace } =
        &spec.value;
    if let Some(namespace) = watch_namespace.as_ref().filter(|field| !syntax::is_dns_label(&field.value)) {
        check.error(&namespace.place, format!("`{}` is not a namespace", namespace.value));
    }
    if flag(disable.as_ref(), false) {
        return None;
    }
    let asks = provider.as_ref().map(|field| (&field.place, Some(field.value)));
    // kOps' own is what it runs where nobody says which.
    let asks = asks.or_else(|| Some((&watch_ingress.as_ref().filter(|field| field.value)?.place, None)));
    let (place, provider) = asks?;
    match provider {
        Some(ExternalDnsProvider::ExternalDns) => {}
        Some(ExternalDnsProvider::None) => return None,
        Some(ExternalDnsProvider::DnsController) | None => {
            let title = "nobody makes DNS records for Services and Ingresses: kcl has no dns-controller";
            let hint = "`provider: external-dns` does; the API's own names are published either way";
            check.warn(place, title, hint);
            return None;
        }
    }
    if dns == DnsType::None {
        let hint = "set `topology.dns.type` to `Public` or `Private`, or leave `externalDns` out";
        check.hinted(place, "external-dns has no hosted zone to write to: the cluster has no DNS", hint);
    }
    Some(ExternalDns {
        watch_ingress: flag(watch_ingress.as_ref(), true),
        watch_namespace: value(watch_namespace.as_ref()),
    })
}

/// As kOps has it in the namespace `default`, unless the spec has defaults of its own there.
fn limit_range(namespaces: &[NamespaceDefaults]) -> Option<LimitRange> {
    let own =
        namespaces.iter().any(|defaults| defaults.namespace == "default" && defaults.limit_range.is_some());
    let cpu = ("cpu".to_owned(), "100m".to_owned());
    (!own).then(|| LimitRange {
        default_requests: [cpu].into_iter().collect(),
        default_limits: std::collections::BTreeMap::new(),
    })
}
