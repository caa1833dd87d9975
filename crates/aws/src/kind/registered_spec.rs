//! The registered spec: the documents in the state store. A plan has them without what lies in Secrets; what is
//! written is what the account was given ([`Aws::with_documents`]).

use kcl_engine::{Attrs, LiveNode, Owner, Text};
use kcl_model::resource::RegisteredSpec as Wanted;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::Scope;
use crate::store::{Condition, Store, spec_key};

pub(crate) struct RegisteredSpec;

impl Kind for RegisteredSpec {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let Some(object) = store.get(&spec_key(scope.cluster)).await? else { return Ok(Vec::new()) };
        let body = object.body;
        let as_given = scope.aws.documents.as_deref().is_some_and(|given| given.as_bytes() == body);
        let documents = Text::new(kcl_spec::redact(&String::from_utf8_lossy(&body)));
        let fields = Wanted { documents, as_given };
        let attrs = attrs(store, scope.cluster);
        Ok(vec![LiveNode::new(scope.cluster, &fields, attrs, Owner::Cluster)?])
    }

    async fn create(aws: &Aws, name: &str, _want: &Wanted) -> Result<Attrs, Error> {
        let store = store(aws)?;
        let missing =
            || Error::new(ErrorKind::Unexpected, "state store", "there are no documents to register");
        let documents = aws.documents.as_deref().ok_or_else(missing)?;
        store.put(&spec_key(name), documents.as_bytes().to_vec(), Condition::Always).await?;
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
        store(aws)?.delete(&spec_key(name), None).await
    }
}

fn store(aws: &Aws) -> Result<&dyn Store, Error> {
    let store = aws.state.as_deref();
    store.ok_or_else(|| Error::new(ErrorKind::Unexpected, "state store", "there is none"))
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
    use crate::testing::{self, CLUSTER, World};

    fn wanted(documents: &str) -> kcl_engine::Wanted {
        let mut wanted = kcl_engine::Wanted::default();
        let spec = RegisteredSpec { documents: Text::new(documents), as_given: true };
        testing::add(&mut wanted, CLUSTER, &spec);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let mut world = World::start().await;
        let bucket = world.bucket("specs", &world.aws.region).await;
        let store = S3Store::new(world.aws.s3.clone(), bucket, "prefix".to_owned());
        let name = format!("registered-spec/{CLUSTER}");
        world.aws = world.aws.with_state(Arc::new(store)).with_documents("kind: Cluster\n");
        assert_eq!(world.reach(&wanted("kind: Cluster\n")).await, [(Action::Create, name.clone())]);
        world.aws = world.aws.with_documents("kind: Other\n");
        assert_eq!(world.reach(&wanted("kind: Other\n")).await, [(Action::Update, name.clone())]);
        // What a plan does not show is a difference all the same.
        let secret = "kind: Secret\nstringData: {p: hunter2}\n";
        world.aws = world.aws.with_documents(secret);
        assert_eq!(world.reach(&wanted(&kcl_spec::redact(secret))).await, [(Action::Update, name)]);
        world.remove().await;
    }
}
