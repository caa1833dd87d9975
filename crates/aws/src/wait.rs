//! Waiting and trying again, in one place: what is worth it, how often, and how long.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The first pause at most; each next one is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No pause is longer: AWS' own waiters ask every 15 s, and nobody wants to wait that long for nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pauses between tries, growing, until a limit is reached. What began at the same moment, steps of one run or many runs,
/// does not try again at the same moment.
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
        let Some(pause) = self.take() else { return false };
        tokio::time::sleep(pause).await;
        true
    }

    /// The next pause; `None` when the time is used up.
    fn take(&mut self) -> Option<Duration> {
        let pause = apart(self.next).min(self.left);
        self.left -= pause;
        self.next = (self.next * 3 / 2).min(LONGEST_PAUSE);
        (!pause.is_zero()).then_some(pause)
    }
}

/// Anything between half of a pause and all of it.
fn apart(pause: Duration) -> Duration {
    // Without randomness, all of it.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
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
    probe: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    until_with(limit, action, what, probe, tokio::time::sleep).await
}

async fn until_with<T, F, S>(
    limit: Duration,
    action: &str,
    what: &str,
    mut probe: impl FnMut() -> F,
    sleep: impl Fn(Duration) -> S,
) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
    S: Future<Output = ()>,
{
    let mut pauses = Pauses::up_to(limit);
    loop {
        let unanswered = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            // Nobody answered just now, which says nothing about what is waited for.
            Err(error) if passes(&error) => Some(error),
            Err(error) => return Err(error),
        };
        let Some(pause) = pauses.take() else {
            let message = format!("waited {} s for {what}", limit.as_secs());
            return Err(unanswered.unwrap_or_else(|| Error::new(ErrorKind::TimedOut, action, message)));
        };
        sleep(pause).await;
    }
}

/// Whether a look that failed is worth another one, however often the SDK has tried.
fn passes(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Throttled | ErrorKind::Ambiguous | ErrorKind::Unreachable)
}

/// A resource just made may not be listed at once, so one empty look proves nothing.
const LISTED: Duration = Duration::from_secs(3);
/// A request whose connection broke, or whose answer did not come in time, may still be on its way: AWS may do what it
/// asks for after that.
const ARRIVES: Duration = Duration::from_secs(12);

/// Makes something whose API has no client token. The SDK must not retry `create` by itself (see
/// [`crate::client::Aws::once`]); when its answer is lost, `find` looks by tag whether it was made after all.
pub(crate) async fn create_once<T, C, F>(
    create: impl FnMut() -> C,
    find: impl FnMut() -> F,
) -> Result<T, Error>
where
    C: Future<Output = Result<T, Error>>,
    F: Future<Output = Result<Option<T>, Error>>,
{
    create_with(create, find, tokio::time::sleep).await
}

async fn create_with<T, C, F, S>(
    mut create: impl FnMut() -> C,
    mut find: impl FnMut() -> F,
    sleep: impl Fn(Duration) -> S,
) -> Result<T, Error>
where
    C: Future<Output = Result<T, Error>>,
    F: Future<Output = Result<Option<T>, Error>>,
    S: Future<Output = ()>,
{
    let mut pauses = Pauses::up_to(PROPAGATION);
    // For how long to look whether one of the tries so far was carried out.
    let mut doubt = Duration::ZERO;
    loop {
        let error = match create().await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        match error.kind {
            ErrorKind::Ambiguous => doubt = doubt.max(if error.code.is_some() { LISTED } else { ARRIVES }),
            // Nothing was done.
            ErrorKind::Throttled | ErrorKind::Unreachable => {}
            _ => return Err(error),
        }
        let Some(pause) = pauses.take() else { return Err(error) };
        sleep(pause).await;
        if doubt.is_zero() {
            continue;
        }
        let end = pauses.left.saturating_sub(doubt);
        // Why the last look told nothing: whoever has not seen that nothing was made must not make another.
        let mut unseen;
        loop {
            match find().await {
                Ok(Some(made)) => return Ok(made),
                Ok(None) => unseen = None,
                Err(error) if passes(&error) => unseen = Some(error),
                Err(error) => return Err(error),
            }
            if unseen.is_none() && pauses.left <= end {
                break;
            }
            let Some(pause) = pauses.take() else { break };
            sleep(pause).await;
        }
        if let Some(error) = unseen {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pauses_come_apart_and_last_as_long_as_they_may() {
        let all = |limit| {
            let mut pauses = Pauses::up_to(limit);
            std::iter::from_fn(move || pauses.take()).collect::<Vec<_>>()
        };
        let (one, other) = (all(SLOW_RESOURCE), all(SLOW_RESOURCE));
        assert_eq!(one.iter().sum::<Duration>(), SLOW_RESOURCE);
        assert_ne!(one, other);
        assert!(one.iter().all(|pause| *pause <= LONGEST_PAUSE));
        let firsts = [one[0], other[0]];
        assert!(firsts.iter().all(|pause| (FIRST_PAUSE / 2..=FIRST_PAUSE).contains(pause)), "{firsts:?}");
        let grown = &one[12..one.len() - 1];
        assert!(grown.iter().all(|pause| *pause >= LONGEST_PAUSE / 2), "{grown:?}");
    }

    fn lost(code: Option<&str>) -> Error {
        let mut error = Error::new(ErrorKind::Ambiguous, "ec2:CreateVpc", "there was no answer");
        error.code = code.map(str::to_owned);
        error
    }

    /// How often something is asked for whose first try is carried out `after` the last of these answers.
    async fn tries(after: Duration, errors: Vec<Error>) -> usize {
        let (tries, passed) = (Cell::new(0), Cell::new(Duration::ZERO));
        let create = || async {
            tries.set(tries.get() + 1);
            passed.set(Duration::ZERO);
            errors.get(tries.get() - 1).cloned().map_or(Ok(()), Err)
        };
        let find = || async { Ok((tries.get() == errors.len() && passed.get() >= after).then_some(())) };
        let sleep = |pause| {
            passed.set(passed.get() + pause);
            std::future::ready(())
        };
        create_with(create, find, sleep).await.expect("it is made");
        tries.get()
    }

    #[tokio::test]
    async fn what_arrives_late_is_not_asked_for_again() {
        let late = Duration::from_secs(10);
        assert_eq!(tries(late, vec![lost(None)]).await, 1);
        // AWS answered that it failed: nothing is on its way any more.
        assert_eq!(tries(late, vec![lost(Some("InternalError"))]).await, 2);
        let throttled = Error::new(ErrorKind::Throttled, "ec2:CreateVpc", "too many");
        assert_eq!(tries(Duration::ZERO, vec![throttled.clone()]).await, 2, "nothing was done");
        let unsent = Error::new(ErrorKind::Unreachable, "ec2:CreateVpc", "no connection");
        assert_eq!(tries(Duration::ZERO, vec![unsent]).await, 2, "nothing was sent");
        // Whatever is said of the second try, the first one may still be carried out.
        assert_eq!(tries(late, vec![lost(None), throttled]).await, 2);
        let refused = Error::new(ErrorKind::Refused, "ec2:CreateVpc", "no");
        let result = create_once(|| async { Err::<(), _>(refused.clone()) }, || async { Ok(None) }).await;
        assert!(result.is_err());
    }

    #[tokio::test]
    async fn nothing_is_made_again_while_nobody_can_look() {
        let away = || Error::new(ErrorKind::Unreachable, "ec2:DescribeVpcs", "no connection");
        let (tries, looks) = (Cell::new(0), Cell::new(0));
        let create = || async {
            tries.set(tries.get() + 1);
            Err(lost(None))
        };
        // It comes back after much longer than a request may be on its way, and then it is there.
        let find = || async {
            looks.set(looks.get() + 1);
            if looks.get() < 11 { Err(away()) } else { Ok(Some(())) }
        };
        assert!(create_with(create, find, |_| std::future::ready(())).await.is_ok());
        assert_eq!((tries.get(), looks.get()), (1, 11));
        let never =
            create_with(create, || async { Err::<Option<()>, _>(away()) }, |_| std::future::ready(()));
        assert_eq!(never.await.unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(tries.get(), 2, "one more, and no second one");
    }

    #[tokio::test]
    async fn a_look_that_failed_says_nothing() {
        let looks = Cell::new(0);
        let wait = async |last: fn() -> Result<Option<()>, Error>| {
            looks.set(0);
            let probe = || async {
                looks.set(looks.get() + 1);
                if looks.get() < 5 {
                    return Err(Error::new(ErrorKind::Throttled, "ec2:DescribeNatGateways", "too many"));
                }
                last()
            };
            let sleep = |_| std::future::ready(());
            until_with(SLOW_RESOURCE, "ec2:DescribeNatGateways", "the NAT gateway", probe, sleep).await
        };
        assert!(wait(|| Ok(Some(()))).await.is_ok());
        assert_eq!(looks.get(), 5);
        let refused = || Err(Error::new(ErrorKind::Denied, "ec2:DescribeNatGateways", "no"));
        assert_eq!(wait(refused).await.unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(looks.get(), 5, "what is refused is refused");
        let away = || Err(Error::new(ErrorKind::Unreachable, "ec2:DescribeNatGateways", "no connection"));
        assert_eq!(wait(away).await.unwrap_err().kind, ErrorKind::Unreachable, "the reason, not the limit");
        assert_eq!(wait(|| Ok(None)).await.unwrap_err().kind, ErrorKind::TimedOut);
    }
}
