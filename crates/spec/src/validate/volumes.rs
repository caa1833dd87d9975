//! Disks: defaults, and what each EBS volume type allows.

use super::check::Check;
use super::{flag, syntax, value};
use crate::cluster::{BlockDevice, Volume, VolumeType};
use crate::read::List;
use crate::schema::instance_group::{InstanceGroupSpec, RootVolumeSpec, VolumeSpec, VolumeTypeSpec};
use crate::source::{Located, Place};

/// The fields of a disk, wherever they are written.
pub(super) struct VolumeFields<'a> {
    /// What to call it.
    pub(super) what: &'a str,
    pub(super) size: Option<&'a Located<i64>>,
    pub(super) default_size: u32,
    pub(super) kind: Option<&'a Located<VolumeTypeSpec>>,
    pub(super) iops: Option<&'a Located<i64>>,
    pub(super) throughput: Option<&'a Located<i64>>,
    /// Too few IOPS and too little throughput are raised to the least, as kOps does it with root disks.
    pub(super) raised: bool,
    pub(super) encrypted: Option<&'a Located<bool>>,
    pub(super) kms_key: Option<&'a Located<String>>,
}

/// What gp3 has without paying more.
const GP3_IOPS: u32 = 3000;
const GP3_THROUGHPUT: u32 = 125;
/// kOps' default for io1 and io2.
const IO_IOPS: u32 = 100;
/// The largest EBS volume, 64 TiB.
const MAX_GIB: u32 = 65_536;

/// What EBS allows of a type of volume ("Amazon EBS volume types").
struct Limits {
    /// The least and the largest size in GiB.
    size: (u32, u32),
    /// `None`: they follow from the size.
    iops: Option<IopsLimits>,
}

struct IopsLimits {
    default: u32,
    least: u32,
    most: u32,
    /// So many for each GiB; `least` of them whatever the size.
    per_gib: u32,
}

fn limits(kind: VolumeType) -> Limits {
    let provisioned = |most, per_gib| Some(IopsLimits { default: IO_IOPS, least: 100, most, per_gib });
    let (size, iops) = match kind {
        VolumeType::Gp2 => ((1, 16_384), None),
        VolumeType::Gp3 => {
            let iops = IopsLimits { default: GP3_IOPS, least: GP3_IOPS, most: 80_000, per_gib: 500 };
            ((1, MAX_GIB), Some(iops))
        }
        VolumeType::Io1 => ((4, 16_384), provisioned(64_000, 50)),
        VolumeType::Io2 => ((4, MAX_GIB), provisioned(256_000, 1000)),
        VolumeType::St1 | VolumeType::Sc1 => ((125, 16_384), None),
        VolumeType::Standard => ((1, 1024), None),
    };
    Limits { size, iops }
}

pub(super) fn volume(fields: &VolumeFields<'_>, check: &mut Check) -> Volume {
    let what = fields.what;
    let kind = fields.kind.map_or(VolumeType::Gp3, |kind| volume_type(kind.value));
    let limits = limits(kind);
    let (least, most) = limits.size;
    let size_of = format!("the size of {what} of type {}", kind.as_str());
    let size = syntax::bounded(fields.size, &size_of, least, most, check).unwrap_or(fields.default_size);
    let iops = iops(fields, kind, limits.iops.as_ref(), size, check);
    let encrypted = flag(fields.encrypted, true);
    if let (Some(key), false) = (fields.kms_key, encrypted) {
        check.warn(
            &key.place,
            format!("{what} has a KMS key but is not encrypted"),
            "the key changes nothing",
        );
    }
    Volume {
        size_gib: size,
        kind,
        iops,
        throughput: throughput(fields, kind, iops, check),
        encrypted,
        kms_key: value(fields.kms_key),
    }
}

/// IOPS within AWS' bounds of the type and the size; io1 and io2 have to say.
fn iops(
    fields: &VolumeFields<'_>,
    kind: VolumeType,
    limits: Option<&IopsLimits>,
    size: u32,
    check: &mut Check,
) -> Option<u32> {
    let Some(&IopsLimits { default, least, most, per_gib }) = limits else {
        no_effect(fields.iops.map(|field| &field.place), "IOPS", kind, check);
        return None;
    };
    let what = format!("the IOPS of {} of type {}", fields.what, kind.as_str());
    let iops = within(fields, fields.iops, &what, (least, most), check).unwrap_or(default);
    if let Some(field) = fields.iops.filter(|_| iops > least && iops > size.saturating_mul(per_gib)) {
        let title = format!("{iops} IOPS are too many for {size} GiB of type {}", kind.as_str());
        let hint = format!("at most {per_gib} for each GiB: at least {} GiB", iops.div_ceil(per_gib));
        check.hinted(&field.place, title, hint);
    }
    Some(iops)
}

/// A number within bounds, or raised to the least of them where that is what becomes of the disk.
fn within(
    fields: &VolumeFields<'_>,
    field: Option<&Located<i64>>,
    what: &str,
    (least, most): (u32, u32),
    check: &mut Check,
) -> Option<u32> {
    if let Some(field) = field.filter(|field| fields.raised && field.value < i64::from(least)) {
        let title = format!("{what}: {least} in place of {}", syntax::spelled(field));
        check.warn(&field.place, title, "AWS allows no less, and kOps raises it, too: leave it out");
        return Some(least);
    }
    syntax::bounded(field, what, least, most, check)
}

fn throughput(
    fields: &VolumeFields<'_>,
    kind: VolumeType,
    iops: Option<u32>,
    check: &mut Check,
) -> Option<u32> {
    if kind != VolumeType::Gp3 {
        no_effect(fields.throughput.map(|field| &field.place), "throughput", kind, check);
        return None;
    }
    let what = format!("the throughput of {}", fields.what);
    let throughput =
        within(fields, fields.throughput, &what, (GP3_THROUGHPUT, 2000), check).unwrap_or(GP3_THROUGHPUT);
    // EC2: at most 0.25 MiB/s per provisioned IOPS.
    if let (Some(field), Some(iops)) = (fields.throughput, iops)
        && throughput > iops / 4
    {
        let title = format!("{throughput} MiB/s need more than {iops} IOPS");
        check.hinted(&field.place, title, format!("at least {} IOPS, four for each MiB/s", throughput * 4));
    }
    Some(throughput)
}

fn no_effect(place: Option<&Place>, what: &str, kind: VolumeType, check: &mut Check) {
    if let Some(place) = place {
        let kind = kind.as_str();
        check.warn(place, format!("{what} of a {kind} volume cannot be chosen"), "leave it out, or take gp3");
    }
}

fn volume_type(kind: VolumeTypeSpec) -> VolumeType {
    match kind {
        VolumeTypeSpec::Gp2 => VolumeType::Gp2,
        VolumeTypeSpec::Gp3 => VolumeType::Gp3,
        VolumeTypeSpec::Io1 => VolumeType::Io1,
        VolumeTypeSpec::Io2 => VolumeType::Io2,
        VolumeTypeSpec::St1 => VolumeType::St1,
        VolumeTypeSpec::Sc1 => VolumeType::Sc1,
        VolumeTypeSpec::Standard => VolumeType::Standard,
    }
}

/// The root disk of a group's machines and whether they get dedicated bandwidth. It is written
/// either as `rootVolume: {...}` or as `rootVolumeSize` and its like.
pub(super) fn root(spec: &InstanceGroupSpec, default_size: u32, check: &mut Check) -> (Volume, Option<bool>) {
    let empty = RootVolumeSpec::default();
    let block = spec.root_volume.as_ref();
    if let (Some(block), Some(place)) = (block, root_volume_field(spec)) {
        let hint =
            format!("keep one of the two spellings; `rootVolume` is at {}", block.place.seen_from(place));
        check.hinted(place, "`rootVolume` and `rootVolume...` exclude each other", hint);
    }
    let block = block.map_or(&empty, |block| &block.value);
    let fields = VolumeFields {
        what: "the root disk",
        size: block.size.as_ref().or(spec.root_volume_size.as_ref()),
        default_size,
        kind: block.volume_type.as_ref().or(spec.root_volume_type.as_ref()),
        iops: block.iops.as_ref().or(spec.root_volume_iops.as_ref()),
        throughput: block.throughput.as_ref().or(spec.root_volume_throughput.as_ref()),
        raised: true,
        encrypted: block.encryption.as_ref().or(spec.root_volume_encryption.as_ref()),
        kms_key: block.encryption_key.as_ref().or(spec.root_volume_encryption_key.as_ref()),
    };
    not_for_streams(fields.kind, "machines cannot boot from an st1 or sc1 volume", check);
    let optimized = block.optimization.as_ref().or(spec.root_volume_optimization.as_ref());
    (volume(&fields, check), value(optimized))
}

/// Volumes that are made for long reads and writes in order are no good for anything else.
pub(super) fn not_for_streams(kind: Option<&Located<VolumeTypeSpec>>, title: &str, check: &mut Check) {
    let kind = kind.filter(|kind| matches!(kind.value, VolumeTypeSpec::St1 | VolumeTypeSpec::Sc1));
    if let Some(kind) = kind {
        check.hinted(&kind.place, title, "take gp3");
    }
}

/// The first of the `rootVolume...` fields that is there.
fn root_volume_field(spec: &InstanceGroupSpec) -> Option<&Place> {
    let numbers = [&spec.root_volume_size, &spec.root_volume_iops, &spec.root_volume_throughput];
    let flags = [&spec.root_volume_encryption, &spec.root_volume_optimization];
    let mut places = (numbers.into_iter().flatten().map(|field| &field.place))
        .chain(flags.into_iter().flatten().map(|field| &field.place))
        .chain(spec.root_volume_type.iter().map(|field| &field.place))
        .chain(spec.root_volume_encryption_key.iter().map(|field| &field.place));
    places.next()
}

/// Further disks; each has a device of its own.
pub(super) fn further(list: Option<&Located<List<VolumeSpec>>>, check: &mut Check) -> Vec<BlockDevice> {
    let Some(list) = list else { return Vec::new() };
    check.unique("device", list.value.iter().filter_map(|volume| volume.value.device.as_ref()));
    list.value.iter().map(|spec| device(spec, check)).collect()
}

fn device(spec: &Located<VolumeSpec>, check: &mut Check) -> BlockDevice {
    let Located { value: spec, place } = spec;
    for (field, is_missing) in [("device", spec.device.is_none()), ("size", spec.size.is_none())] {
        if is_missing {
            check.missing(place, field);
        }
    }
    let name = spec.device.as_ref().map_or_else(String::new, |device| device.value.clone());
    if let Some(device) = spec.device.as_ref().filter(|device| !device.value.starts_with("/dev/")) {
        check.hinted(
            &device.place,
            format!("`{name}` is not a device"),
            "it begins with `/dev/`, as in `/dev/xvdd`",
        );
    }
    let what = format!("disk `{name}`");
    let fields = VolumeFields {
        what: &what,
        size: spec.size.as_ref(),
        // Enough for any IOPS: that it is missing has been said.
        default_size: MAX_GIB,
        kind: spec.volume_type.as_ref(),
        iops: spec.iops.as_ref(),
        throughput: spec.throughput.as_ref(),
        raised: false,
        encrypted: spec.encrypted.as_ref(),
        kms_key: spec.key.as_ref(),
    };
    BlockDevice {
        volume: volume(&fields, check),
        delete_on_termination: flag(spec.delete_on_termination.as_ref(), true),
        device: name,
    }
}
