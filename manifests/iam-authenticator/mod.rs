//! aws-iam-authenticator: lets IAM identities in.
//!
//! The API server asks it by a webhook whose kubeconfig and certificate are files of the control plane, made
//! before either of the two runs. It calls nothing of AWS in its own name: the token it is shown is a signed
//! request, which it passes on.

use kcl_spec::cluster::{AccessEntry, IamAuthenticator, IdentityMapping, Principal};
use serde::Serialize;
use serde_json::{Value, json};

use crate::access_entries::group;
use crate::pods::{checksum, resources};
use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, images, nobody};

pub(crate) const ADDON: Addon = Addon { name: "iam-authenticator", objects, identity: nobody };

const AUTHENTICATOR: Template = template!("iam-authenticator/authenticator.yaml");

/// Where it reads mappings by default.
const MOUNTED_FILE: &str = "MountedFile";

#[derive(Serialize)]
struct Values<'a> {
    image: String,
    cluster_id: &'a str,
    /// `--backend-mode`; empty: its own default.
    modes: String,
    /// Its configuration file, where it has one.
    file: Option<String>,
    checksum: String,
    /// What EKS' ConfigMap `aws-auth` has, where it is read: roles and users.
    config_map: Option<[String; 2]>,
    /// Mappings are objects.
    custom_resources: bool,
    mappings: Vec<Mapping>,
    resources: Value,
}

/// Who somebody of IAM is in the cluster.
#[derive(Serialize)]
struct Mapping {
    /// The object's name.
    name: String,
    arn: String,
    username: String,
    groups: Vec<String>,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let Some(wish) = &inputs.cluster.addons.iam_authenticator else { return Ok(Vec::new()) };
    let has = |mode: &str| wish.backend_mode.iter().any(|wanted| wanted == mode);
    let mappings = mappings(inputs, wish);
    let file = (wish.backend_mode.is_empty() || has(MOUNTED_FILE)).then(|| file(wish, &mappings));
    let values = Values {
        image: images::of(inputs.cluster, &wish.container, images::IAM_AUTHENTICATOR),
        cluster_id: &wish.cluster_id,
        modes: wish.backend_mode.join(","),
        checksum: checksum(file.as_deref().unwrap_or_default()),
        file,
        config_map: has("EKSConfigMap")
            .then(|| [roles(&mappings), users(&mappings)].map(|list| list.to_string())),
        custom_resources: has("CRD"),
        mappings,
        resources: resources(&wish.container, "10m", "32Mi"),
    };
    template::objects(&AUTHENTICATOR, &values)
}

/// Those of the spec, then those of access entries; one for each ARN, with the groups of all: which of two mappings
/// counts is the authenticator's choice.
fn mappings(inputs: &Inputs<'_>, wish: &IamAuthenticator) -> Vec<Mapping> {
    let given = wish.identity_mappings.iter().enumerate().map(|(at, mapping)| {
        let IdentityMapping { arn, username, groups } = mapping.clone();
        Mapping { name: format!("identity-mapping-{at}"), arn, username, groups }
    });
    let entries = inputs.cluster.access_entries.iter();
    let entries = entries.filter_map(|entry| match &entry.principal {
        Principal::Iam(arn) => Some(mapping(entry, arn)),
        Principal::Group(_) => None,
    });
    let mut mappings: Vec<Mapping> = Vec::new();
    for mapping in given.chain(entries) {
        // Neither IAM nor the authenticator tells names apart by their case.
        match mappings.iter_mut().find(|known| known.arn.eq_ignore_ascii_case(&mapping.arn)) {
            Some(known) => {
                let new = mapping.groups.into_iter().filter(|group| !known.groups.contains(group));
                let new: Vec<String> = new.collect();
                known.groups.extend(new);
            }
            None => mappings.push(mapping),
        }
    }
    mappings
}

fn mapping(entry: &AccessEntry, arn: &str) -> Mapping {
    // Several people may assume a role: audit logs tell them apart by the names of their sessions.
    let session = if is_role(arn) { ":{{SessionName}}" } else { "" };
    let username = format!("{}{session}", group(entry));
    let name = format!("access-entry-{}", entry.name);
    Mapping { name, arn: arn.to_owned(), username, groups: vec![group(entry)] }
}

fn is_role(arn: &str) -> bool {
    arn.split(':').nth(5).is_some_and(|resource| resource.starts_with("role/"))
}

/// JSON is YAML.
fn file(wish: &IamAuthenticator, mappings: &[Mapping]) -> String {
    let server = json!({ "mapRoles": roles(mappings), "mapUsers": users(mappings) });
    json!({ "clusterID": wish.cluster_id, "server": server }).to_string()
}

fn roles(mappings: &[Mapping]) -> Value {
    let roles = mappings.iter().filter(|mapping| is_role(&mapping.arn));
    roles
        .map(|role| json!({ "rolearn": role.arn, "username": role.username, "groups": role.groups }))
        .collect()
}

fn users(mappings: &[Mapping]) -> Value {
    let users = mappings.iter().filter(|mapping| !is_role(&mapping.arn));
    users
        .map(|user| json!({ "userarn": user.arn, "username": user.username, "groups": user.groups }))
        .collect()
}
