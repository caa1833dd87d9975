//! SSH key pairs.

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{KeyPairInfo, ResourceType};
use kcl_engine::{Attrs, LiveNode, Owner};
use kcl_model::resource;

use super::{Kind, Service};
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::{tags, wait};

/// Key pairs, called by their key names.
pub(crate) struct KeyPair;

impl Kind for KeyPair {
    type Resource = resource::KeyPair;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:key-pair"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:ImportKeyPair"]),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteKeyPair"]),
        ];
        let read = Permission::read(&["ec2:DescribeKeyPairs"]);
        [read, ground.if_wanted::<resource::KeyPair>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_key_pairs().include_public_key(true).filters(scope.ec2_filter());
        let answer = call.send().await.during("ec2:DescribeKeyPairs")?;
        let live = answer.key_pairs().iter().filter_map(|key| {
            let ours = Ours::of(scope.cluster, key.key_pair_id(), key.tags())?;
            let name = key.key_name()?;
            let live = resource::KeyPair { public_key: public_key(key), tags: ours.tags.clone() };
            Some(LiveNode::new(name, &live, attrs(name, Some(&ours.id)), ours.owner).map_err(Error::from))
        });
        live.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &resource::KeyPair) -> Result<Attrs, Error> {
        let create = || async {
            let call = aws.ec2_once.import_key_pair().key_name(name);
            let call = call.public_key_material(Blob::new(want.public_key.as_bytes()));
            let call = call.tag_specifications(ec2::specification(ResourceType::KeyPair, &want.tags));
            let answer = call.send().await.during("ec2:ImportKeyPair")?;
            Ok(attrs(name, answer.key_pair_id()))
        };
        let found = || async {
            let found = find(aws, name).await?.filter(|key| is_same(key, want));
            Ok(found.map(|key| attrs(name, key.key_pair_id())))
        };
        match wait::create_once(create, found).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => match find(aws, name).await? {
                Some(key) if is_same(&key, want) => Ok(attrs(name, key.key_pair_id())),
                Some(_) => {
                    let message =
                        format!("there is another key pair {name} already, which is not this cluster's");
                    Err(Error { message, ..error })
                }
                None => Err(error),
            },
            result => result,
        }
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::KeyPair,
        want: &resource::KeyPair,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, live: &Attrs, _old: &resource::KeyPair) -> Result<(), Error> {
        let name = live.get("name").map_or(name, String::as_str);
        let call = aws.ec2.delete_key_pair().key_name(name);
        match call.send().await.during("ec2:DeleteKeyPair") {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn attrs(name: &str, id: Option<&str>) -> Attrs {
    let mut attrs = Attrs::from([("name".to_owned(), name.to_owned())]);
    attrs.extend(id.map(|id| ("id".to_owned(), id.to_owned())));
    attrs
}

/// `type base64`, without the comment that AWS keeps or puts there.
fn public_key(key: &KeyPairInfo) -> String {
    let words = key.public_key().unwrap_or_default().split_ascii_whitespace().take(2);
    words.collect::<Vec<_>>().join(" ")
}

/// Whether the key is the one that is wanted, and the cluster's.
fn is_same(key: &KeyPairInfo, want: &resource::KeyPair) -> bool {
    let owner = tags::owner(ec2::cluster_of(&want.tags), &ec2::tags_of(key.tags()));
    owner == Some(Owner::Cluster) && public_key(key) == want.public_key
}

async fn find(aws: &Aws, name: &str) -> Result<Option<KeyPairInfo>, Error> {
    let call = aws.ec2.describe_key_pairs().include_public_key(true);
    let answer = call.filters(ec2::filter("key-name", name)).send().await.during("ec2:DescribeKeyPairs")?;
    Ok(answer.key_pairs.unwrap_or_default().into_iter().next())
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::{KeyPair, Tags};

    use crate::testing::{self, CLUSTER, World};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2kuvbrFkpRMmVqPjLkYVdgDWnQXlUXm0BiAmMWzXM8";

    fn wanted(tags: Tags) -> Wanted {
        let mut wanted = Wanted::default();
        let key = KeyPair { public_key: KEY.to_owned(), tags };
        testing::add(&mut wanted, &format!("kubernetes.{CLUSTER}-0a:1b"), &key);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (first, second) =
            (wanted(testing::tags(CLUSTER)), wanted(testing::tags_and(CLUSTER, "kcl.dev/x", "1")));
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Update, format!("key-pair/kubernetes.{CLUSTER}-0a:1b"))]);
    }
}
