//! Locks in both kinds of store: exactly one holder, whatever happens.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, join_all};
use kcl_testkit::{Decision, Fault, Point, Protocol, Reply, Response, When};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    Clock, Fence, Holder, Lease, Lock, LockError, Lost, Options, Status, break_lock, lock_key, status,
};
use crate::error::{Error, ErrorKind};
use crate::store::{Condition, FileStore, Object, S3Store, Store, Version};
use crate::testing::World;

const CLUSTER: &str = "k.example.com";

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct TestClock(watch::Sender<Duration>);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Duration::ZERO)))
    }

    fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.0.borrow()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'_, ()> {
        let end = self.elapsed() + pause;
        let mut moved = self.0.subscribe();
        Box::pin(async move {
            moved.wait_for(|now| *now >= end).await.expect("the clock is there");
        })
    }
}

/// Ways in which a store may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not at all.
    Sound,
    /// It does what it is told, and does not know conditions.
    Careless,
    /// It does not tell how old objects are.
    Ageless,
    /// It cannot delete conditionally.
    Undeletable,
}

/// A store that may have a failing.
#[derive(Debug)]
struct Odd {
    store: FileStore,
    /// How many calls are under way, of all stores of the directory.
    busy: Arc<AtomicUsize>,
    way: Way,
    /// It answers no write any more.
    broken: AtomicBool,
    /// It does what it is told, and its answer never comes.
    silent: AtomicBool,
}

/// A call that is under way.
struct Call<'a>(&'a AtomicUsize);

impl<'a> Call<'a> {
    fn new(busy: &'a AtomicUsize) -> Self {
        busy.fetch_add(1, Ordering::SeqCst);
        Self(busy)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store for Odd {
    fn location(&self) -> String {
        self.store.location()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>> {
        Box::pin(async move {
            let _call = Call::new(&self.busy);
            let object = self.store.get(key).await?;
            let age = |object: &Object| if self.way == Way::Ageless { None } else { object.age };
            Ok(object.map(|object| Object { age: age(&object), ..object }))
        })
    }

    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        Box::pin(async move {
            if self.broken.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Ambiguous, "s3:PutObject", "the answer was lost"));
            }
            let condition = if self.way == Way::Careless { Condition::Always } else { condition };
            let call = Call::new(&self.busy);
            let result = self.store.try_put(key, body, condition).await;
            drop(call);
            if self.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            result
        })
    }

    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let _call = Call::new(&self.busy);
            match self.way {
                Way::Undeletable if version.is_some() => {
                    Err(Error::new(ErrorKind::Unsupported, "s3:DeleteObject", "not implemented"))
                }
                Way::Careless => self.store.delete(key, None).await,
                _ => self.store.delete(key, version).await,
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.store.list(prefix)
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.store.folders()
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>> {
        self.store.purge(folder)
    }

    fn finish_purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.finish_purge(folder)
    }

    fn change_under(&self, fence: Fence) {
        self.store.change_under(fence);
    }
}

/// A directory as a store.
struct Directory {
    folder: TempDir,
    busy: Arc<AtomicUsize>,
}

impl Directory {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("there is a folder"), busy: Arc::default() }
    }

    /// As another process opens it.
    fn open(&self) -> Arc<dyn Store> {
        self.odd(Way::Sound)
    }

    fn odd(&self, way: Way) -> Arc<Odd> {
        Arc::new(Odd {
            store: FileStore::new(self.folder.path().to_owned()),
            busy: Arc::clone(&self.busy),
            way,
            broken: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        })
    }

    /// Moves the clock once everybody waits for it: a disk takes no time by this clock, however slow it is.
    async fn pass(&self, clock: &TestClock, time: Duration) {
        let mut calm = 0;
        while calm < 100 {
            tokio::task::yield_now().await;
            calm = if self.busy.load(Ordering::SeqCst) == 0 { calm + 1 } else { 0 };
        }
        clock.advance(time);
    }

    /// The lock was written an hour ago.
    fn age(&self) {
        let path = self.folder.path().join(lock_key(CLUSTER));
        let file = std::fs::File::options().write(true).open(path).expect("there is a lock");
        file.set_modified(SystemTime::now() - Duration::from_hours(1)).expect("its time is set");
    }
}

fn holder(pid: u32) -> Holder {
    Holder {
        user: "ann".to_owned(),
        host: "desk".to_owned(),
        pid,
        command: "kcl update".to_owned(),
        region: None,
    }
}

async fn take(store: Arc<dyn Store>, pid: u32, clock: &Arc<TestClock>) -> Result<Lock, LockError> {
    Lock::acquire(store, CLUSTER, holder(pid), &Options::default(), clock.clone(), |_| {}, pending()).await
}

async fn look(store: &dyn Store, clock: &TestClock) -> Status {
    status(store, CLUSTER, &Options::default(), clock).await.expect("it can be read")
}

#[track_caller]
fn held(status: Status) -> (Lease, Version, bool) {
    match status {
        Status::Held { lease, version, expired } => (*lease, version, expired),
        other => panic!("it is not held: {other:?}"),
    }
}

/// Asks until `is` says yes of the stored lease.
async fn until(store: &dyn Store, clock: &TestClock, is: impl Fn(&Lease) -> bool) -> Lease {
    loop {
        let (lease, ..) = held(look(store, clock).await);
        if is(&lease) {
            return lease;
        }
        tokio::task::yield_now().await;
    }
}

/// Of contenders that come at once exactly one gets the lock, and the others are told who.
async fn one_of(stores: &[Arc<dyn Store>], clock: &Arc<TestClock>) -> Lock {
    let contenders = (1..).zip(stores).map(|(pid, store)| {
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        tokio::spawn(async move { take(store, pid, &clock).await })
    });
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for result in join_all(contenders).await {
        match result.expect("no panic") {
            Ok(lock) => winners.push(lock),
            Err(LockError::Taken { lease, .. }) => losers.push(lease),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, stores.len() - 1));
    let winner = winners.remove(0);
    assert!(losers.iter().all(|lease| lease.id == winner.lease().id), "all are told of the winner");
    winner
}

async fn is_free(store: &dyn Store) {
    let left = store.list(CLUSTER).await.expect("it can be listed");
    assert!(left.is_empty(), "left: {left:?}");
}

async fn s3_stores(world: &World, number: usize) -> Vec<Arc<dyn Store>> {
    let bucket = world.bucket("lock", &world.aws.region).await;
    let store =
        |_| -> Arc<dyn Store> { Arc::new(S3Store::new(world.s3(), bucket.clone(), "clusters".to_owned())) };
    (0..number).map(store).collect()
}

#[tokio::test]
async fn one_of_twenty_gets_it_in_s3() {
    let world = World::start().await;
    let (stores, clock) = (s3_stores(&world, 20).await, TestClock::new());
    for _ in 0..10 {
        one_of(&stores, &clock).await.release().await.expect("it is released");
        is_free(stores[0].as_ref()).await;
    }
    assert_eq!(world.local.unsupported(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_twenty_gets_it_in_a_directory() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let stores: Vec<_> = (0..20).map(|_| directory.open()).collect();
    for _ in 0..10 {
        one_of(&stores, &clock).await.release().await.expect("it is released");
        is_free(stores[0].as_ref()).await;
        assert!(stores[0].folders().await.expect("it can be listed").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_twenty_takes_an_expired_one_over_in_a_directory() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let stores: Vec<_> = (0..20).map(|_| directory.open()).collect();
    for _ in 0..10 {
        // Its holder is killed.
        drop(take(directory.open(), 99, &clock).await.expect("it is free"));
        directory.age();
        one_of(&stores, &clock).await.release().await.expect("it is released");
    }
}

#[tokio::test]
async fn one_of_twenty_takes_an_expired_one_over_in_s3() {
    let world = World::start().await;
    let (stores, clock) = (s3_stores(&world, 20).await, TestClock::new());
    for _ in 0..3 {
        let killed = take(Arc::clone(&stores[0]), 99, &clock).await.expect("it is free");
        let id = killed.lease().id.clone();
        drop(killed);
        let Err(LockError::Taken { .. }) = take(Arc::clone(&stores[1]), 1, &clock).await else {
            panic!("it has not run out")
        };
        // By S3's clock an hour has passed since it was written.
        world.local.after(move |call, mut response| {
            if call.action == "GetObject" && response.text().contains(&id) {
                let later = "Fri, 31 Dec 2100 00:00:00 GMT".parse().expect("it is a header");
                response.headers.insert("date", later);
            }
            Reply::Send(response)
        });
        one_of(&stores, &clock).await.release().await.expect("it is released");
        world.local.clear_rules();
    }
}

#[tokio::test]
async fn whoever_finds_it_taken_is_told() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let lock = take(directory.open(), 7, &clock).await.expect("it is free");
    let error = take(directory.open(), 8, &clock).await.expect_err("it is taken");
    let path = directory.folder.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "file://{path}/k.example.com/lock is held by ann@desk (process 7, `kcl update`) since \
             1970-01-01T00:00:00Z, until 1970-01-01T00:01:00Z unless it is renewed"
        )
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("--lock-timeout") && hint.contains("kcl unlock")));
    lock.release().await.expect("it is released");
}

#[tokio::test]
async fn a_heartbeat_extends_it() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.open();
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    for beat in 1..=5 {
        directory.pass(&clock, Duration::from_secs(20)).await;
        let lease = until(store.as_ref(), &clock, |lease| lease.sequence == beat).await;
        assert_eq!(lease.expires, clock.now() + Duration::from_mins(1));
        assert_eq!((lease.id, lease.acquired), (lock.lease().id.clone(), lock.lease().acquired));
    }
    lock.release().await.expect("it is released");
    is_free(store.as_ref()).await;
}

#[tokio::test]
async fn its_holder_is_told_that_it_was_broken() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.open();
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    let (_, version, expired) = held(look(store.as_ref(), &clock).await);
    assert!(!expired);
    break_lock(store.as_ref(), CLUSTER, version.clone()).await.expect("it is removed");
    directory.pass(&clock, Duration::from_secs(20)).await;
    assert!(matches!(lock.lost().await, Lost::Broken));
    assert!(matches!(lock.release().await, Err(LockError::Lost { lost: Lost::Broken, .. })));
    // What was seen is not what is there.
    let next = take(directory.open(), 2, &clock).await.expect("it is free");
    let error = break_lock(store.as_ref(), CLUSTER, version).await.expect_err("it is another one");
    assert_eq!(error.kind, ErrorKind::Conflict);
    next.release().await.expect("it is released");
}

#[tokio::test]
async fn its_holder_is_told_that_it_was_taken_over() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    directory.age();
    let other = take(directory.open(), 2, &clock).await.expect("it has run out");
    directory.pass(&clock, Duration::from_secs(20)).await;
    let Lost::TakenOver(lease) = lock.lost().await else { panic!("it was taken over") };
    assert_eq!(lease.id, other.lease().id);
    assert!(matches!(lock.release().await, Err(LockError::Lost { .. })));
    assert_eq!(held(look(directory.open().as_ref(), &clock).await).0.id, other.lease().id);
    other.release().await.expect("it is released");
}

#[tokio::test]
async fn it_is_lost_when_the_store_is_gone_for_too_long() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Sound);
    let lock = take(store.clone(), 1, &clock).await.expect("it is free");
    let mut lost = Box::pin(lock.lost());
    store.broken.store(true, Ordering::Relaxed);
    // Not at the first failure, and no later than it runs out.
    let mut passed = 0;
    let lost = loop {
        tokio::select! {
            biased;
            lost = &mut lost => break lost,
            () = directory.pass(&clock, Duration::from_secs(1)) => passed += 1,
        }
    };
    assert!(matches!(lost, Lost::Expired(_)), "{lost:?}");
    assert!((60..=61).contains(&passed), "after {passed} s");
}

#[tokio::test]
async fn a_machine_that_slept_keeps_what_nobody_took() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.open();
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    directory.pass(&clock, Duration::from_hours(1)).await;
    until(store.as_ref(), &clock, |lease| lease.sequence == 1).await;
    lock.release().await.expect("it is still ours");
}

#[tokio::test]
async fn a_renewal_under_way_does_not_outlive_it() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Sound);
    let lock = take(store.clone(), 1, &clock).await.expect("it is free");
    store.silent.store(true, Ordering::Relaxed);
    directory.pass(&clock, Duration::from_secs(20)).await;
    until(store.as_ref(), &clock, |lease| lease.sequence == 1).await;
    lock.release().await.expect("it is released");
    is_free(store.as_ref()).await;
}

#[tokio::test]
async fn a_renewal_without_an_answer_leaves_time_for_another() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Sound);
    let lock = take(store.clone(), 1, &clock).await.expect("it is free");
    store.silent.store(true, Ordering::Relaxed);
    directory.pass(&clock, Duration::from_secs(20)).await;
    directory.pass(&clock, Duration::from_secs(1)).await;
    assert_eq!(held(look(store.as_ref(), &clock).await).0.sequence, 1, "it was written");
    store.silent.store(false, Ordering::Relaxed);
    for _ in 21..59 {
        directory.pass(&clock, Duration::from_secs(1)).await;
    }
    let (lease, ..) = held(look(store.as_ref(), &clock).await);
    assert_eq!((lease.sequence, lock.fence().is_closed()), (2, false));
    lock.release().await.expect("it is still ours");
}

#[tokio::test]
async fn a_store_that_cannot_delete_conditionally_keeps_a_mark() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Undeletable);
    for pid in 1..3 {
        let lock = take(store.clone(), pid, &clock).await.expect("it is free");
        lock.release().await.expect("it is released");
        assert!(matches!(look(store.as_ref(), &clock).await, Status::Free));
    }
}

#[tokio::test]
async fn waiting_for_it() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    let (tell, mut told) = watch::channel(0);
    let options = Options { wait: Duration::from_mins(5), ..Options::default() };
    let (store, time) = (directory.open(), Arc::clone(&clock));
    let waiter = tokio::spawn(async move {
        let on_wait = |lease: &Lease| tell.send_modify(|told| *told += lease.holder.pid);
        Lock::acquire(store, CLUSTER, holder(2), &options, time, on_wait, pending()).await
    });
    told.wait_for(|told| *told == 1).await.expect("it waits");
    lock.release().await.expect("it is released");
    directory.pass(&clock, Duration::from_secs(3)).await;
    let lock = waiter.await.expect("no panic").expect("it is free");
    lock.release().await.expect("it is released");
}

#[tokio::test]
async fn who_is_stopped_waits_no_longer_and_writes_nothing() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, mut told) = watch::channel(0);
    let options = Options { wait: Duration::from_mins(5), ..Options::default() };
    let (store, time) = (directory.open(), Arc::clone(&clock));
    let waiter = tokio::spawn(async move {
        let on_wait = |lease: &Lease| tell.send_modify(|told| *told += lease.holder.pid);
        Lock::acquire(store, CLUSTER, holder(2), &options, time, on_wait, async { drop(stopped.await) }).await
    });
    told.wait_for(|told| *told == 1).await.expect("it waits");
    drop(stop);
    assert!(matches!(waiter.await.expect("no panic"), Err(LockError::Stopped)));
    lock.release().await.expect("it is released");

    let ready = std::future::ready(());
    let options = Options::default();
    let taken = Lock::acquire(directory.open(), CLUSTER, holder(3), &options, clock.clone(), |_| {}, ready);
    assert!(matches!(taken.await, Err(LockError::Stopped)));
    assert!(matches!(look(directory.open().as_ref(), &clock).await, Status::Free));
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let lock = take(directory.open(), 1, &clock).await.expect("it is free");
    let options = Options { wait: Duration::from_secs(10), ..Options::default() };
    let (store, time) = (directory.open(), Arc::clone(&clock));
    let waiter = tokio::spawn(async move {
        Lock::acquire(store, CLUSTER, holder(2), &options, time, |_| {}, pending()).await
    });
    while !waiter.is_finished() {
        directory.pass(&clock, Duration::from_millis(100)).await;
    }
    assert!(matches!(waiter.await.expect("no panic"), Err(LockError::Taken { .. })));
    lock.release().await.expect("it is released");
}

#[tokio::test]
async fn where_no_age_is_told_a_waiter_watches() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Ageless);
    drop(take(store.clone(), 1, &clock).await.expect("it is free"));
    // Whatever the time of day is.
    clock.advance(Duration::from_hours(1));
    assert!(held(look(store.as_ref(), &clock).await).2, "its time is over");
    assert!(matches!(take(store.clone(), 2, &clock).await, Err(LockError::Taken { .. })));
    let options = Options { wait: Duration::from_mins(5), ..Options::default() };
    let (since, time) = (clock.elapsed(), Arc::clone(&clock));
    let waiter = tokio::spawn(async move {
        Lock::acquire(store, CLUSTER, holder(3), &options, time, |_| {}, pending()).await
    });
    let mut passed = Duration::ZERO;
    while !waiter.is_finished() {
        passed = clock.elapsed().saturating_sub(since);
        directory.pass(&clock, Duration::from_millis(100)).await;
    }
    assert!(passed > Duration::from_secs(70), "after {passed:?}");
    waiter.await.expect("no panic").expect("it has run out").release().await.expect("it is released");
}

#[tokio::test]
async fn an_answer_that_is_lost_takes_nothing() {
    let world = World::start().await;
    let (stores, clock) = (s3_stores(&world, 1).await, TestClock::new());
    let lost = world.lose_answer("s3", "PutObject");
    let lock = take(Arc::clone(&stores[0]), 1, &clock).await.expect("it is ours");
    assert_eq!(lost.count(), 1, "an answer was lost");
    assert_eq!(held(look(stores[0].as_ref(), &clock).await).0, *lock.lease());
    lock.release().await.expect("it is released");
    is_free(stores[0].as_ref()).await;
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.odd(Way::Careless);
    // Somebody's lock, however it came there, is left alone.
    let other = take(directory.open(), 1, &clock).await.expect("it is free");
    assert!(matches!(take(store.clone(), 2, &clock).await, Err(LockError::Taken { .. })));
    other.release().await.expect("it is released");
    let error = take(store.clone(), 2, &clock).await.expect_err("it cannot be kept");
    assert!(matches!(error, LockError::NoConditionalWrites { .. }), "{error:?}");
    assert!(error.to_string().contains("this store does not support conditional writes"), "{error}");
    is_free(store.as_ref()).await;
}

#[tokio::test]
async fn a_store_that_does_not_know_conditions_is_told_apart() {
    let world = World::start().await;
    let (stores, clock) = (s3_stores(&world, 1).await, TestClock::new());
    for header in ["if-none-match", "if-match"] {
        world.local.before(move |call| {
            if call.action == "PutObject" && call.headers.contains_key(header) {
                return Decision::Respond(Response::error(Protocol::S3, 501, "NotImplemented", "no"));
            }
            Decision::Forward
        });
        let error = take(Arc::clone(&stores[0]), 1, &clock).await.expect_err("it cannot be kept");
        assert!(matches!(error, LockError::NoConditionalWrites { .. }), "{error:?}");
        world.local.clear_rules();
        is_free(stores[0].as_ref()).await;
    }
}

#[tokio::test]
async fn who_cannot_delete_marks_it_as_nobodys() {
    let world = World::start().await;
    let (stores, clock) = (s3_stores(&world, 1).await, TestClock::new());
    for fault in [Fault::Denied, Fault::Refused] {
        let point = Point { service: "s3".to_owned(), action: "DeleteObject".to_owned(), nth: 1 };
        let strikes = world.local.inject(fault, When::ActionFrom(point), 0);
        for pid in 1..3 {
            let lock = take(Arc::clone(&stores[0]), pid, &clock).await.expect("it is free");
            lock.release().await.expect("it is given back");
            assert!(matches!(look(stores[0].as_ref(), &clock).await, Status::Free));
        }
        assert_eq!(strikes.count(), 2);
        world.local.clear_rules();
    }
}

#[tokio::test]
async fn without_a_bucket_there_is_no_lock() {
    let world = World::start().await;
    let bucket = format!("none-{}", world.aws.account);
    let store: Arc<dyn Store> = Arc::new(S3Store::new(world.s3(), bucket, String::new()));
    let clock = TestClock::new();
    assert!(matches!(look(store.as_ref(), &clock).await, Status::Free));
    let error = take(store, 1, &clock).await.expect_err("there is no bucket");
    assert!(matches!(error, LockError::NoBucket { .. }), "{error:?}");
}

#[tokio::test]
async fn half_a_lock_is_reported_and_can_be_removed() {
    let (directory, clock) = (Directory::new(), TestClock::new());
    let store = directory.open();
    for half in ["", "{\"id\": \"hunter2", "{\"hunter2\": 1}", "hunter2"] {
        let key = lock_key(CLUSTER);
        store.put(&key, half.as_bytes().to_vec(), Condition::Always).await.expect("it is written");
        let error = take(directory.open(), 1, &clock).await.expect_err("it is no lock");
        assert!(matches!(error, LockError::Unreadable { .. }), "{error:?}");
        let words = format!("{error} {error:?}");
        assert!(words.contains("k.example.com/lock") && !words.contains("hunter2"), "{words}");
        assert!(error.hint().is_some_and(|hint| hint.contains("kcl unlock --force")));
        let Status::Unreadable { version, .. } = look(store.as_ref(), &clock).await else {
            panic!("it is no lock")
        };
        break_lock(store.as_ref(), CLUSTER, version).await.expect("it is removed");
        is_free(store.as_ref()).await;
    }
}
