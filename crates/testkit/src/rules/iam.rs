//! IAM.
//!
//! moto refuses to delete a role or profile in use, as AWS does. It lets an attached policy go, and a
//! profile take a second role.

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
    let name = call.param("InstanceProfileName");
    let profile = ask.iam("GetInstanceProfile", &[("InstanceProfileName", name)]).await?;
    if profile.all("GetInstanceProfileResult/InstanceProfile/Roles/member").is_empty() {
        return Ok(());
    }
    Err(Response::error(
        call.protocol,
        409,
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    ))
}

fn conflict(call: &Call, message: &str) -> Response {
    Response::error(call.protocol, 409, "DeleteConflict", message)
}
