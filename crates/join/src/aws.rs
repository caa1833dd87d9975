//! What asking STS and EC2 has in common: where they are, and how they spell what goes wrong.

use std::fmt;

use hyper::Uri;
use roxmltree::Node;

use crate::refusal::Refusal;
use crate::region;

/// The longest error code that is repeated; AWS' own have less than half of it.
const MAX_CODE: usize = 64;

/// Where a service is connected to.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Scheme and authority, no slash at the end.
    pub(crate) base: String,
    /// The authority: what `Host` says where nothing else was signed.
    pub(crate) authority: String,
    /// Whether it is without TLS.
    pub(crate) plain: bool,
}

impl Endpoint {
    /// The region's own, or the one that the configuration names; nothing where that is no `http://` or
    /// `https://` with no more than host and port.
    pub(crate) fn new(service: &str, region: &str, configured: Option<&str>) -> Option<Self> {
        let Some(configured) = configured else {
            let authority = region::host(service, region);
            return Some(Self { base: format!("https://{authority}"), authority, plain: false });
        };
        let uri: Uri = configured.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let plain = match uri.scheme_str()? {
            "http" => true,
            "https" => false,
            _ => return None,
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
            return None;
        }
        let scheme = if plain { "http" } else { "https" };
        Some(Self { base: format!("{scheme}://{authority}"), authority: authority.to_owned(), plain })
    }
}

/// No answer of a service that could be used.
pub(crate) fn aws_failed(service: &'static str, why: impl fmt::Display) -> Refusal {
    Refusal::Aws { service, why: why.to_string() }
}

/// The text of a child element.
pub(crate) fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

/// A child element.
pub(crate) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The error code of an answer; both services have it in an element `Error`, at different depths.
pub(crate) fn error_code(xml: &str) -> Option<String> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let error = document.descendants().find(|node| node.tag_name().name() == "Error")?;
    let code = child_text(error, "Code")?;
    let known = code.len() <= MAX_CODE && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    known.then(|| code.to_owned())
}

/// Whether AWS only wants to be asked less often.
pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(code, "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_hosts_and_nothing_else() {
        let base = |text| Endpoint::new("sts", "eu-north-1", text).map(|endpoint| endpoint.base);
        assert_eq!(base(None).as_deref(), Some("https://sts.eu-north-1.amazonaws.com"));
        assert_eq!(base(Some("http://127.0.0.1:80/")).as_deref(), Some("http://127.0.0.1:80"));
        for other in ["", "sts.example", "ftp://sts.example", "https://a@b", "https://a/b", "https://a/?b"] {
            assert_eq!(base(Some(other)), None, "{other}");
        }
    }

    #[test]
    fn codes_are_found_where_each_service_has_them() {
        let sts =
            "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code></Error></ErrorResponse>";
        let ec2 =
            "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code></Error></Errors></Response>";
        assert_eq!(error_code(sts).as_deref(), Some("ExpiredToken"));
        assert_eq!(error_code(ec2).as_deref(), Some("InvalidInstanceID.NotFound"));
        assert_eq!(error_code("<Error><Code>a\nb</Code></Error>"), None);
        assert_eq!(error_code("<html>"), None);
    }
}
