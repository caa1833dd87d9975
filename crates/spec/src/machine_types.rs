//! What the name of an EC2 instance type tells: architecture, vCPUs, memory.
//!
//! Names follow a grammar (`m7gd.2xlarge`: family letters, generation, attributes, size), and in the
//! common families size decides vCPUs and memory. See "Amazon EC2 instance type naming conventions"
//! in the EC2 documentation. What is not known is `None`: then nothing is said about it.

use crate::cluster::Architecture;

/// An instance type's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MachineType<'a> {
    /// `m`, `t`, `im`...
    family: &'a str,
    /// `7gd`, `3`...: generation and attributes.
    rest: &'a str,
    /// `2xlarge`, `micro`...
    size: &'a str,
}

impl<'a> MachineType<'a> {
    /// `None` when it is not a name of an instance type at all.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (class, size) = name.split_once('.')?;
        let digit = class.find(|char: char| char.is_ascii_digit())?;
        let (family, rest) = class.split_at(digit);
        let plain = |text: &str| {
            !text.is_empty()
                && text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-')
        };
        (plain(family) && plain(rest) && is_size(size)).then_some(Self { family, rest, size })
    }

    /// Graviton types have a `g` among the attributes; the first of them was called `a1`.
    pub(crate) fn architecture(self) -> Architecture {
        let attributes = self.rest.trim_start_matches(|char: char| char.is_ascii_digit());
        if attributes.contains('g') || (self.family == "a" && self.rest == "1") {
            Architecture::Arm64
        } else {
            Architecture::X86_64
        }
    }

    /// The CPU is throttled or billed by credits.
    pub(crate) fn is_burstable(self) -> bool {
        self.family == "t"
    }

    /// Credits are `unlimited` unless told otherwise: t3 and later, not t2.
    pub(crate) fn is_unlimited_by_default(self) -> bool {
        self.is_burstable() && self.rest != "2"
    }

    /// Number of vCPUs, for the sizes of the common families.
    pub(crate) fn vcpus(self) -> Option<u32> {
        match (self.family, self.size) {
            ("t", "nano" | "micro" | "small") => Some(if self.rest == "2" { 1 } else { 2 }),
            ("t", "medium") => Some(2),
            ("t" | "m" | "c" | "r" | "a", size) => match size {
                "medium" => Some(1),
                "large" => Some(2),
                "xlarge" => Some(4),
                size => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(4),
            },
            _ => None,
        }
    }

    /// Memory in MiB, for the sizes of the common families.
    pub(crate) fn memory_mib(self) -> Option<u32> {
        const GIB: u32 = 1024;
        match (self.family, self.size) {
            ("t", "nano") => return Some(GIB / 2),
            ("t", "micro") => return Some(GIB),
            ("t", "small") => return Some(2 * GIB),
            ("t", "medium") => return Some(4 * GIB),
            _ => {}
        }
        let per_vcpu = match (self.family, self.rest) {
            ("c", "3" | "4") => 15 * GIB / 8,
            ("m", "3") => 15 * GIB / 4,
            ("c" | "a", _) => 2 * GIB,
            ("m" | "t", _) => 4 * GIB,
            ("r", _) => 8 * GIB,
            _ => return None,
        };
        self.vcpus()?.checked_mul(per_vcpu)
    }

    /// Pods that the VPC CNI finds addresses for, where that is absurdly few: two network
    /// interfaces with two addresses each.
    pub(crate) fn vpc_cni_pods(self) -> Option<u32> {
        (self.is_burstable() && matches!(self.size, "nano" | "micro")).then_some(4)
    }
}

/// `micro`, `large`, `12xlarge`, `metal`, `metal-24xl`...
fn is_size(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_digit());
    matches!(text, "nano" | "micro" | "small" | "medium" | "large" | "xlarge" | "metal")
        || text.strip_suffix("xlarge").is_some_and(is_number)
        || text.strip_prefix("metal-").and_then(|rest| rest.strip_suffix("xl")).is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> (Architecture, Option<u32>, Option<u32>) {
        let machine = MachineType::parse(name).unwrap();
        (machine.architecture(), machine.vcpus(), machine.memory_mib())
    }

    #[test]
    fn sizes_follow_from_names() {
        use Architecture::{Arm64, X86_64};
        assert_eq!(facts("t3.small"), (X86_64, Some(2), Some(2048)));
        assert_eq!(facts("t3.micro"), (X86_64, Some(2), Some(1024)));
        assert_eq!(facts("t2.small"), (X86_64, Some(1), Some(2048)));
        assert_eq!(facts("t4g.medium"), (Arm64, Some(2), Some(4096)));
        assert_eq!(facts("m3.medium"), (X86_64, Some(1), Some(3840)));
        assert_eq!(facts("m7gd.2xlarge"), (Arm64, Some(8), Some(32768)));
        assert_eq!(facts("c6a.large"), (X86_64, Some(2), Some(4096)));
        assert_eq!(facts("r5.12xlarge"), (X86_64, Some(48), Some(393_216)));
        assert_eq!(facts("a1.large").0, Arm64);
        assert_eq!(facts("g4dn.xlarge"), (X86_64, None, None));
        assert_eq!(facts("g5g.xlarge").0, Arm64);
        assert_eq!(facts("u-6tb1.metal"), (X86_64, None, None));
        assert_eq!(facts("m5.metal"), (X86_64, None, None));
    }

    #[test]
    fn other_text_is_no_type() {
        for name in [
            "",
            "t3",
            "t3.",
            ".small",
            "T3.small",
            "t3 .small",
            "small",
            "t.small",
            "3.small",
            "t3.small,t3.large",
            "t3.tiny",
            "t3.xxlarge",
        ] {
            assert_eq!(MachineType::parse(name), None, "{name}");
        }
    }
}
