//! Who IAM identities are in the cluster.

use super::check::Check;
use super::container::ContainerFields;
use super::{Scope, syntax, value};
use crate::cluster::{IamAuthenticator, IdentityMapping};
use crate::schema::addons::{AwsAuthenticationSpec, IdentityMappingSpec};
use crate::source::Located;
use crate::suggest;

/// aws-iam-authenticator, where `authentication.aws` is given.
pub(super) fn iam_authenticator(scope: &Scope<'_>, check: &mut Check) -> Option<IamAuthenticator> {
    let aws = scope.spec.authentication.as_ref()?.value.aws.as_ref()?;
    let AwsAuthenticationSpec {
        backend_mode: mode,
        cluster_id,
        cpu_limit,
        cpu_request,
        identity_mappings,
        image,
        memory_limit,
        memory_request,
    } = &aws.value;
    let title = "the API server's side of aws-iam-authenticator is not set up by kcl yet";
    let hint = "until its certificate and the webhook's kubeconfig are in `/srv/kubernetes/aws-iam-authenticator` of \
                the control plane, its pods do not start and nobody logs in by IAM";
    check.warn(&aws.place, title, hint);
    if let Some(id) = cluster_id {
        let is_sound = !id.value.is_empty() && id.value.chars().all(|char| char.is_ascii_graphic());
        if !is_sound {
            let title = format!("`{}` cannot be the id of a cluster", id.value);
            check.hinted(&id.place, title, "it travels in a header: letters, digits and signs, no blanks");
        }
    }
    let mappings = identity_mappings.as_ref().map_or(&[][..], |list| &list.value);
    check.unique("identity", mappings.iter().filter_map(|mapping| mapping.value.arn.as_ref()));
    let fields = ContainerFields {
        image: image.as_ref(),
        cpu_request: cpu_request.as_ref(),
        cpu_limit: cpu_limit.as_ref(),
        memory_request: memory_request.as_ref(),
        memory_limit: memory_limit.as_ref(),
        ..ContainerFields::default()
    };
    Some(IamAuthenticator {
        container: fields.container(check),
        cluster_id: value(cluster_id.as_ref()).unwrap_or_else(|| scope.name.to_owned()),
        backend_mode: backend_mode(mode.as_ref(), check),
        identity_mappings: mappings.iter().map(|mapping| identity_mapping(mapping, check)).collect(),
    })
}

const BACKEND_MODES: &[&str] = &["MountedFile", "EKSConfigMap", "CRD"];

fn backend_mode(field: Option<&Located<String>>, check: &mut Check) -> Vec<String> {
    let Some(field) = field else { return vec!["MountedFile".to_owned()] };
    let words: Vec<&str> = field.value.split(',').map(str::trim).collect();
    for word in words.iter().filter(|word| !BACKEND_MODES.contains(word)) {
        let title = format!("unknown backend mode `{word}`");
        check.hinted(&field.place, title, suggest::hint(word, BACKEND_MODES.iter().copied()));
    }
    words.into_iter().map(str::to_owned).collect()
}

fn identity_mapping(mapping: &Located<IdentityMappingSpec>, check: &mut Check) -> IdentityMapping {
    let Located { value: IdentityMappingSpec { arn, groups, username }, place } = mapping;
    match arn {
        None => check.missing(place, "arn"),
        Some(arn) => principal(arn, check),
    }
    match username {
        None => check.missing(place, "username"),
        Some(username) if username.value.is_empty() => check.error(&username.place, "empty user name"),
        Some(_) => {}
    }
    let groups = groups.as_ref().map_or(&[][..], |list| &list.value);
    check.unique("group", groups);
    for group in groups.iter().filter(|group| group.value.is_empty()) {
        check.error(&group.place, "empty group name");
    }
    IdentityMapping {
        arn: value(arn.as_ref()).unwrap_or_default(),
        username: value(username.as_ref()).unwrap_or_default(),
        groups: groups.iter().map(|group| group.value.clone()).collect(),
    }
}

/// An IAM role or user, as the authenticator sees it: STS tells it a role's name without its path.
pub(super) fn principal(arn: &Located<String>, check: &mut Check) {
    if !syntax::is_principal(&arn.value) {
        let title = format!("`{}` is not the ARN of an IAM role or user", arn.value);
        let hint = "it looks like `arn:aws:iam::<account>:role/<name>` or `.../user/<name>`";
        check.hinted(&arn.place, title, hint);
        return;
    }
    let Some((account, role)) = arn.value.split_once(":role/") else { return };
    if let Some((_, name)) = role.rsplit_once('/') {
        let title = format!("`{}` never matches: a role is seen without its path", arn.value);
        check.hinted(&arn.place, title, format!("write `{account}:role/{name}`"));
    }
}
