//! metrics-server: what `kubectl top` and the horizontal autoscaler ask.

use serde::Serialize;
use serde_json::Value;

use crate::pods::resources;
use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, images, nobody};

pub(crate) const ADDON: Addon = Addon { name: "metrics-server", objects, identity: nobody };

const SERVER: Template = template!("metrics-server/server.yaml");

#[derive(Serialize)]
struct Values {
    image: String,
    /// The kubelets' certificates are their own, which nobody signed.
    insecure: bool,
    resources: Value,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.metrics_server else { return Ok(Vec::new()) };
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::METRICS_SERVER),
        insecure: wish.insecure,
        // Enough for some tens of nodes.
        resources: resources(&wish.container, "50m", "64Mi"),
    };
    template::objects(&SERVER, &values)
}
