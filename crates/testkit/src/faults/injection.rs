//! A fault around an account: decides which calls it strikes, and does it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::future::{BoxFuture, FutureExt as _};
use hyper::Method;
use hyper::header::{DATE, HeaderValue};
use time::OffsetDateTime;
use time::macros::format_description;

use super::fresh::Fresh;
use super::when::{Occurrences, When, draw};
use super::{Disturbance, Fault, words};
use crate::call::Call;
use crate::front::locked;
use crate::rules::{Decision, Reply};
use crate::wire::Response;
use crate::xml::{Edits, Element};

/// What a fault has done so far.
#[derive(Debug, Clone, Default)]
pub struct Strikes(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    count: AtomicUsize,
    first: Mutex<Option<Instant>>,
}

impl Strikes {
    /// How many calls it struck.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// When it struck first.
    pub fn first(&self) -> Option<Instant> {
        *locked(&self.0.first)
    }

    fn tell(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        locked(&self.0.first).get_or_insert_with(Instant::now);
    }
}

/// The rule.
pub(crate) struct Injection {
    fault: Fault,
    when: When,
    seed: u64,
    state: Mutex<State>,
    strikes: Strikes,
}

#[derive(Default)]
struct State {
    occurrences: Occurrences,
    begun: bool,
    /// Calls under way whose answers are struck, by number.
    struck: HashSet<usize>,
    /// How often each request was struck, by what it asks for.
    tries: HashMap<String, u32>,
    fresh: Fresh,
    /// New roles.
    roles: HashSet<String>,
    /// The newest instance profile.
    profile: Option<String>,
}

/// `fault` at the calls that `when` means, and what it has done.
pub(crate) fn injection(fault: Fault, when: When, seed: u64) -> (Strikes, Injection) {
    let strikes = Strikes::default();
    (strikes.clone(), Injection { fault, when, seed, state: Mutex::default(), strikes })
}

impl Injection {
    /// Whether this call is meant, and which of its action it is.
    fn meets(&self, call: &Call) -> Option<usize> {
        let mut state = locked(&self.state);
        let State { occurrences, begun, .. } = &mut *state;
        let nth = occurrences.count(call);
        self.when.strikes(call, nth, self.seed, begun).then_some(nth)
    }

    /// Whether this request has been struck less than `tries` times so far.
    fn tries(&self, call: &Call, tries: u32) -> bool {
        let mut params = call.params.clone();
        params.remove("ClientToken");
        let asked = format!("{} {} {params:?}", call.name(), call.path);
        let mut state = locked(&self.state);
        let count = state.tries.entry(asked).or_insert(0);
        *count += 1;
        *count <= tries
    }

    /// Whether it names a role that another call has just made.
    fn takes_new_role(&self, call: &Call) -> bool {
        let is_use = call.service == "iam" && call.mutating && call.action != "CreateRole";
        is_use && locked(&self.state).roles.contains(call.param("RoleName"))
    }

    /// Whether it is of a group, after somebody has made an instance profile.
    fn takes_new_profile(&self, call: &Call) -> bool {
        makes_machines(call) && locked(&self.state).profile.is_some()
    }

    fn answer(&self, response: Response) -> Decision {
        self.strikes.tell();
        Decision::Respond(response)
    }

    async fn strike(&self, call: &Call, nth: usize) -> Decision {
        match self.fault {
            Fault::Throttled => self.answer(words::throttled(call)),
            Fault::ServerError(status) => self.answer(words::server_error(call, status)),
            Fault::ConnectionReset => {
                self.strikes.tell();
                Decision::Drop
            }
            Fault::ResponseLost | Fault::ResponseCut => {
                locked(&self.state).struck.insert(call.number);
                Decision::Forward
            }
            Fault::Stall(time) => {
                self.strikes.tell();
                tokio::time::sleep(time).await;
                Decision::Forward
            }
            Fault::Latency { least, jitter } => {
                self.strikes.tell();
                let jitter = u64::try_from(jitter.as_millis()).unwrap_or_default();
                let more = Duration::from_millis(draw(self.seed, &call.name(), nth, jitter + 1));
                tokio::time::sleep(least + more).await;
                Decision::Forward
            }
            Fault::CredentialsExpired if call.signed => self.answer(words::expired(call)),
            Fault::Denied => self.answer(words::denied(call)),
            Fault::Refused => self.answer(words::refused(call)),
            Fault::ProfileUnknown { tries } if self.takes_new_profile(call) && self.tries(call, tries) => {
                let profile = locked(&self.state).profile.clone().unwrap_or_default();
                let message = format!(
                    "You must use a valid fully-formed launch template. Value ({profile}) for parameter \
                     iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
                );
                self.answer(Response::error(call.protocol, 400, "ValidationError", &message))
            }
            Fault::RoleUnknown { tries } if self.takes_new_role(call) && self.tries(call, tries) => {
                let message = format!("The role with name {} cannot be found.", call.param("RoleName"));
                self.answer(Response::error(call.protocol, 404, "NoSuchEntity", &message))
            }
            Fault::RoleUnassumed { tries } if makes_machines(call) && self.tries(call, tries) => {
                self.answer(words::unassumed(call))
            }
            Fault::InUse { tries } if is_held(call) && self.tries(call, tries) => {
                self.answer(words::in_use(call))
            }
            Fault::Conflict if call.method == Method::PATCH => self.answer(words::conflict(call)),
            Fault::NotUsableYet { .. } if call.mutating => {
                let missing = locked(&self.state).fresh.missing(call);
                missing.map_or(Decision::Forward, |response| self.answer(response))
            }
            Fault::NotSeenYet { .. } if !call.mutating => {
                let missing = locked(&self.state).fresh.missing(call);
                missing.map_or(Decision::Forward, |response| self.answer(response))
            }
            Fault::ClockSkew(by) if is_skewed(call, by) => self.answer(with_date(words::skewed(call), by)),
            _ => Decision::Forward,
        }
    }

    /// What becomes of the answer to a call that is not struck by itself.
    fn change(&self, call: &Call, response: Response) -> Response {
        if !response.status.is_success() {
            return response;
        }
        match self.fault {
            Fault::NotSeenYet { reads: most } | Fault::NotUsableYet { uses: most } => {
                let looks = |id: &str| 1 + draw(self.seed, id, 0, u64::from(most));
                let mut state = locked(&self.state);
                let is_new = state.fresh.created(call, &response, looks);
                if is_new || call.mutating || matches!(self.fault, Fault::NotUsableYet { .. }) {
                    return response;
                }
                let (response, lacks) = state.fresh.without(call, response);
                if lacks {
                    self.strikes.tell();
                }
                response
            }
            Fault::Provisioning if call.is("elasticloadbalancing", "DescribeLoadBalancers") => {
                self.provisioning(response)
            }
            Fault::RoleUnknown { .. } if call.is("iam", "CreateRole") => {
                locked(&self.state).roles.insert(call.param("RoleName").to_owned());
                response
            }
            Fault::ProfileUnknown { .. } if call.is("iam", "CreateInstanceProfile") => {
                locked(&self.state).profile = Some(call.param("InstanceProfileName").to_owned());
                response
            }
            Fault::NoSpotCapacity => self.without_machines(call, response),
            _ => response,
        }
    }

    fn provisioning(&self, response: Response) -> Response {
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        for balancer in root.all("DescribeLoadBalancersResult/LoadBalancers/member") {
            if let Some(of_it) = balancer.get("State") {
                edits.set_child(of_it, "Code", "provisioning");
                self.strikes.tell();
            }
        }
        response.with_body(edits.apply())
    }

    /// Groups without machines, and why.
    fn without_machines(&self, call: &Call, response: Response) -> Response {
        if call.is("autoscaling", "DescribeAutoScalingGroups") {
            let text = response.text();
            let root = Element::parse(&text);
            let mut edits = Edits::of(&text);
            for machine in
                root.all("DescribeAutoScalingGroupsResult/AutoScalingGroups/member/Instances/member")
            {
                edits.remove(machine);
            }
            self.strikes.tell();
            return response.with_body(edits.apply());
        }
        if !call.is("autoscaling", "DescribeScalingActivities") {
            return response;
        }
        self.strikes.tell();
        let group = call.param("AutoScalingGroupName");
        response.with_body(format!(
            "<DescribeScalingActivitiesResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <DescribeScalingActivitiesResult><Activities><member><ActivityId>a</ActivityId>\
             <AutoScalingGroupName>{group}</AutoScalingGroupName><Cause>a difference between desired and actual \
             capacity</Cause><StartTime>2026-11-27T00:00:00Z</StartTime><StatusCode>Failed</StatusCode>\
             <StatusMessage>Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due \
             to your request configuration. Launching EC2 instance failed.</StatusMessage></member></Activities>\
             </DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>"
        ))
    }
}

impl Disturbance for Injection {
    fn before<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        async move {
            match self.meets(call) {
                Some(nth) => self.strike(call, nth).await,
                None => Decision::Forward,
            }
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response) -> BoxFuture<'a, Reply> {
        let is_struck = locked(&self.state).struck.remove(&call.number);
        let reply = match self.fault {
            Fault::ResponseLost if is_struck => {
                self.strikes.tell();
                Reply::Drop
            }
            Fault::ResponseCut if is_struck => {
                self.strikes.tell();
                Reply::Cut(response)
            }
            Fault::ClockSkew(by) => Reply::Send(with_date(response, by)),
            _ => Reply::Send(self.change(call, response)),
        };
        futures::future::ready(reply).boxed()
    }
}

/// Calls that say of what a group makes machines: nothing else of kcl's makes any.
fn makes_machines(call: &Call) -> bool {
    ["CreateAutoScalingGroup", "UpdateAutoScalingGroup"].iter().any(|action| call.is("autoscaling", action))
}

/// Calls that AWS refuses as long as something uses their target.
fn is_held(call: &Call) -> bool {
    const HELD: [(&str, &[&str]); 4] = [
        (
            "ec2",
            &[
                "DeleteVpc",
                "DeleteSubnet",
                "DeleteSecurityGroup",
                "DetachInternetGateway",
                "DeleteInternetGateway",
                "DeleteRouteTable",
            ],
        ),
        ("elasticloadbalancing", &["DeleteTargetGroup"]),
        ("autoscaling", &["DeleteAutoScalingGroup"]),
        ("iam", &["DeleteRole", "DeleteInstanceProfile"]),
    ];
    let of_service = HELD.iter().find(|(service, _)| *service == call.service);
    of_service.is_some_and(|(_, actions)| actions.contains(&call.action.as_str()))
}

/// How far AWS lets clocks be apart.
const TOLERANCE: Duration = Duration::from_mins(5);

/// Whether the request was signed at another time than AWS has, whose clock is `ahead` of this machine's.
fn is_skewed(call: &Call, ahead: Duration) -> bool {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let Some(date) = call.headers.get("x-amz-date").and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Ok(signed) = time::PrimitiveDateTime::parse(date, format) else { return false };
    let now = OffsetDateTime::now_utc() + ahead;
    (now - signed.assume_utc()).abs() > TOLERANCE
}

/// The answer with the time that AWS has.
fn with_date(mut response: Response, ahead: Duration) -> Response {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let now = OffsetDateTime::from(SystemTime::now()) + ahead;
    if let Ok(value) = now.format(format)
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        response.headers.insert(DATE, value);
    }
    response
}
