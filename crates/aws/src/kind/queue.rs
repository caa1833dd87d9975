//! The termination handler's queue.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::{try_join, try_join_all};
use kcl_engine::{Attrs, Json, LiveNode, Owner, Resource};
use kcl_model::policy;
use kcl_model::resource::{Queue as Wanted, Tags};
use kcl_partition::Partition;
use serde_json::Value;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait;
use crate::{named, tags};

/// Deleting a queue takes up to a minute, and as long its name cannot be used again.
const DELETION: Duration = Duration::from_secs(90);

pub(crate) struct Queue;

impl Kind for Queue {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const TAGGED_AS: &'static [&'static str] = &["sqs"];

    /// The usual name is looked for when the cluster goes, wanted or not.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 5] = [
            "sqs:CreateQueue",
            "sqs:DeleteQueue",
            "sqs:SetQueueAttributes",
            "sqs:TagQueue",
            "sqs:UntagQueue",
        ];
        let arn = ground.arn("sqs", &kcl_model::names::queue(ground.name()));
        let read = ["sqs:GetQueueAttributes", "sqs:ListQueueTags"];
        let manage = vec![Permission::new("Queue", &MANAGE, [arn.clone()])];
        [vec![Permission::new("QueueRead", &read, [arn])], ground.if_wanted::<Wanted>(manage)].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let wanted: BTreeSet<&str> = scope.wanted_names(Wanted::SCHEMA.kind).into_iter().collect();
        let mut names = wanted.clone();
        let usual = kcl_model::names::queue(scope.cluster);
        if scope.is_exhaustive() {
            names.insert(&usual);
        } else if wanted.is_empty() {
            let arns = scope.tagged().await?.get("sqs").into_iter().flatten();
            names.extend(arns.filter_map(|arn| arn.rsplit(':').next()));
        }
        let read =
            names.into_iter().map(|name| async move { Ok::<_, Error>((name, get(scope.aws, name).await?)) });
        let mut nodes = Vec::new();
        for (name, fields) in try_join_all(read).await? {
            let Some(fields) = fields else { continue };
            let owner = named::owner(scope.cluster, &fields.tags, wanted.contains(name));
            if let Some(owner) = owner.filter(|owner| *owner == Owner::Cluster) {
                nodes.push(LiveNode::new(name, &fields, attrs(scope.aws, name), owner)?);
            }
        }
        Ok(nodes)
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        // CreateQueue gives back one that is there with the same attributes, whatever its tags say; it refuses one
        // with others. A first try whose answer was lost has made one with our tags.
        if let Some(old) = get(aws, name).await? {
            return adopt(aws, name, want, &old, named::taken("sqs:CreateQueue")).await;
        }
        let made = wait::retry(DELETION, was_deleted_recently, || async {
            let call = aws.sqs.create_queue().queue_name(name);
            let call = call.set_attributes(Some(attributes(want))).set_tags(Some(map(&want.tags)));
            call.send().await.during("sqs:CreateQueue")
        });
        match made.await {
            // Made since by somebody else.
            Err(error) if error.kind == ErrorKind::AlreadyExists => match get(aws, name).await? {
                Some(old) => adopt(aws, name, want, &old, error).await,
                None => Err(error),
            },
            Err(error) => Err(error),
            Ok(_) => Ok(attrs(aws, name)),
        }
    }

    async fn update(
        aws: &Aws,
        name: &str,
        _live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let url = url(aws, name);
        if (old.message_retention, &old.policy) != (want.message_retention, &want.policy) {
            let call = aws.sqs.set_queue_attributes().queue_url(&url);
            call.set_attributes(Some(attributes(want))).send().await.during("sqs:SetQueueAttributes")?;
        }
        let (set, gone) = tags::changes(&old.tags, &want.tags);
        if !set.is_empty() {
            let call = aws.sqs.tag_queue().queue_url(&url).set_tags(Some(map(&set)));
            call.send().await.during("sqs:TagQueue")?;
        }
        if !gone.is_empty() {
            let call = aws.sqs.untag_queue().queue_url(&url).set_tag_keys(Some(gone));
            call.send().await.during("sqs:UntagQueue")?;
        }
        Ok(attrs(aws, name))
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let call = aws.sqs.delete_queue().queue_url(url(aws, name));
        match call.send().await.during("sqs:DeleteQueue") {
            Err(error) if error.is_not_found() => return Ok(()),
            answer => answer?,
        };
        let what = format!("the queue {name} to go");
        wait::until(DELETION, "sqs:GetQueueAttributes", &what, || async {
            Ok(get_attributes(aws, name).await?.is_none().then_some(()))
        })
        .await
    }
}

fn was_deleted_recently(error: &Error) -> bool {
    error.is_code(&["AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"])
}

/// A queue's URL follows from its name. AWS takes this form from any endpoint.
fn url(aws: &Aws, name: &str) -> String {
    let suffix = Partition::named(&aws.partition).dns_suffix;
    format!("https://sqs.{}.{suffix}/{}/{name}", aws.region, aws.account)
}

/// The ARN of the queue `name`.
pub(super) fn arn(aws: &Aws, name: &str) -> String {
    format!("arn:{}:sqs:{}:{}:{name}", aws.partition, aws.region, aws.account)
}

fn attrs(aws: &Aws, name: &str) -> Attrs {
    named::attrs([("name", Some(name)), ("arn", Some(&arn(aws, name))), ("url", Some(&url(aws, name)))])
}

fn attributes(want: &Wanted) -> HashMap<QueueAttributeName, String> {
    HashMap::from([
        (QueueAttributeName::MessageRetentionPeriod, want.message_retention.to_string()),
        (QueueAttributeName::Policy, want.policy.document.to_string()),
    ])
}

fn map(tags: &Tags) -> HashMap<String, String> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

async fn get(aws: &Aws, name: &str) -> Result<Option<Wanted>, Error> {
    let tags = async {
        let call = aws.sqs.list_queue_tags().queue_url(url(aws, name));
        match call.send().await.during("sqs:ListQueueTags") {
            Err(error) if error.is_not_found() => Ok(HashMap::new()),
            answer => Ok(answer?.tags.unwrap_or_default()),
        }
    };
    let (attributes, tags) = try_join(get_attributes(aws, name), tags).await?;
    let Some(attributes) = attributes else { return Ok(None) };
    let retention = attributes.get(&QueueAttributeName::MessageRetentionPeriod);
    Ok(Some(Wanted {
        message_retention: retention.and_then(|value| value.parse().ok()).unwrap_or_default(),
        policy: document(attributes.get(&QueueAttributeName::Policy)),
        tags: tags::collect(tags.into_iter().map(|(key, value)| (Some(key), Some(value)))),
    }))
}

/// `None` where there is no such queue.
async fn get_attributes(aws: &Aws, name: &str) -> Result<Option<HashMap<QueueAttributeName, String>>, Error> {
    let call = aws.sqs.get_queue_attributes().queue_url(url(aws, name));
    match call.attribute_names(QueueAttributeName::All).send().await.during("sqs:GetQueueAttributes") {
        Err(error) if error.is_not_found() => Ok(None),
        answer => Ok(Some(answer?.attributes.unwrap_or_default())),
    }
}

fn document(text: Option<&String>) -> Json {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Json { document: Value::Null } };
    let parsed = serde_json::from_str(text);
    Json { document: parsed.map_or_else(|_| Value::String(text.clone()), |it| policy::normalise(&it)) }
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, old: &Wanted, error: Error) -> Result<Attrs, Error> {
    if !named::is_ours(&old.tags, &want.tags) {
        return Err(named::stranger(error, &format!("queue {name}")));
    }
    Queue::update(aws, name, &Attrs::new(), old, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Json, Wanted};
    use kcl_model::policy;
    use kcl_model::resource::Queue;
    use serde_json::json;

    use crate::testing::{self, World};

    const NAME: &str = "k-example-com-nth";

    fn wanted(retention: i32) -> Wanted {
        let mut wanted = Wanted::default();
        let statement = json!({
            "Effect": "Allow",
            "Principal": { "Service": ["sqs.amazonaws.com", "events.amazonaws.com"] },
            "Action": "sqs:SendMessage",
            "Resource": "*",
        });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
        let queue = Queue {
            message_retention: retention,
            policy: Json { document: policy::normalise(&policy) },
            tags: testing::tags(NAME),
        };
        testing::add(&mut wanted, NAME, &queue);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let done = world.round_trip(&wanted(300), &wanted(600)).await;
        assert_eq!(done, [(Action::Update, format!("queue/{NAME}"))]);
    }

    #[tokio::test]
    async fn a_strangers_queue_is_left_alone() {
        let world = World::start().await;
        world.aws.sqs.create_queue().queue_name(NAME).send().await.expect("a queue is made");
        let plan = world.plan(&wanted(300)).await;
        assert_eq!(plan.steps.len(), 1);
        let want: Queue = wanted(300).get(NAME).expect("it is there");
        let error = <super::Queue as super::Kind>::create(&world.aws, NAME, &want).await.unwrap_err();
        assert!(error.message.contains("queue k-example-com-nth"), "{error}");
    }

    #[tokio::test]
    async fn a_strangers_queue_with_the_same_attributes_is_left_alone_too() {
        let world = World::start().await;
        let want: Queue = wanted(300).get(NAME).expect("it is there");
        let call = world.aws.sqs.create_queue().queue_name(NAME);
        let call = call.set_attributes(Some(super::attributes(&want)));
        call.send().await.expect("a queue is made");
        let error = <super::Queue as super::Kind>::create(&world.aws, NAME, &want).await.unwrap_err();
        assert!(error.message.contains("the queue k-example-com-nth exists already"), "{error}");
        assert_eq!(world.local.count("sqs", "SetQueueAttributes"), 0);
        let tags = world.aws.sqs.list_queue_tags().queue_url(super::url(&world.aws, NAME)).send().await;
        assert!(tags.expect("they are told").tags.unwrap_or_default().is_empty());
    }

    #[tokio::test]
    async fn a_lost_answer_makes_one_queue_with_our_tags() {
        let world = World::start().await;
        world.lose_answer("sqs", "CreateQueue");
        world.reach(&wanted(300)).await;
        world.local.clear_rules();
        // One with our tags and other attributes is brought to what is wanted.
        let want: Queue = wanted(600).get(NAME).expect("it is there");
        <super::Queue as super::Kind>::create(&world.aws, NAME, &want).await.expect("it is ours");
        assert!(world.plan(&wanted(600)).await.is_empty());
    }
}
