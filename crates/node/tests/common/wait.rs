//! Waiting for what comes about by itself, but never for ever.

use std::time::{Duration, Instant};

/// How long anything may take: tests run beside compilers.
const PATIENCE: Duration = Duration::from_mins(2);

/// Between two looks at a file, a process or a server of this machine.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    found(|| is().then_some(()), || what.to_owned());
}

/// Waits until there is something, and gives it. What is `late` is said where there is not in time.
#[track_caller]
pub(crate) fn found<T>(mut look: impl FnMut() -> Option<T>, late: impl Fn() -> String) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {}", late());
        std::thread::sleep(PAUSE);
    }
}

/// Likewise, where whoever does it is a task beside this one.
pub(crate) async fn until_async(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries until it succeeds, as long as the error is one that passes.
pub(crate) async fn persist<T, E: std::fmt::Display>(
    passes: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(passes(&error) && begun.elapsed() < PATIENCE, "{error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
