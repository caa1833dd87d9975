//! Ctrl-C, and SIGTERM, which is how CI says it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Knows whether the user asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(watch::Receiver<bool>);

impl Interrupts {
    /// From now on the first signal only asks to stop, and the second one ends the process at once.
    pub(crate) fn listen() -> Self {
        let (tell, asked) = watch::channel(false);
        tokio::spawn(async move {
            interrupt().await;
            let _ = tell.send(true);
            interrupt().await;
            leave_at_once();
        });
        Self(asked)
    }

    /// Ends when the user asked to stop.
    pub(crate) async fn asked(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Resolves at Ctrl-C or SIGTERM.
async fn interrupt() {
    let ctrl_c = tokio::signal::ctrl_c();
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = ctrl_c => {}
        _ = terminate => {}
    }
}

#[expect(clippy::exit, reason = "the second Ctrl-C means: now")]
fn leave_at_once() -> ! {
    // The shell's code for "ended by Ctrl-C". Nothing is lost: the next run goes on.
    std::process::exit(130)
}
