//! F5's NGINX Ingress Controller, on every node.
//!
//! Wanted by each IngressController of the spec. Without custom resources: Ingresses and the Secrets, Services
//! and EndpointSlices they lead to are all it watches.

use kcl_spec::cluster::{IngressController, LoadBalancerManager};
use serde::Serialize;
use serde_json::Value;

use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, images, nobody};

pub(crate) const ADDON: Addon = Addon { name: "nginx-ingress", objects, identity: nobody };

const CONTROLLER: Template = template!("nginx-ingress/controller.yaml");

#[derive(Serialize)]
struct Values<'a> {
    name: &'a str,
    namespace: &'a str,
    /// What pods of the namespace may do.
    pod_security: &'static str,
    class: &'a str,
    image: String,
    /// Ports of the machine lead to the pods; otherwise a Service of type LoadBalancer does.
    host_ports: bool,
    proxy_protocol: bool,
    /// Of the target groups of the Service's load balancer.
    attributes: String,
    /// Who may say by proxy protocol whose connection it is.
    trusted: String,
    /// Names that external-dns publishes for the Service, comma separated.
    hostnames: Option<String>,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let controllers = inputs.cluster.ingress_controllers.iter();
    let made = controllers.map(|controller| template::objects(&CONTROLLER, &values(inputs, controller)));
    Ok(made.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn values<'a>(inputs: &Inputs<'a>, controller: &'a IngressController) -> Values<'a> {
    let host_ports = has_host_ports(controller);
    let proxy_protocol = controller.load_balancer.proxy_protocol;
    let external_dns = inputs.cluster.addons.external_dns.as_ref();
    let published = !host_ports && external_dns.is_some_and(|dns| dns.watches(&controller.namespace));
    Values {
        name: &controller.name,
        namespace: &controller.namespace,
        pod_security: pod_security(inputs, &controller.namespace),
        class: &controller.ingress_class,
        image: images::pinned(inputs.cluster, images::NGINX_INGRESS),
        host_ports,
        proxy_protocol,
        attributes: format!("proxy_protocol_v2.enabled={proxy_protocol}"),
        trusted: inputs.vpc_cidrs.join(","),
        hostnames: (published && !controller.hosts.is_empty()).then(|| controller.hosts.join(",")),
    }
}

fn has_host_ports(controller: &IngressController) -> bool {
    controller.load_balancer.managed_by == LoadBalancerManager::Kcl
}

/// Ports of the machine are for privileged pods only. Controllers may share a namespace.
fn pod_security(inputs: &Inputs<'_>, namespace: &str) -> &'static str {
    let mut inside = inputs.cluster.ingress_controllers.iter().filter(|other| other.namespace == namespace);
    if inside.any(has_host_ports) { "privileged" } else { "restricted" }
}
