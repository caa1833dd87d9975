//! What can go wrong while the local AWS is set up.

use std::io;
use std::path::PathBuf;

/// Why the local AWS could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No folder to keep moto in.
    #[error("no cache folder: none of KCL_CACHE_DIR, XDG_CACHE_HOME and HOME is set")]
    NoCacheFolder,
    /// A file or folder of the cache could not be used.
    #[error("failed to {what} {}", path.display())]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Python is missing or cannot make virtual environments.
    #[error(
        "failed to run `{command}`\nhint: the local AWS is written in Python: install python3 (3.10 or later) with its venv module"
    )]
    Python {
        /// The command as one would type it.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Making the virtual environment failed.
    #[error("`{command}` failed:\n{output}\nhint: {hint}")]
    Install {
        /// The command as one would type it.
        command: String,
        /// The end of what it said.
        output: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// moto ended, or did not say its port, before it could be used.
    #[error("the local AWS did not start ({why}); the end of {}:\n{tail}", log.display())]
    Moto {
        /// What was seen.
        why: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The front could not get its port or its threads.
    #[error("failed to start the front of the local AWS")]
    Front {
        /// The system's answer.
        source: io::Error,
    },
    /// A call that a helper made for itself was not answered with success.
    #[error("{action} of the local AWS answered {status}: {body}")]
    Call {
        /// The action called.
        action: String,
        /// HTTP status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// The independent listing of an account failed.
    #[error("failed to list what the account holds:\n{output}")]
    Audit {
        /// What the script said.
        output: String,
    },
}
