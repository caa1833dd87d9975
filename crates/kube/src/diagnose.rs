//! Why something does not work: what its pods, its events and its last words say.
//!
//! [`pod_reasons`] is pure. [`diagnose`] asks the server, as much as it is allowed to; what it may not see it
//! leaves out. All that it gives is short: it is read in a terminal, after a failure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::connect::Connection;
use crate::error::Error;
use crate::object::ObjectRef;
use crate::request::{Request, escape};
use crate::wait::{condition, said};

/// How many groups of pods, each with the same reasons, are told of.
const MAX_PODS: usize = 3;
/// How many events.
const MAX_EVENTS: usize = 4;
/// How many lines of a log, and how long each may be.
const MAX_LOG_LINES: usize = 5;
const MAX_LINE: usize = 300;

/// It is of no use to wait long for an explanation.
const PATIENCE: Duration = Duration::from_secs(3);

/// How far it is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its pods, and what the cluster warned of.
    Pods,
    /// Also the last words of a container that crashes: its kubelet is asked for them.
    Logs,
}

/// Why `object` is not ready, the most telling first.
pub(crate) async fn diagnose(
    connection: &Connection,
    object: &ObjectRef,
    live: Option<&Value>,
    depth: Depth,
) -> Vec<String> {
    let connection = connection.clone().with_patience(PATIENCE);
    let Some(live) = live else { return vec!["it is not there".to_owned()] };
    let mut reasons = own_conditions(live);
    let Some(namespace) = object.namespace.as_deref() else { return reasons };
    if object.kind == "DaemonSet" && live["status"]["desiredNumberScheduled"].as_u64() == Some(0) {
        reasons.extend(no_node_fits(&connection, live).await);
    }
    let pods = match pods_of(&connection, namespace, live).await {
        Ok(pods) => pods,
        Err(error) => {
            reasons.push(format!("its pods cannot be seen: {error}"));
            Vec::new()
        }
    };
    let sick: Vec<&Value> = pods.iter().filter(|pod| !is_healthy(pod)).collect();
    let mut of_pods = same_reasons(&sick);
    of_pods.append(&mut reasons);
    let mut reasons = of_pods;
    reasons.extend(events(&connection, object, namespace, live, &sick).await);
    let crashing = if depth == Depth::Logs { crashing(&sick) } else { Vec::new() };
    for (pod, container, previous) in crashing.into_iter().take(1) {
        reasons.extend(last_words(&connection, namespace, pod, container, previous).await);
    }
    reasons
}

/// What its own conditions complain of.
fn own_conditions(live: &Value) -> Vec<String> {
    let complaints = [
        ("ReplicaFailure", "True"),
        ("Progressing", "False"),
        ("Failed", "True"),
        ("NamesAccepted", "False"),
        ("Established", "False"),
        ("Available", "False"),
    ];
    let found = complaints.iter().filter_map(|(name, bad)| {
        condition(live, name).filter(|condition| condition["status"] == *bad).map(said)
    });
    found.filter(|said| !said.is_empty()).collect()
}

async fn no_node_fits(connection: &Connection, live: &Value) -> Option<String> {
    let nodes = connection.list("list the nodes", "/api/v1/nodes", "application/json", &|_| {}).await.ok()?;
    if nodes.is_empty() {
        return Some("the cluster has no node".to_owned());
    }
    let fitting = nodes.iter().filter(|node| has_labels_for(node, live)).count();
    let selected = labels(&live["spec"]["template"]["spec"]["nodeSelector"]);
    let selector: Vec<_> = selected.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(if fitting == 0 {
        format!("none of the {} nodes has the labels {}", nodes.len(), selector.join(", "))
    } else {
        format!("none of the {} nodes fits its affinity, or it does not tolerate their taints", nodes.len())
    })
}

/// The node has every label that the pods of this workload select.
pub(crate) fn has_labels_for(node: &Value, workload: &Value) -> bool {
    let selected = labels(&workload["spec"]["template"]["spec"]["nodeSelector"]);
    selected.iter().all(|(key, value)| node["metadata"]["labels"][key].as_str() == Some(value))
}

fn labels(value: &Value) -> BTreeMap<&str, &str> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

async fn pods_of(connection: &Connection, namespace: &str, live: &Value) -> Result<Vec<Value>, Error> {
    let Some(selector) = selector(&live["spec"]["selector"]) else { return Ok(Vec::new()) };
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={}", escape(namespace), escape(&selector));
    connection.list("list the pods", &path, "application/json", &|_| {}).await
}

/// A selector in the words of a query; `None` where it selects nothing that can be said.
fn selector(value: &Value) -> Option<String> {
    let mut parts: Vec<String> =
        labels(&value["matchLabels"]).iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in array(&value["matchExpressions"]) {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> = array(&expression["values"]).iter().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// It does its work, or has done it.
pub(crate) fn is_healthy(pod: &Value) -> bool {
    match pod["status"]["phase"].as_str() {
        Some("Succeeded") => true,
        Some("Running") => {
            pod["metadata"]["deletionTimestamp"].is_null()
                && condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
        }
        _ => false,
    }
}

/// Why a pod is not healthy, the most telling first.
pub(crate) fn pod_reasons(pod: &Value) -> Vec<String> {
    let mut reasons = Vec::new();
    let status = &pod["status"];
    if status["phase"] == "Failed" {
        let said = said(status);
        reasons.push(if said.is_empty() { "it failed".to_owned() } else { format!("it failed: {said}") });
    }
    if let Some(scheduled) = condition(pod, "PodScheduled")
        && scheduled["status"] == "False"
    {
        reasons.push(format!("it has no node: {}", said(scheduled)));
    }
    for container in containers(pod) {
        reasons.extend(container_reasons(container));
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        reasons.push("it is being deleted".to_owned());
    }
    if reasons.is_empty() {
        reasons.push(nothing_known(pod));
    }
    reasons.into_iter().map(|reason| one_line(&reason)).collect()
}

fn nothing_known(pod: &Value) -> String {
    match pod["spec"]["nodeName"].as_str() {
        None => "it waits for a node".to_owned(),
        Some(node) if containers(pod).next().is_none() => format!("the node {node} has not begun with it"),
        Some(_) => match condition(pod, "Ready").map(said).filter(|said| !said.is_empty()) {
            Some(said) => said,
            None => "it is not ready".to_owned(),
        },
    }
}

/// States of containers, those that run first to the end before all others.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let status = &pod["status"];
    array(&status["initContainerStatuses"]).iter().chain(array(&status["containerStatuses"]))
}

fn container_reasons(container: &Value) -> Vec<String> {
    let label = format!("container {}", container["name"].as_str().unwrap_or_default());
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    let state = &container["state"];
    let mut reasons = Vec::new();
    if let Some(waiting) = state.get("waiting") {
        // It only waits for those before it.
        if waiting["reason"] == "PodInitializing" {
            return reasons;
        }
        reasons.push(format!("{label}: {}", said(waiting)));
        if let Some(ended) = container["lastState"].get("terminated") {
            reasons.push(format!("{label}: {} ({restarts} restarts)", ending(ended)));
        }
    } else if let Some(ended) = state.get("terminated") {
        if ended["exitCode"] != 0 {
            reasons.push(format!("{label}: {} ({restarts} restarts)", ending(ended)));
        }
    } else if state.get("running").is_some() && container["ready"] == false {
        reasons.push(format!("{label}: it runs and is not ready ({restarts} restarts)"));
    }
    reasons
}

fn ending(ended: &Value) -> String {
    let code = ended["exitCode"].as_i64().unwrap_or_default();
    let said = said(ended);
    if said.is_empty() { format!("it ended with {code}") } else { format!("it ended with {code}, {said}") }
}

/// Pods that suffer from the same, told together.
fn same_reasons(pods: &[&Value]) -> Vec<String> {
    let mut groups: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for pod in pods {
        let reasons = pod_reasons(pod);
        match groups.iter_mut().find(|(known, _)| *known == reasons) {
            Some((_, names)) => names.push(name(pod)),
            None => groups.push((reasons, vec![name(pod)])),
        }
    }
    let mut lines = Vec::new();
    for (reasons, names) in groups.iter().take(MAX_PODS) {
        let others = match names.len() - 1 {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            more => format!(" and {more} others"),
        };
        let first = names.first().copied().unwrap_or_default();
        lines.extend(reasons.iter().map(|reason| format!("pod {first}{others}: {reason}")));
    }
    let left: usize = groups.iter().skip(MAX_PODS).map(|(_, names)| names.len()).sum();
    if left > 0 {
        lines.push(format!("{left} more pods are not ready"));
    }
    lines
}

/// What the cluster warned of lately, about the object, its pods, and the sets in between.
async fn events(
    connection: &Connection,
    object: &ObjectRef,
    namespace: &str,
    live: &Value,
    pods: &[&Value],
) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/events?fieldSelector=type%3DWarning", escape(namespace));
    let Ok(mut events) = connection.list("list the warnings", &path, "application/json", &|_| {}).await
    else {
        return Vec::new();
    };
    let uid = |object: &Value| object["metadata"]["uid"].as_str().map(str::to_owned);
    let mut uids: Vec<String> = pods.iter().filter_map(|pod| uid(pod)).collect();
    uids.extend(uid(live));
    let sets = format!("{}-", object.name);
    events.retain(|event| {
        let about = &event["involvedObject"];
        let is_set = about["kind"] == "ReplicaSet"
            && object.kind == "Deployment"
            && about["name"].as_str().is_some_and(|name| name.starts_with(&sets));
        is_set || about["uid"].as_str().is_some_and(|uid| uids.iter().any(|known| known == uid))
    });
    // The newest first; times are RFC 3339, so that their text has their order.
    let time = |event: &Value| {
        let times = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
        let known = times.into_iter().chain([&event["metadata"]["creationTimestamp"]]);
        known.filter_map(Value::as_str).map(str::to_owned).max()
    };
    events.sort_by_key(|event| std::cmp::Reverse(time(event)));
    let mut lines: Vec<String> = Vec::new();
    for event in events {
        let told = one_line(&format!("event: {}", said(&event)));
        if lines.len() < MAX_EVENTS && !lines.contains(&told) {
            lines.push(told);
        }
    }
    lines
}

/// Containers that end although they should not: pod, container, and whether the words are those of the one before.
fn crashing<'a>(pods: &[&'a Value]) -> Vec<(&'a str, &'a str, bool)> {
    let mut found = Vec::new();
    for pod in pods {
        for container in containers(pod) {
            let Some(label) = container["name"].as_str() else { continue };
            if container["state"]["waiting"]["reason"] == "CrashLoopBackOff" {
                found.push((name(pod), label, true));
            } else if container["state"]["terminated"]["exitCode"].as_i64().is_some_and(|code| code != 0) {
                found.push((name(pod), label, false));
            }
        }
    }
    found
}

async fn last_words(
    connection: &Connection,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Vec<String> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/log?container={}&previous={previous}&tailLines={MAX_LOG_LINES}&limitBytes=16384",
        escape(namespace),
        escape(pod),
        escape(container)
    );
    let request = Request::get("read the log", path).accept("*/*");
    let Ok(log) = connection.send_for_bytes(&request, &|_| {}).await else { return Vec::new() };
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<String> = log.lines().map(one_line).filter(|line| !line.is_empty()).collect();
    let skip = lines.len().saturating_sub(MAX_LOG_LINES);
    lines.into_iter().skip(skip).map(|line| format!("log: {line}")).collect()
}

/// Somebody else's words as one line of bounded length, with nothing that moves the cursor.
pub(crate) fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = clean.take(MAX_LINE).collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_say_what_they_suffer_from() {
        let waiting = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {
            "phase": "Pending",
            "containerStatuses": [{"name": "till", "ready": false, "restartCount": 0, "state": {"waiting":
                {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"till:9\""}}}]}});
        assert_eq!(
            pod_reasons(&waiting),
            ["container till: ImagePullBackOff: Back-off pulling image \"till:9\""]
        );
        let homeless = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled",
            "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]}});
        assert_eq!(pod_reasons(&homeless), ["it has no node: Unschedulable: 0/3 nodes are available"]);
        let crashing = json!({"status": {"phase": "Running", "containerStatuses": [{"name": "till",
            "ready": false, "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff",
            "message": "back-off 5m0s"}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}});
        assert_eq!(
            pod_reasons(&crashing),
            [
                "container till: CrashLoopBackOff: back-off 5m0s",
                "container till: it ended with 137, OOMKilled (7 restarts)"
            ]
        );
        let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}});
        assert_eq!(pod_reasons(&evicted), ["it failed: Evicted: low on memory"]);
        let new = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Pending"}});
        assert_eq!(pod_reasons(&new), ["the node n has not begun with it"]);
        assert_eq!(pod_reasons(&json!({})), ["it waits for a node"]);
    }

    #[test]
    fn pods_with_the_same_trouble_are_told_together() {
        let pod = |name: &str, message: &str| {
            json!({"metadata": {"name": name}, "status": {"phase": "Failed",
            "message": message}})
        };
        let pods: Vec<Value> = (0..6).map(|n| pod(&format!("a-{n}"), "same")).collect();
        let others: Vec<Value> = (0..4).map(|n| pod(&format!("b-{n}"), &format!("of its own {n}"))).collect();
        let all: Vec<&Value> = pods.iter().chain(&others).collect();
        assert_eq!(
            same_reasons(&all),
            [
                "pod a-0 and 5 others: it failed: same",
                "pod b-0: it failed: of its own 0",
                "pod b-1: it failed: of its own 1",
                "2 more pods are not ready",
            ]
        );
    }

    #[test]
    fn selectors_are_said_in_a_query() {
        let found = selector(&json!({"matchLabels": {"app": "till"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"}]}));
        assert_eq!(found.as_deref(), Some("app=till,tier in (a,b),!old"));
        assert_eq!(selector(&json!({})), None);
    }

    #[test]
    fn what_a_log_says_stays_on_one_line() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc\u{7}  "), "a [2Jb c");
        assert_eq!(one_line(&"x".repeat(1000)).len(), MAX_LINE);
    }
}
