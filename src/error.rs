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

/// What to do about an AWS error.
pub(crate) fn hint(error: &kcl_aws::Error) -> Option<String> {
    let hint = match error.kind {
        ErrorKind::Credentials if error.code.as_ref().is_some_and(|code| code.contains("Expired")) => {
            "these credentials have expired: sign in again, as with `aws sso login`"
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
        ErrorKind::NoRegion => "set --region or AWS_REGION",
        // What a spec names was looked up, and is not there.
        ErrorKind::NotFound if error.code.is_none() => {
            "check the spec, the region, and that this is the account you mean: `aws sts get-caller-identity`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The process's exit code for an error.
pub(crate) fn exit_code(error: &CommandError, detailed: bool) -> ExitCode {
    match error.failure {
        Failure::Usage if !detailed => ExitCode::from(2),
        Failure::Usage | Failure::Failed => ExitCode::from(1),
    }
}
