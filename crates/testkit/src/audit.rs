//! An independent listing of an account: what is really there, and what is left.
//!
//! Takes a local AWS; gives one JSON document, made by boto3 (audit.py) and not by kcl's own code, so that
//! kcl cannot be wrong twice in the same way. It looks past rules and recording: an audit is not among
//! [`LocalAws::calls`].

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::error::Error;
use crate::local_aws::LocalAws;
use crate::moto;

const SCRIPT: &str = include_str!("audit.py");

/// What an account holds in one region.
#[derive(Debug, Clone)]
pub struct Audit {
    document: Value,
}

impl From<Value> for Audit {
    /// A document that was read before, or changed for a comparison.
    fn from(document: Value) -> Self {
        Self { document }
    }
}

/// Lists the account in a region.
pub fn audit(aws: &LocalAws, region: &str) -> Result<Audit, Error> {
    Auditor::start()?.audit(aws, region)
}

/// Who lists accounts, one after the other: the SDK takes longer to start than to list.
#[derive(Debug)]
pub struct Auditor {
    child: Child,
    /// Its input and output.
    talk: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Auditor {
    /// Starts one.
    pub fn start() -> Result<Self, Error> {
        let python = moto::python()?;
        let mut child = Command::new(&python)
            .args([OsStr::new("-c"), SCRIPT.as_ref()])
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_CONFIG_FILE")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Python { command: python.display().to_string(), source })?;
        let talk = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        Ok(Self { child, talk })
    }

    /// Lists an account in a region.
    pub fn audit(&mut self, aws: &LocalAws, region: &str) -> Result<Audit, Error> {
        let mut line = String::new();
        let asked = self.talk.as_mut().map(|(stdin, stdout)| {
            writeln!(stdin, "{} {region}", aws.direct_endpoint())?;
            stdin.flush()?;
            stdout.read_line(&mut line)
        });
        match asked {
            Some(Ok(1..)) => {}
            Some(Err(error)) => return Err(self.failed(&error.to_string())),
            Some(Ok(0)) | None => return Err(self.failed("it ended")),
        }
        let document = serde_json::from_str(&line).map_err(|error| self.failed(&error.to_string()))?;
        Ok(Audit { document })
    }

    /// Why it does not answer: what it said at its end.
    fn failed(&mut self, why: &str) -> Error {
        self.talk = None;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Without it, the reason at hand has to do.
            let _ = stderr.read_to_string(&mut said);
        }
        Error::Audit { output: format!("{why}\n{said}") }
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        // It ends with its input.
        self.talk = None;
        let _ = self.child.wait();
    }
}

/// A list of the document, and how one of its items is called: the kind, the field of its id.
const LISTS: [(&str, &str, &str); 29] = [
    ("vpcs", "vpc", "VpcId"),
    ("dhcp_options", "dhcp options", "DhcpOptionsId"),
    ("internet_gateways", "internet gateway", "InternetGatewayId"),
    ("egress_only_internet_gateways", "egress-only internet gateway", "EgressOnlyInternetGatewayId"),
    ("subnets", "subnet", "SubnetId"),
    ("route_tables", "route table", "RouteTableId"),
    ("nat_gateways", "nat gateway", "NatGatewayId"),
    ("addresses", "address", "AllocationId"),
    ("security_groups", "security group", "GroupId"),
    ("network_interfaces", "network interface", "NetworkInterfaceId"),
    ("vpc_endpoints", "vpc endpoint", "VpcEndpointId"),
    ("instances", "instance", "InstanceId"),
    ("key_pairs", "key pair", "KeyName"),
    ("launch_templates", "launch template", "LaunchTemplateName"),
    ("volumes", "volume", "VolumeId"),
    ("load_balancers", "load balancer", "LoadBalancerName"),
    ("classic_load_balancers", "classic load balancer", "LoadBalancerName"),
    ("listeners", "listener", "ListenerArn"),
    ("target_groups", "target group", "TargetGroupName"),
    ("auto_scaling_groups", "auto scaling group", "AutoScalingGroupName"),
    ("launch_configurations", "launch configuration", "LaunchConfigurationName"),
    ("roles", "role", "RoleName"),
    ("instance_profiles", "instance profile", "InstanceProfileName"),
    ("oidc_providers", "oidc provider", "Arn"),
    ("policies", "policy", "PolicyName"),
    ("users", "user", "UserName"),
    ("queues", "queue", "QueueName"),
    ("event_rules", "event rule", "Name"),
    ("buckets", "bucket", "Name"),
];

impl Audit {
    /// The whole document; audit.py tells what is in it.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// One of its lists (`vpcs`, `security_group_rules`); empty where there is none of that name.
    pub fn list(&self, name: &str) -> &[Value] {
        self.document.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The user data of all launch templates, as machines get it.
    pub fn user_data(&self) -> Vec<String> {
        let data = self.list("launch_templates").iter().filter_map(|it| it["latest"]["UserData"].as_str());
        let data = data.filter_map(|data| STANDARD.decode(data).ok());
        data.map(|data| String::from_utf8_lossy(&data).into_owned()).collect()
    }

    /// Everything that a fresh account does not have, one line each: `vpc vpc-0a1b (my.cluster)`. Buckets,
    /// hosted zones and their records are among it; a VPC's own security group, route table and rules are
    /// not, as they come and go with it.
    pub fn leftovers(&self) -> Vec<String> {
        self.left(|_| true)
    }

    /// Those of [`Audit::leftovers`] that name a cluster, in whatever way, but for the state store: its
    /// buckets are kept.
    pub fn leftovers_of(&self, cluster: &str) -> Vec<String> {
        let dashed = cluster.replace('.', "-");
        self.left(|item| {
            let text = item.to_string();
            item.get("keys").is_none() && (text.contains(cluster) || text.contains(&dashed))
        })
    }

    /// Whether nothing is left that names a cluster.
    pub fn is_empty_of(&self, cluster: &str) -> bool {
        self.leftovers_of(cluster).is_empty()
    }

    fn left(&self, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (list, kind, id) in LISTS {
            let items = self.list(list).iter().filter(|item| !self.fresh(item) && wanted(item));
            lines.extend(items.map(|item| line(kind, text(item, id), item)));
        }
        for zone in self.list("hosted_zones") {
            let name = text(zone, "Name");
            if wanted(&zone["Name"]) {
                lines.push(format!("hosted zone {name}"));
            }
            let records = zone["records"].as_array().map_or(&[][..], Vec::as_slice);
            let made = records.iter().filter(|record| !matches!(text(record, "Type"), "NS" | "SOA"));
            let made = made.filter(|record| wanted(record));
            lines.extend(
                made.map(|record| format!("record {} {}", text(record, "Name"), text(record, "Type"))),
            );
        }
        lines
    }

    /// Whether a fresh account has it too, or AWS shows it only for a while after it is gone.
    fn fresh(&self, item: &Value) -> bool {
        let default_vpc = |id: &str| {
            let vpcs = self.list("vpcs").iter();
            vpcs.filter(|vpc| vpc["IsDefault"] == true).any(|vpc| text(vpc, "VpcId") == id)
        };
        let any = |list: &str, holds: &dyn Fn(&Value) -> bool| {
            item[list].as_array().is_some_and(|items| items.iter().any(holds))
        };
        item["IsDefault"] == true
            || item["DefaultForAz"] == true
            || any("Attachments", &|attachment| {
                item.get("InternetGatewayId").is_some() && default_vpc(text(attachment, "VpcId"))
            })
            || any("Associations", &|association| association["Main"] == true)
            || (item.get("GroupId").is_some() && text(item, "GroupName") == "default")
            || text(item, "State") == "deleted"
            || text(&item["State"], "Name") == "terminated"
            || text(item, "Path").starts_with("/aws-service-role/")
            || item.get("ManagedBy").is_some()
    }
}

fn text<'a>(item: &'a Value, field: &str) -> &'a str {
    item.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// What is left, so that a person knows it again.
fn line(kind: &str, id: &str, item: &Value) -> String {
    let tags = item["Tags"].as_array().or_else(|| item["TagSet"].as_array());
    let named = tags.into_iter().flatten().find(|tag| text(tag, "Key") == "Name");
    let name = named.map(|tag| text(tag, "Value")).or_else(|| item["GroupName"].as_str());
    match name {
        Some(name) if name != id => format!("{kind} {id} ({name})"),
        _ => format!("{kind} {id}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fresh_account_has_nothing_left() {
        let document = json!({
            "vpcs": [{ "VpcId": "vpc-1", "IsDefault": true }],
            "internet_gateways": [{ "InternetGatewayId": "igw-1", "Attachments": [{ "VpcId": "vpc-1" }] }],
            "subnets": [{ "SubnetId": "subnet-1", "DefaultForAz": true }],
            "security_groups": [{ "GroupId": "sg-1", "GroupName": "default" }],
            "route_tables": [{ "RouteTableId": "rtb-1", "Associations": [{ "Main": true }] }],
            "instances": [{ "InstanceId": "i-1", "State": { "Name": "terminated" } }],
            "nat_gateways": [{ "NatGatewayId": "nat-1", "State": "deleted" }],
            "roles": [{ "RoleName": "AWSServiceRoleForAutoScaling", "Path": "/aws-service-role/autoscaling/" }],
        });
        assert_eq!(Audit { document }.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn what_is_left_is_named() {
        let document = json!({
            "vpcs": [{ "VpcId": "vpc-1", "Tags": [{ "Key": "Name", "Value": "a.example" }] }],
            "internet_gateways": [{ "InternetGatewayId": "igw-1", "Attachments": [{ "VpcId": "vpc-1" }] }],
            "security_groups": [{ "GroupId": "sg-1", "GroupName": "nodes.b.example" }],
            "queues": [{ "QueueName": "a-example-nth" }],
            "buckets": [{ "Name": "state", "keys": ["a.example/cluster.spec"] }],
            "hosted_zones": [{ "Name": "example.", "records": [
                { "Name": "example.", "Type": "NS" },
                { "Name": "api.a.example.", "Type": "A" },
            ] }],
        });
        let audit = Audit { document };
        assert_eq!(
            audit.leftovers(),
            [
                "vpc vpc-1 (a.example)",
                "internet gateway igw-1",
                "security group sg-1 (nodes.b.example)",
                "queue a-example-nth",
                "bucket state",
                "hosted zone example.",
                "record api.a.example. A",
            ]
        );
        assert_eq!(
            audit.leftovers_of("a.example"),
            ["vpc vpc-1 (a.example)", "queue a-example-nth", "record api.a.example. A"]
        );
        assert!(audit.is_empty_of("c.example"));
    }
}
