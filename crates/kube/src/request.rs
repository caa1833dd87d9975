//! One request to the API server, and what its answer means: the one way by which this crate asks.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, StatusCode};
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::connect::{Connection, Requests};
use crate::error::{Cause, Error, FieldFault, Forbidden, Refused};
use crate::event::{Event, Observer};
use crate::retry::{self, Fault};

/// How many requests are on their way at once. Each has a connection of its own (HTTP/1), and the server behind
/// it may be one t3.small with two processors: more would only wait there, and a priority level of the API
/// server has some ten seats for who is not an administrator.
pub(crate) const MAX_IN_FLIGHT: usize = 10;

/// How long one answer may take: the API server itself gives up after 60 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);

/// The largest answer that is read. A page of 500 objects, each as large as etcd takes, is larger, and no
/// honest cluster has it.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// Objects per page of a list: what kubectl asks for.
const PAGE: usize = 500;

/// What may stand in a path as it is. Names of roles have colons.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':').remove(b'~');

/// A piece of a path or query that cannot be anything else.
pub(crate) fn escape(text: &str) -> String {
    // Dots alone would be steps to somewhere else.
    if text.chars().all(|c| c == '.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Runs all, as far as there are seats for their requests; gives what they give, in their order.
pub(crate) async fn concurrently<T>(all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(all).buffered(MAX_IN_FLIGHT).collect().await
}

/// How many requests were sent.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    dry_runs: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Requests {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests { reads: load(&self.reads), dry_runs: load(&self.dry_runs), writes: load(&self.writes) }
    }
}

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    /// `apply Deployment shop/till`: how errors begin.
    pub(crate) doing: String,
    method: Method,
    path: String,
    accept: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
    dry_run: bool,
}

impl Request {
    pub(crate) fn get(doing: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            method: Method::GET,
            path: path.into(),
            accept: "application/json",
            body: None,
            dry_run: false,
        }
    }

    /// Server-side apply of one object. Any field that the server does not know is an error.
    pub(crate) fn apply(
        doing: impl Into<String>,
        path: &str,
        object: &Value,
        mode: Mode,
        force: bool,
    ) -> Self {
        let dry_run = mode == Mode::DryRun;
        let dry = if dry_run { "&dryRun=All" } else { "" };
        Self {
            method: Method::PATCH,
            path: format!("{path}?fieldManager={FIELD_MANAGER}&force={force}&fieldValidation=Strict{dry}"),
            // JSON is YAML.
            body: Some(("application/apply-patch+yaml", object.to_string().into_bytes())),
            dry_run,
            ..Self::get(doing, "")
        }
    }

    /// Creates an object, as far as the server lets a dry run go.
    pub(crate) fn create_dry_run(doing: impl Into<String>, path: &str, object: &Value) -> Self {
        Self {
            method: Method::POST,
            path: format!("{path}?fieldManager={FIELD_MANAGER}&dryRun=All"),
            body: Some(("application/json", object.to_string().into_bytes())),
            dry_run: true,
            ..Self::get(doing, "")
        }
    }

    /// Deletes the object that has this uid, and what it owns after it.
    pub(crate) fn delete(doing: impl Into<String>, path: &str, uid: &str) -> Self {
        let options = serde_json::json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        });
        Self {
            method: Method::DELETE,
            path: path.to_owned(),
            body: Some(("application/json", options.to_string().into_bytes())),
            ..Self::get(doing, "")
        }
    }

    /// Whether it may change something.
    fn changes(&self) -> bool {
        self.method != Method::GET && !self.dry_run
    }

    pub(crate) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }
}

/// The name under which kcl manages fields.
pub(crate) const FIELD_MANAGER: &str = "kcl";

/// Whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The server does everything but keep it.
    DryRun,
    /// It is done.
    Real,
}

impl Connection {
    /// Sends it, again where the reason of a failure passes, and gives the answer as JSON.
    pub(crate) async fn send(&self, request: &Request, on_event: &Observer<'_>) -> Result<Value, Error> {
        let body = self.send_for_bytes(request, on_event).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Answer {
            doing: request.doing.clone(),
            reason: format!("not JSON ({} bytes, line {})", body.len(), error.line()),
        })
    }

    /// Likewise; `None` where there is no such object.
    pub(crate) async fn find(
        &self,
        request: &Request,
        on_event: &Observer<'_>,
    ) -> Result<Option<Value>, Error> {
        match self.send(request, on_event).await {
            Err(Error::Refused(refused)) if refused.status == 404 => Ok(None),
            found => found.map(Some),
        }
    }

    /// Every item of a list, page by page. The items of a list do not say their kind, so they are given
    /// `api_version` and `kind`. `path` may have a query.
    pub(crate) async fn list(
        &self,
        doing: &str,
        path: &str,
        accept: &'static str,
        on_event: &Observer<'_>,
    ) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut next = String::new();
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = format!("{path}{separator}limit={PAGE}");
            if !next.is_empty() {
                page = format!("{page}&continue={}", escape(&next));
            }
            let request = Request::get(doing, page).accept(accept);
            let mut answer = match self.send(&request, on_event).await {
                // Between two pages the server forgot where we were: from the beginning.
                Err(Error::Refused(refused)) if refused.status == 410 && !next.is_empty() => {
                    items.clear();
                    next.clear();
                    continue;
                }
                answer => answer?,
            };
            match answer.get_mut("items").map(Value::take) {
                Some(Value::Array(found)) => items.extend(found),
                // An empty one, where only metadata was asked for.
                Some(Value::Null) => {}
                _ => {
                    let reason = "it is not a list".to_owned();
                    return Err(Error::Answer { doing: doing.to_owned(), reason });
                }
            }
            answer["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut next);
            if next.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Sends it, again where the reason of a failure passes.
    pub(crate) async fn send_for_bytes(
        &self,
        request: &Request,
        on_event: &Observer<'_>,
    ) -> Result<Vec<u8>, Error> {
        // From the first failure on: an answer that never came has cost a minute already, and may come now.
        let mut begin = None;
        let mut tries = 0;
        loop {
            tries += 1;
            // Never closed.
            let held = self.seats.acquire().await.ok();
            // Only now: who waits for a seat may wait for long.
            if request.changes() && self.guard.as_ref().is_some_and(|may_change| !may_change()) {
                return Err(Error::Guarded { doing: request.doing.clone() });
            }
            let sent = Instant::now();
            let result = self.exchange(request).await;
            drop(held);
            let fault = match result {
                Ok(body) => return Ok(body),
                Err(fault) => fault,
            };
            let pause = retry::pause(tries, &fault);
            let passes = retry::passes(&fault, tries) || (is_about_rights(&fault) && self.doubts(sent).await);
            let begin = *begin.get_or_insert_with(Instant::now);
            if !passes || begin.elapsed() + pause > self.patience {
                return Err(self.error(request, fault));
            }
            let reason = self.error(request, fault).to_string();
            tracing::debug!(doing = request.doing, tries, reason, "trying again");
            on_event(Event::Retrying { doing: request.doing.clone(), tries, after: pause, reason });
            sleep(pause).await;
        }
    }

    /// Looks once.
    pub(crate) async fn look(&self, request: &Request) -> Result<Vec<u8>, Fault> {
        // Never closed.
        let _seat = self.seats.acquire().await.ok();
        self.exchange(request).await
    }

    async fn exchange(&self, request: &Request) -> Result<Vec<u8>, Fault> {
        let counter = match (&request.method, request.dry_run) {
            (&Method::GET, _) => &self.counters.reads,
            (_, true) => &self.counters.dry_runs,
            (_, false) => &self.counters.writes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::trace!(method = %request.method, path = request.path, "request to the API server");
        let broken = |cause, reason| Fault::Connection { cause, reason };
        let mut built = hyper::Request::builder()
            .method(request.method.clone())
            .uri(&request.path)
            .header(ACCEPT, request.accept);
        if let Some((content_type, _)) = &request.body {
            built = built.header(CONTENT_TYPE, *content_type);
        }
        let body = request.body.as_ref().map_or_else(Vec::new, |(_, body)| body.clone());
        let built = built
            .body(Body::from(body))
            .map_err(|error| broken(Cause::Broken, format!("the request cannot be made: {error}")))?;
        let answer = async {
            let answer = self.client.send(built).await.map_err(|error| connection_fault(&error))?;
            let status = answer.status();
            let retry_after = answer.headers().get(RETRY_AFTER);
            let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| broken(Cause::Broken, short(&error.to_string())))?;
            Ok((status, retry_after.map(Duration::from_secs), body.to_bytes().to_vec()))
        };
        let (status, retry_after, body) = match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(broken(Cause::Timeout, format!("no answer in {ANSWER_TIMEOUT:?}"))),
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(Fault::Answer { status: status.as_u16(), retry_after, body })
    }

    /// What a failed try means.
    pub(crate) fn error(&self, request: &Request, fault: Fault) -> Error {
        let server = self.server.to_string();
        let (status, body) = match fault {
            Fault::Connection { cause, reason } => return Error::Unreachable { server, cause, reason },
            Fault::Answer { status, body, .. } => (status, body),
        };
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let mut message = text(&answer["message"]);
        if message.is_empty() {
            message = short(&String::from_utf8_lossy(&body));
        }
        if status == StatusCode::UNAUTHORIZED.as_u16() {
            return Error::Unauthorized { server, reason: message };
        }
        let doing = request.doing.clone();
        if status == StatusCode::FORBIDDEN.as_u16()
            && let Some(forbidden) = forbidden(&doing, &message)
        {
            return Error::Forbidden(Box::new(forbidden));
        }
        let causes = answer["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let faults = causes
            .iter()
            .map(|cause| FieldFault { field: text(&cause["field"]), message: text(&cause["message"]) })
            .collect();
        let mut reason = text(&answer["reason"]);
        let mut status = status;
        if status == 500 && retry::is_schema_fault(&body) {
            // What it is, whatever the server says.
            (status, reason) = (StatusCode::UNPROCESSABLE_ENTITY.as_u16(), "Invalid".to_owned());
        }
        Error::Refused(Box::new(Refused { doing, status, reason, message, faults }))
    }
}

/// Whether it says that somebody may not do something.
fn is_about_rights(fault: &Fault) -> bool {
    let Fault::Answer { status: 403, body, .. } = fault else { return false };
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    forbidden("", answer["message"].as_str().unwrap_or_default()).is_some()
}

/// Reads who may not do what out of the server's sentence; there is no other place where it stands.
///
/// `deployments.apps "till" is forbidden: User "ci" cannot patch resource "deployments" in API group "apps" in
/// the namespace "shop"`, or `at the cluster scope`. Other things are forbidden in other sentences: quotas, Pod
/// Security, a namespace that is going away.
fn forbidden(doing: &str, message: &str) -> Option<Forbidden> {
    let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
    let after = |text: &str, word: &str| text.split_once(word).map(|(_, rest)| rest.to_owned());
    let make = |user, verb: &str, resource, namespace| Forbidden {
        doing: doing.to_owned(),
        user,
        verb: verb.to_owned(),
        resource,
        namespace,
        message: message.to_owned(),
    };
    if let Some((object, rest)) = message.split_once(" is forbidden: user ")
        && rest.contains("is attempting to grant RBAC permissions not currently held")
    {
        let resource = object.split_whitespace().next().unwrap_or(object).to_owned();
        return Some(make(quoted(rest)?, "grant what it may not do itself by", resource, None));
    }
    let rest = after(message, "User ")?;
    let user = quoted(&rest)?;
    let rest = after(&rest, " cannot ")?;
    let verb = rest.split_whitespace().next()?;
    let group = after(&rest, "in API group ").and_then(|rest| quoted(&rest)).unwrap_or_default();
    let resource = match after(&rest, "resource ").and_then(|rest| quoted(&rest)) {
        Some(resource) if group.is_empty() => resource,
        Some(resource) => format!("{resource}.{group}"),
        None => quoted(&rest)?,
    };
    let namespace = after(&rest, "in the namespace ").and_then(|rest| quoted(&rest));
    Some(make(user, verb, resource, namespace))
}

fn connection_fault(error: &kube::Error) -> Fault {
    let (cause, reason) = cause_of(error);
    Fault::Connection { cause, reason }
}

/// Why there is no answer, out of what the layers below say.
pub(crate) fn cause_of(error: &(dyn std::error::Error + 'static)) -> (Cause, String) {
    let mut cause = Cause::Broken;
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        reason = error.to_string();
        if reason.starts_with("dns error") {
            cause = Cause::Dns;
        }
        if error.downcast_ref::<rustls::Error>().is_some_and(is_mistrust) {
            cause = Cause::Tls;
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(error) => {
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => cause = Cause::Refused,
                    io::ErrorKind::TimedOut => cause = Cause::Timeout,
                    _ => {}
                }
                // Its `source` leaves out the very error that it was made of.
                error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static))
            }
            None => error.source(),
        };
    }
    (cause, short(&reason))
}

/// One of the two does not believe the other; all else may be a connection that broke.
fn is_mistrust(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::AlertReceived(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::PeerIncompatible(_)
    )
}

/// The first line of somebody else's words, not too much of it.
fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_who_may_not_do_what() {
        let message = "deployments.apps \"till\" is forbidden: User \"ci\" cannot patch resource \
                       \"deployments\" in API group \"apps\" in the namespace \"shop\"";
        let found = forbidden("apply Deployment shop/till", message).unwrap();
        assert_eq!(
            found.to_string(),
            "apply Deployment shop/till: ci may not patch deployments.apps in the namespace shop"
        );
        let message = "configmaps is forbidden: User \"ci\" cannot list resource \"configmaps\" in API group \
                       \"\" at the cluster scope";
        let found = forbidden("list ConfigMaps", message).unwrap();
        assert_eq!(found.to_string(), "list ConfigMaps: ci may not list configmaps in the whole cluster");
        let message = "forbidden: User \"system:anonymous\" cannot get path \"/version\"";
        let found = forbidden("ask", message).unwrap();
        assert_eq!(found.to_string(), "ask: system:anonymous may not get /version in the whole cluster");
        let message = "clusterroles.rbac.authorization.k8s.io \"a\" is forbidden: user \"ci\" \
                       (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
                       currently held:\n{APIGroups:[\"\"]}";
        let found = forbidden("apply ClusterRole a", message).unwrap();
        assert_eq!((found.user.as_str(), found.namespace.as_deref()), ("ci", None));
        for other in [
            "pods \"a\" is forbidden: exceeded quota: compute, requested: pods=1",
            "configmaps \"a\" is forbidden: unable to create new content in namespace shop because it is being terminated",
            "",
        ] {
            assert_eq!(forbidden("apply", other), None, "{other}");
        }
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        assert_eq!(escape("system:a-b.c_d"), "system:a-b.c_d");
        assert_eq!(escape("../../secrets?a=b&c#d e"), "..%2F..%2Fsecrets%3Fa%3Db%26c%23d%20e");
        assert_eq!(escape(".."), "%2E%2E");
    }
}
