//! Rules about single values: names, ranges, ids, durations.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::check::Check;
use crate::read::{List, Scalar};
use crate::source::Located;

/// A DNS label (RFC 1123), in lower case.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS name: labels with dots between them.
pub(super) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Notes what is no DNS name.
pub(super) fn dns_name(field: Option<&Located<String>>, check: &mut Check) -> Option<String> {
    let field = field?;
    if !is_dns_name(&field.value) {
        let title = format!("`{}` is not a DNS name", field.value);
        check.hinted(&field.place, title, "lower-case letters, digits, `-` and dots");
    }
    Some(field.value.clone())
}

/// An id of AWS: the prefix, and letters and digits after it.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|char| char.is_ascii_alphanumeric()))
}

/// Notes an id of the wrong form.
pub(super) fn id(
    field: Option<&Located<String>>,
    prefix: &str,
    what: &str,
    check: &mut Check,
) -> Option<String> {
    let field = field?;
    if !is_id(&field.value, prefix) {
        let title = format!("`{}` is not the id of {what}", field.value);
        check.hinted(&field.place, title, format!("it begins with `{prefix}`"));
    }
    Some(field.value.clone())
}

/// Ids of security groups, each once.
pub(super) fn security_groups(list: Option<&Located<List<String>>>, check: &mut Check) -> Vec<String> {
    let Some(list) = list else { return Vec::new() };
    check.unique("security group", &list.value);
    list.value.iter().filter_map(|group| id(Some(group), "sg-", "a security group", check)).collect()
}

/// An ARN of that service whose resource begins so: `arn:<partition>:<service>:...:<resource>`.
pub(super) fn is_arn(text: &str, service: &str, resource: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, found, _, _, rest]
        if partition.starts_with("aws") && *found == service && rest.len() > resource.len() && rest.starts_with(resource))
}

/// Notes an ARN of the wrong form.
pub(super) fn arn(field: &Located<String>, service: &str, resource: &str, what: &str, check: &mut Check) {
    if !is_arn(&field.value, service, resource) {
        let title = format!("`{}` is not the ARN of {what}", field.value);
        let account = if service == "iam" { "" } else { "<region>" };
        let hint = format!("it looks like `arn:aws:{service}:{account}:<account>:{resource}...`");
        check.hinted(&field.place, title, hint);
    }
}

/// An IPv4 range without host bits; `None` when it is none, which is noted.
pub(super) fn cidr4(field: &Located<String>, check: &mut Check) -> Option<Ipv4Net> {
    match cidr(field, check)? {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => {
            check.error(
                &field.place,
                format!("`{}` is an IPv6 range; only IPv4 is supported here", field.value),
            );
            None
        }
    }
}

/// An IP range without host bits; `None` when it is none, which is noted.
pub(super) fn cidr(field: &Located<String>, check: &mut Check) -> Option<IpNet> {
    if is_id(&field.value, "pl-") {
        let hint = "write the list's CIDRs instead";
        check.hinted(&field.place, "prefix lists are not supported", hint);
        return None;
    }
    let Ok(net) = field.value.parse::<IpNet>() else {
        let title = format!("`{}` is not a CIDR", field.value);
        let hint = match field.value.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("did you mean `{address}/32`?"),
            Ok(IpAddr::V6(address)) => format!("did you mean `{address}/128`?"),
            Err(_) => "write an address and a prefix length, as in `10.0.0.0/16`".to_owned(),
        };
        check.hinted(&field.place, title, hint);
        return None;
    };
    if net != net.trunc() {
        let title = format!("`{}` has bits set after its prefix", field.value);
        check.hinted(&field.place, title, format!("did you mean `{}`?", net.trunc()));
    }
    Some(net.trunc())
}

/// A list of IP ranges, each once.
pub(super) fn cidrs(list: Option<&Located<List<String>>>, check: &mut Check) -> Vec<IpNet> {
    let Some(list) = list else { return Vec::new() };
    check.unique("CIDR", &list.value);
    list.value.iter().filter_map(|item| cidr(item, check)).collect()
}

/// Two ranges have addresses in common.
pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// A whole number within bounds; one outside them is noted and the nearest possible one given.
pub(super) fn bounded(
    field: Option<&Located<i64>>,
    what: &str,
    min: u32,
    max: u32,
    check: &mut Check,
) -> Option<u32> {
    let field = field?;
    match u32::try_from(field.value) {
        Ok(value) if (min..=max).contains(&value) => Some(value),
        _ => {
            let hint = match max {
                u32::MAX => format!("at least {min}"),
                max => format!("from {min} to {max}"),
            };
            check.hinted(&field.place, format!("{what} cannot be {}", spelled(field)), hint);
            Some(if field.value < i64::from(min) { min } else { max })
        }
    }
}

/// A number as it was written: one that is too large to be one was read as the largest there is.
pub(super) fn spelled(field: &Located<i64>) -> String {
    let is_limit = matches!(field.value, i64::MIN | i64::MAX);
    let written = || field.place.text().trim_matches(['+', '"', '\'']).to_owned();
    if is_limit { written() } else { field.value.to_string() }
}

/// A duration in Go's form (`48h20m`, `90s`, `0`), in whole seconds.
pub(super) fn go_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let unit_at = rest.find(|char: char| char.is_ascii_alphabetic())?;
        let number = rest.get(..unit_at)?;
        if !number.chars().all(|char| char.is_ascii_digit() || char == '.') {
            return None;
        }
        let number: f64 = number.parse().ok()?;
        let after = rest.get(unit_at..)?;
        let unit_len = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let seconds = match after.get(..unit_len)? {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        rest = after.get(unit_len..)?;
    }
    if text.is_empty() || !(0.0..=1e12).contains(&total) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    Some(total as u64)
}

/// A Kubernetes quantity in whole units, rounded up: `2`, `500m`, `4Gi`, `1e3`.
pub(super) fn quantity(text: &str) -> Option<u64> {
    let value = quantity_value(text)?;
    if !(0.0..=1e18).contains(&value) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    Some(value.ceil() as u64)
}

/// A Kubernetes quantity that is not negative, near enough to tell which of two is the larger.
pub(super) fn quantity_value(text: &str) -> Option<f64> {
    let unit_at = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?.into()),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Notes what is no quantity.
pub(super) fn quantity_field(field: Option<&Located<Scalar>>, check: &mut Check) -> Option<String> {
    let field = field?;
    if quantity_value(&field.value.0).is_none() {
        let title = format!("`{}` is not a quantity", field.value.0);
        check.hinted(&field.place, title, "a number with a unit of Kubernetes, as in `100m` or `64Mi`");
    }
    Some(field.value.0.clone())
}

/// Notes what is no duration in Go's form.
pub(super) fn duration_field(field: Option<&Located<String>>, check: &mut Check) -> Option<String> {
    let field = field?;
    if go_duration(&field.value).is_none() {
        let title = format!("`{}` is not a duration", field.value);
        check.hinted(&field.place, title, "numbers with units, as in `10m0s` or `90s`");
    }
    Some(field.value.clone())
}

/// The address of a registry, maybe with a path: `registry.example.com:5000/mirror`.
pub(super) fn is_registry(text: &str) -> bool {
    let mut parts = text.split('/');
    let host = parts.next().unwrap_or_default();
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    is_dns_name(name) && port.parse::<u16>().is_ok() && parts.all(is_path_part)
}

/// One part of an image's path: runs of letters and digits with `.`, `_`, `__` or dashes between.
fn is_path_part(text: &str) -> bool {
    let is_word = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let runs = text.split(is_word).filter(|run| !run.is_empty());
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && runs.into_iter().all(|run| matches!(run, "." | "_" | "__") || run.chars().all(|char| char == '-'))
}

/// A tag of an image.
pub(super) fn is_tag(text: &str) -> bool {
    let is_known = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
    (1..=128).contains(&text.len()) && text.chars().all(is_known) && !text.starts_with(['.', '-'])
}

/// An image: `[registry/]path[:tag][@sha256:...]`.
pub(super) fn is_image(text: &str) -> bool {
    let (text, digest) = text.split_once('@').map_or((text, None), |(text, digest)| (text, Some(digest)));
    let (name, tag) = match text.rsplit_once(':') {
        // Else the colon is that of a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            if !is_registry(host) {
                return false;
            }
            path
        }
        _ => name,
    };
    path.split('/').all(is_path_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(is_sha256))
}

/// The address of a web server, with a path if need be and without a slash at its end: what release files may come
/// from. `None` for anything else, as one with a password.
pub fn web_server(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/%+".contains(c);
    (!rest.is_empty() && !rest.starts_with('/') && rest.chars().all(fits)).then_some(text)
}

/// 64 hexadecimal digits.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|char| char.is_ascii_hexdigit())
}

/// ARN of an IAM role or user: what can be somebody. An account has twelve digits.
pub(super) fn is_principal(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_name = |name: &str| {
        let is_known = |char: char| char.is_ascii_alphanumeric() || "+=,.@_-/".contains(char);
        !name.is_empty() && !name.ends_with('/') && !name.starts_with('/') && name.chars().all(is_known)
    };
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, name]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.chars().all(|char| char.is_ascii_digit())
            && ["role/", "user/"].iter().any(|kind| name.strip_prefix(kind).is_some_and(is_name)))
}

/// The name of an RBAC role, which has more freedom than other names: `system:node-proxier`.
pub(super) fn is_role_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && !matches!(text, "." | "..")
        && text.chars().all(|char| char.is_ascii_graphic() && !matches!(char, '/' | '%'))
}

/// The region of an availability, local or wavelength zone, by its name: `eu-north-1a` is in
/// `eu-north-1`, `us-west-2-lax-1a` in `us-west-2`.
pub(super) fn region_of(zone: &str) -> Option<String> {
    let parts: Vec<&str> = zone.split('-').collect();
    let words = parts.iter().take_while(|part| is_word(part)).count();
    if words < 2 || !(2..=4).contains(&parts.first()?.len()) {
        return None;
    }
    let digits = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_digit());
    let with_letter =
        |text: &str| text.strip_suffix(|char: char| char.is_ascii_lowercase()).is_some_and(digits);
    let area = parts.get(..words)?.join("-");
    let number = *parts.get(words)?;
    match parts.get(words + 1..)? {
        [] if with_letter(number) => Some(format!("{area}-{}", number.trim_end_matches(char::is_alphabetic))),
        [.., last] if digits(number) && with_letter(last) => Some(format!("{area}-{number}")),
        // Wavelength zones: us-east-1-wl1-bos-wlz-1.
        [.., "wlz", last] if digits(number) && digits(last) => Some(format!("{area}-{number}")),
        _ => None,
    }
}

/// The name of a region: a zone without its letter.
pub(super) fn is_region(text: &str) -> bool {
    region_of(&format!("{text}a")).is_some_and(|region| region == text)
}

/// The regions of AWS' partitions. New ones come every year: one that is not here is not a mistake.
pub(super) const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_lowercase())
}

/// A qualified name as Kubernetes has it for labels and taints: `name` or `example.com/name`.
pub(super) fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

/// A value of a Kubernetes label; may be empty.
pub(super) fn is_label_value(text: &str) -> bool {
    let alphanumeric = |char: char| char.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(|char| alphanumeric(char) || matches!(char, '-' | '_' | '.'))
        && text.chars().next().is_none_or(alphanumeric)
        && text.chars().last().is_none_or(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_from_zones() {
        let region = |zone| region_of(zone);
        assert_eq!(region("eu-north-1a").as_deref(), Some("eu-north-1"));
        assert_eq!(region("us-gov-west-1b").as_deref(), Some("us-gov-west-1"));
        assert_eq!(region("us-test-1a").as_deref(), Some("us-test-1"));
        assert_eq!(region("us-west-2-lax-1a").as_deref(), Some("us-west-2"));
        assert_eq!(region("us-east-1-wl1-bos-wlz-1").as_deref(), Some("us-east-1"));
        for zone in [
            "",
            "a",
            "eu-north-1",
            "eunorth1a",
            "eu-north1a",
            "EU-north-1a",
            "eu-north-1ab",
            "eu-north-a",
            "eu-1a",
            "europe-north-1a",
        ] {
            assert_eq!(region(zone), None, "{zone}");
        }
        assert!(is_region("eu-north-1"));
        assert!(!is_region("eu-north-1a"));
    }

    #[test]
    fn durations_are_read_as_go_does() {
        assert_eq!(go_duration("48h20m"), Some(174_000));
        assert_eq!(go_duration("0"), Some(0));
        assert_eq!(go_duration("1.5h"), Some(5400));
        for text in ["", "48", "h", "48d", "-1h", "1h-2m", "inf", "1e30h"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        assert_eq!(quantity("2"), Some(2));
        assert_eq!(quantity("4Gi"), Some(4 << 30));
        assert_eq!(quantity("500m"), Some(1));
        assert_eq!(quantity("1e3"), Some(1000));
        assert_eq!(quantity("1E3"), Some(1000));
        assert_eq!(quantity("2500u"), Some(1));
        assert_eq!(quantity(".5Ki"), Some(512));
        for text in
            ["", "x", "4GiB", "-1", ".", "1.2.3", "Gi", "1e", "1e99999", "1 Gi", "inf", "nan", "0x10", "1\n"]
        {
            assert_eq!(quantity(text), None, "{text}");
        }
        assert!(
            quantity_value("1500m") > quantity_value("1") && quantity_value("1Gi") > quantity_value("1G")
        );
    }

    #[test]
    fn images_are_told_from_what_is_none() {
        let digest = format!("a@sha256:{}", "0123456789abcdef".repeat(4));
        for image in [
            "nginx",
            "nginx:1.27",
            "library/nginx",
            "registry.k8s.io/provider-aws/cloud-controller-manager:v1.36.0",
            "localhost:5000/a_b/c__d:x",
            "registry.example.com:5000/a-b",
            &digest,
        ] {
            assert!(is_image(image), "{image}");
        }
        for image in [
            "",
            ":v1",
            "nginx:",
            "Nginx",
            "a b",
            "a//b",
            "/a",
            "a/",
            "https://registry.k8s.io/a",
            "registry.k8s.io:port/a",
            "a@sha256:12",
            "a@md5:12",
            "a:-x",
            "a\nb",
            "a\"b",
            "a:v1@",
        ] {
            assert!(!is_image(image), "{image}");
        }
        assert!(is_registry("registry.example.com:5000/mirror") && is_registry("proxy"));
        for registry in ["", "https://x", "x/", "x:y", "x/Y"] {
            assert!(!is_registry(registry), "{registry}");
        }
    }

    #[test]
    fn principals_are_roles_and_users() {
        assert!(is_principal("arn:aws:iam::123456789012:role/Admin"));
        assert!(is_principal("arn:aws-cn:iam::123456789012:user/team/alice@example.com"));
        for text in [
            "",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::1234:role/a",
            "arn:aws:sts::123456789012:assumed-role/a/b",
            "arn:aws:iam::123456789012:group/a",
            "arn:aws:iam::123456789012:role/a b",
        ] {
            assert!(!is_principal(text), "{text}");
        }
    }

    #[test]
    fn arns_tell_service_and_resource() {
        assert!(is_arn("arn:aws:iam::123456789012:policy/x", "iam", "policy/"));
        assert!(is_arn("arn:aws-test:iam::aws:policy/x", "iam", "policy/"));
        for text in [
            "",
            "policy/x",
            "arn:aws:iam::123456789012:role/x",
            "arn:aws:iam::1:policy/",
            "arn:gcp:iam::1:policy/x",
        ] {
            assert!(!is_arn(text, "iam", "policy/"), "{text}");
        }
    }
}
