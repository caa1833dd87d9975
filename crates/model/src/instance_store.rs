//! Disks that come with old instance types.
//!
//! Newer types show their instance store as NVMe by themselves. These ask for a mapping in the launch
//! template, or the disks they are paid for stay invisible (EC2 documentation, "Instance store volumes").

use crate::resource::BlockDevice;

/// How many disks a type has that need a mapping.
fn disks(machine_type: &str) -> u8 {
    match machine_type {
        "m1.small" | "m1.medium" | "m2.xlarge" | "m2.2xlarge" | "c1.medium" | "m3.medium" | "m3.large"
        | "r3.large" | "r3.xlarge" | "r3.2xlarge" | "r3.4xlarge" | "g2.2xlarge" | "i2.xlarge"
        | "x1.16xlarge" | "x1e.xlarge" | "x1e.2xlarge" | "x1e.4xlarge" | "x1e.8xlarge" | "x1e.16xlarge" => 1,
        "m1.large" | "m2.4xlarge" | "m3.xlarge" | "m3.2xlarge" | "r3.8xlarge" | "g2.8xlarge"
        | "i2.2xlarge" | "x1.32xlarge" | "x1e.32xlarge" | "cr1.8xlarge" | "hi1.4xlarge" => 2,
        "d2.xlarge" => 3,
        "m1.xlarge" | "c1.xlarge" | "i2.4xlarge" | "cc2.8xlarge" => 4,
        "d2.2xlarge" => 6,
        "i2.8xlarge" => 8,
        "d2.4xlarge" => 12,
        "d2.8xlarge" | "hs1.8xlarge" => 24,
        _ if machine_type.starts_with("c3.") => 2,
        _ => 0,
    }
}

/// The mappings for a type's disks: `/dev/sdc` on, as kOps has them.
pub(crate) fn mappings(machine_type: &str) -> impl Iterator<Item = BlockDevice> {
    let letters = 'c'..='z';
    letters.zip(0..disks(machine_type)).map(|(letter, number)| BlockDevice {
        device: format!("/dev/sd{letter}"),
        virtual_name: Some(format!("ephemeral{number}")),
        size: None,
        volume_type: None,
        iops: None,
        throughput: None,
        encrypted: None,
        kms_key: None,
        delete_on_termination: None,
    })
}

#[cfg(test)]
mod tests {
    use super::mappings;

    #[test]
    fn devices() {
        let of = |machine_type| mappings(machine_type).map(|disk| disk.device).collect::<Vec<_>>();
        assert_eq!(of("m3.medium"), ["/dev/sdc"]);
        assert_eq!(of("c3.large"), ["/dev/sdc", "/dev/sdd"]);
        assert_eq!(of("d2.8xlarge").last().unwrap(), "/dev/sdz");
        assert!(of("t3.small").is_empty());
    }
}
