//! Where it is said how far a machine is: in the store, and to who runs it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::{State, Status};

use super::step::Step;
use crate::download::Outcome;
use crate::store::{Condition, Store};
use crate::volume::Waits;

/// How long one status may hold up the work: a store that is out of reach must not make a machine late.
const STATUS: Duration = Duration::from_secs(10);

/// What is told while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    Begins(Step),
    /// A program is there.
    Program(&'a str, Outcome),
    /// The step waits for this.
    Waits(&'a str),
    /// What was found, and what follows from it.
    Finds(&'a str),
    /// What does not work, and stops nothing.
    Warning(&'a str),
    /// The status could not be written, for this reason; the work goes on.
    StatusNotWritten(&'a str),
}

/// Who is told.
pub type Tell<'a> = &'a (dyn Fn(&Event<'_>) + Sync);

/// How far a machine is.
pub struct Report<'a> {
    store: &'a Store,
    instance: String,
    tell: Tell<'a>,
    now: Mutex<Now>,
}

impl Waits for Report<'_> {
    async fn waits(&self, what: &str) {
        Self::waits(self, what).await;
    }

    async fn goes_on(&self) {
        Self::goes_on(self).await;
    }
}

/// What the status says now.
#[derive(Clone)]
struct Now {
    group: Option<String>,
    step: Step,
    waits_for: Option<String>,
}

impl<'a> Report<'a> {
    /// Of a machine; nothing is said yet.
    pub fn new(store: &'a Store, instance: &str, tell: Tell<'a>) -> Self {
        let now = Now { group: None, step: Step::Identity, waits_for: None };
        Self { store, instance: instance.to_owned(), tell, now: Mutex::new(now) }
    }

    /// The instance group is known.
    pub(crate) fn of_group(&self, group: &str) {
        self.now().group = Some(group.to_owned());
    }

    /// A step begins.
    pub(crate) async fn begin(&self, step: Step) {
        self.tell(&Event::Begins(step));
        {
            let mut now = self.now();
            (now.step, now.waits_for) = (step, None);
        }
        self.write(State::Running, None).await;
    }

    /// The step waits for something; said once until it is something else.
    pub(crate) async fn waits(&self, what: &str) {
        {
            let mut now = self.now();
            if now.waits_for.as_deref() == Some(what) {
                return;
            }
            now.waits_for = Some(what.to_owned());
        }
        self.tell(&Event::Waits(what));
        self.write(State::Running, None).await;
    }

    /// It goes on.
    pub(crate) async fn goes_on(&self) {
        if self.now().waits_for.take().is_some() {
            self.write(State::Running, None).await;
        }
    }

    /// All steps are done.
    pub(crate) async fn done(&self) {
        self.now().waits_for = None;
        self.write(State::Done, None).await;
    }

    /// A step was stopped.
    pub(crate) async fn failed(&self, step: Step, error: String) {
        self.now().step = step;
        self.write(State::Failed, Some(error)).await;
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        (self.tell)(event);
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That nobody can read how far it is stops no machine.
    async fn write(&self, state: State, error: Option<String>) {
        let Now { group, step, waits_for } = self.now().clone();
        let status = Status {
            instance: self.instance.clone(),
            instance_group: group,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            step: step.as_str().to_owned(),
            because: None,
            waits_for,
            error,
            at: crate::now(),
        };
        let text = serde_json::json!(status).to_string();
        let path = Status::path(&self.instance);
        let write = self.store.put(&path, text.as_bytes(), Condition::Always);
        match tokio::time::timeout(STATUS, write).await {
            Err(_) => self.tell(&Event::StatusNotWritten(&format!("no answer in {} s", STATUS.as_secs()))),
            Ok(Err(error)) => self.tell(&Event::StatusNotWritten(&chain(&error))),
            Ok(Ok(_)) => {}
        }
    }
}
