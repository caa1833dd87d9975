//! Keeping a lock while it is held.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};

use super::lease::{Content, Lease};
use super::{Clock, Lost};
use crate::error::{Error, ErrorKind};
use crate::store::{Condition, Store, Version};

/// Renews a lease.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<dyn Store>,
    key: String,
    duration: Duration,
    clock: Arc<dyn Clock>,
    lease: Lease,
    version: Version,
    renewed: watch::Sender<Moment>,
}

/// Tells whether a lock is held. It closes for good once the lock is lost, and no later than its lease has run out,
/// whether its keeper knows or not.
#[derive(Clone, Debug)]
pub struct Fence {
    lost: watch::Receiver<Option<Lost>>,
    renewed: watch::Receiver<Moment>,
    duration: Duration,
    clock: Arc<dyn Clock>,
}

impl Fence {
    /// Whether somebody else may hold the lock.
    pub fn is_closed(&self) -> bool {
        self.lost.borrow().is_some() || self.renewed.borrow().age(self.clock.as_ref()) >= self.duration
    }
}

/// A moment by both counts: a machine that sleeps stops one of them, setting its time turns the other.
#[derive(Clone, Copy, Debug)]
struct Moment {
    elapsed: Duration,
    time: OffsetDateTime,
}

impl Moment {
    /// How long ago it was, by the count by which that is longer.
    fn age(self, clock: &dyn Clock) -> Duration {
        let elapsed = clock.elapsed().saturating_sub(self.elapsed);
        let by_time = Duration::try_from(clock.now() - self.time).unwrap_or_default();
        elapsed.max(by_time)
    }
}

impl Keeper {
    /// Keeps `lease`, which is stored as `version` and was written no earlier than `elapsed`.
    pub(super) fn new(
        store: Arc<dyn Store>,
        key: String,
        duration: Duration,
        clock: Arc<dyn Clock>,
        lease: Lease,
        version: Version,
        elapsed: Duration,
    ) -> Self {
        let renewed = watch::Sender::new(Moment { elapsed, time: lease.acquired });
        Self { store, key, duration, clock, lease, version, renewed }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Tells whether the lock is held; `lost` is what [`Self::keep`] says so by.
    pub(super) fn fence(&self, lost: watch::Receiver<Option<Lost>>) -> Fence {
        let (renewed, clock) = (self.renewed.subscribe(), Arc::clone(&self.clock));
        Fence { lost, renewed, duration: self.duration, clock }
    }

    pub(super) fn into_version(self) -> Version {
        self.version
    }

    /// Renews the lease at every third of it, until it is told to stop or the lease is lost.
    pub(super) async fn keep(
        mut self,
        mut stopped: oneshot::Receiver<()>,
        tell: watch::Sender<Option<Lost>>,
    ) -> Self {
        loop {
            let beat = self.duration / 3;
            let pause = beat.saturating_sub(self.age());
            let clock = Arc::clone(&self.clock);
            // Told to stop, it does not wait for a renewal that is under way: whoever releases the lock looks
            // whether that arrived.
            let outcome = tokio::select! {
                biased;
                _ = &mut stopped => return self,
                outcome = async {
                    clock.sleep(pause).await;
                    self.renew().await
                } => outcome,
            };
            if let Err(lost) = outcome {
                tell.send_replace(Some(lost));
                return self;
            }
        }
    }

    /// How long ago the lease was certainly good for its whole duration.
    fn age(&self) -> Duration {
        self.renewed.borrow().age(self.clock.as_ref())
    }

    fn left(&self) -> Duration {
        self.duration.saturating_sub(self.age())
    }

    async fn renew(&mut self) -> Result<(), Lost> {
        loop {
            let clock = Arc::clone(&self.clock);
            // No try takes the time of the next one. A machine that slept past the end still gets one: if nobody
            // took the lease, nobody can have.
            let (left, third) = (self.left(), self.duration / 3);
            let patience = if left.is_zero() { third } else { left.min(third) };
            let error = tokio::select! {
                biased;
                outcome = self.renew_once() => match outcome {
                    Ok(()) => return Ok(()),
                    Err(Trouble::Lost(lost)) => return Err(lost),
                    Err(Trouble::Failed(error)) => error,
                },
                () = clock.sleep(patience) => {
                    Error::new(ErrorKind::TimedOut, "state store", "there was no answer")
                }
            };
            tracing::debug!(%error, "the lock could not be renewed");
            let left = self.left();
            if left.is_zero() {
                return Err(Lost::Expired(error));
            }
            clock.sleep((self.duration / 12).min(left)).await;
        }
    }

    async fn renew_once(&mut self) -> Result<(), Trouble> {
        let renewed = Moment { elapsed: self.clock.elapsed(), time: self.clock.now() };
        let lease = Lease {
            expires: renewed.time + self.duration,
            sequence: self.lease.sequence + 1,
            ..self.lease.clone()
        };
        let condition = Condition::IfUnchanged(self.version.clone());
        match self.store.try_put(&self.key, lease.body()?, condition).await {
            Ok(version) => {
                (self.lease, self.version) = (lease, version);
                self.renewed.send_replace(renewed);
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                self.look().await?;
                Err(Trouble::Failed(error))
            }
            Err(error) => Err(Trouble::Failed(error)),
        }
    }

    /// Whose the lock is after somebody wrote it: our own renewal, whose answer was lost, is known then, and the
    /// next try goes by it.
    async fn look(&mut self) -> Result<(), Trouble> {
        let Some(object) = self.store.get(&self.key).await? else { return Err(Trouble::Lost(Lost::Broken)) };
        match Content::of(&object) {
            Content::Lease(lease) if lease.id == self.lease.id => {
                self.lease.sequence = lease.sequence;
                self.version = object.version;
                Ok(())
            }
            Content::Lease(lease) => Err(Trouble::Lost(Lost::TakenOver(Box::new(lease)))),
            Content::Released | Content::Unreadable(_) => Err(Trouble::Lost(Lost::Broken)),
        }
    }
}

/// Why a renewal did not happen.
enum Trouble {
    /// The lock is somebody else's, or nobody's.
    Lost(Lost),
    /// The store failed.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
