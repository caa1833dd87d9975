//! One writer per cluster: a lease in the state store.
//!
//! The lease is an object, `<cluster>/lock`. It is made only where there is none, renewed and removed only as long
//! as it is the very one that its holder wrote last, and taken over only as long as it is the very one that was
//! seen to have run out: of any number of contenders the store lets exactly one through.
//!
//! **When has a lease run out?** Not by what anybody's clock says about the time in it: a holder whose clock is
//! slow would be robbed, one whose clock is fast would block everybody. What counts is how long ago the object was
//! written *by the store's own clock* ([`Object::age`]: S3's `Date` less its `Last-Modified`). A holder renews at
//! every third of the lease, so an age beyond the lease and a margin means that it missed three renewals. Where a
//! store does not tell the age, a waiter takes a lease over only after it saw it unchanged for that long itself.
//! The holder counts from before it sent its last renewal that succeeded, so it always gives up first.
//!
//! A store that ignores conditions is found out when the lock is taken: it is asked to do, over the lock just
//! written, what it must refuse.

mod error;
mod heartbeat;
mod lease;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use error::{LockError, Lost};
pub use heartbeat::Fence;
pub use lease::{Holder, Lease};

use super::{Condition, Object, Store, Version};
use crate::error::{Error, ErrorKind};
use heartbeat::Keeper;
use lease::{Content, RELEASED};

/// What a lock needs to know of time. Injected, so that tests need not wait.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day, for people.
    fn now(&self) -> OffsetDateTime;
    /// Time passed since some fixed moment, whatever is done to the time of day.
    fn elapsed(&self) -> Duration;
    /// Ends after `pause`.
    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()>;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts it.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// How a lock is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long it is good without a renewal.
    pub lease: Duration,
    /// How long to wait for somebody else's.
    pub wait: Duration,
    /// How much longer than a lease a waiter lets it be, at most: see [`Options::patience`].
    pub margin: Duration,
}

/// S3 tells whole seconds, of `Date` and of `Last-Modified`.
const LEAST_MARGIN: Duration = Duration::from_secs(1);

impl Options {
    /// For how long a waiter lets somebody's lease be: what it is good for, and a margin in proportion, so that a
    /// short lease is taken over soon.
    fn patience(&self, lease: &Lease) -> Duration {
        lease.duration() + self.margin.min(lease.duration() / 6).max(LEAST_MARGIN)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Three renewals may fail before it is lost; a run that is killed blocks the next one for a minute.
            lease: Duration::from_mins(1),
            wait: Duration::ZERO,
            // S3 tells whole seconds; a renewal that was sent in time may take a few to arrive.
            margin: Duration::from_secs(10),
        }
    }
}

/// The lock of a cluster.
pub fn lock_key(cluster: &str) -> String {
    format!("{cluster}/lock")
}

/// Whether a lock lies at `key`.
pub(super) fn is_lock_key(key: &str) -> bool {
    key.split_once('/').is_some_and(|(_, name)| name == "lock")
}

/// Whether a lock is stored that is nobody's.
pub(super) fn is_released(object: &Object) -> bool {
    matches!(Content::of(object), Content::Released)
}

/// Where it is, for people.
fn place(store: &dyn Store, cluster: &str) -> String {
    format!("{}/{}", store.location(), lock_key(cluster))
}

/// A lock as somebody finds it.
#[derive(Clone, Debug)]
pub enum Status {
    /// Nobody holds it.
    Free,
    /// Somebody does.
    Held {
        /// Who.
        lease: Box<Lease>,
        /// What [`break_lock`] takes.
        version: Version,
        /// Whether it has run out, so that anybody may take it.
        expired: bool,
    },
    /// Half-written, or no lock at all.
    Unreadable {
        /// Why.
        reason: String,
        /// What [`break_lock`] takes.
        version: Version,
    },
}

/// Who holds the lock of `cluster`. Changes nothing.
pub async fn status(
    store: &dyn Store,
    cluster: &str,
    options: &Options,
    clock: &dyn Clock,
) -> Result<Status, Error> {
    let Some(object) = store.get(&lock_key(cluster)).await? else { return Ok(Status::Free) };
    Ok(match Content::of(&object) {
        Content::Released => Status::Free,
        Content::Unreadable(reason) => Status::Unreadable { reason, version: object.version },
        Content::Lease(lease) => {
            // Only to be told, so that the holder's own clock will do where the store tells no age.
            let expired = match object.age {
                Some(age) => age > options.patience(&lease),
                None => clock.now() > lease.expires + options.margin,
            };
            Status::Held { lease: Box::new(lease), version: object.version, expired }
        }
    })
}

/// Removes the lock that [`status`] found as `version`; one that changed meanwhile is [`ErrorKind::Conflict`]. Its
/// holder is told with its next renewal. Whether that is wise is the caller's to judge: without force, only of one
/// that expired.
pub async fn break_lock(store: &dyn Store, cluster: &str, version: Version) -> Result<(), Error> {
    remove(store, &lock_key(cluster), version).await
}

/// Removes a lock, or marks it as nobody's where the store cannot delete conditionally, or will not.
async fn remove(store: &dyn Store, key: &str, version: Version) -> Result<(), Error> {
    match store.delete(key, Some(version.clone())).await {
        Err(error)
            if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::Refused) =>
        {
            let condition = Condition::IfUnchanged(version);
            store.put(key, RELEASED.to_vec(), condition).await.map(|_| ())
        }
        result => result,
    }
}

/// The lock of a cluster, held. Dropped without [`Lock::release`] it stays until it runs out, as when the process
/// is killed.
#[derive(Debug)]
pub struct Lock {
    store: Arc<dyn Store>,
    key: String,
    place: String,
    lease: Lease,
    stop: Option<oneshot::Sender<()>>,
    heartbeat: JoinHandle<Keeper>,
    lost: watch::Receiver<Option<Lost>>,
    fence: Fence,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

impl Lock {
    /// Takes the lock of `cluster` for `holder`, and keeps it until it is released. Where somebody else has it:
    /// waits as long as the options say, and no longer than until `stop`; `on_wait` is told of each holder that is waited
    /// for. Nothing is written after `stop`, and what is being written then is seen to its end: the lock may be held all
    /// the same.
    pub async fn acquire(
        store: Arc<dyn Store>,
        cluster: &str,
        holder: Holder,
        options: &Options,
        clock: Arc<dyn Clock>,
        on_wait: impl FnMut(&Lease) + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Self, LockError> {
        let key = lock_key(cluster);
        let place = place(store.as_ref(), cluster);
        let contender = Contender {
            store: store.as_ref(),
            key: &key,
            place: &place,
            id: random_id()?,
            holder,
            options,
            clock: clock.as_ref(),
        };
        let keeper = contender.contend(on_wait, std::pin::pin!(stop)).await?;
        let keeper = keeper.with(Arc::clone(&store), key.clone(), options.lease, clock);
        let (stop, stopped) = oneshot::channel();
        let (tell, lost) = watch::channel(None);
        let (lease, fence) = (keeper.lease().clone(), keeper.fence(lost.clone()));
        let heartbeat = tokio::spawn(keeper.keep(stopped, tell));
        Ok(Self { store, key, place, lease, stop: Some(stop), heartbeat, lost, fence })
    }

    /// The lease as it was when the lock was taken.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Tells, to whoever changes something under it, whether it is held.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Ends when the lock is lost: from then on nothing may be started under it any more. Never ends while it is
    /// held.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            let seen = lost.wait_for(Option::is_some).await.ok().and_then(|lost| lost.clone());
            match seen {
                Some(lost) => lost,
                // Released: there is nothing to lose any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Gives it back: nothing of it is left in the store then, or an object that says that it is nobody's.
    pub async fn release(mut self) -> Result<(), LockError> {
        if let Some(stop) = self.stop.take() {
            // It has ended already where the lock is lost.
            let _ = stop.send(());
        }
        let stopped = (&mut self.heartbeat).await;
        if let Some(lost) = self.lost.borrow().clone() {
            return Err(LockError::Lost { place: self.place.clone(), lost });
        }
        let mut version = match stopped {
            Ok(keeper) => keeper.into_version(),
            Err(error) => return Err(Error::unexpected("state store", &error.to_string()).into()),
        };
        // A renewal that was under way may arrive once, before or after we remove it.
        for _ in 0..3 {
            match remove(self.store.as_ref(), &self.key, version).await {
                Err(error) if error.kind == ErrorKind::Conflict => {}
                result => return Ok(result?),
            }
            let Some(object) = self.store.get(&self.key).await? else { return Ok(()) };
            let lost = match Content::of(&object) {
                Content::Released => return Ok(()),
                Content::Lease(lease) if lease.id == self.lease.id => {
                    version = object.version;
                    continue;
                }
                Content::Lease(lease) => Lost::TakenOver(Box::new(lease)),
                Content::Unreadable(_) => Lost::Broken,
            };
            return Err(LockError::Lost { place: self.place.clone(), lost });
        }
        let message = format!("{} changes all the time; it runs out by itself", self.place);
        Err(Error::new(ErrorKind::Conflict, "state store", message).into())
    }
}

/// Something no other lock has.
fn random_id() -> Result<String, Error> {
    Ok(hex::encode(random::<16>()?))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "kcl", format!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// The first pause of a waiter, and the longest: whoever waits wants to go on soon, and a look costs next to
/// nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a contender that lost against others, and then found the lock free, tries again at once.
const TRIES: u32 = 5;

/// Somebody who wants a lock.
struct Contender<'a> {
    store: &'a dyn Store,
    key: &'a str,
    place: &'a str,
    id: String,
    holder: Holder,
    options: &'a Options,
    clock: &'a dyn Clock,
}

/// A lock just taken: how it is stored, and since when by both of the clock's counts.
struct Won {
    lease: Lease,
    version: Version,
    elapsed: Duration,
}

impl Won {
    fn with(self, store: Arc<dyn Store>, key: String, duration: Duration, clock: Arc<dyn Clock>) -> Keeper {
        Keeper::new(store, key, duration, clock, self.lease, self.version, self.elapsed)
    }
}

/// What a look at the lock says to a contender.
enum Look {
    /// It can be had, on this condition.
    Free(Condition),
    /// It is ours: the answer to our write was lost.
    Ours(Lease, Version),
    /// Somebody has it.
    Held(Lease),
}

/// The state of somebody else's lease, and since when it was seen.
struct Seen {
    version: Version,
    since: Duration,
}

impl Contender<'_> {
    async fn contend(
        &self,
        mut on_wait: impl FnMut(&Lease) + Send,
        mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<Won, LockError> {
        let deadline = self.clock.elapsed() + self.options.wait;
        let mut seen: Option<Seen> = None;
        let mut told: Option<String> = None;
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        // When we first wrote, if we did: what is ours is no younger.
        let mut since = None;
        loop {
            let look = tokio::select! {
                biased;
                () = &mut stop => return Err(LockError::Stopped),
                look = self.look(&mut seen) => look?,
            };
            let lease = match look {
                Look::Ours(lease, version) => {
                    return self.checked(lease, version, since.unwrap_or_default()).await;
                }
                Look::Free(condition) => {
                    let since = *since.get_or_insert_with(|| self.clock.elapsed());
                    match self.take(condition).await {
                        Ok((lease, version)) => return self.checked(lease, version, since).await,
                        Err(LockError::Store(error))
                            if error.kind == ErrorKind::Conflict && tries < TRIES =>
                        {
                            tries += 1;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Look::Held(lease) => lease,
            };
            let left = deadline.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return Err(LockError::Taken { place: self.place.to_owned(), lease: Box::new(lease) });
            }
            if told.as_ref() != Some(&lease.id) {
                on_wait(&lease);
                told = Some(lease.id);
            }
            tokio::select! {
                biased;
                () = &mut stop => return Err(LockError::Stopped),
                () = self.clock.sleep(jittered(pause)?.min(left)) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            tries = 0;
        }
    }

    async fn look(&self, seen: &mut Option<Seen>) -> Result<Look, LockError> {
        let Some(object) = self.store.get(self.key).await? else {
            return Ok(Look::Free(Condition::IfAbsent));
        };
        let lease = match Content::of(&object) {
            Content::Released => return Ok(Look::Free(Condition::IfUnchanged(object.version))),
            Content::Lease(lease) => lease,
            Content::Unreadable(reason) => {
                let (place, version) = (self.place.to_owned(), object.version);
                return Err(LockError::Unreadable { place, reason, version });
            }
        };
        if lease.id == self.id {
            return Ok(Look::Ours(lease, object.version));
        }
        if self.unchanged_for(&object, seen) > self.options.patience(&lease) {
            return Ok(Look::Free(Condition::IfUnchanged(object.version)));
        }
        Ok(Look::Held(lease))
    }

    /// For how long an object is certain to have been as it is.
    fn unchanged_for(&self, object: &Object, seen: &mut Option<Seen>) -> Duration {
        let now = self.clock.elapsed();
        let first = match seen.take() {
            Some(known) if known.version == object.version => known,
            _ => Seen { version: object.version.clone(), since: now },
        };
        let watched = now.saturating_sub(first.since);
        *seen = Some(first);
        object.age.map_or(watched, |age| age.max(watched))
    }

    async fn take(&self, condition: Condition) -> Result<(Lease, Version), LockError> {
        let now = self.clock.now();
        let lease = Lease {
            id: self.id.clone(),
            holder: self.holder.clone(),
            acquired: now,
            expires: now + self.options.lease,
            // Never less than the holder goes by.
            seconds: self.options.lease.as_secs() + u64::from(self.options.lease.subsec_nanos() > 0),
            sequence: 0,
        };
        match self.store.try_put(self.key, lease.body()?, condition).await {
            Ok(version) => Ok((lease, version)),
            Err(error) if error.kind == ErrorKind::Unsupported => Err(self.no_conditions()),
            Err(error) if error.is_code(&["NoSuchBucket"]) => {
                Err(LockError::NoBucket { place: self.place.to_owned() })
            }
            Err(error) => {
                if error.kind == ErrorKind::Ambiguous {
                    // It may have been written all the same.
                    self.undo().await;
                }
                Err(error.into())
            }
        }
    }

    fn no_conditions(&self) -> LockError {
        LockError::NoConditionalWrites { place: self.place.to_owned() }
    }

    /// A lock just taken, once it is certain that the store refuses what it must refuse. `since` is from before it
    /// was written.
    async fn checked(&self, lease: Lease, version: Version, since: Duration) -> Result<Won, LockError> {
        // Harmless where they are not refused: they still say that the lock is ours.
        let probe = Lease { sequence: 1, ..lease.clone() };
        let wrong = [Condition::IfAbsent, Condition::IfUnchanged(Version::of_nothing())];
        let probes = wrong.map(|condition| async {
            let body = probe.body()?;
            match self.store.try_put(self.key, body, condition).await {
                Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
                Err(error) if error.kind != ErrorKind::Unsupported => Err(error),
                Ok(_) | Err(_) => Ok(false),
            }
        });
        let refused = futures::future::join_all(probes).await;
        let trouble = match refused.into_iter().collect::<Result<Vec<bool>, Error>>() {
            Ok(refused) if refused.iter().all(|refused| *refused) => {
                return Ok(Won { lease, version, elapsed: since });
            }
            Ok(_) => self.no_conditions(),
            Err(error) => error.into(),
        };
        self.undo().await;
        Err(trouble)
    }

    /// Takes our own lock away again, as far as that is possible: it runs out anyway.
    async fn undo(&self) {
        let removed = async {
            match self.store.get(self.key).await? {
                Some(object) if matches!(Content::of(&object), Content::Lease(lease) if lease.id == self.id) => {
                    remove(self.store, self.key, object.version).await
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = removed.await {
            tracing::debug!(%error, "the lock could not be taken away");
        }
    }
}

/// Between half of `pause` and all of it, so that waiters do not come all at once.
fn jittered(pause: Duration) -> Result<Duration, Error> {
    let [byte] = random::<1>()?;
    Ok(pause / 2 + pause * u32::from(byte) / 510)
}
