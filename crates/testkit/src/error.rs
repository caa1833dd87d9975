//! What can go wrong while the local AWS or the local Kubernetes is set up.

use std::io;
use std::path::PathBuf;

/// Why the local AWS, or the local Kubernetes, could not be started.
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
    /// kcl could not be run, or what it is run for could not be set up.
    #[error("failed to run kcl")]
    Run {
        /// The system's answer.
        source: io::Error,
    },
    /// What sweeps disturb does not even work undisturbed.
    #[error("kcl's {stage} fails with nothing in its way:\n{said}")]
    Undisturbed {
        /// Which stage.
        stage: &'static str,
        /// Everything it said.
        said: String,
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
    /// No Go to build Kubernetes with.
    #[error(
        "failed to get Go to build Kubernetes for tests: {why}\nhint: install Go {needed} or later, or set KUBEBUILDER_ASSETS to a folder that has kube-apiserver, etcd and kubectl"
    )]
    NoGo {
        /// The version that the module needs.
        needed: &'static str,
        /// Why the one of the package index could not be had either.
        why: String,
    },
    /// Kubernetes could not be built, most often because its modules could not be had.
    #[error(
        "failed to build Kubernetes {version} for tests: `{command}`:\n{output}\nhint: the modules of tests/kubernetes come by `go env GOPROXY`, which must be reachable once; or set KUBEBUILDER_ASSETS to a folder that has kube-apiserver, etcd and kubectl"
    )]
    KubernetesBuild {
        /// The release.
        version: &'static str,
        /// The command as one would type it.
        command: String,
        /// The end of what it said.
        output: String,
    },
    /// A program of Kubernetes is not among those that there are.
    #[error(
        "no {name} in {}\nhint: if KUBEBUILDER_ASSETS is set, that folder must have it; unset it, and all programs are built",
        folder.display()
    )]
    NoProgram {
        /// Its name.
        name: String,
        /// Where it should be.
        folder: PathBuf,
    },
    /// A program of Kubernetes could not be run at all.
    #[error("failed to run {}", program.display())]
    Program {
        /// Its path.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program of Kubernetes ended, or did not become ready.
    #[error("{program} did not start: {why}; the end of {}:\n{tail}", log.display())]
    KubernetesStart {
        /// Its name.
        program: &'static str,
        /// What was seen.
        why: String,
        /// Its log; those of the other programs are beside it.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// What was waited for did not come about.
    #[error("`kubectl {asked}` did not come to what was waited for in {seconds} s; the last answer:\n{last}")]
    KubernetesWait {
        /// The arguments of kubectl.
        asked: String,
        /// How long it was asked.
        seconds: u64,
        /// What it said last.
        last: String,
    },
    /// What a helper asked a Kubernetes API server for itself was not answered with success.
    #[error("{asked} of the Kubernetes API server: {said}")]
    Kubernetes {
        /// What was asked.
        asked: String,
        /// The answer, or why there is none.
        said: String,
    },
    /// Keys or certificates could not be made or read.
    #[error("failed to {what}")]
    Keys {
        /// What was tried.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No port on loopback.
    #[error("failed to find a free port on 127.0.0.1")]
    Port {
        /// The system's answer.
        source: io::Error,
    },
}
