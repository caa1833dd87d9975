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
    pub(super) encrypted: Option<&'a Located<bool>>,
    pub(super) kms_key: Option<&'a Located<String>>,
}

/// What gp3 has without paying more.
const GP3_IOPS: u32 = 3000;
const GP3_THROUGHPUT: u32 = 125;
/// kOps' default for io1 and io2.
const IO_IOPS: u32 = 100;
/// The largest EBS volume, 64 TiB (io2, gp3).
const MAX_GIB: u32 = 65_536;

pub(super) fn volume(fields: &VolumeFields<'_>, check: &mut Check) -> Volume {
    let what = fields.what;
    let kind = fields.kind.map_or(VolumeType::Gp3, |kind| volume_type(kind.value));
    let size = syntax::bounded(fields.size, &format!("the size of {what}"), 1, MAX_GIB, check);
    let iops = iops(fields, kind, check);
    let encrypted = flag(fields.encrypted, true);
    if let (Some(key), false) = (fields.kms_key, encrypted) {
        check.warn(
            &key.place,
            format!("{what} has a KMS key but is not encrypted"),
            "the key changes nothing",
        );
    }
    Volume {
        size_gib: size.unwrap_or(fields.default_size),
        kind,
        iops,
        throughput: throughput(fields, kind, iops, check),
        encrypted,
        kms_key: value(fields.kms_key),
    }
}

/// IOPS within AWS' bounds of the type; io1 and io2 have to say.
fn iops(fields: &VolumeFields<'_>, kind: VolumeType, check: &mut Check) -> Option<u32> {
    let (default, min, max) = match kind {
        VolumeType::Gp3 => (GP3_IOPS, GP3_IOPS, 80_000),
        VolumeType::Io1 => (IO_IOPS, 100, 64_000),
        VolumeType::Io2 => (IO_IOPS, 100, 256_000),
        _ => {
            no_effect(fields.iops.map(|field| &field.place), "IOPS", kind, check);
            return None;
        }
    };
    let what = format!("the IOPS of {} of type {}", fields.what, kind.as_str());
    Some(syntax::bounded(fields.iops, &what, min, max, check).unwrap_or(default))
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
        syntax::bounded(fields.throughput, &what, GP3_THROUGHPUT, 2000, check).unwrap_or(GP3_THROUGHPUT);
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
        encrypted: block.encryption.as_ref().or(spec.root_volume_encryption.as_ref()),
        kms_key: block.encryption_key.as_ref().or(spec.root_volume_encryption_key.as_ref()),
    };
    if let Some(kind) =
        fields.kind.filter(|kind| matches!(kind.value, VolumeTypeSpec::St1 | VolumeTypeSpec::Sc1))
    {
        check.hinted(&kind.place, "machines cannot boot from an st1 or sc1 volume", "take gp3");
    }
    let optimized = block.optimization.as_ref().or(spec.root_volume_optimization.as_ref());
    (volume(&fields, check), value(optimized))
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
        default_size: 1,
        kind: spec.volume_type.as_ref(),
        iops: spec.iops.as_ref(),
        throughput: spec.throughput.as_ref(),
        encrypted: spec.encrypted.as_ref(),
        kms_key: spec.key.as_ref(),
    };
    BlockDevice {
        volume: volume(&fields, check),
        delete_on_termination: flag(spec.delete_on_termination.as_ref(), true),
        device: name,
    }
}
