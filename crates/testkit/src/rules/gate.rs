//! A call that waits until a test lets it go on: what happens meanwhile is then certain, not a matter of luck.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;

use super::{Decision, Rule};
use crate::call::Call;
use crate::upstream::Ask;

/// How long a test waits for the call it expects before it is told that it does not come.
const PATIENCE: Duration = Duration::from_mins(2);

/// Holds the calls of one action until it is opened. Dropped, it is open.
#[derive(Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    arrived: Arc<(Mutex<usize>, Condvar)>,
}

impl Gate {
    /// Waits until a call has arrived, and says whether one did.
    pub fn is_reached(&self) -> bool {
        let (count, changed) = &*self.arrived;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(count, PATIENCE, |count| *count == 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 > 0
    }

    /// How many calls have arrived.
    pub fn arrived(&self) -> usize {
        *self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every call go on, those that come later too.
    pub fn open(&self) {
        let _ = self.open.send(true);
    }
}

/// The rule behind a gate.
pub(crate) struct Held {
    service: String,
    action: String,
    open: watch::Receiver<bool>,
    arrived: Arc<(Mutex<usize>, Condvar)>,
}

/// A gate for `action`, and its rule.
pub(crate) fn gate(service: &str, action: &str) -> (Gate, Held) {
    let (open, opened) = watch::channel(false);
    let arrived = Arc::new((Mutex::new(0), Condvar::new()));
    let held = Held {
        service: service.to_owned(),
        action: action.to_owned(),
        open: opened,
        arrived: Arc::clone(&arrived),
    };
    (Gate { open, arrived }, held)
}

impl Rule for Held {
    fn before<'a>(&'a self, call: &'a Call, _ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if call.is(&self.service, &self.action) {
                let (count, changed) = &*self.arrived;
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                changed.notify_all();
                // An error: the gate is gone, and so open.
                let _ = self.open.clone().wait_for(|open| *open).await;
            }
            Decision::Forward
        }
        .boxed()
    }
}
