//! IAM.
//!
//! moto refuses to delete a role or profile in use, as AWS does. It lets an attached policy go, and a
//! profile take a second role, and crashes when a role is taken out of a profile that it is not in.

use futures::future::{BoxFuture, FutureExt as _};

use super::{Decision, Rule, Verdict, decided};
use crate::call::Call;
use crate::upstream::Ask;
use crate::wire::Response;

pub(super) struct Roles;

impl Rule for Roles {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if call.service != "iam" {
                return Decision::Forward;
            }
            decided(match call.action.as_str() {
                "DeletePolicy" => policy_unattached(call, ask).await,
                "AddRoleToInstanceProfile" => profile_empty(call, ask).await,
                "RemoveRoleFromInstanceProfile" => role_in_profile(call, ask).await,
                _ => Ok(()),
            })
        }
        .boxed()
    }
}

async fn policy_unattached(call: &Call, ask: &Ask) -> Verdict {
    let policy = ask.iam("GetPolicy", &[("PolicyArn", call.param("PolicyArn"))]).await?;
    if matches!(policy.value("GetPolicyResult/Policy/AttachmentCount"), "" | "0") {
        return Ok(());
    }
    Err(conflict(call, "Cannot delete a policy attached to entities."))
}

/// One role per profile:
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html>.
async fn profile_empty(call: &Call, ask: &Ask) -> Verdict {
    if roles(call, ask).await?.is_empty() {
        return Ok(());
    }
    Err(Response::error(
        call.protocol,
        409,
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    ))
}

async fn role_in_profile(call: &Call, ask: &Ask) -> Verdict {
    let role = call.param("RoleName");
    if roles(call, ask).await?.iter().any(|name| name == role) {
        return Ok(());
    }
    let message = format!("The role with name {role} cannot be found.");
    Err(Response::error(call.protocol, 404, "NoSuchEntity", &message))
}

/// The roles in the profile that a call names.
async fn roles(call: &Call, ask: &Ask) -> Result<Vec<String>, Response> {
    let name = call.param("InstanceProfileName");
    let profile = ask.iam("GetInstanceProfile", &[("InstanceProfileName", name)]).await?;
    let roles = profile.all("GetInstanceProfileResult/InstanceProfile/Roles/member");
    Ok(roles.iter().map(|role| role.value("RoleName").to_owned()).collect())
}

fn conflict(call: &Call, message: &str) -> Response {
    Response::error(call.protocol, 409, "DeleteConflict", message)
}
