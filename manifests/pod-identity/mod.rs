//! Pods get the roles of their service accounts (IRSA), by a policy of the API server: no webhook, no pods.
//!
//! Wanted where AWS trusts the cluster's tokens. A pod of a service account with the annotation
//! `eks.amazonaws.com/role-arn` is given the variables by which AWS' SDKs find a role, and a token for it. The
//! annotations are those of EKS' pod identity webhook, and the token is where kOps' webhook puts it.

use kcl_spec::cluster::KubernetesVersion;
use serde::Serialize;
use serde_json::Value;

use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, nobody};

pub(crate) const ADDON: Addon = Addon { name: crate::POD_IDENTITY, objects, identity: nobody };

const POLICY: Template = template!("pod-identity/policy.yaml");

/// The annotation of a service account that names its role.
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// Where pods find their token.
pub const TOKEN_FILE: &str = "/var/run/secrets/amazonaws.com/token";

/// The audience of tokens: the first client id of the IAM OIDC provider, as kOps has it.
pub const TOKEN_AUDIENCE: &str = "amazonaws.com";

/// The first release in which policies that change objects are stable and on.
const NEEDED: &str = "1.36";

/// Each is an expression.
#[derive(Serialize)]
struct Values {
    region: String,
    audience: String,
    token_file: String,
    token_folder: String,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let issuer = inputs.cluster.service_account_issuer.as_ref();
    if !issuer.is_some_and(|issuer| issuer.enable_aws_oidc_provider) {
        return Ok(Vec::new());
    }
    let version = inputs.cluster.kubernetes_version;
    if version < (KubernetesVersion { major: 1, minor: 36, patch: 0 }) {
        let what = "giving pods the roles of their service accounts";
        return Err(Error::Version { what, needed: NEEDED, version: version.to_string() });
    }
    let values = Values {
        region: literal(&inputs.cluster.region),
        audience: literal(TOKEN_AUDIENCE),
        token_file: literal(TOKEN_FILE),
        token_folder: literal(TOKEN_FILE.rsplit_once('/').map_or("/", |(folder, _)| folder)),
    };
    template::objects(&POLICY, &values)
}

/// A text in CEL, which has all escapes of JSON but one that JSON need not use.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}
