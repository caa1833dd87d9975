//! Client tokens: the same call with the same token is made once.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>. moto ignores tokens: each
//! call makes another one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use futures::future::{BoxFuture, FutureExt as _};

use super::{Decision, Reply, Rule, refusal};
use crate::call::Call;
use crate::front::locked;
use crate::upstream::Ask;
use crate::wire::Response;

/// AWS's limit.
const LONGEST: usize = 64;

/// Action and region, and token.
type Key = (String, String, String);

/// All but the token.
type Params = BTreeMap<String, String>;

/// Answers by action, region and token.
#[derive(Default)]
pub(super) struct ClientTokens(Mutex<HashMap<Key, (Params, Response)>>);

fn key(call: &Call) -> Option<(Key, Params)> {
    let token = call.param("ClientToken");
    if token.is_empty() || !call.mutating {
        return None;
    }
    let mut params = call.params.clone();
    params.remove("ClientToken");
    Some(((call.name(), call.region.clone(), token.to_owned()), params))
}

impl ClientTokens {
    fn decide(&self, call: &Call) -> Decision {
        let Some((key, params)) = key(call) else { return Decision::Forward };
        if key.2.len() > LONGEST || !key.2.is_ascii() {
            let message = format!("Client token must be at most {LONGEST} ASCII characters");
            return Decision::Respond(refusal(call, "InvalidParameterValue", &message));
        }
        match locked(&self.0).get(&key) {
            None => Decision::Forward,
            Some((first, response)) if *first == params => Decision::Respond(response.clone()),
            Some(_) => Decision::Respond(refusal(
                call,
                "IdempotentParameterMismatch",
                "The client token you have provided is associated with a resource created with other parameters",
            )),
        }
    }
}

impl Rule for ClientTokens {
    fn before<'a>(&'a self, call: &'a Call, _ask: &'a Ask) -> BoxFuture<'a, Decision> {
        futures::future::ready(self.decide(call)).boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, _ask: &'a Ask) -> BoxFuture<'a, Reply> {
        if response.status.is_success()
            && let Some((key, params)) = key(call)
        {
            locked(&self.0).insert(key, (params, response.clone()));
        }
        futures::future::ready(Reply::Send(response)).boxed()
    }
}
