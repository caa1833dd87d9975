//! Holds one call of a run, so that the process that makes it can be killed, or told to stop, right then.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;

use super::Disturbance;
use super::when::{Occurrences, Point};
use crate::call::Call;
use crate::front::locked;
use crate::rules::{Decision, Reply};
use crate::wire::Response;

/// When the call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before AWS has seen it.
    BeforeForwarding,
    /// After AWS has done what it asks for; its answer will be lost.
    ResponseLost,
}

/// What becomes of the held call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    /// It waits.
    Not,
    /// Its connection ends.
    Nowhere,
    /// It goes on as if nothing had been.
    On,
}

/// A call that is held. Dropped, its connection ends.
#[derive(Debug)]
pub struct Halt {
    go: watch::Sender<Go>,
    reached: Arc<(Mutex<bool>, Condvar)>,
}

impl Halt {
    /// Whether the call has come, or comes within `patience`.
    pub fn is_reached(&self, patience: Duration) -> bool {
        let (reached, changed) = &*self.reached;
        let reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(reached, patience, |reached| !*reached);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the held call's connection without an answer.
    pub fn cut(&self) {
        self.go.send_replace(Go::Nowhere);
    }

    /// Lets the held call go on.
    pub fn let_go(&self) {
        self.go.send_replace(Go::On);
    }
}

/// The rule behind it.
pub(crate) struct Held {
    point: Point,
    moment: Moment,
    seen: Mutex<Seen>,
    go: watch::Receiver<Go>,
    reached: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    occurrences: Occurrences,
    /// The call that is meant.
    number: Option<usize>,
}

/// A halt at `point`, and its rule.
pub(crate) fn halt(point: Point, moment: Moment) -> (Halt, Held) {
    let (go, gone) = watch::channel(Go::Not);
    let reached = Arc::new((Mutex::new(false), Condvar::new()));
    let held = Held { point, moment, seen: Mutex::default(), go: gone, reached: Arc::clone(&reached) };
    (Halt { go, reached }, held)
}

impl Held {
    /// Holds it; whether it goes on then.
    async fn goes_on(&self) -> bool {
        let (reached, changed) = &*self.reached;
        *locked(reached) = true;
        changed.notify_all();
        // An error: the halt is gone, and so is whoever wanted it.
        let mut go = self.go.clone();
        go.wait_for(|go| *go != Go::Not).await.is_ok_and(|go| *go == Go::On)
    }
}

impl Disturbance for Held {
    fn before<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        async move {
            let is_meant = {
                let mut seen = locked(&self.seen);
                let nth = seen.occurrences.count(call);
                let is_meant = call.is(&self.point.service, &self.point.action) && nth == self.point.nth;
                if is_meant {
                    seen.number = Some(call.number);
                }
                is_meant
            };
            if is_meant && self.moment == Moment::BeforeForwarding && !self.goes_on().await {
                return Decision::Drop;
            }
            Decision::Forward
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response) -> BoxFuture<'a, Reply> {
        async move {
            let is_meant = locked(&self.seen).number == Some(call.number);
            if is_meant && self.moment == Moment::ResponseLost && !self.goes_on().await {
                return Reply::Drop;
            }
            Reply::Send(response)
        }
        .boxed()
    }
}
