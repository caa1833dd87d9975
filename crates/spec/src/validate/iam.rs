//! Policies of the machines' roles, roles for service accounts, and who trusts the issuer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::Check;
use super::{Scope, flag, syntax, value};
use crate::cluster::{
    Addons, Iam, IssuerBucket, Role, ServiceAccountIssuer, ServiceAccountPermissions, ServiceAccountRole,
};
use crate::schema::cluster::{AwsPermissionSpec, ServiceAccountSpec};
use crate::source::{Located, Place};
use crate::suggest;

pub(super) fn iam(scope: &Scope<'_>, addons: &Addons, check: &mut Check) -> Iam {
    let spec = scope.spec.iam.as_ref().map(|iam| &iam.value);
    let boundary = spec.and_then(|spec| spec.permissions_boundary.as_ref());
    if let Some(boundary) = boundary {
        syntax::arn(boundary, "iam", "policy/", "a managed policy", check);
    }
    Iam {
        permissions_boundary: value(boundary),
        allow_container_registry: flag(spec.and_then(|spec| spec.allow_container_registry.as_ref()), false),
        additional_policies: additional_policies(scope, check),
        external_policies: external_policies(scope, check),
        use_service_account_external_permissions: roles_of_addons(scope, check),
        service_accounts: service_accounts(scope, addons, check),
    }
}

/// Addons have roles of their own: AWS has to trust the tokens that they assume them with.
fn roles_of_addons(scope: &Scope<'_>, check: &mut Check) -> bool {
    let spec = scope.spec.iam.as_ref().map(|iam| &iam.value);
    let field = spec.and_then(|spec| spec.use_service_account_external_permissions.as_ref());
    if let Some(field) = field.filter(|field| field.value) {
        trusted_issuer(scope, &field.place, check);
    }
    flag(field, false)
}

/// Notes that something at `place` needs an issuer that AWS trusts, where there is none.
fn trusted_issuer(scope: &Scope<'_>, place: &Place, check: &mut Check) {
    let discovery = scope.spec.service_account_issuer_discovery.as_ref().map(|discovery| &discovery.value);
    if flag(discovery.and_then(|discovery| discovery.enable_aws_oidc_provider.as_ref()), false) {
        return;
    }
    let title = "roles for service accounts need an issuer that AWS trusts";
    let hint =
        "add `serviceAccountIssuerDiscovery` with a `discoveryStore` and `enableAWSOIDCProvider: true`";
    let field = if discovery.is_none() { "serviceAccountIssuerDiscovery" } else { "enableAWSOIDCProvider" };
    check.lacking(place, field, title, hint);
}

/// kOps' words for roles as keys of policies.
const ROLE_KEYS: &[(&str, Role)] = &[
    ("control-plane", Role::ControlPlane),
    ("master", Role::ControlPlane),
    ("node", Role::Node),
    ("bastion", Role::Bastion),
];

fn role_key(key: &Located<String>, check: &mut Check) -> Option<Role> {
    let role = ROLE_KEYS.iter().find(|(name, _)| *name == key.value).map(|(_, role)| *role);
    if role.is_none() {
        let title = format!("unknown role `{}`", key.value);
        check.hinted(&key.place, title, suggest::hint(&key.value, ROLE_KEYS.iter().map(|(name, _)| *name)));
    }
    role
}

fn additional_policies(scope: &Scope<'_>, check: &mut Check) -> BTreeMap<Role, Vec<Value>> {
    let mut policies: BTreeMap<Role, Vec<Value>> = BTreeMap::new();
    for (key, policy) in scope.spec.additional_policies.as_ref().map_or(&[][..], |dict| &dict.value.0) {
        let statements = statements(policy, check);
        if let Some(role) = role_key(key, check) {
            policies.entry(role).or_default().extend(statements);
        }
    }
    policies
}

fn external_policies(scope: &Scope<'_>, check: &mut Check) -> BTreeMap<Role, Vec<String>> {
    let mut policies: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    for (key, arns) in scope.spec.external_policies.as_ref().map_or(&[][..], |dict| &dict.value.0) {
        check.unique("policy", &arns.value);
        for arn in &arns.value {
            syntax::arn(arn, "iam", "policy/", "a managed policy", check);
        }
        if let Some(role) = role_key(key, check) {
            policies.entry(role).or_default().extend(arns.value.iter().map(|arn| arn.value.clone()));
        }
    }
    policies
}

/// Statements of a policy: a JSON array of objects. A mistake in the JSON is shown at its own line.
fn statements(field: &Located<String>, check: &mut Check) -> Vec<Value> {
    let hint =
        "a JSON array of statements: `[{\"Effect\": \"Allow\", \"Action\": [...], \"Resource\": [...]}]`";
    let json: Value = match serde_json::from_str(&field.value) {
        Ok(json) => json,
        Err(error) => {
            let place = inside(field, error.line(), error.column());
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or(&text);
            check.hinted(&place, format!("the policy is not JSON: {message}"), hint);
            return Vec::new();
        }
    };
    match json {
        Value::Array(list) if list.is_empty() => {
            check.hinted(&field.place, "the policy has no statement", hint);
        }
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                if let Some(problem) = statement_problem(item) {
                    check.hinted(
                        &field.place,
                        format!("statement {} of the policy {problem}", index + 1),
                        hint,
                    );
                }
            }
            return list;
        }
        Value::Object(object) if object.contains_key("Statement") => {
            check.hinted(
                &field.place,
                "a whole policy where its statements are wanted",
                "give the value of `Statement` only",
            );
        }
        _ => check.hinted(&field.place, "the policy is not a list of statements", hint),
    }
    Vec::new()
}

/// What IAM would refuse in a statement.
fn statement_problem(statement: &Value) -> Option<&'static str> {
    let Value::Object(fields) = statement else { return Some("is not an object") };
    let has = |one: &str, other: &str| fields.contains_key(one) || fields.contains_key(other);
    match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => {}
        Some(_) => return Some("has an `Effect` that is neither `Allow` nor `Deny`"),
        None => return Some("has no `Effect`"),
    }
    if !has("Action", "NotAction") {
        return Some("has no `Action`");
    }
    if !has("Resource", "NotResource") {
        return Some("has no `Resource`");
    }
    let known = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if fields.keys().any(|key| !known.contains(&key.as_str())) {
        return Some("has a key that IAM does not know");
    }
    None
}

/// The place of a line and column inside a text. In a block of text the lines are the source's own;
/// elsewhere only the whole can be pointed at.
fn inside(field: &Located<String>, line: usize, column: usize) -> Place {
    let indent = field.place.column() - 1;
    let first_line = field.value.lines().next().unwrap_or_default();
    let written: String = field.place.line_text().chars().skip(indent).collect();
    if !field.value.contains('\n') || written.trim_end() != first_line.trim_end() {
        return field.place.clone();
    }
    field.place.at(field.place.line() + line.saturating_sub(1), indent + column.max(1), 1)
}

fn service_accounts(scope: &Scope<'_>, addons: &Addons, check: &mut Check) -> Vec<ServiceAccountRole> {
    let list =
        scope.spec.iam.as_ref().and_then(|iam| iam.value.service_account_external_permissions.as_ref());
    let Some(list) = list.filter(|list| !list.value.is_empty()) else { return Vec::new() };
    trusted_issuer(scope, &list.place, check);
    let mut seen: Vec<(ServiceAccountRole, &Located<ServiceAccountSpec>)> = Vec::new();
    for item in &list.value {
        let role = service_account(item, check);
        let is_same = |other: &&(ServiceAccountRole, _)| {
            other.0.name == role.name && other.0.namespace == role.namespace
        };
        if let Some((_, first)) = seen.iter().find(is_same).filter(|_| !role.name.is_empty()) {
            let title = format!("service account `{}/{}` is given twice", role.namespace, role.name);
            check.hinted(
                &item.place,
                title,
                format!("first given at {}", first.place.seen_from(&item.place)),
            );
        }
        if addons.service_accounts().contains(&(role.namespace.as_str(), role.name.as_str())) {
            let title = format!("`{}/{}` is the service account of an addon", role.namespace, role.name);
            check.hinted(&item.place, title, "kcl gives it what it needs: leave it out");
        }
        seen.push((role, item));
    }
    seen.into_iter().map(|(role, _)| role).collect()
}

fn service_account(item: &Located<ServiceAccountSpec>, check: &mut Check) -> ServiceAccountRole {
    let Located { value: spec, place } = item;
    for (field, is_missing) in [("name", spec.name.is_none()), ("namespace", spec.namespace.is_none())] {
        if is_missing {
            check.missing(place, field);
        }
    }
    if let Some(name) = &spec.name {
        if name.value.contains('*') {
            check.hinted(&name.place, "a service account's name cannot hold `*`", "a namespace may");
        } else if !syntax::is_dns_name(&name.value) {
            check.error(&name.place, format!("`{}` is not a name of a service account", name.value));
        }
    }
    let is_namespace = |field: &&Located<String>| syntax::is_dns_label(&field.value.replace('*', "x"));
    if let Some(namespace) = spec.namespace.as_ref().filter(|field| !is_namespace(field)) {
        check.error(&namespace.place, format!("`{}` is not a namespace", namespace.value));
    }
    if spec.aws.is_none() {
        let hint = "add `aws` with `inlinePolicy` or `policyARNs`";
        check.lacking(place, "aws", "the service account gets no permissions", hint);
    }
    let nothing = ServiceAccountPermissions::Managed(Vec::new());
    let permissions = spec.aws.as_ref().map_or(nothing, |aws| permissions(aws, check));
    ServiceAccountRole {
        name: value(spec.name.as_ref()).unwrap_or_default(),
        namespace: value(spec.namespace.as_ref()).unwrap_or_default(),
        permissions,
    }
}

fn permissions(aws: &Located<AwsPermissionSpec>, check: &mut Check) -> ServiceAccountPermissions {
    let arns = aws.value.policy_arns.as_ref().filter(|list| !list.value.is_empty());
    let inline = aws.value.inline_policy.as_ref().filter(|policy| !policy.value.trim().is_empty());
    match (arns, inline) {
        (Some(_), Some(policy)) => {
            check.hinted(
                &policy.place,
                "`inlinePolicy` and `policyARNs` exclude each other",
                "keep one of them",
            );
            ServiceAccountPermissions::Inline(statements(policy, check))
        }
        (None, Some(policy)) => ServiceAccountPermissions::Inline(statements(policy, check)),
        (Some(list), None) => {
            check.unique("policy", &list.value);
            for arn in &list.value {
                syntax::arn(arn, "iam", "policy/", "a managed policy", check);
            }
            ServiceAccountPermissions::Managed(list.value.iter().map(|arn| arn.value.clone()).collect())
        }
        (None, None) => {
            check.lacking(
                &aws.place,
                "inlinePolicy",
                "the service account gets no permissions",
                "give `inlinePolicy` or `policyARNs`",
            );
            ServiceAccountPermissions::Managed(Vec::new())
        }
    }
}

/// Where the OIDC documents of the issuer are published.
pub(super) fn issuer(scope: &Scope<'_>, check: &mut Check) -> Option<ServiceAccountIssuer> {
    let discovery = scope.spec.service_account_issuer_discovery.as_ref()?;
    let spec = &discovery.value;
    let enable_aws_oidc_provider = flag(spec.enable_aws_oidc_provider.as_ref(), false);
    let Some(store) = &spec.discovery_store else {
        if enable_aws_oidc_provider {
            let hint = "AWS reads the issuer's documents there: a public `s3://bucket/prefix`";
            check.lacking(&discovery.place, "discoveryStore", "missing `discoveryStore`", hint);
        }
        return None;
    };
    if let Some(list) = &spec.additional_audiences {
        check.unique("audience", &list.value);
    }
    let audiences = spec.additional_audiences.as_ref().map_or(&[][..], |list| &list.value);
    let bucket = issuer_bucket(store, check);
    if let Some(bucket) = &bucket {
        apart_from_state(scope, store, bucket, check);
    }
    Some(ServiceAccountIssuer {
        discovery_store: store.value.trim_end_matches('/').to_owned(),
        bucket,
        enable_aws_oidc_provider,
        additional_audiences: audiences.iter().map(|audience| audience.value.clone()).collect(),
    })
}

fn issuer_bucket(store: &Located<String>, check: &mut Check) -> Option<IssuerBucket> {
    // Stores that are not S3 are for tests, and judged where stores are opened.
    if store.value.starts_with("memfs://") || store.value.starts_with("file://") {
        return None;
    }
    let Some(path) = store.value.strip_prefix("s3://") else {
        let title = format!("`{}` is not a store for OIDC documents", store.value);
        check.hinted(&store.place, title, "write it as `s3://bucket/prefix`");
        return None;
    };
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.contains('.') {
        let title = format!("bucket `{name}` has a dot in its name");
        let hint = format!(
            "AWS' certificate does not cover such a name, and nobody could trust the issuer: use a bucket without \
             dots, as in `{}`",
            name.replace('.', "-")
        );
        check.hinted(&store.place, title, hint);
    } else if !(3..=63).contains(&name.len()) || !syntax::is_dns_label(name) {
        let title = format!("`{name}` is not the name of a bucket");
        check.hinted(&store.place, title, "3 to 63 lower-case letters, digits and `-`");
    }
    Some(IssuerBucket { name: name.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
}

/// What anyone may read has no place among the cluster's private keys, and better not in their bucket.
fn apart_from_state(scope: &Scope<'_>, store: &Located<String>, bucket: &IssuerBucket, check: &mut Check) {
    let base = scope.spec.config_base.as_ref().and_then(|base| base.value.strip_prefix("s3://"));
    let Some(base) = base else { return };
    let (base_bucket, base_prefix) = base.split_once('/').unwrap_or((base, ""));
    if base_bucket != bucket.name {
        return;
    }
    // kOps' configBase ends in the cluster's own folder; kcl's need not.
    let mut folder: Vec<&str> = base_prefix.split('/').filter(|part| !part.is_empty()).collect();
    if folder.last() != Some(&scope.name) {
        folder.push(scope.name);
    }
    let prefix: Vec<&str> = bucket.prefix.split('/').filter(|part| !part.is_empty()).collect();
    let own = format!("use a bucket of its own, as in `s3://{base_bucket}-oidc/{}`", scope.name);
    if prefix.starts_with(&folder) {
        let title = "`discoveryStore` lies among the cluster's keys in the state store";
        let hint = format!("anyone may read what lies there: {own}");
        check.hinted(&store.place, title, hint);
    } else {
        let title = format!("`discoveryStore` is in the state store's bucket `{base_bucket}`");
        let hint =
            format!("public documents stand beside private keys, one mistake in a policy apart: {own}");
        check.warn(&store.place, title, hint);
    }
}
