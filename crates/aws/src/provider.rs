//! Runs single steps of a plan against an account.

use futures::future::BoxFuture;
use kcl_apply::{Lane, Provider, Resolved};
use kcl_engine::{Action, Attrs, Step};
use serde_json::Value;

use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::kind::{self, AnyKind, Service};

impl Provider for Aws {
    type Error = Error;

    fn lane(&self, kind: &str) -> Lane {
        kind::find(kind).map_or(Service::Other, AnyKind::service).lane()
    }

    fn refused(&self, lane: &str) -> u64 {
        let service = Service::ALL.into_iter().find(|service| service.lane().name == lane);
        self.refusals.count(service.unwrap_or(Service::Other))
    }

    fn batch_key(&self, step: &Step) -> Option<String> {
        let kind = kind::find(step.id.kind.as_str())?;
        match step.action {
            Action::Create => kind.batch_key(step.wanted.as_ref()?),
            Action::Update => None,
            Action::Delete => kind.batch_key(&step.live.as_ref()?.fields),
        }
    }

    fn under_way(&self, running: usize, is_cut_short: bool) {
        self.others.tell(running, is_cut_short);
    }

    fn run(&self, steps: Vec<Resolved>) -> BoxFuture<'_, Vec<Result<Attrs, Error>>> {
        Box::pin(async move {
            if steps.len() > 1 {
                match run_batch(self, &steps).await {
                    Ok(attrs) if attrs.len() == steps.len() => return attrs.into_iter().map(Ok).collect(),
                    // One of them is in the way of all: run one by one, so that each gets its own answer.
                    Ok(_) => {}
                    Err(error) if is_of_all(error.kind) => {
                        return steps.iter().map(|_| Err(error.clone())).collect();
                    }
                    Err(error) => tracing::debug!(%error, "a batch failed; running its steps one by one"),
                }
            }
            let mut results = Vec::with_capacity(steps.len());
            for step in steps {
                results.push(run_one(self, step).await);
            }
            results
        })
    }
}

/// Whether a batch failed for a reason that has nothing to do with what is in it: what nobody allows, or where nobody
/// answers, is no better one by one, and whoever is asked too much is not asked for each single one.
fn is_of_all(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Credentials
        | ErrorKind::LockLost
        | ErrorKind::NoRegion
        | ErrorKind::Denied
        | ErrorKind::Unreachable
        | ErrorKind::Throttled
        | ErrorKind::Ambiguous
        | ErrorKind::TimedOut => true,
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::InUse
        | ErrorKind::Refused
        | ErrorKind::Unsupported
        | ErrorKind::Unexpected => false,
    }
}

fn kind_of(step: &Resolved) -> Result<&'static dyn AnyKind, Error> {
    kind::find(&step.kind)
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, step.kind.as_str(), "no such resource kind"))
}

fn fields(fields: Option<&Value>) -> Value {
    fields.cloned().unwrap_or(Value::Null)
}

async fn run_batch(aws: &Aws, steps: &[Resolved]) -> Result<Vec<Attrs>, Error> {
    let Some(first) = steps.first() else { return Ok(Vec::new()) };
    let kind = kind_of(first)?;
    match first.action {
        Action::Create => {
            let wanted = steps.iter().map(|step| (step.name.clone(), fields(step.wanted.as_ref())));
            kind.create_all(aws, wanted.collect()).await
        }
        Action::Delete => {
            let live = steps.iter().map(|step| (step.attrs.clone(), fields(step.old.as_ref())));
            kind.delete_all(aws, live.collect()).await?;
            Ok(steps.iter().map(|_| Attrs::new()).collect())
        }
        Action::Update => Ok(Vec::new()),
    }
}

async fn run_one(aws: &Aws, step: Resolved) -> Result<Attrs, Error> {
    let kind = kind_of(&step)?;
    let (old, wanted) = (fields(step.old.as_ref()), fields(step.wanted.as_ref()));
    match step.action {
        Action::Create => kind.create(aws, &step.name, wanted).await,
        Action::Update => kind.update(aws, &step.name, &step.attrs, old, wanted).await,
        Action::Delete => kind.delete(aws, &step.name, &step.attrs, old).await.map(|()| Attrs::new()),
    }
}
