//! kOps' side: its Terraform in the neutral form.
//!
//! Attributes keep Terraform's names. What is not treated by name here is taken over as it stands, so that
//! nothing that kOps says can be missed.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::neutral::{Attributes, Graph, canonical, flatten, policy, text};
use crate::scenario::StandIns;
use crate::terraform::{self, Resource};

/// Reads a scenario's folder.
pub(crate) fn read(folder: &Path, stand_ins: &StandIns) -> Result<Graph, String> {
    let file = |path: &str| fs::read_to_string(folder.join(path)).ok();
    let document = file("kubernetes.tf").unwrap();
    let resources = terraform::read(&stand_ins.in_kops(&document), |path| {
        file(path).map(|content| stand_ins.in_kops(&content))
    });
    let mut graph = Graph::default();
    for resource in resources? {
        add(&mut graph, resource);
    }
    Ok(graph)
}

/// An attribute, taken out.
fn take(body: &mut Map<String, Value>, name: &str) -> String {
    body.remove(name).map(|value| text(&value)).unwrap_or_default()
}

fn add(graph: &mut Graph, resource: Resource) {
    let Resource { kind, mut body } = resource;
    let kind = kind.strip_prefix("aws_").unwrap_or(&kind);
    let body = &mut body;
    match kind {
        // kOps' node configuration and addons; ours are not made of objects like these.
        "s3_object" => {}
        "vpc_dhcp_options_association" => {
            let (vpc, options) = (take(body, "vpc_id"), take(body, "dhcp_options_id"));
            graph.extend("vpc", &vpc, "dhcp_options_id", options);
        }
        "route" => {
            let table = take(body, "route_table_id");
            let destination =
                take(body, "destination_cidr_block") + &take(body, "destination_ipv6_cidr_block");
            graph.add(kind, &format!("{table} {destination}"), attributes(body));
        }
        "route_table_association" => {
            let subnet = take(body, "subnet_id");
            graph.add(kind, &subnet, attributes(body));
        }
        "security_group_rule" => {
            for peer in peers(body) {
                graph.add(kind, &rule_name(body, &peer), Attributes::new());
            }
        }
        "iam_role" | "iam_role_policy" | "sqs_queue" => {
            let mut documents = Attributes::new();
            for name in ["assume_role_policy", "policy"] {
                if let Some(Value::String(document)) = body.remove(name) {
                    policy(&mut documents, &document);
                }
            }
            let name = of_role(kind, body);
            let mut attributes = attributes(body);
            attributes.extend(documents);
            graph.add(kind, &name, attributes);
        }
        "iam_role_policy_attachment" => {
            let name = format!("{} {}", take(body, "role"), take(body, "policy_arn"));
            graph.add(kind, &name, attributes(body));
        }
        "iam_openid_connect_provider" => {
            let url = take(body, "url");
            graph.add(kind, url.trim_start_matches("https://"), attributes(body));
        }
        "key_pair" => {
            body.remove("public_key");
            let name = take(body, "key_name");
            graph.add(kind, &name, attributes(body));
        }
        "launch_template" => {
            let name = take(body, "name");
            graph.add(kind, &name, launch_template(body));
        }
        "autoscaling_group" => {
            let name = take(body, "name");
            graph.add(kind, &name, auto_scaling_group(body));
        }
        "autoscaling_lifecycle_hook" => {
            let name = format!("{} {}", take(body, "autoscaling_group_name"), take(body, "name"));
            graph.add(kind, &name, attributes(body));
        }
        "cloudwatch_event_rule" => {
            let name = take(body, "name");
            let pattern = canonical(&take(body, "event_pattern"));
            body.insert("event_pattern".to_owned(), Value::String(pattern));
            graph.add(kind, &name, attributes(body));
        }
        "cloudwatch_event_target" => {
            let name = format!("{} {}", take(body, "rule"), take(body, "arn"));
            graph.add(kind, &name, attributes(body));
        }
        "lb" => {
            let name = take(body, "name");
            let mappings = body.remove("subnet_mapping").unwrap_or_default();
            let subnets = mappings.as_array().into_iter().flatten().map(|one| one["subnet_id"].clone());
            body.insert("subnets".to_owned(), subnets.collect());
            graph.add(kind, &name, attributes(body));
        }
        "lb_listener" => {
            let name = format!("{} {}", take(body, "load_balancer_arn"), take(body, "port"));
            graph.add(kind, &name, attributes(body));
        }
        "route53_record" => {
            let name = format!("{} {}", take(body, "name"), take(body, "type"));
            let zone = take(body, "zone_id");
            body.insert("zone_id".to_owned(), Value::String(zone.replace("/hostedzone/", "")));
            graph.add(kind, &name, attributes(body));
        }
        _ => {
            let own = take(body, "name");
            let tagged = || body.get("tags").map(|tags| text(&tags["Name"])).unwrap_or_default();
            let name = if own.is_empty() { tagged() } else { own };
            let attributes = attributes(body);
            graph.add(kind, &name, attributes);
        }
    }
}

fn of_role(kind: &str, body: &mut Map<String, Value>) -> String {
    let name = take(body, "name");
    if kind == "iam_role_policy" { format!("{} {name}", take(body, "role")) } else { name }
}

/// Everything that is left of a body.
fn attributes(body: &mut Map<String, Value>) -> Attributes {
    let mut attributes = Attributes::new();
    for (key, value) in body.remove("tags").as_ref().and_then(Value::as_object).into_iter().flatten() {
        attributes.insert(format!("tags.{key}"), text(value));
    }
    flatten(&mut attributes, "", &Value::Object(std::mem::take(body)));
    attributes
}

/// Who a rule lets in or out, one after another.
fn peers(body: &mut Map<String, Value>) -> Vec<String> {
    let mut peers = Vec::new();
    for name in ["cidr_blocks", "ipv6_cidr_blocks", "prefix_list_ids", "source_security_group_id"] {
        match body.remove(name) {
            Some(Value::Array(items)) => peers.extend(items.iter().map(text)),
            Some(one) => peers.push(text(&one)),
            None => {}
        }
    }
    peers
}

fn rule_name(body: &Map<String, Value>, peer: &str) -> String {
    let field = |name: &str| text(&body[name]);
    let ports = (field("from_port"), field("to_port"));
    super::ours::rule_name(&field("security_group_id"), &field("type"), &field("protocol"), &ports, peer)
}

fn launch_template(body: &mut Map<String, Value>) -> Attributes {
    body.remove("user_data");
    let mut attributes = Attributes::new();
    let blocks = |body: &mut Map<String, Value>, name: &str| match body.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    for device in blocks(body, "block_device_mappings") {
        let path = format!("block_device_mappings.{}", text(&device["device_name"]));
        flatten(&mut attributes, &path, &device);
    }
    for specification in blocks(body, "tag_specifications") {
        let path = format!("tag_specifications.{}", text(&specification["resource_type"]));
        flatten(&mut attributes, &path, &specification["tags"]);
    }
    attributes.extend(self::attributes(body));
    attributes
}

fn auto_scaling_group(body: &mut Map<String, Value>) -> Attributes {
    let mut tags = Attributes::new();
    for tag in body.remove("tag").as_ref().and_then(Value::as_array).into_iter().flatten() {
        let propagated = if tag["propagate_at_launch"] == true { " (propagated)" } else { "" };
        tags.insert(format!("tags.{}", text(&tag["key"])), format!("{}{propagated}", text(&tag["value"])));
    }
    // Their order is a preference, which sorting would hide.
    if let Some(types) =
        body.get_mut("mixed_instances_policy").and_then(|policy| policy.pointer_mut("/0/launch_template/0"))
    {
        let overrides = types["override"].as_array().into_iter().flatten();
        let in_order: Vec<String> = overrides.map(|one| text(&one["instance_type"])).collect();
        types["override"] = Value::String(in_order.join(", "));
    }
    let mut attributes = attributes(body);
    attributes.extend(tags);
    attributes
}
