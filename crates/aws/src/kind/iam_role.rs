//! IAM roles with their policies.

use std::collections::BTreeMap;

use kcl_engine::{Attrs, Json, LiveNode, Owner, Set};
use kcl_model::resource::IamRole as Wanted;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::iam::{self, Role};
use crate::named;
use crate::observe::Scope;
use crate::permission::{self, Ground, Permission};
use crate::tags;
use crate::wait::{self, PROPAGATION};

pub(crate) struct IamRole;

impl Kind for IamRole {
    type Resource = Wanted;
    const SERVICE: Service = Service::Iam;
    const IN_REGION: bool = false;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 11] = [
            "iam:CreateRole",
            "iam:DeleteRole",
            // What somebody added by hand is taken away again, and is no obstacle in the end.
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListInstanceProfilesForRole",
            "iam:ListRolePolicies",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
        ];
        let roles = ground.all::<Wanted>();
        let is_any = |has: fn(&Wanted) -> bool| roles.iter().any(|(_, role)| has(role));
        let mut actions = MANAGE.to_vec();
        if is_any(|role| !role.attached_policies.is_empty()) {
            actions.push("iam:AttachRolePolicy");
        }
        if is_any(|role| role.permissions_boundary.is_some()) {
            actions.push("iam:PutRolePermissionsBoundary");
        }
        if is_any(|role| role.permissions_boundary.is_none()) {
            actions.push("iam:DeleteRolePermissionsBoundary");
        }
        // Every service account has a role, and there may be many; machines have one for each kind of them.
        let names = roles.iter().map(|(name, _)| *name);
        let names = permission::patterns(names, &format!(".sa.{}", ground.name()));
        let arns = names.iter().map(|name| ground.iam_arn(&format!("role/{name}")));
        let manage = Permission::new("Roles", &actions, arns);
        // One call for all roles of the account, which cannot be narrowed.
        [Permission::read(&["iam:GetAccountAuthorizationDetails"]), vec![manage]].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let roles = iam::roles(scope).await?.iter();
        let nodes = roles.map(|role| {
            Ok(LiveNode::new(&role.name, &role.fields, attrs(&role.name, &role.arn), Owner::Cluster)?)
        });
        nodes.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let call = aws
            .iam
            .create_role()
            .role_name(name)
            .assume_role_policy_document(iam::text(&want.trust_policy))
            .set_permissions_boundary(want.permissions_boundary.clone())
            .set_tags(Some(iam::sdk_tags(&want.tags)?));
        let made = match call.send().await.during("iam:CreateRole") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return adopt(aws, name, want, error).await;
            }
            made => made?.role.ok_or_else(|| Error::unexpected("iam:CreateRole", "role"))?,
        };
        let fresh = Wanted {
            inline_policies: BTreeMap::default(),
            attached_policies: Set::default(),
            ..want.clone()
        };
        change_policies(aws, name, &fresh, want).await?;
        Ok(attrs(name, &made.arn))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        if old.trust_policy != want.trust_policy {
            let call = aws.iam.update_assume_role_policy().role_name(name);
            let call = call.policy_document(iam::text(&want.trust_policy));
            call.send().await.during("iam:UpdateAssumeRolePolicy")?;
        }
        if old.permissions_boundary != want.permissions_boundary {
            change_boundary(aws, name, want.permissions_boundary.as_deref()).await?;
        }
        change_policies(aws, name, old, want).await?;
        let (set, gone) = tags::changes(&old.tags, &want.tags);
        if !set.is_empty() {
            let call = aws.iam.tag_role().role_name(name).set_tags(Some(iam::sdk_tags(&set)?));
            call.send().await.during("iam:TagRole")?;
        }
        if !gone.is_empty() {
            let call = aws.iam.untag_role().role_name(name).set_tag_keys(Some(gone));
            call.send().await.during("iam:UntagRole")?;
        }
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, old: &Wanted) -> Result<(), Error> {
        iam::gone_or(remove(aws, name, old).await)
    }
}

fn attrs(name: &str, arn: &str) -> Attrs {
    named::attrs([("name", Some(name)), ("arn", Some(arn))])
}

async fn change_boundary(aws: &Aws, name: &str, boundary: Option<&str>) -> Result<(), Error> {
    if let Some(arn) = boundary {
        let call = aws.iam.put_role_permissions_boundary().role_name(name).permissions_boundary(arn);
        call.send().await.during("iam:PutRolePermissionsBoundary")?;
    } else {
        let call = aws.iam.delete_role_permissions_boundary().role_name(name);
        iam::gone_or(call.send().await.during("iam:DeleteRolePermissionsBoundary").map(|_| ()))?;
    }
    Ok(())
}

/// Writes and attaches what is missing or different first, then removes: pods and machines that use the role
/// never have less than what both the old and the new allow.
async fn change_policies(aws: &Aws, name: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    let written = want.inline_policies.iter();
    let written = written.filter(|(policy, document)| old.inline_policies.get(*policy) != Some(document));
    // One after the other: IAM refuses simultaneous changes of one role.
    for (policy, document) in written {
        put(aws, name, policy, document).await?;
    }
    for arn in want.attached_policies.iter().filter(|arn| !old.attached_policies.contains(arn)) {
        attach(aws, name, arn).await?;
    }
    for policy in old.inline_policies.keys().filter(|policy| !want.inline_policies.contains_key(*policy)) {
        delete_policy(aws, name, policy).await?;
    }
    for arn in old.attached_policies.iter().filter(|arn| !want.attached_policies.contains(arn)) {
        detach(aws, name, arn).await?;
    }
    Ok(())
}

async fn put(aws: &Aws, name: &str, policy: &str, document: &Json) -> Result<(), Error> {
    wait::retry(PROPAGATION, iam::is_role_unknown_yet, || async {
        let call = aws.iam.put_role_policy().role_name(name).policy_name(policy);
        let call = call.policy_document(iam::text(document));
        call.send().await.during("iam:PutRolePolicy").map(|_| ())
    })
    .await
}

async fn attach(aws: &Aws, name: &str, arn: &str) -> Result<(), Error> {
    wait::retry(PROPAGATION, iam::is_role_unknown_yet, || async {
        let call = aws.iam.attach_role_policy().role_name(name).policy_arn(arn);
        call.send().await.during("iam:AttachRolePolicy").map(|_| ())
    })
    .await
}

async fn detach(aws: &Aws, name: &str, arn: &str) -> Result<(), Error> {
    let call = aws.iam.detach_role_policy().role_name(name).policy_arn(arn);
    iam::gone_or(call.send().await.during("iam:DetachRolePolicy").map(|_| ()))
}

async fn delete_policy(aws: &Aws, name: &str, policy: &str) -> Result<(), Error> {
    let call = aws.iam.delete_role_policy().role_name(name).policy_name(policy);
    iam::gone_or(call.send().await.during("iam:DeleteRolePolicy").map(|_| ()))
}

/// IAM deletes a role only when nothing hangs on it any more. What was read goes first; a large cluster has hundreds of
/// roles, and what else there may be is looked up only where IAM says that there is something.
async fn remove(aws: &Aws, name: &str, old: &Wanted) -> Result<(), Error> {
    for arn in &old.attached_policies {
        detach(aws, name, arn).await?;
    }
    for policy in old.inline_policies.keys() {
        delete_policy(aws, name, policy).await?;
    }
    let delete =
        || async { aws.iam.delete_role().role_name(name).send().await.during("iam:DeleteRole").map(|_| ()) };
    let in_use = |error: &Error| error.kind == ErrorKind::InUse;
    match delete().await {
        Err(error) if in_use(&error) => {}
        deleted => return deleted,
    }
    strip(aws, name).await?;
    // IAM may still count what was just detached.
    wait::retry(PROPAGATION, in_use, delete).await
}

/// Takes everything off a role that hangs on it.
async fn strip(aws: &Aws, name: &str) -> Result<(), Error> {
    let profiles = aws.iam.list_instance_profiles_for_role().role_name(name).into_paginator().items();
    let profiles = profiles.send().collect::<Result<Vec<_>, _>>().await;
    for profile in profiles.during("iam:ListInstanceProfilesForRole")? {
        let call = aws.iam.remove_role_from_instance_profile().role_name(name);
        let call = call.instance_profile_name(profile.instance_profile_name());
        iam::gone_or(call.send().await.during("iam:RemoveRoleFromInstanceProfile").map(|_| ()))?;
    }
    let attached = aws.iam.list_attached_role_policies().role_name(name).into_paginator().items();
    let attached = attached.send().collect::<Result<Vec<_>, _>>().await;
    let attached = attached.during("iam:ListAttachedRolePolicies")?;
    for arn in attached.iter().filter_map(|policy| policy.policy_arn()) {
        detach(aws, name, arn).await?;
    }
    let inline = aws.iam.list_role_policies().role_name(name).into_paginator().items();
    let inline = inline.send().collect::<Result<Vec<_>, _>>().await;
    for policy in inline.during("iam:ListRolePolicies")? {
        delete_policy(aws, name, &policy).await?;
    }
    Ok(())
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    // It exists, so it will be listed, though perhaps not at once.
    let what = format!("the role {name} to be listed");
    let found =
        wait::until(PROPAGATION, "iam:GetAccountAuthorizationDetails", &what, || iam::find_role(aws, name));
    let Role { arn, fields, .. } = found.await?;
    if !named::is_ours(&fields.tags, &want.tags) {
        return Err(named::stranger(error, &format!("IAM role {name}")));
    }
    IamRole::update(aws, name, &attrs(name, &arn), &fields, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Attrs, Json, Wanted};
    use kcl_model::policy;
    use kcl_model::resource::IamRole;
    use kcl_testkit::{Decision, Response};
    use serde_json::json;

    use crate::testing::{self, CLUSTER, World};

    fn allow(action: &str) -> Json {
        let statement = json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
        Json { document: policy::normalise(&json!({ "Version": "2012-10-17", "Statement": [statement] })) }
    }

    fn role() -> IamRole {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": "ec2.amazonaws.com" },
                "Action": "sts:AssumeRole",
            }],
        });
        IamRole {
            trust_policy: Json { document: policy::normalise(&trust) },
            inline_policies: [("main".to_owned(), allow("s3:GetObject"))].into_iter().collect(),
            attached_policies: kcl_engine::Set::default(),
            permissions_boundary: None,
            tags: testing::tags(&name()),
        }
    }

    fn name() -> String {
        format!("masters.{CLUSTER}")
    }

    fn wanted(role: &IamRole) -> Wanted {
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, &name(), role);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let first = role();
        let mut second = role();
        second.inline_policies.insert("more".to_owned(), allow("ec2:DescribeInstances"));
        second.inline_policies.insert("main".to_owned(), allow("s3:*"));
        second.tags.insert("kcl.dev/x".to_owned(), "1".to_owned());
        let done = world.round_trip(&wanted(&first), &wanted(&second)).await;
        assert_eq!(done, [(Action::Update, format!("iam-role/{}", name()))]);
    }

    #[tokio::test]
    async fn what_others_added_is_drift_and_no_obstacle() {
        let world = World::start().await;
        world.reach(&wanted(&role())).await;
        let call = world.aws.iam.put_role_policy().role_name(name()).policy_name("by-hand");
        call.policy_document(allow("*").document.to_string()).send().await.expect("a policy is added");
        let done = world.reach(&wanted(&role())).await;
        assert_eq!(done, [(Action::Update, format!("iam-role/{}", name()))]);
        world.remove().await;
    }

    /// As IAM says it of a policy that is not attached (any more).
    fn not_there(world: &World, action: &'static str) {
        world.local.before(move |call| {
            if !call.is("iam", action) {
                return Decision::Forward;
            }
            let message = "it was taken away by somebody else";
            Decision::Respond(Response::error(call.protocol, 404, "NoSuchEntity", message))
        });
    }

    #[tokio::test]
    async fn what_is_gone_already_need_not_be_taken_away() {
        let world = World::start().await;
        let mut more = role();
        more.inline_policies.insert("more".to_owned(), allow("ec2:DescribeInstances"));
        world.reach(&wanted(&more)).await;
        let plan = world.plan(&wanted(&role())).await;
        let call = world.aws.iam.delete_role_policy().role_name(name()).policy_name("more");
        call.send().await.expect("somebody was faster");
        world.apply(&plan).await;
        assert!(world.plan(&wanted(&role())).await.is_empty());

        not_there(&world, "DetachRolePolicy");
        let attached = ["arn:aws:iam::aws:policy/Gone".to_owned()].into_iter().collect();
        let old = IamRole { attached_policies: attached, ..role() };
        let updated =
            <super::IamRole as super::Kind>::update(&world.aws, &name(), &Attrs::new(), &old, &role()).await;
        updated.expect("it is detached");
    }

    #[tokio::test]
    async fn a_role_goes_though_its_profile_was_faster() {
        let world = World::start().await;
        world.reach(&wanted(&role())).await;
        let call = world.aws.iam.create_instance_profile().instance_profile_name("p");
        call.send().await.expect("a profile is made");
        let call = world.aws.iam.add_role_to_instance_profile().instance_profile_name("p").role_name(name());
        call.send().await.expect("the role is in it");
        // The profile is taken away between the listing and the call.
        let account = world.aws.clone();
        let call =
            account.iam.remove_role_from_instance_profile().instance_profile_name("p").role_name(name());
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = seen.clone();
        world.local.before(move |call| {
            if call.is("iam", "RemoveRoleFromInstanceProfile")
                && !flag.swap(true, std::sync::atomic::Ordering::SeqCst)
            {
                let message = "the profile is gone";
                return Decision::Respond(Response::error(call.protocol, 404, "NoSuchEntity", message));
            }
            Decision::Forward
        });
        let deleting = async {
            <super::IamRole as super::Kind>::delete(&world.aws, &name(), &Attrs::new(), &role()).await
        };
        let finishing = async {
            while !seen.load(std::sync::atomic::Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            call.send().await.expect("the profile lets it go");
        };
        let (deleted, ()) = futures::join!(deleting, finishing);
        deleted.expect("the role is deleted");
        assert!(world.live(&wanted(&role()), crate::Depth::Preview).await.is_empty(), "it is gone");
    }

    #[tokio::test]
    async fn a_strangers_role_is_left_alone() {
        let world = World::start().await;
        let trust = role().trust_policy.document.to_string();
        let call = world.aws.iam.create_role().role_name(name()).assume_role_policy_document(trust);
        call.send().await.expect("a role is made");
        let error = <super::IamRole as super::Kind>::create(&world.aws, &name(), &role()).await.unwrap_err();
        assert!(error.message.contains("IAM role masters"), "{error}");
        assert!(world.live(&wanted(&role()), crate::Depth::Preview).await.is_empty());
    }

    #[tokio::test]
    async fn an_interrupted_runs_role_is_finished() {
        let world = World::start().await;
        let bare = IamRole { inline_policies: std::collections::BTreeMap::new(), ..role() };
        world.reach(&wanted(&bare)).await;
        <super::IamRole as super::Kind>::create(&world.aws, &name(), &role()).await.expect("it is adopted");
        assert!(world.plan(&wanted(&role())).await.is_empty());
    }
}
