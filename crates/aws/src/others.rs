//! What a step that waits knows of the other steps of its run.
//!
//! Whether a security group's last user goes is decided by another step. Where that one has failed, or will not
//! be started any more, and nothing else is at work, waiting is in vain.

use std::sync::Arc;

use tokio::sync::watch;

/// The steps of a run, seen from one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Calls of the provider that have not ended, those that wait included.
    running: usize,
    /// Those that wait for what others remove. None waits for two things at once.
    waiting: usize,
    /// Some steps will not be done: one has failed, or the run is stopped.
    is_cut_short: bool,
}

impl State {
    fn is_stuck(self) -> bool {
        self.is_cut_short && self.waiting >= self.running
    }
}

impl Others {
    /// What the run's executor says.
    pub(crate) fn tell(&self, running: usize, is_cut_short: bool) {
        self.0.send_modify(|state| (state.running, state.is_cut_short) = (running, is_cut_short));
    }

    /// Waits for `pause`. `None`, and at once, when some steps will not be done and all that are left only wait.
    pub(crate) async fn during<T>(&self, pause: impl Future<Output = T>) -> Option<T> {
        let waiting = Waiting::begin(self);
        let mut states = self.0.subscribe();
        let found = tokio::select! {
            found = pause => Some(found),
            _ = states.wait_for(|state| state.is_stuck()) => None,
        };
        drop(waiting);
        found
    }
}

/// One that waits, as long as it is there.
struct Waiting<'a>(&'a Others);

impl<'a> Waiting<'a> {
    fn begin(others: &'a Others) -> Self {
        others.0.send_modify(|state| state.waiting += 1);
        Self(others)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting = state.waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::future::join;

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_what_nobody_does() {
        let others = Others::default();
        others.tell(3, false);
        let step = async || {
            let found = others.during(pending::<()>()).await;
            // With the first one that gives up, one is left.
            others.tell(1, true);
            found
        };
        let news = async {
            // One is at work still, and nothing has failed.
            tokio::task::yield_now().await;
            others.tell(2, false);
            tokio::task::yield_now().await;
            others.tell(2, true);
        };
        let (both, ()) = join(join(step(), step()), news).await;
        assert_eq!(both, (None, None));
    }

    #[tokio::test]
    async fn it_waits_while_another_works() {
        let others = Others::default();
        others.tell(2, true);
        assert_eq!(others.during(async { 1 }).await, Some(1));
        others.tell(1, false);
        assert_eq!(others.during(tokio::task::yield_now()).await, Some(()));
    }
}
