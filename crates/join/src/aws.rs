//! What asking STS and EC2 has in common.

use std::fmt;
use std::time::Duration;

use crate::refusal::Refusal;

/// How long one request may take, connecting included: whoever waits at the other end of a join has other control
/// planes to ask.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// No answer of a service that could be used.
pub(crate) fn aws_failed(service: &'static str, why: impl fmt::Display) -> Refusal {
    Refusal::Aws { service, why: why.to_string() }
}
