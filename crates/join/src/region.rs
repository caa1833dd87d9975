//! Where a region's services are.

/// The DNS suffix of each partition, by how its regions' names begin; any other region is in the first partition.
/// From botocore's `partitions.json`.
const SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eusc-", "amazonaws.eu"),
];

/// The host of the region's STS.
pub fn sts_host(region: &str) -> String {
    host("sts", region)
}

/// The host of a regional service.
pub(crate) fn host(service: &str, region: &str) -> String {
    let found = SUFFIXES.iter().find(|(prefix, _)| region.starts_with(prefix));
    format!("{service}.{region}.{}", found.map_or("amazonaws.com", |(_, suffix)| suffix))
}

/// Whether this can be a region's name, and so part of a host.
pub(crate) fn is_region(text: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (4..=32).contains(&text.len()) && text.contains('-') && text.split('-').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_partition() {
        assert_eq!(sts_host("eu-north-1"), "sts.eu-north-1.amazonaws.com");
        assert_eq!(sts_host("us-gov-west-1"), "sts.us-gov-west-1.amazonaws.com");
        assert_eq!(sts_host("cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(sts_host("us-isob-east-1"), "sts.us-isob-east-1.sc2s.sgov.gov");
        assert_eq!(host("ec2", "eusc-de-east-1"), "ec2.eusc-de-east-1.amazonaws.eu");
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
