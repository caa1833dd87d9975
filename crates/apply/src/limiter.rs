//! How many steps of a lane run at a time: fewer where the cloud says that there are too many calls.
//!
//! Each time that it says so the number is halved, and once as many steps have gone by in peace as may run, it is
//! one more again: what TCP does with a line whose width nobody knows. However many steps are ready, a cloud that
//! is busy is so asked less and less, and not by all of them again at the same moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The limit of one lane.
#[derive(Debug)]
pub(crate) struct Limiter {
    semaphore: Semaphore,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many may run.
    limit: usize,
    /// How many more run still, since the limit went down.
    surplus: usize,
    /// Steps that ended in peace since the limit changed.
    calm: usize,
    /// How often the cloud has refused, as last heard.
    refused: u64,
}

/// A step's turn, from the moment that it may run.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    permit: SemaphorePermit<'a>,
    /// How often the cloud had refused when it began.
    refused: u64,
}

impl Limiter {
    /// At most `most` at a time, one at least.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        let state = State { limit: most, surplus: 0, calm: 0, refused: 0 };
        Self { semaphore: Semaphore::new(most), most, state: Mutex::new(state) }
    }

    /// Waits for its turn. `refused`: how often the cloud has refused this lane's calls so far. `None`: it is closed.
    pub(crate) async fn enter(&self, refused: impl Fn() -> u64) -> Option<Turn<'_>> {
        self.hear(refused());
        let permit = self.semaphore.acquire().await.ok()?;
        Some(Turn { permit, refused: refused() })
    }

    /// Nobody gets a turn any more, not even who waits for one.
    pub(crate) fn close(&self) {
        self.semaphore.close();
    }

    /// A step has ended.
    pub(crate) fn leave(&self, turn: Turn<'_>, refused: u64) {
        let Turn { permit, refused: at_first } = turn;
        self.hear(refused);
        // Whoever was the first to say that the cloud refuses: what ran meanwhile did not run in peace.
        let is_calm = refused <= at_first;
        let mut state = self.state();
        if is_calm {
            state.calm += 1;
            if state.limit < self.most && state.calm >= state.limit {
                state.limit += 1;
                state.calm = 0;
                if state.surplus > 0 {
                    state.surplus -= 1;
                } else {
                    self.semaphore.add_permits(1);
                }
            }
        }
        if state.surplus > 0 {
            state.surplus -= 1;
            permit.forget();
        }
    }

    /// Halves the limit if the cloud has refused again.
    fn hear(&self, refused: u64) {
        let mut state = self.state();
        if refused <= state.refused {
            return;
        }
        state.refused = refused;
        state.calm = 0;
        let less = state.limit - (state.limit / 2).max(1);
        state.limit -= less;
        state.surplus += less - self.semaphore.forget_permits(less);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(limiter: &Limiter) -> usize {
        limiter.semaphore.available_permits()
    }

    #[tokio::test]
    async fn refusals_halve_it_and_peace_widens_it() {
        let limiter = Limiter::new(8);
        let permit = limiter.enter(|| 0).await.unwrap();
        limiter.leave(permit, 1);
        assert_eq!(free(&limiter), 4);
        // The same refusal counts once.
        let permit = limiter.enter(|| 1).await.unwrap();
        limiter.leave(permit, 1);
        assert_eq!(free(&limiter), 4);
        for refused in 2..6 {
            let permit = limiter.enter(|| 1).await.unwrap();
            limiter.leave(permit, refused);
        }
        assert_eq!(free(&limiter), 1, "one at least");
        for _ in 0..100 {
            let permit = limiter.enter(|| 5).await.unwrap();
            limiter.leave(permit, 5);
        }
        assert_eq!(free(&limiter), 8, "no more than at first");
    }

    #[tokio::test]
    async fn what_runs_already_counts() {
        let limiter = Limiter::new(4);
        let mut running = Vec::new();
        for _ in 0..4 {
            running.push(limiter.enter(|| 0).await.unwrap());
        }
        limiter.leave(running.pop().unwrap(), 1);
        limiter.leave(running.pop().unwrap(), 1);
        assert_eq!(free(&limiter), 0, "two run, and two may");
        // It ran when the cloud refused: that is no peace, whoever heard of it first.
        limiter.leave(running.pop().unwrap(), 1);
        assert_eq!(free(&limiter), 1);
    }

    #[tokio::test]
    async fn nobody_enters_what_is_closed() {
        let limiter = Limiter::new(1);
        let turn = limiter.enter(|| 0).await.unwrap();
        let mut waits = std::pin::pin!(limiter.enter(|| 0));
        assert!(futures::poll!(&mut waits).is_pending());
        limiter.close();
        assert!(waits.await.is_none());
        // Who is in goes on.
        limiter.leave(turn, 0);
        assert!(limiter.enter(|| 0).await.is_none());
    }
}
