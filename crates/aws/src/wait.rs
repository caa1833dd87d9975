//! Waiting and trying again, in one place: what is worth it, how often, and how long.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The first pause; each next one is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No pause is longer: AWS' own waiters ask every 15 s, and nobody wants to wait that long for nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pauses between tries, growing, until a limit is reached.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    left: Duration,
}

impl Pauses {
    /// Pauses that last `limit` together.
    pub(crate) fn up_to(limit: Duration) -> Self {
        Self { next: FIRST_PAUSE, left: limit }
    }

    /// Sleeps once; false when the time is used up.
    pub(crate) async fn pause(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        let pause = self.next.min(self.left);
        self.left -= pause;
        self.next = (self.next * 3 / 2).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        true
    }
}

/// How long something just made may stay unknown to another part of AWS: IAM spreads a new role or profile
/// within about 15 s, EC2 shows a new id within a few.
pub(crate) const PROPAGATION: Duration = Duration::from_mins(1);
/// NAT gateways and network load balancers come and go within minutes.
pub(crate) const SLOW_RESOURCE: Duration = Duration::from_mins(15);

/// Runs `call` until it succeeds, as long as `worth_it` says of its error that time will help.
pub(crate) async fn retry<T, F>(
    limit: Duration,
    worth_it: impl Fn(&Error) -> bool,
    mut call: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pauses = Pauses::up_to(limit);
    loop {
        match call().await {
            Err(error) if worth_it(&error) && pauses.pause().await => {
                tracing::debug!(%error, "trying again");
            }
            result => return result,
        }
    }
}

/// Asks `probe` until it gives an answer; `what` is what is waited for.
pub(crate) async fn until<T, F>(
    limit: Duration,
    action: &str,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let mut pauses = Pauses::up_to(limit);
    loop {
        match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        if !pauses.pause().await {
            let message = format!("waited {} s for {what}", limit.as_secs());
            return Err(Error::new(ErrorKind::TimedOut, action, message));
        }
    }
}

/// Makes something whose API has no client token. The SDK must not retry `create` by itself (see
/// [`crate::client::Aws::once`]); when its answer is lost, `find` looks by tag whether it was made after all.
pub(crate) async fn create_once<T, C, F>(
    mut create: impl FnMut() -> C,
    mut find: impl FnMut() -> F,
) -> Result<T, Error>
where
    C: Future<Output = Result<T, Error>>,
    F: Future<Output = Result<Option<T>, Error>>,
{
    let mut pauses = Pauses::up_to(PROPAGATION);
    loop {
        let error = match create().await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let ambiguous = error.kind == ErrorKind::Ambiguous;
        if !ambiguous && error.kind != ErrorKind::Throttled {
            return Err(error);
        }
        if !pauses.pause().await {
            return Err(error);
        }
        // A resource just made may not be listed at once, so one empty look proves nothing: look a few times.
        let looks = if ambiguous { 4 } else { 0 };
        for _ in 0..looks {
            if let Some(made) = find().await? {
                return Ok(made);
            }
            pauses.pause().await;
        }
    }
}
