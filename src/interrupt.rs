//! Ctrl-C, and SIGTERM, which is how CI says it.

use std::future::Future;
use std::sync::OnceLock;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Knows whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(watch::Receiver<bool>);

/// Signals are the process's: whoever begins to listen later knows of earlier ones.
static LISTENING: OnceLock<Interrupts> = OnceLock::new();

impl Interrupts {
    /// From the first of these calls on the first signal only asks to stop, and the second one ends the process at once.
    pub(crate) fn listen() -> Self {
        let begin = || {
            let (tell, asked) = watch::channel(false);
            let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
            let mut signals = kinds.map(|kind| signal(kind).ok());
            tokio::spawn(async move {
                any(&mut signals).await;
                let _ = tell.send(true);
                any(&mut signals).await;
                leave_at_once();
            });
            Self(asked)
        };
        LISTENING.get_or_init(begin).clone()
    }

    /// Whether the user asked to stop.
    pub(crate) fn are_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the user asked to stop.
    pub(crate) async fn asked(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens any more.
            std::future::pending::<()>().await;
        }
    }

    /// What `looking`, which changes nothing, comes to; `None` where the user asked to stop before.
    pub(crate) async fn unless_asked<T>(&self, looking: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            result = looking => Some(result),
        }
    }
}

/// Resolves at one of these signals.
async fn any([first, second]: &mut [Option<Signal>; 2]) {
    tokio::select! {
        () = comes(first) => {}
        () = comes(second) => {}
    }
}

/// One that cannot be listened for never comes.
async fn comes(signal: &mut Option<Signal>) {
    let has_come = match signal {
        Some(signal) => signal.recv().await.is_some(),
        None => false,
    };
    if !has_come {
        std::future::pending::<()>().await;
    }
}

#[expect(clippy::exit, reason = "the second Ctrl-C means: now")]
fn leave_at_once() -> ! {
    // The shell's code for "ended by Ctrl-C". Nothing is lost: the next run goes on.
    std::process::exit(130)
}
