//! What AWS does and moto does not, one small file per service.
//!
//! A rule sees a call before it goes to moto and the answer on its way back. Rules stand around moto like
//! the skins of an onion: whoever answers itself hides the call from the rules further in, and the answer
//! passes the rules further out. Faults that a test injects are rules too, outermost.
//!
//! A rule asks moto about the state of things ([`Ask`]) rather than remembering it, so that what a test
//! changes behind the front's back counts too. What takes time on AWS takes a number of asks here, never a
//! clock.

mod autoscaling;
mod bucket_places;
mod classic_elb;
mod elb;
mod gate;
mod iam;
mod launch_templates;
mod leaving;
mod nat;
mod public_access;
mod route53;
mod s3;
mod targets;
mod tokens;
mod validation;
mod vpc;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

pub use self::gate::Gate;
pub(crate) use self::gate::gate;
use self::leaving::Leaving;
pub(crate) use self::targets::Said;
pub use self::targets::TargetState;
use crate::call::Call;
use crate::local_aws::FrontConfig;
use crate::upstream::Ask;
use crate::wire::{Request, Response};

/// What a rule says to a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Go on: the next rule, in the end moto.
    Forward,
    /// Go on with another request instead.
    Rewrite(Box<Request>),
    /// The answer is this one.
    Respond(Response),
    /// Close the connection without an answer; moto never sees the call.
    Drop,
}

/// What a rule makes of an answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Give this to the caller.
    Send(Response),
    /// Close the connection: the call was made, its answer is lost.
    Drop,
    /// Send the first half of this, and close the connection.
    Cut(Response),
}

/// One thing that AWS does.
pub trait Rule: Send + Sync {
    /// Before the call is made.
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        let _ = (call, ask);
        futures::future::ready(Decision::Forward).boxed()
    }

    /// After it was made.
    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        let _ = (call, ask);
        futures::future::ready(Reply::Send(response)).boxed()
    }
}

/// A closure as a rule: the short way to inject a fault.
pub(crate) struct Before<F>(pub(crate) F);

impl<F: Fn(&Call) -> Decision + Send + Sync> Rule for Before<F> {
    fn before<'a>(&'a self, call: &'a Call, _ask: &'a Ask) -> BoxFuture<'a, Decision> {
        futures::future::ready((self.0)(call)).boxed()
    }
}

/// Likewise for answers.
pub(crate) struct After<F>(pub(crate) F);

impl<F: Fn(&Call, Response) -> Reply + Send + Sync> Rule for After<F> {
    fn after<'a>(&'a self, call: &'a Call, response: Response, _ask: &'a Ask) -> BoxFuture<'a, Reply> {
        futures::future::ready((self.0)(call, response)).boxed()
    }
}

/// AWS's ways, outermost first. `targets` is what tests say of the health of targets.
pub(crate) fn of_aws(config: &FrontConfig, targets: Said) -> Vec<Arc<dyn Rule>> {
    let leaving = Arc::new(Leaving::default());
    vec![
        Arc::new(tokens::ClientTokens::default()),
        Arc::new(validation::Validation),
        Arc::new(bucket_places::BucketPlaces::default()),
        Arc::new(s3::Buckets),
        Arc::new(public_access::PublicAccess),
        Arc::new(route53::Records),
        Arc::new(iam::Roles),
        Arc::new(autoscaling::Groups::new(config, Arc::clone(&leaving))),
        Arc::new(elb::LoadBalancers::new(config, Arc::clone(&leaving))),
        Arc::new(targets::TargetHealth { said: targets, leaving: Arc::clone(&leaving) }),
        Arc::new(classic_elb::ClassicLoadBalancers::new(config, Arc::clone(&leaving))),
        Arc::new(nat::NatGateways::new(config, Arc::clone(&leaving))),
        Arc::new(launch_templates::LaunchTemplates::new(config)),
        Arc::new(vpc::Vpcs::new(leaving)),
    ]
}

/// Nothing against the call, or the answer instead.
type Verdict = Result<(), Response>;

fn decided(verdict: Verdict) -> Decision {
    match verdict {
        Ok(()) => Decision::Forward,
        Err(response) => Decision::Respond(response),
    }
}

/// An error as AWS would send it for this call.
fn refusal(call: &Call, code: &str, message: &str) -> Response {
    Response::error(call.protocol, 400, code, message)
}
