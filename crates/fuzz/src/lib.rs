//! Hostile input for everything that reads what somebody else wrote.
//!
//! Each [`Target`] takes any bytes and must come back: with an error or without, never by a panic, never with
//! memory out of proportion. `cargo test -p kcl-fuzz` gives each a fixed number of inputs, damaged samples above
//! all ([`mutate`]), on stable Rust; the folder `fuzz` has the same targets for cargo-fuzz, which goes on for as
//! long as one likes:
//!
//! ```text
//! cd crates/fuzz && cargo +nightly fuzz run spec
//! ```

pub mod hostile;
pub mod mutate;
mod network;

use kcl_engine::Plan;
use kcl_node_config::NodeConfig;
use kcl_pki::{Keyset, KeysetName};
use kcl_spec::Source;

pub use network::{imds, join};

/// Something that reads.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Reads.
    pub read: fn(&[u8]),
    /// Sound input, to be damaged.
    pub samples: &'static [&'static str],
    /// How many inputs a plain test gives it.
    pub iterations: usize,
}

/// The reference cluster's spec.
pub const KARLARU: &str = include_str!("../../../examples/karlaru.yaml");
/// The smallest one.
pub const MINIMAL: &str = include_str!("../../../examples/minimal.yaml");
/// One with most that there is.
pub const PRIVATE_HA: &str = include_str!("../../../examples/private-ha.yaml");

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "spec", read: spec, samples: &[KARLARU, MINIMAL, PRIVATE_HA], iterations: 1500 },
    Target { name: "keyset", read: keyset, samples: &[KEYSET], iterations: 4000 },
    Target { name: "plan", read: plan, samples: &[PLAN], iterations: 6000 },
    Target { name: "node_config", read: node_config, samples: &[NODE_CONFIG], iterations: 4000 },
    Target { name: "imds", read: imds, samples: &[network::IDENTITY, network::ANSWER], iterations: 600 },
    Target { name: "join", read: join, samples: &[network::ENVELOPE], iterations: 3000 },
];

/// A cluster spec, up to the wanted resources and objects.
pub fn spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    if let Ok(loaded) = kcl_spec::load(&[Source::new("cluster.yaml", text)]) {
        let facts = kcl_model::Facts::assumed(&loaded.cluster, None);
        // What cannot be made of it is said.
        let _ = kcl_model::build(&loaded.cluster, &facts);
        let _ = kcl_model::kubernetes::objects(&loaded.cluster, &facts);
        let _ = kcl_spec::complete(&loaded);
        let _ = kcl_spec::parts(&loaded);
    }
}

/// The list of a keyset's keys in the state store.
pub fn keyset(data: &[u8]) {
    for name in KeysetName::ALL {
        if let Ok(keyset) = Keyset::parse(name, data) {
            let _ = keyset.index_yaml();
        }
    }
}

/// A plan that was saved as JSON.
pub fn plan(data: &[u8]) {
    if let Ok(plan) = serde_json::from_slice::<Plan>(data) {
        let _ = serde_json::to_string(&plan);
    }
}

/// What a machine is told.
pub fn node_config(data: &[u8]) {
    if let Ok(config) = NodeConfig::parse(&String::from_utf8_lossy(data)) {
        let _ = config.to_yaml();
    }
}

const KEYSET: &str = r#"apiVersion: kcl.dev/v1alpha1
kind: Keyset
metadata:
  name: service-account
spec:
  type: Keypair
  primaryID: "7404018426212218"
  keys:
  - id: "7404018426212218"
    created: "2026-11-27T04:00:00Z"
    publicKey: |
      -----BEGIN PUBLIC KEY-----
      MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaa==
      -----END PUBLIC KEY-----
"#;

const PLAN: &str = r#"{"steps": [{"action": "create", "id": {"kind": "vpc", "name": "k8s.example.com"},
 "because": ["missing"], "replacement": false, "changes": [], "after": [1], "wanted": {"cidr": "10.0.0.0/16"}, "live": null}],
 "unwanted": [], "refusals": [], "known": {"vpc/k8s.example.com": {"id": "vpc-1"}}, "unchanged": 3}"#;

const NODE_CONFIG: &str = "apiVersion: kcl.dev/v1alpha1\nkind: NodeConfig\ncluster: k8s.example.com\ninstanceGroup: nodes\n\
role: node\nregion: eu-north-1\nkubernetesVersion: 1.36.4\napi:\n  endpoint: api.internal.k8s.example.com\n  port: 443\nassets: []\n";
