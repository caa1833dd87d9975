//! Flannel: the pod network of `networking.flannel`.
//!
//! Each node's range of pod addresses is the one that the controller manager gave the node.

use kcl_spec::cluster::{FlannelBackend, PodNetwork};
use serde::Serialize;
use serde_json::{Value, json};

use crate::pods::checksum;
use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, images, nobody};

pub(crate) const ADDON: Addon = Addon { name: "flannel", objects, identity: nobody };

const FLANNEL: Template = template!("flannel/flannel.yaml");

#[derive(Serialize)]
struct Values {
    image: String,
    plugin_image: String,
    /// The network's configuration, as flannel reads it.
    network: String,
    /// The machine's, as its container runtime reads it.
    plugins: String,
    checksum: String,
    /// It carries packets itself, by a device of the machine.
    tunnel: bool,
    resync_seconds: Option<u32>,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    if inputs.cluster.network.pod_network != PodNetwork::Flannel {
        return Ok(Vec::new());
    }
    let flannel = inputs.cluster.network.flannel.as_ref();
    let backend = flannel.map_or(FlannelBackend::Vxlan, |flannel| flannel.backend);
    let kind = match backend {
        FlannelBackend::Vxlan => "vxlan",
        FlannelBackend::Udp => "udp",
    };
    let network = json!({ "Network": inputs.cluster.network.pod_cidr, "Backend": { "Type": kind } });
    let plugins = json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            // A pod reaches itself through a Service; pods leave the node through its own bridge.
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            // Ports of the machine: the ingress controller has some.
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let (network, plugins) = (network.to_string(), plugins.to_string());
    let values = Values {
        image: images::pinned(inputs.cluster, images::FLANNEL),
        plugin_image: images::pinned(inputs.cluster, images::FLANNEL_CNI_PLUGIN),
        checksum: checksum(&format!("{network}\n{plugins}")),
        network,
        plugins,
        tunnel: backend == FlannelBackend::Udp,
        resync_seconds: flannel.and_then(|flannel| flannel.iptables_resync_seconds),
    };
    template::objects(&FLANNEL, &values)
}
