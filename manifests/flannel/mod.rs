//! Flannel: the pod network of `networking.flannel`, over VXLAN unless the spec says otherwise.
//!
//! Each node's range of pod addresses is the one that the controller manager gave the node.

use kcl_spec::cluster::FlannelBackend;
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
    arguments: Vec<String>,
    checksum: String,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.network.flannel else { return Ok(Vec::new()) };
    let backend = match wish.backend {
        FlannelBackend::Vxlan => "vxlan",
        FlannelBackend::Udp => "udp",
    };
    let network = json!({ "Network": inputs.cluster.network.pod_cidr, "Backend": { "Type": backend } });
    let resync = wish.iptables_resync_seconds.map(|seconds| format!("--iptables-resync={seconds}"));
    let arguments = ["--ip-masq", "--kube-subnet-mgr"].map(str::to_owned).into_iter().chain(resync).collect();
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
        arguments,
    };
    template::objects(&FLANNEL, &values)
}
