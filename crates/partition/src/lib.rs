//! The partitions of AWS: clouds of their own, with regions, accounts and domains that the others do not know.
//!
//! Where services are, and how ARNs begin, follows from a region's name alone.

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What ARNs say: `aws`, `aws-cn`.
    pub name: &'static str,
    /// The domain of its services: `amazonaws.com`, `amazonaws.com.cn`.
    pub dns_suffix: &'static str,
    /// The region that its global services are signed for, like `us-east-1`.
    pub global_region: &'static str,
    /// How the names of its regions begin; nothing for the first partition, which has all others.
    prefix: &'static str,
}

impl Partition {
    /// All of them, the first one last. From botocore's `partitions.json` and `endpoints.json`.
    pub const ALL: [Self; 8] = [
        Self::new("aws-cn", "amazonaws.com.cn", "cn-northwest-1", "cn-"),
        Self::new("aws-us-gov", "amazonaws.com", "us-gov-west-1", "us-gov-"),
        Self::new("aws-iso", "c2s.ic.gov", "us-iso-east-1", "us-iso-"),
        Self::new("aws-iso-b", "sc2s.sgov.gov", "us-isob-east-1", "us-isob-"),
        Self::new("aws-iso-e", "cloud.adc-e.uk", "eu-isoe-west-1", "eu-isoe-"),
        Self::new("aws-iso-f", "csp.hci.ic.gov", "us-isof-south-1", "us-isof-"),
        Self::new("aws-eusc", "amazonaws.eu", "eusc-de-east-1", "eusc-"),
        Self::FIRST,
    ];

    const FIRST: Self = Self::new("aws", "amazonaws.com", "us-east-1", "");

    const fn new(
        name: &'static str,
        dns_suffix: &'static str,
        global_region: &'static str,
        prefix: &'static str,
    ) -> Self {
        Self { name, dns_suffix, global_region, prefix }
    }

    /// The partition of a region.
    pub fn of_region(region: &str) -> Self {
        Self::ALL.into_iter().find(|partition| region.starts_with(partition.prefix)).unwrap_or(Self::FIRST)
    }

    /// What EC2 calls itself where a role is handed to it. What other services of kcl's call themselves
    /// is the same in all partitions.
    pub fn ec2_service(self) -> &'static str {
        if self.name == "aws-cn" { "ec2.amazonaws.com.cn" } else { "ec2.amazonaws.com" }
    }

    /// The partition that ARNs call so; the first one where none is.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|partition| partition.name == name).unwrap_or(Self::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::Partition;

    #[test]
    fn regions_and_names() {
        let regions = [
            ("eu-north-1", "aws", "amazonaws.com"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-iso-west-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
            ("", "aws", "amazonaws.com"),
        ];
        for (region, name, dns_suffix) in regions {
            let partition = Partition::of_region(region);
            assert_eq!((partition.name, partition.dns_suffix), (name, dns_suffix), "{region}");
            assert_eq!(Partition::named(name), partition);
        }
        // What one is called is where its own region is.
        for partition in Partition::ALL {
            assert_eq!(Partition::of_region(partition.global_region), partition);
        }
        assert_eq!(Partition::named("aws-new"), Partition::of_region("xx-new-1"));
    }
}
