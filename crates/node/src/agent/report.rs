//! What this machine says of itself in the store: written when it changes, by a task of its own, so that a store that
//! is out of reach holds up nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::{State, Status};
use tokio::sync::watch;

use crate::store::{Condition, Store};
use crate::volume::Waits;

/// How long one try to write may take.
const WRITE: Duration = Duration::from_secs(10);

/// How long after one that failed the next is made.
const AGAIN: Duration = Duration::from_secs(30);

/// What is told to whoever reads the journal: lines.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Words {
    state: State,
    step: &'static str,
    because: Option<String>,
    waits_for: Option<String>,
    /// What does not work, by what it is.
    troubles: BTreeMap<&'static str, String>,
}

impl Waits for Report {
    async fn waits(&self, what: &str) {
        self.waits_for(Some(what.to_owned()));
    }

    async fn goes_on(&self) {
        self.waits_for(None);
    }
}

/// What this machine says of itself. Clones say the same.
#[derive(Clone)]
pub struct Report {
    words: watch::Sender<Words>,
    written: watch::Sender<Option<Words>>,
    tell: Tell,
}

impl Report {
    /// Nothing is said yet.
    pub fn new(tell: Tell) -> Self {
        let words = Words {
            state: State::Done,
            step: "ready",
            because: None,
            waits_for: None,
            troubles: BTreeMap::new(),
        };
        Self { words: watch::Sender::new(words), written: watch::Sender::new(None), tell }
    }

    /// A line for the journal.
    pub fn tell(&self, line: &str) {
        (self.tell)(line);
    }

    /// The machine is a member, as far as it is not on its way out.
    pub fn stays(&self, step: &'static str) {
        self.change(|words| {
            (words.state, words.step) = (State::Done, step);
            (words.because, words.waits_for) = (None, None);
        });
    }

    /// The machine leaves, for this reason.
    pub fn leaves(&self, step: &'static str, because: &str) {
        self.change(|words| {
            (words.state, words.step) = (State::Leaving, step);
            (words.because, words.waits_for) = (Some(because.to_owned()), None);
        });
    }

    /// What is waited for at this step.
    pub fn waits_for(&self, what: Option<String>) {
        self.change(|words| words.waits_for = what);
    }

    /// What to say of a step whose time is over.
    pub fn late(&self) -> String {
        match &self.words.borrow().waits_for {
            Some(what) => format!("its time is over; {what}"),
            None => "its time is over".to_owned(),
        }
    }

    /// Something does not work, and why. It is told once, until it works or the reason is another.
    pub fn trouble(&self, what: &'static str, why: &str) {
        let known = self.words.borrow().troubles.get(what).is_some_and(|known| known == why);
        if !known {
            self.tell(&format!("{what}: {why}"));
            self.change(|words| drop(words.troubles.insert(what, why.to_owned())));
        }
    }

    /// It works.
    pub fn works(&self, what: &'static str) {
        self.change(|words| drop(words.troubles.remove(what)));
    }

    fn change(&self, change: impl FnOnce(&mut Words)) {
        self.words.send_if_modified(|words| {
            let before = words.clone();
            change(words);
            *words != before
        });
    }

    /// Writes what is said whenever it changes, for ever.
    pub async fn write(self, store: Store, instance: String, group: String) -> Infallible {
        let mut words = self.words.subscribe();
        loop {
            let now = words.borrow_and_update().clone();
            let status = status(&now, &instance, &group);
            let text = serde_json::json!(status).to_string();
            let path = Status::path(&instance);
            let writing = store.put(&path, text.as_bytes(), Condition::Always);
            let why = match tokio::time::timeout(WRITE, writing).await {
                Ok(Ok(_)) => {
                    self.written.send_replace(Some(now));
                    // The sender is held here too, so there is always one.
                    drop(words.changed().await);
                    continue;
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("no answer in {} s", WRITE.as_secs()),
            };
            self.tell(&format!("warning: the status was not written: {why}"));
            drop(tokio::time::timeout(AGAIN, words.changed()).await);
        }
    }

    /// Waits until what is said now is written, but no longer than this.
    pub async fn flush(&self, patience: Duration) {
        let mut written = self.written.subscribe();
        let now = self.words.borrow().clone();
        drop(tokio::time::timeout(patience, written.wait_for(|words| words.as_ref() == Some(&now))).await);
    }
}

fn status(words: &Words, instance: &str, group: &str) -> Status {
    let Words { state, step, because, waits_for, troubles } = words.clone();
    let lines: Vec<String> = troubles.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    Status {
        instance: instance.to_owned(),
        instance_group: Some(group.to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state,
        step: step.to_owned(),
        because,
        waits_for,
        error: (!lines.is_empty()).then(|| lines.join("\n")),
        at: crate::now(),
    }
}
