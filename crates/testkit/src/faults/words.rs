//! How each service says what went wrong.

use hyper::StatusCode;

use super::kubernetes;
use crate::call::Call;
use crate::wire::{Protocol, Response};

/// Too many calls: <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
pub(super) fn throttled(call: &Call) -> Response {
    let (status, code, message) = match call.protocol {
        Protocol::Kubernetes => return kubernetes::throttled(),
        Protocol::Ec2 => (503, "RequestLimitExceeded", "Request limit exceeded."),
        Protocol::S3 => (503, "SlowDown", "Please reduce your request rate."),
        Protocol::Json => (400, "ThrottlingException", "Rate exceeded"),
        Protocol::Query | Protocol::RestXml => (400, "Throttling", "Rate exceeded"),
    };
    Response::error(call.protocol, status, code, message)
}

/// A failure of the service, or of the balancer in front of it.
pub(super) fn server_error(call: &Call, status: u16) -> Response {
    let html = |status: StatusCode| {
        let reason = status.canonical_reason().unwrap_or_default();
        let body = format!("<html><head><title>{status}</title></head><body>{reason}</body></html>");
        Response::new(status, "text/html", body)
    };
    if call.protocol == Protocol::Kubernetes && status != 502 {
        return kubernetes::server_error(status);
    }
    match status {
        502 => html(StatusCode::BAD_GATEWAY),
        504 => html(StatusCode::GATEWAY_TIMEOUT),
        503 => {
            Response::error(call.protocol, 503, "ServiceUnavailable", "Service is unable to handle request.")
        }
        _ => {
            let code = if call.protocol == Protocol::Json { "InternalFailure" } else { "InternalError" };
            Response::error(call.protocol, status, code, "An internal error has occurred")
        }
    }
}

/// Credentials that were good and are not any more.
pub(super) fn expired(call: &Call) -> Response {
    let message = "The security token included in the request is expired";
    match call.protocol {
        Protocol::Ec2 => Response::error(call.protocol, 400, "RequestExpired", "Request has expired."),
        Protocol::S3 => {
            Response::error(call.protocol, 400, "ExpiredToken", "The provided token has expired.")
        }
        Protocol::Json => Response::error(call.protocol, 400, "ExpiredTokenException", message),
        Protocol::Kubernetes => kubernetes::unauthorized(),
        Protocol::Query | Protocol::RestXml => Response::error(call.protocol, 403, "ExpiredToken", message),
    }
}

/// Credentials that do not allow the action.
pub(super) fn denied(call: &Call) -> Response {
    if call.protocol == Protocol::Kubernetes {
        return kubernetes::forbidden(call);
    }
    let message = format!(
        "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: {} because no identity-based policy \
         allows the action",
        call.name()
    );
    let (status, code) = match call.protocol {
        Protocol::Ec2 => (403, "UnauthorizedOperation"),
        Protocol::Json => (400, "AccessDeniedException"),
        Protocol::S3 | Protocol::Query | Protocol::RestXml | Protocol::Kubernetes => (403, "AccessDenied"),
    };
    Response::error(call.protocol, status, code, &message)
}

/// A request that will never be taken.
pub(super) fn refused(call: &Call) -> Response {
    let code = match call.protocol {
        Protocol::Ec2 => "InvalidParameterValue",
        Protocol::S3 => "InvalidRequest",
        Protocol::Kubernetes => "BadRequest",
        Protocol::Json | Protocol::Query | Protocol::RestXml => "ValidationError",
    };
    Response::error(call.protocol, 400, code, "This value of a parameter is not taken")
}

/// Auto Scaling's own role is so new that it cannot be used.
pub(super) fn unassumed(call: &Call) -> Response {
    let message = "Access denied when attempting to assume role arn:aws:iam::123456789012:role/aws-service-role/\
                   autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling. Validating load balancer \
                   configuration failed.";
    Response::error(call.protocol, 400, "ValidationError", message)
}

/// Somebody else changed it between reading and writing.
pub(super) fn conflict(call: &Call) -> Response {
    kubernetes::conflict(call)
}

/// Something still uses it.
pub(super) fn in_use(call: &Call) -> Response {
    let (status, code) = match call.service.as_str() {
        "ec2" => (400, "DependencyViolation"),
        "iam" => (409, "DeleteConflict"),
        "autoscaling" | "elasticloadbalancing" => (400, "ResourceInUse"),
        _ => (400, "ResourceInUseException"),
    };
    Response::error(call.protocol, status, code, "it has dependent objects and cannot be deleted now")
}

/// A signature of another time:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>.
pub(super) fn skewed(call: &Call) -> Response {
    let message = "Signature expired: the time of the request is too far from this server's";
    match call.protocol {
        Protocol::S3 => Response::error(
            call.protocol,
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
        Protocol::Ec2 => Response::error(call.protocol, 400, "RequestExpired", "Request has expired."),
        Protocol::Json => Response::error(call.protocol, 400, "InvalidSignatureException", message),
        // A clock that is wrong makes a client's certificate invalid, and nothing else.
        Protocol::Kubernetes => kubernetes::unauthorized(),
        Protocol::Query | Protocol::RestXml => {
            Response::error(call.protocol, 403, "SignatureDoesNotMatch", message)
        }
    }
}
