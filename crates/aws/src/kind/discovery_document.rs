//! The documents by which AWS verifies the cluster's tokens: objects in a bucket that anybody can read.
//!
//! A spec that is lost does not keep them from being removed: the cluster's OIDC provider names the bucket.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource, Text};
use kcl_model::resource::DiscoveryDocument as Wanted;
use kcl_model::resource::Keyset;
use kcl_pki::{JWKS_PATH, KeysetName, OPENID_CONFIGURATION_PATH};

use super::{Kind, Service, keyset, oidc_provider};
use crate::client::Aws;
use crate::discovery::{self, Document, Seen};
use crate::error::{Error, ErrorKind};
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::keysets;

pub(crate) struct DiscoveryDocument;

impl Kind for DiscoveryDocument {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        discovery::permissions(ground)
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let mut places: BTreeSet<(String, String)> = scope
            .wanted_resources::<Wanted>()
            .into_iter()
            .map(|(_, document)| (document.bucket, document.key))
            .collect();
        if scope.depth == Depth::Everything {
            let issuers = oidc_provider::issuers(scope).await?;
            let known = issuers.iter().filter_map(|issuer| discovery::place(issuer));
            for place in known.chain(scope.aws.issuer.clone()) {
                let keys = [OPENID_CONFIGURATION_PATH, JWKS_PATH].map(|path| place.key(path));
                places.extend(keys.map(|key| (place.name.clone(), key)));
            }
        }
        let nodes = places.iter().map(|(bucket, key)| live(scope, bucket, key));
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, _name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let body = match (&want.content, &want.keys) {
            (Some(content), _) => content.text.clone().into_bytes(),
            (None, Some(keys)) => jwks(aws, keys.value()?).await?,
            (None, None) => Vec::new(),
        };
        let document = Document { body, content_type: want.content_type.clone() };
        discovery::write(aws, &want.bucket, &want.key, &document).await?;
        Ok(Attrs::new())
    }

    async fn update(
        aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        Self::create(aws, name, want).await
    }

    async fn delete(aws: &Aws, _name: &str, _live: &Attrs, old: &Wanted) -> Result<(), Error> {
        discovery::delete(aws, &old.bucket, &old.key).await
    }
}

/// What is at this place. Read as anybody; only what nobody can see so is looked for with our own credentials.
async fn live(scope: &Scope<'_>, bucket: &str, key: &str) -> Result<Option<LiveNode>, Error> {
    let aws = scope.aws;
    let (document, public) = match aws.public.read(bucket, key).await?.0 {
        Seen::Document(document) => (Some(document), true),
        Seen::NoBucket => return Ok(None),
        Seen::Missing | Seen::Hidden => match discovery::read(&aws.bucket(bucket), key).await? {
            Seen::Document(document) => (Some(document), false),
            // What goes is removed whether it is there or not: who may not look may delete all the same.
            Seen::Hidden if scope.depth == Depth::Everything && !aws.public.is_removed(bucket, key) => {
                (None, false)
            }
            Seen::Missing | Seen::Hidden | Seen::NoBucket => return Ok(None),
        },
    };
    let is_keys = key.ends_with(JWKS_PATH);
    let (keys, content) = match &document {
        Some(document) if is_keys => {
            (Some(Ref::id(Keyset::SCHEMA.kind, "keys", keyset::fingerprint(&document.body))), None)
        }
        Some(document) => (None, Some(Text::new(String::from_utf8_lossy(&document.body)))),
        None => (None, None),
    };
    let fields = Wanted {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        content_type: document.map(|document| document.content_type).unwrap_or_default(),
        content,
        keys,
        public,
    };
    let name = if is_keys { JWKS_PATH } else { OPENID_CONFIGURATION_PATH };
    Ok(Some(LiveNode::new(name, &fields, Attrs::new(), Owner::Cluster)?))
}

/// The public keys of the service accounts, which must be those that the plan is about.
async fn jwks(aws: &Aws, planned: &str) -> Result<Vec<u8>, Error> {
    let failed = |kind, message: String| Error::new(kind, "discovery documents", message);
    let (store, cluster) = aws.state_of_cluster()?;
    let missing = || failed(ErrorKind::NotFound, format!("{cluster} has no service-account keys yet"));
    let keysets = keysets::published(store, cluster).await?;
    let keyset = keysets.get(&KeysetName::ServiceAccount).ok_or_else(missing)?;
    let jwks = kcl_pki::jwks(keyset).map_err(|error| failed(ErrorKind::Refused, error.to_string()))?;
    if keyset::fingerprint(jwks.as_bytes()) != planned {
        let message = "somebody changed the service-account keys meanwhile; run the same command again";
        return Err(failed(ErrorKind::Refused, message.to_owned()));
    }
    Ok(jwks.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kcl_pki::{JWKS_PATH, OPENID_CONFIGURATION_PATH};
    use kcl_spec::cluster::IssuerBucket;
    use kcl_testkit::{Decision, Fault, Point, Response, When};

    use crate::discovery::{self, Document, Seen};
    use crate::testing::World;

    /// That it cannot be read does not mean that it is not there.
    #[tokio::test]
    async fn what_may_not_be_read_goes_all_the_same() {
        let mut world = World::start().await;
        let name = world.bucket("documents", "eu-north-1").await;
        let place = IssuerBucket { name: name.clone(), prefix: "c".to_owned() };
        let s3 = world.s3();
        for path in [OPENID_CONFIGURATION_PATH, JWKS_PATH] {
            let put = s3.put_object().bucket(&name).key(place.key(path)).body(b"{}".to_vec().into());
            put.send().await.expect("it is written");
        }
        world.aws = world.aws.with_issuer(Some(place));
        let point = Point { service: "s3".to_owned(), action: "GetObject".to_owned(), nth: 1 };
        world.local.inject(Fault::Denied, When::ActionFrom(point), 0);
        world.remove().await;
        world.local.clear_rules();
        let left = s3.list_objects_v2().bucket(&name).send().await.expect("it is listed");
        assert_eq!(left.key_count(), Some(0), "{left:?}");
    }

    /// A bucket whose default is a key of KMS: nobody reads what that encrypts without credentials.
    #[tokio::test]
    async fn they_are_encrypted_with_no_key() {
        let world = World::start().await;
        let name = world.bucket("documents", "eu-north-1").await;
        let s3 = world.s3();
        s3.put_object().bucket(&name).key("jwks").body(b"{}".to_vec().into()).send().await.expect("written");
        let readable = Arc::new(AtomicBool::new(false));
        world.local.before(move |call| {
            if call.action == "PutObject" {
                let asked = call.headers.get("x-amz-server-side-encryption");
                readable.store(asked.is_some_and(|value| value == "AES256"), Ordering::SeqCst);
            }
            if call.action != "GetObject" || call.signed || readable.load(Ordering::SeqCst) {
                return Decision::Forward;
            }
            let message = "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS \
                           Signature Version 4.";
            Decision::Respond(Response::error(call.protocol, 400, "InvalidArgument", message))
        });
        let (seen, _) = world.aws.public.read(&name, "jwks").await.expect("it is looked at");
        assert_eq!(seen, Seen::Hidden);
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::{name}/*"}}]}}"#
        );
        s3.delete_public_access_block().bucket(&name).send().await.expect("it may be public");
        s3.put_bucket_policy().bucket(&name).policy(policy).send().await.expect("it is public");
        let document = Document { body: b"{}".to_vec(), content_type: "application/json".to_owned() };
        discovery::write(&world.aws, &name, "jwks", &document).await.expect("anybody can read it");
    }
}
