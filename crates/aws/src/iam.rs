//! IAM: reading all roles in one call, policy documents, and the errors that time heals.

use aws_sdk_iam::types::{EntityType, RoleDetail, Tag};
use kcl_engine::{Json, Owner, Resource};
use kcl_model::policy;
use kcl_model::resource::{IamRole, Tags};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::named;
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::tags;

/// One role as it is.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) fields: IamRole,
    /// The instance profiles it is in.
    pub(crate) profiles: Vec<String>,
}

/// The cluster's roles, read once per scope.
pub(crate) async fn roles<'s>(scope: &'s Scope<'_>) -> Result<&'s [Role], Error> {
    let read = scope.shared.roles.get_or_try_init(|| async {
        let mut roles = all_roles(scope.aws).await?;
        let wanted = scope.wanted_names(IamRole::SCHEMA.kind);
        roles.retain(|role| {
            let is_wanted = wanted.contains(&role.name.as_str());
            named::owner(scope.cluster, &role.fields.tags, is_wanted) == Some(Owner::Cluster)
        });
        Ok(roles)
    });
    read.await.map(Vec::as_slice)
}

/// The role of that name, whosever it is.
pub(crate) async fn find_role(aws: &Aws, name: &str) -> Result<Option<Role>, Error> {
    Ok(all_roles(aws).await?.into_iter().find(|role| role.name == name))
}

/// Every role of the account with its policies and tags: 1,000 in a call, where asking for one role takes
/// half a dozen.
async fn all_roles(aws: &Aws) -> Result<Vec<Role>, Error> {
    let call = aws.iam.get_account_authorization_details().filter(EntityType::Role).max_items(1000);
    let mut pages = call.into_paginator().send();
    let mut roles = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.during("iam:GetAccountAuthorizationDetails")?;
        roles.extend(page.role_detail_list.unwrap_or_default().into_iter().filter_map(role));
    }
    Ok(roles)
}

fn role(detail: RoleDetail) -> Option<Role> {
    let inline = detail.role_policy_list.unwrap_or_default().into_iter();
    let attached = detail.attached_managed_policies.unwrap_or_default().into_iter();
    let profiles = detail.instance_profile_list.unwrap_or_default().into_iter();
    let fields = IamRole {
        trust_policy: document(detail.assume_role_policy_document.as_deref().unwrap_or_default()),
        inline_policies: inline
            .filter_map(|policy| Some((policy.policy_name?, document(policy.policy_document.as_deref()?))))
            .collect(),
        attached_policies: attached.filter_map(|policy| policy.policy_arn).collect(),
        permissions_boundary: detail.permissions_boundary.and_then(|it| it.permissions_boundary_arn),
        tags: tags_of(detail.tags.as_deref().unwrap_or_default()),
    };
    let profiles = profiles.map(|profile| profile.instance_profile_name).collect();
    Some(Role { name: detail.role_name?, arn: detail.arn?, fields, profiles })
}

/// Handing the machines' roles to EC2, which putting a role into a profile and making a group ask for.
pub(crate) fn pass_roles(ground: &Ground<'_>, names: impl IntoIterator<Item = String>) -> Permission {
    let arns = names.into_iter().map(|name| ground.iam_arn(&format!("role/{name}")));
    let pass = Permission::new("PassMachineRoles", &["iam:PassRole"], arns);
    pass.when("StringEquals", "iam:PassedToService", [ground.ec2_service()])
}

/// The role that an AWS service works with in this account. AWS makes it in the caller's name when the service is
/// used for the first time.
pub(crate) fn service_linked_role(ground: &Ground<'_>, service: &str) -> Permission {
    let any = ground.iam_arn("role/aws-service-role/*");
    let make = Permission::new("ServiceLinkedRoles", &["iam:CreateServiceLinkedRole"], [any]);
    make.when("StringEquals", "iam:AWSServiceName", [service])
}

/// A document as IAM gives it back: URL-encoded, with the spelling it was written in. What is no JSON stays a
/// string, which no wanted document equals.
pub(crate) fn document(encoded: &str) -> Json {
    let text = percent_decode_str(encoded).decode_utf8_lossy();
    let parsed = serde_json::from_str::<Value>(&text);
    Json { document: parsed.map_or_else(|_| Value::String(text.into_owned()), |it| policy::normalise(&it)) }
}

/// A document as IAM takes it: no space in it counts towards the size limits.
pub(crate) fn text(json: &Json) -> String {
    json.document.to_string()
}

/// Tags that IAM gave.
pub(crate) fn tags_of(tags: &[Tag]) -> Tags {
    tags::collect(tags.iter().map(|tag| (Some(tag.key.clone()), Some(tag.value.clone()))))
}

/// Tags for a call.
pub(crate) fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Error> {
    tags.iter().map(|(key, value)| Ok(Tag::builder().key(key).value(value).build()?)).collect()
}

/// What was to be taken away is not there (any more): that is as good.
pub(crate) fn gone_or(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

/// The role (or profile) was made a moment ago and another part of IAM does not know it yet. A policy that
/// does not exist is "not found" too, and stays so.
pub(crate) fn is_role_unknown_yet(error: &Error) -> bool {
    let message = error.message.to_ascii_lowercase();
    error.is_code(&["NoSuchEntity"])
        && (message.contains("role") || message.contains("profile"))
        && !message.contains("policy")
}

/// The instance profile (or launch template) was made a moment ago and Auto Scaling does not know it yet.
pub(crate) fn is_machine_config_unknown_yet(error: &Error) -> bool {
    const MARKS: [&str; 2] = ["Invalid IAM Instance Profile", "The specified launch template, with template"];
    let is_marked = is_about_own_role(error) || MARKS.iter().any(|mark| error.message.contains(mark));
    error.kind == ErrorKind::Refused && is_marked
}

/// Whether it is about the role that Auto Scaling itself works with, which is made with an account's first group.
pub(crate) fn is_about_own_role(error: &Error) -> bool {
    error.message.contains("AWSServiceRoleForAutoScaling")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents() {
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C\
                       %22Action%22%3A%5B%22sts%3AAssumeRole%22%5D%2C%22Principal%22%3A%7B%22Service%22%3A\
                       %22ec2.amazonaws.com%22%7D%7D%7D";
        let wanted = policy::normalise(&json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": ["ec2.amazonaws.com"] },
                "Action": "sts:AssumeRole",
            }],
        }));
        assert_eq!(document(encoded).document, wanted);
        assert_eq!(document("not%20json").document, json!("not json"));
    }

    #[test]
    fn only_what_time_heals() {
        let error = |code: &str, message: &str| {
            let mut error = Error::new(ErrorKind::NotFound, "iam:AttachRolePolicy", message);
            error.code = Some(code.to_owned());
            error
        };
        assert!(is_role_unknown_yet(&error("NoSuchEntity", "The role with name masters.k cannot be found.")));
        assert!(is_role_unknown_yet(&error("NoSuchEntity", "Instance Profile masters.k cannot be found.")));
        let missing = "Policy arn:aws:iam::aws:policy/Nonsense does not exist or is not attachable.";
        assert!(!is_role_unknown_yet(&error("NoSuchEntity", missing)));
        assert!(!is_role_unknown_yet(&error("AccessDenied", "User is not authorized on this role")));
    }
}
