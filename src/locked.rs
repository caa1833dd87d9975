//! One writer per cluster: whatever changes one runs under its lock.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use kcl_aws::Aws;
use kcl_aws::store::Store;
use kcl_aws::store::lock::{Holder, Lock, LockError, Options, SystemClock};

use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::output::Printer;

/// The lock of a cluster, held by this process.
pub(crate) struct Locked {
    lock: Lock,
    interrupts: Interrupts,
}

impl Locked {
    /// Takes the lock of `cluster`, as `options` say: from then on nothing else of the store is changed unless it is
    /// held. `command` is what its holder runs, as others are told, and `region` the cluster's, as far as it is known.
    pub(crate) async fn take(
        store: &Arc<dyn Store>,
        cluster: &str,
        command: &str,
        region: Option<&str>,
        options: Options,
        printer: &Printer,
    ) -> Result<Self, LockError> {
        let on_wait = |lease: &kcl_aws::store::lock::Lease| {
            printer.note(&format!("waiting for the lock of {cluster}, held by {}", lease.describe()));
        };
        // Before the lock is there: one that is taken is given back, whenever the user stops.
        let interrupts = Interrupts::listen();
        let clock = Arc::new(SystemClock::new());
        let holder = holder(command, region);
        let stop = interrupts.asked();
        let lock = Lock::acquire(Arc::clone(store), cluster, holder, &options, clock, on_wait, stop).await?;
        store.change_under(lock.fence());
        if interrupts.are_asked() {
            lock.release().await?;
            return Err(LockError::Stopped);
        }
        Ok(Self { lock, interrupts })
    }

    /// Runs `work`, and gives the lock back whatever came of it.
    pub(crate) async fn run<T>(
        self,
        printer: &Printer,
        work: impl AsyncFnOnce(&Self) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let result = work(&self).await;
        match (result, self.lock.release().await) {
            (result, Ok(())) => result,
            (Ok(value), Err(error)) => {
                // What was to be done is done.
                printer.warning(&error.to_string(), error.hint());
                Ok(value)
            }
            (Err(mut failed), Err(error)) => {
                failed.messages.push(error.to_string());
                Err(failed)
            }
        }
    }

    /// Ends when nothing more may be started: the user asked to stop, or the lock is lost.
    pub(crate) fn stop(&self) -> impl Future<Output = ()> + use<> {
        let interrupts = self.interrupts.clone();
        let lost = self.lock.lost();
        async move {
            tokio::select! {
                () = interrupts.asked() => {}
                _ = lost => {}
            }
        }
    }

    /// Runs `reading`, which changes nothing and so can be dropped at any time, before anything is changed.
    pub(crate) async fn reading<T>(
        &self,
        reading: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        self.until_stopped(reading, stopped).await
    }

    /// Runs `looking`, which changes nothing; `stopped` is the error where it is stopped.
    pub(crate) async fn until_stopped<T>(
        &self,
        looking: impl Future<Output = Result<T, CommandError>>,
        stopped: impl FnOnce() -> CommandError,
    ) -> Result<T, CommandError> {
        tokio::select! {
            biased;
            () = self.stop() => Err(stopped()),
            result = looking => result,
        }
    }

    /// Nothing is changed in this account from now on unless the lock is held.
    pub(crate) fn guard(&self, aws: &Aws) {
        aws.change_under(self.lock.fence());
    }

    /// Likewise of a cluster's API server.
    pub(crate) fn kubernetes_guard(&self) -> kcl_kube::Guard {
        let fence = self.lock.fence();
        Arc::new(move || !fence.is_closed())
    }

    /// Whether nothing more may be started.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop().now_or_never().is_some()
    }
}

/// The error where the user asked to stop before anything was changed.
pub(crate) fn stopped() -> CommandError {
    LockError::Stopped.into()
}

/// Who we are, for whoever finds the lock taken.
fn holder(command: &str, region: Option<&str>) -> Holder {
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    Holder {
        user: name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "unknown".to_owned()),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        pid: std::process::id(),
        command: command.to_owned(),
        region: region.map(str::to_owned),
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        let hint = error.hint();
        let error = match error {
            LockError::Store(error) => Self::from(error),
            other => Self::failed(other.to_string()),
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
