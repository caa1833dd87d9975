//! EventBridge rules that tell the termination handler's queue what happens to machines.
//!
//! AWS tells a rule's tags one rule at a time; a cluster has four rules, whatever its size.

use std::collections::BTreeSet;

use aws_sdk_eventbridge::types::{Rule, RuleState, Tag, Target};
use futures::future::{try_join, try_join_all};
use kcl_engine::{Attrs, Json, LiveNode, Owner, Ref, Resource};
use kcl_model::resource::{EventRule as Wanted, Queue, Tags};
use serde_json::Value;

use super::{Kind, Service, queue};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};
use crate::{named, tags};

/// Each rule has one target.
const TARGET: &str = "1";

pub(crate) struct EventRule;

impl Kind for EventRule {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const TAGGED_AS: &'static [&'static str] = &["events:rule", "sqs"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 8] = [
            "events:DeleteRule",
            "events:DescribeRule",
            "events:ListTargetsByRule",
            "events:PutRule",
            "events:PutTargets",
            "events:RemoveTargets",
            "events:TagResource",
            "events:UntagResource",
        ];
        let arn = ground.arn("events", &format!("rule/{}*", kcl_model::names::event_rule("", ground.name())));
        let list = Permission::read(&["events:ListRuleNamesByTarget", "events:ListRules"]);
        let read = vec![Permission::new("EventRulesRead", &["events:ListTagsForResource"], [arn.clone()])];
        let manage = vec![Permission::new("EventRules", &MANAGE, [arn])];
        [list, read, ground.if_wanted::<Wanted>(manage)].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let arn = queue::arn(scope.aws, &kcl_model::names::queue(scope.cluster));
        let (rules, targeting) = try_join(list(scope), list_by_target(scope.aws, &arn)).await?;
        let nodes = rules.iter().map(|rule| async {
            let (Some(name), Some(rule_arn)) = (rule.name(), rule.arn()) else { return Ok(None) };
            let wanted = scope.wanted.get::<Wanted>(name);
            let tags = list_tags(scope.aws, rule_arn).await?;
            let owner = named::owner(scope.cluster, &tags, wanted.is_some());
            let Some(owner) = owner.filter(|owner| *owner == Owner::Cluster) else { return Ok(None) };
            let target = targeting.contains(name).then_some(arn.as_str());
            let node = LiveNode::new(name, &fields(rule, target, tags), attrs(name, rule_arn), owner);
            Ok::<_, Error>(Some(node?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        // PutRule overwrites whatever has the name.
        if let Some(arn) = find(aws, name).await?
            && !named::is_ours(&list_tags(aws, &arn).await?, &want.tags)
        {
            return Err(named::stranger(named::taken("events:PutRule"), &format!("EventBridge rule {name}")));
        }
        let arn = put_rule(aws, name, want, Some(sdk_tags(&want.tags)?)).await?;
        put_target(aws, name, want).await?;
        Ok(attrs(name, &arn))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        if old.pattern != want.pattern || old.target.is_none() {
            // A rule that was switched off counts as one without a target: this switches it on.
            put_rule(aws, name, want, None).await?;
        }
        if old.target != want.target {
            put_target(aws, name, want).await?;
        }
        let arn = named::attr(live, "arn")?;
        let (set, gone) = tags::changes(&old.tags, &want.tags);
        if !set.is_empty() {
            let call = aws.events.tag_resource().resource_arn(arn).set_tags(Some(sdk_tags(&set)?));
            call.send().await.during("events:TagResource")?;
        }
        if !gone.is_empty() {
            let call = aws.events.untag_resource().resource_arn(arn).set_tag_keys(Some(gone));
            call.send().await.during("events:UntagResource")?;
        }
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        match remove_targets(aws, name, vec![TARGET.to_owned()]).await {
            Err(error) if error.is_not_found() => return Ok(()),
            removed => removed?,
        }
        // Refused while there are other targets, which nobody but a stranger can have added; and for a moment after the
        // last one went.
        let delete = || async {
            let error = match delete_rule(aws, name).await {
                Err(error) if has_targets(&error) => error,
                result => return result,
            };
            let answer = aws.events.list_targets_by_rule().rule(name).send().await;
            let others = answer.during("events:ListTargetsByRule")?.targets.unwrap_or_default();
            if !others.is_empty() {
                remove_targets(aws, name, others.into_iter().map(|target| target.id).collect()).await?;
            }
            Err(error)
        };
        wait::retry(PROPAGATION, has_targets, delete).await
    }
}

/// Why a rule is not deleted: "Rule can't be deleted since it has targets."
fn has_targets(error: &Error) -> bool {
    error.is_code(&["ValidationException"]) && error.message.contains("has targets")
}

async fn remove_targets(aws: &Aws, name: &str, ids: Vec<String>) -> Result<(), Error> {
    let answer = aws.events.remove_targets().rule(name).set_ids(Some(ids)).send().await;
    let answer = answer.during("events:RemoveTargets")?;
    let failure = answer.failed_entries().first();
    // One that is not there need not be removed.
    if failure.and_then(|entry| entry.error_code()).is_some_and(|code| code.contains("NotFound")) {
        return Ok(());
    }
    refuse(answer.failed_entry_count(), "events:RemoveTargets", failure.and_then(|it| it.error_message()))
}

async fn delete_rule(aws: &Aws, name: &str) -> Result<(), Error> {
    match aws.events.delete_rule().name(name).send().await.during("events:DeleteRule") {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn attrs(name: &str, arn: &str) -> Attrs {
    named::attrs([("name", Some(name)), ("arn", Some(arn))])
}

fn fields(rule: &Rule, target: Option<&str>, tags: Tags) -> Wanted {
    let pattern = rule.event_pattern().unwrap_or_default();
    let is_on = rule.state() != Some(&RuleState::Disabled);
    Wanted {
        pattern: Json {
            document: serde_json::from_str(pattern).unwrap_or_else(|_| Value::String(pattern.to_owned())),
        },
        target: target.filter(|_| is_on).map(|arn| Ref::id(Queue::SCHEMA.kind, "arn", arn)),
        tags,
    }
}

/// The rules whose names begin as the cluster's do. Those of a cluster whose name begins with this one's are
/// among them.
async fn list(scope: &Scope<'_>) -> Result<Vec<Rule>, Error> {
    let prefix = kcl_model::names::event_rule("", scope.cluster);
    let mut rules = Vec::new();
    let mut next = None;
    loop {
        let call = scope.aws.events.list_rules().name_prefix(&prefix).set_next_token(next);
        let page = call.send().await.during("events:ListRules")?;
        rules.extend(page.rules.unwrap_or_default());
        next = page.next_token;
        if next.is_none() {
            return Ok(rules);
        }
    }
}

/// The ARN of the rule of that name, whosever it is.
async fn find(aws: &Aws, name: &str) -> Result<Option<String>, Error> {
    match aws.events.describe_rule().name(name).send().await.during("events:DescribeRule") {
        Err(error) if error.is_not_found() => Ok(None),
        answer => Ok(answer?.arn),
    }
}

/// The names of the rules that send to `arn`.
async fn list_by_target(aws: &Aws, arn: &str) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    let mut next = None;
    loop {
        let call = aws.events.list_rule_names_by_target().target_arn(arn).set_next_token(next);
        let page = call.send().await.during("events:ListRuleNamesByTarget")?;
        names.extend(page.rule_names.unwrap_or_default());
        next = page.next_token;
        if next.is_none() {
            return Ok(names);
        }
    }
}

async fn list_tags(aws: &Aws, arn: &str) -> Result<Tags, Error> {
    let call = aws.events.list_tags_for_resource().resource_arn(arn);
    match call.send().await.during("events:ListTagsForResource") {
        Err(error) if error.is_not_found() => Ok(Tags::new()),
        answer => {
            let tags = answer?.tags.unwrap_or_default().into_iter();
            Ok(tags::collect(tags.map(|tag| (Some(tag.key), Some(tag.value)))))
        }
    }
}

async fn put_rule(aws: &Aws, name: &str, want: &Wanted, tags: Option<Vec<Tag>>) -> Result<String, Error> {
    let call = aws.events.put_rule().name(name).event_pattern(want.pattern.document.to_string());
    let call = call.state(RuleState::Enabled).set_tags(tags);
    let answer = call.send().await.during("events:PutRule")?;
    answer.rule_arn.ok_or_else(|| Error::unexpected("events:PutRule", "ARN"))
}

async fn put_target(aws: &Aws, name: &str, want: &Wanted) -> Result<(), Error> {
    let Some(queue) = &want.target else { return Ok(()) };
    let target = Target::builder().id(TARGET).arn(queue.value()?).build()?;
    let call = aws.events.put_targets().rule(name).targets(target);
    let answer = call.send().await.during("events:PutTargets")?;
    let failure = answer.failed_entries().first().and_then(|entry| entry.error_message());
    refuse(answer.failed_entry_count(), "events:PutTargets", failure)
}

/// EventBridge answers "success" and names what failed inside.
fn refuse(failed: i32, action: &str, message: Option<&str>) -> Result<(), Error> {
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, action, message.unwrap_or("the target was refused")))
}

fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Error> {
    tags.iter().map(|(key, value)| Ok(Tag::builder().key(key).value(value).build()?)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use aws_sdk_eventbridge::types::Target;
    use kcl_engine::{Action, Json, Ref, Wanted};
    use kcl_model::resource::{EventRule, Queue};
    use kcl_testkit::{Decision, Response};
    use serde_json::json;

    use crate::testing::{self, CLUSTER, World};

    const QUEUE: &str = "k-example-com-nth";

    fn name() -> String {
        format!("{CLUSTER}-SpotInterruption")
    }

    fn pattern(detail: &str) -> Json {
        Json { document: json!({ "source": ["aws.ec2"], "detail-type": [detail] }) }
    }

    fn wanted(detail: &str) -> Wanted {
        let mut wanted = Wanted::default();
        let statement = json!({
            "Effect": "Allow",
            "Principal": { "Service": "events.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": "*",
        });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
        let queue =
            Queue { message_retention: 300, policy: Json { document: policy }, tags: testing::tags(QUEUE) };
        testing::add(&mut wanted, QUEUE, &queue);
        let rule = EventRule {
            pattern: pattern(detail),
            target: Some(Ref::to("queue", QUEUE, "arn")),
            tags: testing::tags(&name()),
        };
        testing::add(&mut wanted, &name(), &rule);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let done = world.round_trip(&wanted("first"), &wanted("second")).await;
        assert_eq!(done, [(Action::Update, format!("event-rule/{}", name()))]);
    }

    #[tokio::test]
    async fn a_rule_without_its_target_or_switched_off_is_mended() {
        let world = World::start().await;
        let wanted = wanted("first");
        world.reach(&wanted).await;
        let call = world.aws.events.remove_targets().rule(name()).ids(super::TARGET);
        call.send().await.expect("the target is removed");
        assert_eq!(world.reach(&wanted).await.len(), 1);
        world.aws.events.disable_rule().name(name()).send().await.expect("the rule is switched off");
        assert_eq!(world.reach(&wanted).await.len(), 1);
    }

    #[tokio::test]
    async fn its_targets_go_first_whosever_they_are() {
        let world = World::start().await;
        world.reach(&wanted("first")).await;
        let target = Target::builder().id("theirs").arn("arn:aws:sqs:eu-north-1:123456789012:theirs").build();
        let call = world.aws.events.put_targets().rule(name()).targets(target.expect("it is whole"));
        call.send().await.expect("a target is added");
        // EventBridge knows for a moment of targets that are not listed any more.
        let left = AtomicUsize::new(2);
        world.local.before(move |call| {
            let is_listed = call.action != "DeleteRule"
                || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err();
            if is_listed {
                return Decision::Forward;
            }
            let message = "Rule can't be deleted since it has targets.";
            Decision::Respond(Response::error(call.protocol, 400, "ValidationException", message))
        });
        world.local.take_calls();
        world.remove().await;
        let deletions = world.local.calls().into_iter().filter(|call| call.action == "DeleteRule");
        let answers: Vec<_> = deletions.map(|call| call.status).collect();
        assert_eq!(answers, [400, 400, 200]);
    }

    #[tokio::test]
    async fn a_strangers_rule_is_left_alone() {
        let world = World::start().await;
        let call = world.aws.events.put_rule().name(name()).schedule_expression("rate(1 hour)");
        call.send().await.expect("a rule is made");
        let want: EventRule = wanted("first").get(&name()).expect("it is wanted");
        let error = <super::EventRule as super::Kind>::create(&world.aws, &name(), &want).await;
        let error = error.expect_err("the name is taken");
        assert!(error.message.contains(&format!("EventBridge rule {} exists already", name())), "{error}");
        let there = world.aws.events.describe_rule().name(name()).send().await.expect("it is there");
        assert_eq!(there.schedule_expression(), Some("rate(1 hour)"));
        assert_eq!(there.event_pattern(), None);
    }

    #[tokio::test]
    async fn an_interrupted_runs_rule_is_finished() {
        let world = World::start().await;
        let wanted = wanted("first");
        world.reach(&wanted).await;
        let mut other: EventRule = wanted.get(&name()).expect("it is wanted");
        other.target = None;
        other.pattern = Json { document: json!({ "source": ["aws.ec2"], "detail-type": ["old"] }) };
        for want in [other.clone(), EventRule { pattern: pattern("first"), ..other }] {
            let made = <super::EventRule as super::Kind>::create(&world.aws, &name(), &want).await;
            made.expect("it is ours");
        }
        assert!(world.plan(&wanted).await.is_empty());
    }

    #[tokio::test]
    async fn a_strangers_target_is_no_obstacle() {
        let world = World::start().await;
        world.reach(&wanted("first")).await;
        let arn = super::queue::arn(&world.aws, "other");
        let target = super::Target::builder().id("other").arn(arn).build().expect("a target");
        world.aws.events.put_targets().rule(name()).targets(target).send().await.expect("it is added");
        world.remove().await;
    }
}
