//! What the termination handler hears of: a queue, and the rules that fill it.

use kcl_engine::{Json, Ref, Resource};
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::names;
use crate::policy;
use crate::resource::{EventRule, Queue};

/// Seconds a message is kept. A machine that goes is gone by then.
pub(crate) const RETENTION: i32 = 300;

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let handler = &builder.cluster.node_termination_handler;
    if !handler.enabled || !handler.sqs_termination_draining {
        return Ok(());
    }
    let rebalance = handler.rebalance;
    queue(builder)?;
    let change = json!({ "service": ["EC2"], "eventTypeCategory": ["scheduledChange"] });
    let mut rules = vec![
        ("ASGLifecycle", pattern("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action")),
        ("SpotInterruption", pattern("aws.ec2", "EC2 Spot Instance Interruption Warning")),
        ("InstanceStateChange", pattern("aws.ec2", "EC2 Instance State-change Notification")),
        (
            "InstanceScheduledChange",
            json!({ "source": ["aws.health"], "detail-type": ["AWS Health Event"], "detail": change }),
        ),
    ];
    if rebalance {
        let recommendation = pattern("aws.ec2", "EC2 Instance Rebalance Recommendation");
        rules.push(("RebalanceRecommendation", recommendation));
    }
    for (event, pattern) in rules {
        rule(builder, event, pattern)?;
    }
    Ok(())
}

fn pattern(source: &str, detail_type: &str) -> Value {
    json!({ "source": [source], "detail-type": [detail_type] })
}

fn queue(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let name = names::queue(builder.name());
    let facts = builder.facts;
    let arn = format!("arn:{}:sqs:{}:{}:{name}", facts.partition, builder.cluster.region, facts.account);
    let statement = json!({
        "Effect": "Allow",
        "Principal": { "Service": ["events.amazonaws.com", "sqs.amazonaws.com"] },
        "Action": "sqs:SendMessage",
        "Resource": arn,
    });
    let queue = Queue {
        message_retention: RETENTION,
        policy: policy::document(&[statement]),
        tags: builder.tags(&name),
    };
    builder.add(name, &queue)?;
    Ok(())
}

fn rule(builder: &mut Builder<'_>, event: &str, pattern: Value) -> Result<(), ModelError> {
    let name = names::event_rule(event, builder.name());
    let rule = EventRule {
        pattern: Json { document: pattern },
        target: Some(Ref::to(Queue::SCHEMA.kind, names::queue(builder.name()), "arn")),
        tags: builder.tags(&name),
    };
    builder.add(name, &rule)?;
    Ok(())
}
