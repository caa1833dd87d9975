//! IAM's trust in the cluster's service-account issuer.
//!
//! A provider's ARN follows from its issuer, so a preview asks for the wanted one alone. Only where none is
//! wanted, or to be sure that nothing is overlooked, are the account's providers listed; then a preview looks
//! at those whose issuer names the cluster, which is what the store's folder does by convention.

use std::collections::BTreeSet;

use aws_sdk_iam::operation::get_open_id_connect_provider::GetOpenIdConnectProviderOutput;
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Resource};
use kcl_model::resource::OidcProvider as Wanted;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};
use crate::{iam, named, tags};

pub(crate) struct OidcProvider;

impl Kind for OidcProvider {
    type Resource = Wanted;
    const SERVICE: Service = Service::Iam;
    const IN_REGION: bool = false;

    /// Named for its issuer. In which region an issuer's bucket lies is not known beforehand where it is there already.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 7] = [
            "iam:AddClientIDToOpenIDConnectProvider",
            "iam:CreateOpenIDConnectProvider",
            "iam:DeleteOpenIDConnectProvider",
            "iam:RemoveClientIDFromOpenIDConnectProvider",
            "iam:TagOpenIDConnectProvider",
            "iam:UntagOpenIDConnectProvider",
            "iam:UpdateOpenIDConnectProviderThumbprint",
        ];
        let region = format!(".s3.{}.", ground.cluster.region);
        let providers = ground.all::<Wanted>().into_iter();
        let arns = providers
            .map(|(name, _)| ground.iam_arn(&format!("oidc-provider/{}", name.replace(&region, ".s3.*."))));
        let manage = Permission::new("OidcProvider", &MANAGE, arns);
        // All of the account's: only its tags tell that one is the cluster's.
        let read = Permission::read(&["iam:GetOpenIDConnectProvider", "iam:ListOpenIDConnectProviders"]);
        [read, vec![manage]].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let wanted = scope.wanted_names(Wanted::SCHEMA.kind);
        let mut arns: BTreeSet<String> = wanted.iter().map(|name| arn_of(scope.aws, name)).collect();
        if wanted.is_empty() || scope.is_exhaustive() {
            let listed = list(scope.aws).await?.into_iter();
            arns.extend(listed.filter(|arn| scope.is_exhaustive() || arn.contains(scope.cluster)));
        }
        let found = arns.iter().map(|arn| async move { Ok::<_, Error>((arn, get(scope.aws, arn).await?)) });
        let mut nodes = Vec::new();
        for (arn, provider) in try_join_all(found).await? {
            let Some(provider) = provider else { continue };
            let (name, fields) = (name_of(arn), fields(&provider));
            let owner = named::owner(scope.cluster, &fields.tags, wanted.contains(&name));
            if let Some(owner) = owner.filter(|owner| *owner == Owner::Cluster) {
                nodes.push(LiveNode::new(name, &fields, attrs(arn), owner)?);
            }
        }
        Ok(nodes)
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let call = aws
            .iam
            .create_open_id_connect_provider()
            .url(&want.url)
            .set_client_id_list(Some(want.audiences.iter().cloned().collect()))
            .set_thumbprint_list(Some(want.thumbprints.iter().cloned().collect()))
            .set_tags(Some(iam::sdk_tags(&want.tags)?));
        match call.send().await.during("iam:CreateOpenIDConnectProvider") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => adopt(aws, name, want, error).await,
            made => {
                let arn = made?.open_id_connect_provider_arn;
                Ok(attrs(&arn.unwrap_or_else(|| arn_of(aws, name))))
            }
        }
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let arn = named::attr(live, "arn")?;
        if old.thumbprints != want.thumbprints {
            let call = aws.iam.update_open_id_connect_provider_thumbprint().open_id_connect_provider_arn(arn);
            let call = call.set_thumbprint_list(Some(want.thumbprints.iter().cloned().collect()));
            call.send().await.during("iam:UpdateOpenIDConnectProviderThumbprint")?;
        }
        change_audiences(aws, arn, old, want).await?;
        let (set, gone) = tags::changes(&old.tags, &want.tags);
        if !set.is_empty() {
            let call = aws.iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
            let call = call.set_tags(Some(iam::sdk_tags(&set)?));
            call.send().await.during("iam:TagOpenIDConnectProvider")?;
        }
        if !gone.is_empty() {
            let call = aws.iam.untag_open_id_connect_provider().open_id_connect_provider_arn(arn);
            call.set_tag_keys(Some(gone)).send().await.during("iam:UntagOpenIDConnectProvider")?;
        }
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let arn = named::attr(live, "arn")?;
        let call = aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn);
        iam::gone_or(call.send().await.during("iam:DeleteOpenIDConnectProvider").map(|_| ()))
    }
}

/// The issuers that the cluster's providers trust, by their URLs without `https://`.
pub(crate) async fn issuers(scope: &Scope<'_>) -> Result<Vec<String>, Error> {
    let nodes = OidcProvider::observe(scope).await?;
    Ok(nodes.into_iter().map(|node| node.id.name).collect())
}

const RESOURCE: &str = ":oidc-provider/";

fn arn_of(aws: &Aws, name: &str) -> String {
    format!("arn:{}:iam::{}{RESOURCE}{name}", aws.partition, aws.account)
}

fn name_of(arn: &str) -> &str {
    arn.split_once(RESOURCE).map_or(arn, |(_, name)| name)
}

fn attrs(arn: &str) -> Attrs {
    named::attrs([("arn", Some(arn))])
}

fn fields(provider: &GetOpenIdConnectProviderOutput) -> Wanted {
    Wanted {
        // IAM leaves out the scheme, which is always the same.
        url: format!("https://{}", provider.url().unwrap_or_default().trim_start_matches("https://")),
        audiences: provider.client_id_list().iter().cloned().collect(),
        thumbprints: provider.thumbprint_list().iter().cloned().collect(),
        tags: iam::tags_of(provider.tags()),
    }
}

async fn list(aws: &Aws) -> Result<Vec<String>, Error> {
    let answer = aws.iam.list_open_id_connect_providers().send().await;
    let answer = answer.during("iam:ListOpenIDConnectProviders")?;
    let entries = answer.open_id_connect_provider_list.unwrap_or_default();
    Ok(entries.into_iter().filter_map(|entry| entry.arn).collect())
}

async fn get(aws: &Aws, arn: &str) -> Result<Option<GetOpenIdConnectProviderOutput>, Error> {
    let call = aws.iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn);
    match call.send().await.during("iam:GetOpenIDConnectProvider") {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

async fn change_audiences(aws: &Aws, arn: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    for audience in want.audiences.iter().filter(|audience| !old.audiences.contains(audience)) {
        let call = aws.iam.add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(arn);
        call.client_id(audience).send().await.during("iam:AddClientIDToOpenIDConnectProvider")?;
    }
    for audience in old.audiences.iter().filter(|audience| !want.audiences.contains(audience)) {
        let call = aws.iam.remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(arn);
        call.client_id(audience).send().await.during("iam:RemoveClientIDFromOpenIDConnectProvider")?;
    }
    Ok(())
}

/// There is one for this issuer already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    let arn = arn_of(aws, name);
    // Just made, by a try whose answer was lost, it may not be seen yet.
    let look = || async { get(aws, &arn).await?.ok_or_else(|| error.clone()) };
    let live = wait::retry(PROPAGATION, |again| again.kind == error.kind, look).await?;
    let old = fields(&live);
    if !named::is_ours(&old.tags, &want.tags) {
        return Err(named::stranger(error, &format!("OIDC provider {name}")));
    }
    OidcProvider::update(aws, name, &attrs(&arn), &old, want).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::OidcProvider;
    use kcl_testkit::{Decision, Fault, Point, Response, When};

    use crate::testing::{self, CLUSTER, World};

    const ISSUER: &str = "discovery.s3.eu-north-1.amazonaws.com/k.example.com";

    fn wanted(thumbprint: &str) -> Wanted {
        let mut wanted = Wanted::default();
        let provider = OidcProvider {
            url: format!("https://{ISSUER}"),
            audiences: ["amazonaws.com", "sts.amazonaws.com"].into_iter().map(str::to_owned).collect(),
            thumbprints: [thumbprint.to_owned()].into_iter().collect(),
            tags: testing::tags(CLUSTER),
        };
        testing::add(&mut wanted, ISSUER, &provider);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let first = wanted("9e99a48a9960b14926bb7f3b02e22da2b0ab7280");
        let second = wanted("a9d53002e97e00e043244f3d170d6f4c414104fd");
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Update, format!("oidc-provider/{ISSUER}"))]);
    }

    /// It is made, the answer is lost, and IAM shows it a moment later.
    #[tokio::test]
    async fn one_just_made_may_not_be_seen_yet() {
        let world = World::start().await;
        let first =
            Point { service: "iam".to_owned(), action: "CreateOpenIDConnectProvider".to_owned(), nth: 1 };
        let strikes = world.local.inject(Fault::ResponseLost, When::At(first), 0);
        // One look finds nothing before, and one after it was made.
        let unseen = AtomicUsize::new(2);
        world.local.before(move |call| {
            let is_unseen = call.action == "GetOpenIDConnectProvider"
                && unseen.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            if !is_unseen {
                return Decision::Forward;
            }
            let message = format!("OpenIDConnect Provider not found for {ISSUER}");
            Decision::Respond(Response::error(call.protocol, 404, "NoSuchEntity", &message))
        });
        world.reach(&wanted("9e99a48a9960b14926bb7f3b02e22da2b0ab7280")).await;
        assert_eq!(strikes.count(), 1);
    }

    #[tokio::test]
    async fn one_that_nobody_wants_is_seen_by_its_issuer() {
        let world = World::start().await;
        world.reach(&wanted("9e99a48a9960b14926bb7f3b02e22da2b0ab7280")).await;
        let live = world.live(&Wanted::default(), crate::Depth::Preview).await;
        assert_eq!(live.len(), 1);
    }
}
