//! external-dns: DNS records for Services and Ingresses.
//!
//! Each record has a companion that says whose it is, so that only those of this cluster are ever changed or
//! removed; the records that kcl makes itself have none.

use std::collections::BTreeMap;

use kcl_spec::cluster::Container;
use serde::Serialize;
use serde_json::{Value, json};

use crate::iam::anything;
use crate::pods::{Access, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Identity, Inputs, images};

pub(crate) const ADDON: Addon = Addon { name: "external-dns", objects, identity };

const EXTERNAL_DNS: Template = template!("external-dns/external-dns.yaml");

const NAMESPACE: &str = "kube-system";
const SERVICE_ACCOUNT: &str = "external-dns";

#[derive(Serialize)]
struct Values<'a> {
    image: String,
    access: Access,
    annotations: BTreeMap<String, String>,
    region: &'a str,
    cluster: &'a str,
    zones: Vec<&'a str>,
    ingresses: bool,
    /// The only namespace that is watched; `None`: all.
    namespace: Option<&'a str>,
    resources: Value,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.external_dns else { return Ok(Vec::new()) };
    let access = Access::of(inputs, NAMESPACE, SERVICE_ACCOUNT);
    let values = Values {
        image: images::pinned(inputs.cluster, images::EXTERNAL_DNS),
        annotations: access.annotations(&BTreeMap::new()),
        access,
        region: &inputs.cluster.region,
        cluster: &inputs.cluster.name,
        zones: zones(inputs).collect(),
        ingresses: wish.watch_ingress,
        namespace: wish.watch_namespace.as_deref(),
        resources: resources(&Container::default(), "20m", "48Mi"),
    };
    template::objects(&EXTERNAL_DNS, &values)
}

/// Route 53 spells ids in two ways.
fn zones<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = &'a str> {
    inputs.zones.iter().map(|id| id.strip_prefix("/hostedzone/").unwrap_or(id))
}

/// Records know no tags: the zones are named.
fn identity(inputs: &Inputs<'_>) -> Option<Identity> {
    inputs.cluster.addons.external_dns.as_ref()?;
    let mut statements = vec![anything(&["route53:ListHostedZones"])];
    let arns: Vec<String> =
        zones(inputs).map(|id| format!("arn:{}:route53:::hostedzone/{id}", inputs.partition)).collect();
    if !arns.is_empty() {
        let mut records = anything(&["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets"]);
        records["Resource"] = json!(arns);
        statements.push(records);
    }
    Some(Identity { namespace: NAMESPACE, service_account: SERVICE_ACCOUNT, statements })
}
