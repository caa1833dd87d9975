//! One error for all commands: what failed, why, what to type next, and which exit code that is.

use std::process::ExitCode;

use kcl_aws::ErrorKind;
use kcl_spec::Diagnostics;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Wrong usage or a bad spec.
    Usage,
    /// Anything else.
    Failed,
    /// The cluster is there and not healthy.
    Unhealthy,
    /// The API server cannot be reached.
    Unreachable,
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// Its kind.
    pub(crate) failure: Failure,
    /// What went wrong: one entry each, already in words.
    pub(crate) messages: Vec<String>,
    /// What to do next.
    pub(crate) hints: Vec<String>,
    /// Mistakes in a spec, shown where they stand.
    pub(crate) diagnostics: Option<Diagnostics>,
}

impl CommandError {
    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { failure: Failure::Usage, messages: vec![message.into()], hints: Vec::new(), diagnostics: None }
    }

    /// A failure.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { failure: Failure::Failed, ..Self::usage(message) }
    }

    /// The same, with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }
}

impl From<Diagnostics> for CommandError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self {
            failure: Failure::Usage,
            messages: Vec::new(),
            hints: Vec::new(),
            diagnostics: Some(diagnostics),
        }
    }
}

impl From<kcl_aws::Error> for CommandError {
    fn from(error: kcl_aws::Error) -> Self {
        Self::from(vec![error])
    }
}

impl From<Vec<kcl_aws::Error>> for CommandError {
    fn from(errors: Vec<kcl_aws::Error>) -> Self {
        let mut command = Self::failed(String::new());
        command.messages.clear();
        for error in errors {
            let hint = hint(&error);
            let message = error.to_string();
            if !command.messages.contains(&message) {
                command.messages.push(message);
            }
            if let Some(hint) = hint {
                command = command.hint(hint);
            }
        }
        command
    }
}

impl From<kcl_model::ModelError> for CommandError {
    fn from(error: kcl_model::ModelError) -> Self {
        let command = Self { failure: Failure::Usage, ..Self::failed(error.to_string()) };
        match error.hint() {
            Some(hint) => command.hint(hint),
            None => command,
        }
    }
}

impl From<kcl_engine::PlanError> for CommandError {
    fn from(error: kcl_engine::PlanError) -> Self {
        Self::failed(error.to_string()).hint("this is a mistake in kcl; please report it with your spec")
    }
}

impl From<kcl_kube::Error> for CommandError {
    fn from(error: kcl_kube::Error) -> Self {
        let kind = error.kind();
        let is_of_spec = matches!(error, kcl_kube::Error::Wanted(_));
        let messages = match error {
            // Each stands for itself.
            kcl_kube::Error::Conflicts(conflicts) => conflicts.iter().map(ToString::to_string).collect(),
            kcl_kube::Error::NotReady(unready) => unready.iter().map(ToString::to_string).collect(),
            kcl_kube::Error::Wanted(faults) => faults.iter().map(ToString::to_string).collect(),
            kcl_kube::Error::Objects(errors) => errors.iter().map(ToString::to_string).collect(),
            error => vec![error.to_string()],
        };
        let failure = match kind {
            kcl_kube::ErrorKind::Unreachable => Failure::Unreachable,
            kcl_kube::ErrorKind::NotReady => Failure::Unhealthy,
            _ if is_of_spec => Failure::Usage,
            _ => Failure::Failed,
        };
        let command = Self { failure, messages, ..Self::failed(String::new()) };
        match kubernetes_hint(kind) {
            Some(hint) => command.hint(hint),
            None => command,
        }
    }
}

/// What to do about an error of Kubernetes.
fn kubernetes_hint(kind: kcl_kube::ErrorKind) -> Option<&'static str> {
    use kcl_kube::ErrorKind;
    Some(match kind {
        ErrorKind::Unreachable => {
            "check that `kubernetesApiAccess` lets your address in; --api-server URL takes another way (a tunnel), \
             --skip-bootstrap does without Kubernetes"
        }
        ErrorKind::Access => "check the file and the keys that it names",
        ErrorKind::Unauthorized => {
            "is it this cluster's API server? kcl shows it a certificate of the keys in the state store, or whatever is in \
             the file of --kubeconfig, which may have expired"
        }
        ErrorKind::Forbidden => {
            "give that permission, or reach the API server as somebody who has it: --kubeconfig FILE"
        }
        ErrorKind::Conflict => {
            "set the field back to what the spec wants, or write into the spec what is there. An object that kcl has not \
             applied so far, and that belongs to no other set, is taken over with --force-conflicts"
        }
        ErrorKind::Timeout | ErrorKind::Stopped | ErrorKind::Server => {
            "run the same command again: it goes on where this one stopped"
        }
        ErrorKind::NotReady => "mend the cause and run the same command again: it waits again",
        _ => return None,
    })
}

impl From<kcl_kube::RemoteError> for CommandError {
    fn from(error: kcl_kube::RemoteError) -> Self {
        let command = Self::failed(error.to_string());
        match error {
            kcl_kube::RemoteError::Hash { .. } => command
                .hint("look at what is there now, and write its hash into the spec if it is what you want"),
            _ => command,
        }
    }
}

/// What S3 and STS say to an access key that they do not know; whatever is done begins with one of them.
const UNKNOWN_KEY: [&str; 3] = ["InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"];

/// What to do about an AWS error.
pub(crate) fn hint(error: &kcl_aws::Error) -> Option<String> {
    let hint = match error.kind {
        ErrorKind::Credentials if kcl_aws::is_about_time(error) => {
            "this machine's clock is wrong, or that of whoever answers: `timedatectl` shows and sets it"
        }
        ErrorKind::Credentials if error.is_code(&["RequestExpired"]) => {
            "these credentials have expired, or this machine's clock is wrong: sign in again, as with `aws sso login`"
        }
        ErrorKind::Credentials if error.code.as_ref().is_some_and(|code| code.contains("Expired")) => {
            "these credentials have expired: sign in again, as with `aws sso login`"
        }
        ErrorKind::Credentials if error.is_code(&UNKNOWN_KEY) => {
            "check the keys and the region: accounts of AWS China, GovCloud and the European Sovereign Cloud are known in \
             their own regions only; `aws sts get-caller-identity` shows who you are"
        }
        ErrorKind::Credentials => {
            "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
             `aws sts get-caller-identity` shows who you are"
        }
        ErrorKind::Denied if error.action.starts_with("s3:") => {
            "ask whoever manages the account to allow this action for you; bucket names are shared by all of \
             AWS, so if the bucket is somebody else's, choose another name"
        }
        ErrorKind::Denied => "ask whoever manages the account to allow this action for you",
        ErrorKind::Unreachable => "check the network, the region's name, and AWS_ENDPOINT_URL if it is set",
        ErrorKind::Throttled => "AWS is busy with this account's calls; run the same command again later",
        ErrorKind::Ambiguous | ErrorKind::TimedOut => {
            "run the same command again: it goes on where this one stopped"
        }
        ErrorKind::Conflict => "somebody else was faster: look at what is there now, and try again",
        ErrorKind::LockLost => {
            "look at who else works on this cluster, and run the same command again: it goes on from what is there"
        }
        ErrorKind::NoRegion => "set --region or AWS_REGION",
        // What a spec names was looked up, and is not there.
        ErrorKind::NotFound if error.code.is_none() => {
            "check the spec, the region, and that this is the account you mean: `aws sts get-caller-identity`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The process's exit code for an error. With `detailed`, 2 means "changes pending", and every error is 1.
pub(crate) fn exit_code(error: &CommandError, detailed: bool) -> ExitCode {
    ExitCode::from(match error.failure {
        Failure::Failed => 1,
        _ if detailed => 1,
        Failure::Usage => 2,
        Failure::Unhealthy => 3,
        Failure::Unreachable => 4,
    })
}
