//! Where services are.

use hyper::Uri;
use kcl_partition::Partition;

/// The domain of a region's services: `amazonaws.com`, `amazonaws.com.cn`.
pub fn suffix(region: &str) -> &'static str {
    Partition::of_region(region).dns_suffix
}

/// The host of a regional service.
pub fn host(service: &str, region: &str) -> String {
    format!("{service}.{region}.{}", suffix(region))
}

/// The region that a partition's global services are signed for, like `us-east-1`.
pub(crate) fn global_region(region: &str) -> &'static str {
    Partition::of_region(region).global_region
}

/// The host of a service that is one for all regions of the partition.
fn global_host(service: &str, region: &str) -> String {
    // The partition of the government shares the domain with the first.
    let below = if region.starts_with("us-gov-") { ".us-gov" } else { "" };
    format!("{service}{below}.{}", suffix(region))
}

/// Whether this can be a region's name, and so part of a host.
pub fn is_region(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (4..=32).contains(&text.len()) && text.contains('-') && text.split('-').all(part)
}

/// What was configured is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint\nhint: it is like https://host:port, with no path")]
pub struct EndpointError {
    /// What was given.
    pub text: String,
}

/// Where a server is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    plain: bool,
}

impl Endpoint {
    /// `http://` or `https://` with no more than host and port.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        Self::read(text).ok_or_else(|| EndpointError { text: text.to_owned() })
    }

    fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let more = !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@');
        (!more).then(|| Self { base: format!("{scheme}://{authority}"), plain: scheme == "http" })
    }

    /// A regional service's own endpoint, or the configured one.
    pub fn regional(service: &str, region: &str, configured: Option<&str>) -> Result<Self, EndpointError> {
        Self::own(&host(service, region), configured)
    }

    /// The endpoint of a service that is one for all regions of the partition, or the configured one.
    pub fn global(service: &str, region: &str, configured: Option<&str>) -> Result<Self, EndpointError> {
        Self::own(&global_host(service, region), configured)
    }

    fn own(host: &str, configured: Option<&str>) -> Result<Self, EndpointError> {
        match configured {
            Some(configured) => Self::parse(configured),
            None => Self::parse(&format!("https://{host}")),
        }
    }

    /// Scheme, host and port, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether it is without TLS.
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_partition() {
        for (region, regional, global, signed_for) in [
            ("eu-north-1", "ec2.eu-north-1.amazonaws.com", "route53.amazonaws.com", "us-east-1"),
            (
                "us-gov-east-1",
                "ec2.us-gov-east-1.amazonaws.com",
                "route53.us-gov.amazonaws.com",
                "us-gov-west-1",
            ),
            ("cn-north-1", "ec2.cn-north-1.amazonaws.com.cn", "route53.amazonaws.com.cn", "cn-northwest-1"),
            ("us-isob-east-1", "ec2.us-isob-east-1.sc2s.sgov.gov", "route53.sc2s.sgov.gov", "us-isob-east-1"),
            ("eusc-de-east-1", "ec2.eusc-de-east-1.amazonaws.eu", "route53.amazonaws.eu", "eusc-de-east-1"),
        ] {
            let base = |endpoint: Result<Endpoint, EndpointError>| endpoint.unwrap().base().to_owned();
            assert_eq!(base(Endpoint::regional("ec2", region, None)), format!("https://{regional}"));
            assert_eq!(base(Endpoint::global("route53", region, None)), format!("https://{global}"));
            assert_eq!(global_region(region), signed_for);
        }
    }

    #[test]
    fn endpoints_are_hosts_and_nothing_else() {
        let endpoint = Endpoint::regional("sts", "eu-north-1", Some("http://127.0.0.1:80/")).unwrap();
        assert_eq!((endpoint.base(), endpoint.is_plain()), ("http://127.0.0.1:80", true));
        for other in ["", "sts.example", "ftp://sts.example", "https://a@b", "https://a/b", "https://a/?b"] {
            assert!(Endpoint::parse(other).is_err(), "{other}");
            assert!(Endpoint::global("sts", "eu-north-1", Some(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn a_region_is_no_more_than_a_region() {
        for region in ["eu-north-1", "us-gov-east-1", "us-test-1"] {
            assert!(is_region(region), "{region}");
        }
        for other in
            ["", "eu", "eu-north-1.evil.example", "eu-north-1/", "eu--1", "EU-NORTH-1", "eu-north-1@x"]
        {
            assert!(!is_region(other), "{other}");
        }
    }
}
