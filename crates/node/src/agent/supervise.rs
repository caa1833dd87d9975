//! Tasks that never end: what one of them fails at ends none of the others, and it begins again after a pause.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use kcl_http::chain;
use tokio::task::JoinSet;

/// What ended a task.
pub type Failure = Box<dyn Error + Send + Sync + 'static>;

/// Runs a task again and again; gives to `tell` why it ended.
///
/// When this future is dropped, so is the task.
pub async fn keep<F>(
    pause: Duration,
    mut tell: impl FnMut(&str) + Send,
    mut begin: impl FnMut() -> F + Send,
) -> Infallible
where
    F: Future<Output = Result<Infallible, Failure>> + Send + 'static,
{
    loop {
        // On its own, so that a defect in it ends nothing else either.
        let mut task = JoinSet::new();
        task.spawn(begin());
        let why = match task.join_next().await {
            Some(Ok(Ok(never))) => match never {},
            Some(Ok(Err(error))) => chain(&*error),
            Some(Err(error)) if error.is_panic() => "a defect in kcl-node stopped it".to_owned(),
            Some(Err(_)) | None => "it was stopped".to_owned(),
        };
        tell(&why);
        tokio::time::sleep(pause).await;
    }
}

/// A failure in words alone.
#[derive(Debug)]
pub struct Said(pub String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_task_begins_again_whatever_ended_it() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (done, all) = tokio::sync::oneshot::channel();
        let mut done = Some(done);
        let mut begun = 0;
        let noted = Arc::clone(&told);
        let kept = keep(
            Duration::from_millis(1),
            move |why| noted.lock().unwrap().push(why.to_owned()),
            move || {
                begun += 1;
                let (round, done) = (begun, (begun == 4).then(|| done.take()).flatten());
                async move {
                    match round {
                        1 | 2 => Err(Failure::from(Said("no answer".to_owned()))),
                        3 => panic!("a test's own defect"),
                        _ => {
                            done.map(|done| done.send(()));
                            pending().await
                        }
                    }
                }
            },
        );
        tokio::select! {
            never = kept => match never {},
            all = all => all.unwrap(),
        }
        assert_eq!(*told.lock().unwrap(), ["no answer", "no answer", "a defect in kcl-node stopped it"]);
    }
}
