//! Instance profiles: how a machine gets its role.
//!
//! They are few (one for each kind of machine), and only the call for a single one promises its tags.

use std::collections::BTreeSet;

use aws_sdk_iam::types::InstanceProfile as Live;
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource};
use kcl_model::resource::{IamRole, InstanceProfile as Wanted};
use kcl_spec::cluster::Role;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};
use crate::{iam, named, tags};

/// The roles of machines: each has one profile in a cluster.
const ROLES: [Role; 3] = [Role::ControlPlane, Role::Node, Role::Bastion];

pub(crate) struct InstanceProfile;

impl Kind for InstanceProfile {
    type Resource = Wanted;
    const SERVICE: Service = Service::Iam;
    const IN_REGION: bool = false;

    /// Of the usual names each is looked for when the cluster goes, wanted or not.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 6] = [
            "iam:AddRoleToInstanceProfile",
            "iam:CreateInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile",
            "iam:TagInstanceProfile",
            "iam:UntagInstanceProfile",
        ];
        let profiles = ground.all::<Wanted>();
        let arn = |name: &str| ground.iam_arn(&format!("instance-profile/{name}"));
        let wanted: Vec<String> = profiles.iter().map(|(name, _)| arn(name)).collect();
        let usual = ROLES.map(|role| arn(&kcl_model::names::machine_role(role, ground.name())));
        let roles = profiles.iter().filter_map(|(_, profile)| match profile.role.as_ref()? {
            Ref::To { id, .. } => Some(id.name.clone()),
            Ref::Id { value, .. } => Some(value.clone()),
        });
        vec![
            Permission::new("InstanceProfiles", &MANAGE, wanted),
            Permission::new("InstanceProfilesRead", &["iam:GetInstanceProfile"], usual),
            iam::pass_roles(ground, roles),
        ]
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let wanted: BTreeSet<&str> = scope.wanted_names(Wanted::SCHEMA.kind).into_iter().collect();
        let mut names = wanted.clone();
        let roles = iam::roles(scope).await?;
        // A profile that nobody wants any more still has its role.
        names.extend(roles.iter().flat_map(|role| role.profiles.iter().map(String::as_str)));
        let usual = ROLES.map(|role| kcl_model::names::machine_role(role, scope.cluster));
        if scope.is_exhaustive() {
            names.extend(usual.iter().map(String::as_str));
        }
        let profiles = try_join_all(names.into_iter().map(|name| get(scope.aws, name))).await?;
        let nodes = profiles.into_iter().flatten().filter_map(|profile| {
            let name = profile.instance_profile_name();
            let fields = fields(&profile);
            let owner = named::owner(scope.cluster, &fields.tags, wanted.contains(name));
            let owner = owner.filter(|owner| *owner == Owner::Cluster)?;
            Some(LiveNode::new(name, &fields, attrs(&profile), owner))
        });
        Ok(nodes.collect::<Result<_, _>>()?)
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let call = aws.iam.create_instance_profile().instance_profile_name(name);
        let call = call.set_tags(Some(iam::sdk_tags(&want.tags)?));
        let made = match call.send().await.during("iam:CreateInstanceProfile") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return adopt(aws, name, want, error).await;
            }
            made => made?.instance_profile,
        };
        let made = made.ok_or_else(|| Error::unexpected("iam:CreateInstanceProfile", "profile"))?;
        change_role(aws, name, None, want.role.as_ref()).await?;
        Ok(attrs(&made))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        if old.role != want.role {
            change_role(aws, name, old.role.as_ref(), want.role.as_ref()).await?;
        }
        let (set, gone) = tags::changes(&old.tags, &want.tags);
        if !set.is_empty() {
            let call = aws.iam.tag_instance_profile().instance_profile_name(name);
            call.set_tags(Some(iam::sdk_tags(&set)?)).send().await.during("iam:TagInstanceProfile")?;
        }
        if !gone.is_empty() {
            let call = aws.iam.untag_instance_profile().instance_profile_name(name);
            call.set_tag_keys(Some(gone)).send().await.during("iam:UntagInstanceProfile")?;
        }
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let Some(live) = get(aws, name).await? else { return Ok(()) };
        for role in live.roles() {
            remove_role(aws, name, role.role_name()).await?;
        }
        let in_use = |error: &Error| error.kind == ErrorKind::InUse;
        let deleted = wait::retry(PROPAGATION, in_use, || async {
            let call = aws.iam.delete_instance_profile().instance_profile_name(name);
            call.send().await.during("iam:DeleteInstanceProfile").map(|_| ())
        });
        iam::gone_or(deleted.await)
    }
}

fn attrs(profile: &Live) -> Attrs {
    named::attrs([("name", Some(profile.instance_profile_name())), ("arn", Some(profile.arn()))])
}

fn fields(profile: &Live) -> Wanted {
    let role = profile.roles().first();
    Wanted {
        role: role.map(|role| Ref::id(IamRole::SCHEMA.kind, "name", role.role_name())),
        tags: iam::tags_of(profile.tags()),
    }
}

async fn get(aws: &Aws, name: &str) -> Result<Option<Live>, Error> {
    let call = aws.iam.get_instance_profile().instance_profile_name(name);
    match call.send().await.during("iam:GetInstanceProfile") {
        Err(error) if error.is_not_found() => Ok(None),
        answer => Ok(answer?.instance_profile),
    }
}

/// A profile holds one role at most: the old one has to go first.
async fn change_role(aws: &Aws, name: &str, old: Option<&Ref>, want: Option<&Ref>) -> Result<(), Error> {
    if let Some(old) = old {
        remove_role(aws, name, old.value()?).await?;
    }
    let Some(want) = want else { return Ok(()) };
    let role = want.value()?;
    let added = wait::retry(PROPAGATION, iam::is_role_unknown_yet, || async {
        let call = aws.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(role);
        call.send().await.during("iam:AddRoleToInstanceProfile").map(|_| ())
    });
    match added.await {
        // A first try whose answer was lost has put it in already.
        Err(error) if error.is_code(&["LimitExceeded"]) => {
            let live = get(aws, name).await?;
            let is_in = live.is_some_and(|live| live.roles().iter().any(|it| it.role_name() == role));
            if is_in { Ok(()) } else { Err(error) }
        }
        added => added,
    }
}

async fn remove_role(aws: &Aws, name: &str, role: &str) -> Result<(), Error> {
    let call = aws.iam.remove_role_from_instance_profile().instance_profile_name(name).role_name(role);
    iam::gone_or(call.send().await.during("iam:RemoveRoleFromInstanceProfile").map(|_| ()))
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    // It exists, so it will be found, though perhaps not at once.
    let what = format!("the instance profile {name} to be found");
    let live = wait::until(PROPAGATION, "iam:GetInstanceProfile", &what, || get(aws, name)).await?;
    let old = fields(&live);
    if !named::is_ours(&old.tags, &want.tags) {
        return Err(named::stranger(error, &format!("instance profile {name}")));
    }
    InstanceProfile::update(aws, name, &attrs(&live), &old, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Json, Ref, Wanted};
    use kcl_model::policy;
    use kcl_model::resource::{IamRole, InstanceProfile};
    use serde_json::json;

    use crate::testing::{self, CLUSTER, World};

    fn wanted(role: &str) -> Wanted {
        let mut wanted = Wanted::default();
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Service": "ec2.amazonaws.com" },
                "Action": "sts:AssumeRole",
            }],
        });
        for name in ["masters", "nodes"].map(|role| format!("{role}.{CLUSTER}")) {
            let role = IamRole {
                trust_policy: Json { document: policy::normalise(&trust) },
                inline_policies: std::collections::BTreeMap::new(),
                attached_policies: kcl_engine::Set::default(),
                permissions_boundary: None,
                tags: testing::tags(&name),
            };
            testing::add(&mut wanted, &name, &role);
        }
        let name = format!("nodes.{CLUSTER}");
        let role = Some(Ref::to("iam-role", format!("{role}.{CLUSTER}"), "name"));
        testing::add(&mut wanted, &name, &InstanceProfile { role, tags: testing::tags(&name) });
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let done = world.round_trip(&wanted("nodes"), &wanted("masters")).await;
        assert_eq!(done, [(Action::Update, format!("instance-profile/nodes.{CLUSTER}"))]);
    }

    #[tokio::test]
    async fn one_that_nobody_wants_is_seen_by_its_role() {
        let world = World::start().await;
        world.reach(&wanted("nodes")).await;
        let live = world.live(&Wanted::default(), crate::Depth::Preview).await;
        let kinds: Vec<_> = live.iter().map(|node| node.id.kind.as_str()).collect();
        assert_eq!(kinds, ["iam-role", "iam-role", "instance-profile"]);
    }
}
