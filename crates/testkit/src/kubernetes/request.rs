//! Which verb of which resource a request to an API server is.
//!
//! As the server itself tells them apart (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go), with the two
//! things that kcl does by a `patch` called by their names.

use percent_encoding::percent_decode_str;

use crate::call::Call;
use crate::wire::{Protocol, Request};

/// What begins a path into the objects of one namespace.
const NAMESPACES: &str = "namespaces";

impl Call {
    /// Reads a request to an API server. The service is the resource, as in `deployments.apps` or `pods/log`, or the
    /// path where it names none; the action is the verb, as in `list`, `apply`, `apply (dry run)`.
    pub(crate) fn of_kubernetes(number: usize, request: &Request, is_known: bool) -> Self {
        let mut call = Self::of(number, request);
        let path = percent_decode_str(request.uri.path()).decode_utf8_lossy().into_owned();
        let (resource, is_one) = resource(&path);
        let is_dry_run = call.params.get("dryRun").is_some_and(|value| value == "All");
        let is_apply = call
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/apply-patch")));
        let verb = match (call.method.as_str(), is_one) {
            ("GET", true) => "get",
            ("GET", false) if call.params.contains_key("watch") => "watch",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) if is_apply => "apply",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            (method, _) => method,
        };
        call.action = if is_dry_run { format!("{verb} (dry run)") } else { verb.to_owned() };
        call.mutating = call.method != hyper::Method::GET && !is_dry_run;
        call.service = resource;
        call.protocol = Protocol::Kubernetes;
        call.region = String::new();
        call.signed = is_known;
        call.path = path;
        call
    }
}

/// The resource that a path names, and whether it names one object of it.
fn resource(path: &str) -> (String, bool) {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", _version, rest @ ..] => ("", rest),
        ["apis", group, _version, rest @ ..] => (*group, rest),
        _ => return (path.to_owned(), true),
    };
    let rest = match rest {
        // An object of the kind Namespace is in none.
        [NAMESPACES, _, inner @ ..] if !inner.is_empty() && !is_subresource(inner) => inner,
        rest => rest,
    };
    let Some((plural, rest)) = rest.split_first() else { return (path.to_owned(), true) };
    let subresource = rest.get(1).map_or_else(String::new, |name| format!("/{name}"));
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    (format!("{plural}{subresource}{group}"), !rest.is_empty())
}

/// What a Namespace has below itself that is no resource in it.
fn is_subresource(inner: &[&str]) -> bool {
    matches!(inner, ["status" | "finalize"])
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;
    use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    use super::*;

    fn name(method: &str, uri: &str, content_type: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
        Call::of_kubernetes(0, &Request { method, uri, headers, body: Bytes::new() }, true).name()
    }

    #[test]
    fn a_request_is_a_verb_of_a_resource() {
        let apply = "application/apply-patch+yaml";
        for (method, uri, content_type, expected) in [
            ("GET", "/readyz?verbose", "", "/readyz:get"),
            ("GET", "/apis", "", "/apis:get"),
            ("GET", "/api/v1/nodes?limit=500", "", "nodes:list"),
            ("GET", "/api/v1/namespaces/kube-system", "", "namespaces:get"),
            ("GET", "/api/v1/namespaces/shop/pods/a/log", "", "pods/log:get"),
            ("PUT", "/api/v1/namespaces/shop/finalize", "", "namespaces/finalize:update"),
            ("GET", "/apis/apps/v1/namespaces/shop/deployments", "", "deployments.apps:list"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/b?force=false",
                apply,
                "deployments.apps:apply",
            ),
            (
                "PATCH",
                "/api/v1/namespaces/shop?dryRun=All&fieldManager=kcl",
                apply,
                "namespaces:apply (dry run)",
            ),
            ("PATCH", "/api/v1/nodes/a", "application/merge-patch+json", "nodes:patch"),
            ("DELETE", "/api/v1/namespaces/shop/configmaps/a", "", "configmaps:delete"),
        ] {
            assert_eq!(name(method, uri, content_type), expected, "{method} {uri}");
        }
    }
}
