//! Ingress controllers.

use super::check::Check;
use super::{Scope, document_name, flag, syntax, value};
use crate::cluster::{IngressController, IngressLoadBalancer, LoadBalancerManager};
use crate::document::{Document, Spec};
use crate::schema::IngressControllerDocument;
use crate::schema::ingress_controller::{IngressControllerSpec, IngressLoadBalancerSpec, ManagedBy};
use crate::source::Located;

/// The ingress controllers, by name. One that shares the API's load balancer is located at the field that
/// says so, any other at its name.
pub(super) fn controllers(
    spec: &Spec,
    scope: &Scope<'_>,
    check: &mut Check,
) -> Vec<Located<IngressController>> {
    let all: Vec<Controller<'_>> =
        spec.ingress_controllers().map(|(document, body)| Controller::of(document, body, check)).collect();
    check.unique("ingress controller", all.iter().filter_map(|controller| controller.name.as_ref()));
    check.unique("ingress class", all.iter().map(|controller| &controller.class));
    let hosts =
        all.iter().filter_map(|controller| controller.spec.hosts.as_ref()).flat_map(|hosts| &hosts.value);
    check.unique("host", hosts);
    let shared = all.iter().filter_map(|controller| controller.shared());
    for field in shared.skip(1) {
        let hint = "ports 80 and 443 of a load balancer lead to one controller";
        check.hinted(&field.place, "a second controller shares the API's load balancer", hint);
    }
    let mut built: Vec<Located<IngressController>> =
        all.iter().map(|controller| controller.build(scope, check)).collect();
    built.sort_by(|a, b| a.value.name.cmp(&b.value.name));
    built
}

struct Controller<'a> {
    document: &'a Document,
    name: Option<Located<String>>,
    class: Located<String>,
    spec: std::borrow::Cow<'a, IngressControllerSpec>,
}

impl<'a> Controller<'a> {
    fn of(document: &'a Document, body: &'a IngressControllerDocument, check: &mut Check) -> Self {
        use std::borrow::Cow;
        let name = document_name(document, body.metadata.as_ref(), check);
        let spec = match &body.spec {
            Some(spec) => Cow::Borrowed(&spec.value),
            None => Cow::Owned(IngressControllerSpec::default()),
        };
        let default_class = || {
            Located::new(
                "nginx".to_owned(),
                name.as_ref().map_or(&document.place, |name| &name.place).clone(),
            )
        };
        Self { document, class: spec.ingress_class.clone().unwrap_or_else(default_class), name, spec }
    }

    fn balancer(&self) -> Option<&IngressLoadBalancerSpec> {
        self.spec.load_balancer.as_ref().map(|balancer| &balancer.value)
    }

    /// The field that says that the API's load balancer is shared.
    fn shared(&self) -> Option<&Located<bool>> {
        self.balancer()?.share_with_api.as_ref().filter(|field| field.value)
    }

    fn build(&self, scope: &Scope<'_>, check: &mut Check) -> Located<IngressController> {
        let name = value(self.name.as_ref()).unwrap_or_else(|| "ingress".to_owned());
        let labels = [self.name.as_ref(), self.spec.namespace.as_ref()];
        for field in labels.into_iter().flatten().filter(|field| !syntax::is_dns_label(&field.value)) {
            let title = format!("`{}` is not a Kubernetes name", field.value);
            check.hinted(&field.place, title, "lower-case letters, digits and `-`, at most 63");
        }
        if !syntax::is_dns_name(&self.class.value) {
            check.error(
                &self.class.place,
                format!("`{}` is not the name of an IngressClass", self.class.value),
            );
        }
        let managed_by = match self
            .balancer()
            .and_then(|balancer| balancer.managed_by.as_ref())
            .map(|field| field.value)
        {
            Some(ManagedBy::Service) => LoadBalancerManager::Service,
            Some(ManagedBy::Kcl) | None => LoadBalancerManager::Kcl,
        };
        if let Some(field) = self.shared().filter(|_| managed_by == LoadBalancerManager::Service) {
            let title = "`shareWithApi` and `managedBy: service` exclude each other";
            check.hinted(&field.place, title, "kcl makes the API's load balancer: use `managedBy: kcl`");
        }
        let place = self.name.as_ref().map_or(&self.document.place, |name| &name.place);
        let place = self.shared().map_or(place, |field| &field.place);
        let controller = IngressController {
            namespace: value(self.spec.namespace.as_ref()).unwrap_or_else(|| name.clone()),
            name,
            ingress_class: self.class.value.clone(),
            load_balancer: IngressLoadBalancer {
                managed_by,
                proxy_protocol: flag(
                    self.balancer().and_then(|balancer| balancer.proxy_protocol.as_ref()),
                    true,
                ),
                share_with_api: self.shared().is_some(),
            },
            hosts: self.hosts(scope, check),
        };
        Located::new(controller, place.clone())
    }

    fn hosts(&self, scope: &Scope<'_>, check: &mut Check) -> Vec<String> {
        let hosts = self.spec.hosts.as_ref().map_or(&[][..], |list| &list.value);
        let api = scope
            .spec
            .master_public_name
            .as_ref()
            .map_or_else(|| format!("api.{}", scope.name), |name| name.value.clone());
        for host in hosts {
            let name = host.value.strip_prefix("*.").unwrap_or(&host.value);
            if !syntax::is_dns_name(name) || !name.contains('.') {
                let title = format!("`{}` is not a host name", host.value);
                check.hinted(
                    &host.place,
                    title,
                    "a DNS name without scheme, port or path, as in `www.example.com`",
                );
            } else if host.value == api {
                check.error(&host.place, format!("`{api}` is the API's own name"));
            }
        }
        hosts.iter().map(|host| host.value.clone()).collect()
    }
}
