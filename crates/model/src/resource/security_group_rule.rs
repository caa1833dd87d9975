//! One rule of a security group. Its name says all of it, so a rule is never changed: another rule is another
//! resource. Attributes: `id`.

use std::fmt;

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

/// A security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// The group (`id`) it belongs to.
    pub group: Ref,
    /// Which way it lets traffic pass.
    pub direction: Direction,
    /// Which traffic.
    pub protocol: Protocol,
    /// From or to whom.
    pub peer: Peer,
}

/// Which way a rule lets traffic pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the machine.
    Ingress,
    /// From the machine.
    Egress,
}

/// Protocol and ports (or ICMP type and code).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protocol {
    /// `-1` (all), `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    pub name: String,
    /// First port or ICMP type; -1 where the protocol has none, or for all.
    pub from: i32,
    /// Last port or ICMP code.
    pub to: i32,
}

impl Protocol {
    /// All traffic.
    pub fn all() -> Self {
        Self { name: "-1".to_owned(), from: -1, to: -1 }
    }

    /// TCP ports `from` to `to`.
    pub fn tcp(from: u16, to: u16) -> Self {
        Self { name: "tcp".to_owned(), from: from.into(), to: to.into() }
    }

    /// UDP ports `from` to `to`.
    pub fn udp(from: u16, to: u16) -> Self {
        Self { name: "udp".to_owned(), from: from.into(), to: to.into() }
    }

    /// IP in IP (IANA's protocol 4), which has no ports.
    pub fn ip_in_ip() -> Self {
        Self { name: "4".to_owned(), from: -1, to: -1 }
    }

    /// ICMP "fragmentation needed", which path MTU discovery lives on.
    pub fn icmp_fragmentation_needed() -> Self {
        Self { name: "icmp".to_owned(), from: 3, to: 4 }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.from, self.to) {
            ("-1", ..) => f.write_str("all"),
            (name, -1, -1) => f.write_str(name),
            ("icmp" | "icmpv6", from, to) => write!(f, "{} {from}/{to}", self.name),
            (name, from, to) if from == to => write!(f, "{name} {from}"),
            (name, from, to) => write!(f, "{name} {from}-{to}"),
        }
    }
}

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// An IPv4 or IPv6 block.
    Cidr(String),
    /// Members of a security group (`id`).
    Group(Ref),
    /// A managed prefix list's id.
    PrefixList(String),
}

impl SecurityGroupRule {
    /// The rule's name: `masters.N in tcp 443 from api-elb.N`. `group` and `peer` are the names of the
    /// groups, or their ids where they are not ours.
    pub fn name(group: &str, direction: Direction, protocol: &Protocol, peer: &str) -> String {
        match direction {
            Direction::Ingress => format!("{group} in {protocol} from {peer}"),
            Direction::Egress => format!("{group} out {protocol} to {peer}"),
        }
    }
}

impl Resource for SecurityGroupRule {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("group", "a rule belongs to its group"),
            ("direction", "a rule says one thing"),
            ("protocol", "a rule says one thing"),
            ("peer", "a rule says one thing"),
        ],
        contained_in: Some("group"),
        name_says_all: true,
        ..Schema::new("security-group-rule", "security")
    };
}
