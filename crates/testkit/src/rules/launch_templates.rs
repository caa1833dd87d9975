//! Launch templates: one that an Auto Scaling group uses is kept.
//!
//! AWS itself deletes it, and the group can start no machine from then on. A tool that does so has its
//! order wrong, so that the local AWS refuses; `FrontConfig::keep_used_launch_templates` turns it off.

use futures::future::{BoxFuture, FutureExt as _};

use super::autoscaling::groups;
use super::{Decision, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::local_aws::FrontConfig;
use crate::upstream::Ask;

pub(super) struct LaunchTemplates {
    keep_used: bool,
}

impl LaunchTemplates {
    pub(super) fn new(config: &FrontConfig) -> Self {
        Self { keep_used: config.keep_used_launch_templates }
    }
}

impl Rule for LaunchTemplates {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if !self.keep_used || !call.is("ec2", "DeleteLaunchTemplate") {
                return Decision::Forward;
            }
            decided(unused(call, ask).await)
        }
        .boxed()
    }
}

async fn unused(call: &Call, ask: &Ask) -> Verdict {
    let (id, name) = (call.param("LaunchTemplateId"), call.param("LaunchTemplateName"));
    for group in groups(ask).await? {
        for path in ["LaunchTemplate", "MixedInstancesPolicy/LaunchTemplate/LaunchTemplateSpecification"] {
            let (used_id, used_name) = (
                group.value(&format!("{path}/LaunchTemplateId")),
                group.value(&format!("{path}/LaunchTemplateName")),
            );
            if !used_id.is_empty() && used_id == id || !used_name.is_empty() && used_name == name {
                let message = format!(
                    "Launch template {id}{name} is in use by Auto Scaling group {}",
                    group.value("AutoScalingGroupName")
                );
                return Err(refusal(call, "DependencyViolation", &message));
            }
        }
    }
    Ok(())
}
