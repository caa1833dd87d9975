//! The executor.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kcl_engine::{Action, Attrs, Plan, ResourceId, Schedule, Step, StepState, UnresolvedRef, resolve};

use crate::limiter::Limiter;
use crate::provider::{Lane, Provider, Resolved};
use crate::report::{Failure, Report};

/// What happens while a plan is applied. Step indices are those of the plan.
#[derive(Debug)]
pub enum Event<'a, E> {
    /// A step started.
    Started {
        /// The step.
        index: usize,
    },
    /// A step is done.
    Done {
        /// The step.
        index: usize,
        /// How long it took.
        took: Duration,
    },
    /// A step failed; `skipped` will not run because of it.
    Failed {
        /// The step.
        index: usize,
        /// Why.
        error: &'a E,
        /// The steps that come after it.
        skipped: &'a [usize],
    },
    /// No further step is started.
    Stopping {
        /// How many steps are running still.
        running: usize,
    },
}

/// A step's error, or ours: it was planned to run before what it refers to.
type StepResult<E> = Result<Attrs, E>;

struct Finished<E> {
    indices: Vec<usize>,
    /// `None`: all ended before it was their turn.
    results: Option<Vec<StepResult<E>>>,
    took: Duration,
}

/// Applies `plan` through `provider`. `stop` ends it early: running steps are finished, no other is started, be it that
/// it waits for its turn already.
/// `broken` makes the provider's error of a reference that is not known, which only a mistake in kcl causes.
pub async fn apply<P: Provider>(
    plan: &Plan,
    provider: &P,
    stop: impl Future<Output = ()>,
    broken: impl Fn(UnresolvedRef) -> P::Error,
    mut on_event: impl FnMut(Event<'_, P::Error>),
) -> Report<P::Error> {
    let lanes = lanes(plan, provider);
    let in_turn = AtomicUsize::new(0);
    let mut schedule = Schedule::new(plan);
    let mut known = plan.known.clone();
    let mut running: FuturesUnordered<BoxFuture<'_, Finished<P::Error>>> = FuturesUnordered::new();
    let mut report =
        Report { done: 0, failures: Vec::new(), not_started: Vec::new(), attrs: BTreeMap::new() };
    let mut stop = Box::pin(stop);
    let (mut asked, mut stopped) = (false, false);
    loop {
        // Before anything is started, too: it may have come while nothing ran.
        asked = asked || stop.as_mut().now_or_never().is_some();
        if asked && !stopped {
            stopped = true;
            lanes.values().for_each(Limiter::close);
            on_event(Event::Stopping { running: in_turn.load(Ordering::Relaxed) });
        }
        if !stopped {
            for batch in batches(plan, provider, schedule.start_ready()) {
                for index in &batch {
                    on_event(Event::Started { index: *index });
                }
                running.push(start(plan, provider, &lanes, &in_turn, &known, batch, &broken));
            }
        }
        provider.under_way(running.len(), stopped || !report.failures.is_empty());
        let finished = tokio::select! {
            finished = running.next() => finished,
            () = &mut stop, if !asked => {
                asked = true;
                continue;
            }
        };
        let Some(finished) = finished else { break };
        let Some(results) = finished.results else {
            finished.indices.into_iter().for_each(|index| schedule.put_back(index));
            continue;
        };
        for (index, result) in finished.indices.into_iter().zip(results) {
            let planned = &plan.steps[index];
            match result {
                Ok(attrs) => {
                    if planned.action != Action::Delete {
                        known.insert(planned.id.to_string(), attrs);
                    }
                    report.done += 1;
                    schedule.done(index);
                    on_event(Event::Done { index, took: finished.took });
                }
                Err(error) => {
                    let skipped = schedule.failed(index);
                    on_event(Event::Failed { index, error: &error, skipped: &skipped });
                    let skipped = skipped.iter().map(|index| name(&plan.steps[*index])).collect();
                    let (action, id) = name(planned);
                    report.failures.push(Failure { action, id, error, skipped });
                }
            }
        }
    }
    let states = plan.steps.iter().zip(schedule.states());
    let left = states.filter(|(_, state)| matches!(state, StepState::Waiting | StepState::Ready));
    report.not_started = left.map(|(step, _)| name(step)).collect();
    report.attrs = known;
    report
}

fn name(step: &Step) -> (Action, ResourceId) {
    (step.action, step.id.clone())
}

fn lanes<P: Provider>(plan: &Plan, provider: &P) -> HashMap<&'static str, Limiter> {
    let lanes = plan.steps.iter().map(|step| provider.lane(step.id.kind.as_str()));
    lanes.map(|Lane { name, limit }| (name, Limiter::new(limit))).collect()
}

/// Puts steps that may run as one call together.
fn batches<P: Provider>(plan: &Plan, provider: &P, ready: Vec<usize>) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut by_key: HashMap<(Action, String, String), usize> = HashMap::new();
    for index in ready {
        let step = &plan.steps[index];
        let Some(key) = provider.batch_key(step) else {
            batches.push(vec![index]);
            continue;
        };
        let place = *by_key.entry((step.action, step.id.kind.to_string(), key)).or_insert(batches.len());
        if place == batches.len() {
            batches.push(Vec::new());
        }
        batches[place].push(index);
    }
    batches
}

fn start<'a, P: Provider>(
    plan: &'a Plan,
    provider: &'a P,
    lanes: &'a HashMap<&'static str, Limiter>,
    in_turn: &'a AtomicUsize,
    known: &BTreeMap<String, Attrs>,
    indices: Vec<usize>,
    broken: &impl Fn(UnresolvedRef) -> P::Error,
) -> BoxFuture<'a, Finished<P::Error>> {
    let mut resolved = Vec::new();
    for index in &indices {
        match resolve_step(&plan.steps[*index], known, &plan.known) {
            Ok(step) => resolved.push(step),
            Err(unresolved) => {
                let results = Some(indices.iter().map(|_| Err(broken(unresolved.clone()))).collect());
                let finished = Finished { indices, results, took: Duration::ZERO };
                return Box::pin(std::future::ready(finished));
            }
        }
    }
    let lane = provider.lane(plan.steps[indices[0]].id.kind.as_str()).name;
    let limiter = lanes.get(lane);
    Box::pin(async move {
        let refused = || provider.refused(lane);
        let turn = match limiter {
            Some(limiter) => match limiter.enter(refused).await {
                Some(turn) => Some((limiter, turn)),
                None => return Finished { indices, results: None, took: Duration::ZERO },
            },
            None => None,
        };
        in_turn.fetch_add(indices.len(), Ordering::Relaxed);
        let begun = Instant::now();
        let results = provider.run(resolved).await;
        in_turn.fetch_sub(indices.len(), Ordering::Relaxed);
        if let Some((limiter, turn)) = turn {
            limiter.leave(turn, refused());
        }
        Finished { indices, results: Some(results), took: begun.elapsed() }
    })
}

/// Wanted fields refer to what is there now; what goes refers to what was there when the plan was made.
fn resolve_step(
    step: &Step,
    known: &BTreeMap<String, Attrs>,
    before: &BTreeMap<String, Attrs>,
) -> Result<Resolved, UnresolvedRef> {
    let from = |attrs: &'_ BTreeMap<String, Attrs>, id: &ResourceId, attr: &str| {
        attrs.get(&id.to_string()).and_then(|attrs| attrs.get(attr)).cloned()
    };
    let wanted = step.wanted.as_ref();
    let wanted = wanted.map(|fields| resolve(fields, &|id, attr| from(known, id, attr))).transpose()?;
    let live = step.live.as_ref();
    let old = live.map(|node| resolve(&node.fields, &|id, attr| from(before, id, attr))).transpose()?;
    Ok(Resolved {
        action: step.action,
        kind: step.id.kind.to_string(),
        name: step.id.name.clone(),
        wanted,
        old,
        attrs: live.map(|node| node.attrs.clone()).unwrap_or_default(),
    })
}
