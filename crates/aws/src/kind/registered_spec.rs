//! The registered spec: the documents in the state store. A plan has them without what lies in Secrets; what is
//! written is what the account was given ([`Aws::with_registration`]).

use kcl_engine::{Attrs, LiveNode, Owner, Text};
use kcl_model::resource::RegisteredSpec as Wanted;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::registration::{self, ADDITIONAL_OBJECTS, Registration, spec_key};
use crate::store::{Store, keysets};

pub(crate) struct RegisteredSpec;

impl Kind for RegisteredSpec {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let cluster = scope.cluster;
        if scope.depth == Depth::Everything {
            // It goes, whatever became of it.
            let there = registration::is_there(store, cluster).await?;
            let fields = Wanted { spec: Text::new(""), objects: Text::new(""), up_to_date: true };
            let node = LiveNode::new(cluster, &fields, attrs(store, cluster), Owner::Cluster)?;
            return Ok(there.then_some(node).into_iter().collect());
        }
        let Some(registered) = registration::read(store, cluster).await? else { return Ok(Vec::new()) };
        let given = scope.aws.registration.as_deref();
        let up_to_date = given.is_some_and(|given| given.digest == registered.digest);
        // The documents themselves are only read where they are not known to be the same.
        let objects = match given {
            Some(given) if up_to_date => objects(given.additional_objects()),
            _ => match store.get(&format!("{cluster}/{ADDITIONAL_OBJECTS}")).await? {
                Some(object) => objects(&String::from_utf8_lossy(&object.body)),
                None => objects(""),
            },
        };
        let fields = Wanted { spec: Text::new(registered.completed), objects, up_to_date };
        Ok(vec![LiveNode::new(cluster, &fields, attrs(store, cluster), Owner::Cluster)?])
    }

    async fn create(aws: &Aws, name: &str, _want: &Wanted) -> Result<Attrs, Error> {
        let (store, _) = aws.state_of_cluster()?;
        registration(aws)?.write(store, name).await?;
        Ok(attrs(store, name))
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

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let (store, _) = aws.state_of_cluster()?;
        keysets::remove_summary(store, name).await?;
        registration::remove(store, name).await
    }
}

/// Other objects of a spec, as a plan shows them.
fn objects(text: &str) -> Text {
    Text::new(kcl_spec::redact(text))
}

fn registration(aws: &Aws) -> Result<&Registration, Error> {
    let missing = || Error::new(ErrorKind::Unexpected, "state store", "there are no documents to register");
    aws.registration.as_deref().ok_or_else(missing)
}

fn attrs(store: &dyn Store, cluster: &str) -> Attrs {
    let location = format!("{}/{}", store.location(), spec_key(cluster));
    named::attrs([("location", Some(location.as_str()))])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kcl_engine::{Action, Text};
    use kcl_model::resource::RegisteredSpec;

    use crate::store::S3Store;
    use crate::store::registration::{ADDITIONAL_OBJECTS, CONFIG, Registration};
    use crate::testing::{self, CLUSTER, World};

    fn registration(spec: &str, objects: &str) -> Registration {
        let parts = [(CONFIG, spec), (ADDITIONAL_OBJECTS, objects)];
        let parts = parts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Registration::new(spec.to_owned(), parts.into_iter().collect())
    }

    fn wanted(spec: &str, objects: &str) -> kcl_engine::Wanted {
        let mut wanted = kcl_engine::Wanted::default();
        let objects = Text::new(kcl_spec::redact(objects));
        let spec = RegisteredSpec { spec: Text::new(spec), objects, up_to_date: true };
        testing::add(&mut wanted, CLUSTER, &spec);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let mut world = World::start().await;
        let bucket = format!("specs-{}", world.aws.account);
        let region = aws_sdk_s3::types::BucketLocationConstraint::from(world.aws.region.as_str());
        let place =
            aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(region).build();
        let call = world.aws.s3.create_bucket().bucket(&bucket).create_bucket_configuration(place);
        call.send().await.expect("a bucket is made");
        let store = S3Store::new(world.aws.s3.clone(), bucket, "prefix".to_owned());
        let name = format!("registered-spec/{CLUSTER}");
        world.aws = world.aws.with_state(Arc::new(store), CLUSTER);
        let config = "kind: Cluster\n";
        world.aws = world.aws.with_registration(registration(config, ""));
        assert_eq!(world.reach(&wanted(config, "")).await, [(Action::Create, name.clone())]);
        let other = "kind: Other\n";
        world.aws = world.aws.with_registration(registration(other, ""));
        assert_eq!(world.reach(&wanted(other, "")).await, [(Action::Update, name.clone())]);
        // What a plan does not show is a difference all the same.
        for secret in ["hunter2", "hunter3"] {
            let secret = format!("kind: Secret\nstringData: {{p: {secret}}}\n");
            world.aws = world.aws.with_registration(registration(other, &secret));
            assert_eq!(world.reach(&wanted(other, &secret)).await, [(Action::Update, name.clone())]);
        }
        world.remove().await;
    }
}
