//! Hostile input for everything that reads what somebody else wrote.
//!
//! Each [`Target`] takes any bytes and must come back: with an error or without, never by a panic, never with
//! memory out of proportion. `cargo test -p kcl-fuzz` gives each a fixed number of inputs, damaged samples above
//! all ([`mutate`]), on stable Rust; the folder `fuzz` has the same targets for cargo-fuzz, which goes on for as
//! long as one likes:
//!
//! ```text
//! cargo test -p kcl-fuzz --test targets -- --ignored seeds   # sound samples to begin with
//! cd crates/fuzz && cargo +nightly fuzz run spec
//! ```

pub mod hostile;
pub mod mutate;
mod network;
mod samples;

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
    /// Reads; whether it took what it read for sound.
    pub read: fn(&[u8]) -> bool,
    /// Makes sound input, to be damaged.
    pub samples: fn() -> Vec<String>,
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
    Target { name: "spec", read: spec, samples: samples::specs, iterations: 1500 },
    Target { name: "keyset", read: keyset, samples: samples::keysets, iterations: 4000 },
    Target { name: "plan", read: plan, samples: samples::plans, iterations: 3000 },
    Target {
        name: "node_config",
        read: node_config,
        samples: samples::node_configurations,
        iterations: 4000,
    },
    Target { name: "imds", read: imds, samples: samples::metadata, iterations: 600 },
    Target { name: "join", read: join, samples: samples::envelopes, iterations: 3000 },
];

/// A cluster spec, up to the wanted resources and objects.
pub fn spec(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data).into_owned();
    let Ok(loaded) = kcl_spec::load(&[Source::new("cluster.yaml", text)]) else { return false };
    let facts = kcl_model::Facts::assumed(&loaded.cluster, None);
    // What cannot be made of it is said.
    let model = kcl_model::build(&loaded.cluster, &facts);
    let objects = kcl_model::kubernetes::objects(&loaded.cluster, &facts);
    let _ = kcl_spec::complete(&loaded);
    let _ = kcl_spec::parts(&loaded);
    model.is_ok() && objects.is_ok()
}

/// The list of a keyset's keys in the state store.
pub fn keyset(data: &[u8]) -> bool {
    let mut is_taken = false;
    for name in KeysetName::ALL {
        if let Ok(keyset) = Keyset::parse(name, data) {
            is_taken |= !keyset.index_yaml().is_empty();
        }
    }
    is_taken
}

/// A plan that was saved as JSON.
pub fn plan(data: &[u8]) -> bool {
    serde_json::from_slice::<Plan>(data).is_ok_and(|plan| serde_json::to_string(&plan).is_ok())
}

/// What a machine is told.
pub fn node_config(data: &[u8]) -> bool {
    NodeConfig::parse(&String::from_utf8_lossy(data)).is_ok_and(|config| config.to_yaml().is_ok())
}
