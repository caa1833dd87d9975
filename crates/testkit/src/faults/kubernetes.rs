//! How a Kubernetes API server says what went wrong.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/>, and k8s.io/apimachinery/pkg/api/errors for the
//! sentences.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

use crate::call::Call;
use crate::wire::{Protocol, Response};

/// What priority and fairness asks for, whatever the load
/// (k8s.io/apiserver/pkg/server/filters/priority-and-fairness.go).
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

fn failure(status: u16, reason: &str, message: &str) -> Response {
    Response::error(Protocol::Kubernetes, status, reason, message)
}

/// Every seat of the priority level is taken, and its queues are full: not JSON.
pub(super) fn throttled() -> Response {
    let said = "Too many requests, please try again later.\n";
    let mut response = Response::new(StatusCode::TOO_MANY_REQUESTS, "text/plain; charset=utf-8", said);
    response.headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

/// Of the server itself: what etcd's election, a start, and an overloaded machine look like.
pub(super) fn server_error(status: u16) -> Response {
    match status {
        503 => failure(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => failure(
            504,
            "Timeout",
            "Timeout: request did not complete within requested timeout - context deadline exceeded",
        ),
        _ => failure(status, "InternalError", "Internal error occurred: etcdserver: leader changed"),
    }
}

/// It does not know who asks any more.
pub(super) fn unauthorized() -> Response {
    failure(401, "Unauthorized", "Unauthorized")
}

/// It knows who asks, and no role allows it.
pub(super) fn forbidden(call: &Call) -> Response {
    let (resource, group) = call.service.split_once('.').unwrap_or((&call.service, ""));
    let verb = call.action.split(' ').next().unwrap_or_default();
    let verb = if verb == "apply" { "patch" } else { verb };
    let segments: Vec<&str> = call.path.split('/').collect();
    let namespace = segments.iter().position(|segment| *segment == "namespaces");
    let namespace = namespace.filter(|at| segments.len() > at + 2).map(|at| segments[at + 1]);
    let place = namespace.map_or_else(
        || "at the cluster scope".to_owned(),
        |namespace| format!("in the namespace \"{namespace}\""),
    );
    let message = if call.service.starts_with('/') {
        format!("forbidden: User \"ci\" cannot {verb} path \"{}\"", call.path)
    } else {
        format!(
            "{} is forbidden: User \"ci\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}",
            call.service
        )
    };
    failure(403, "Forbidden", &message)
}

/// The object was written between the server's read of it and its write, as often as the server tried.
pub(super) fn conflict(call: &Call) -> Response {
    let name = call.path.rsplit('/').next().unwrap_or_default();
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes to \
         the latest version and try again",
        call.service
    );
    failure(409, "Conflict", &message)
}
