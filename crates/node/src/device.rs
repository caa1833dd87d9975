//! An attached volume as a device, its filesystem, and where it is mounted.
//!
//! A filesystem is made on a device that was found blank, and on no other: what cannot be read is told, and never
//! overwritten.

use std::fs::{self, File as OpenFile};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kcl_node_config::{ETCD_MOUNT_OPTIONS, ETCD_MOUNT_UNIT, File, etcd_volume_files, paths};
use tokio::time::Instant;

use crate::ec2::Ec2;
use crate::system::{FOLDER, System, SystemError};
use crate::volume::{self, Attached, VolumeError, Waiting, Waits, Wanted};

/// The name of the filesystem.
const LABEL: &str = "kcl-etcd";

/// So much of a device's beginning is read to see whether it is blank: everything that filesystems, partition
/// tables, LVM and RAID begin with is there.
const BEGINNING: u64 = 16 << 20;

/// ext4 keeps copies of its superblock at multiples of this.
const GROUP: u64 = 128 << 20;

/// At so many places behind its beginning a device is looked at, at most.
const PLACES: u64 = 1024;

/// The longest that the kernel takes to see a volume that is attached.
const APPEARS: Duration = Duration::from_mins(2);

/// What blkid says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Ext4 { uuid: String },
    Other(String),
}

/// Has etcd's volume, once nobody else does, and mounts it; what is waited for is told.
pub async fn take(
    system: &System,
    ec2: &Ec2,
    wanted: Wanted<'_>,
    waiting: Waiting,
    told: &impl Waits,
) -> Result<Attached, VolumeError> {
    let volume = volume::attach(ec2, wanted, waiting, told).await?;
    told.goes_on().await;
    let waiting = Waiting { longest: waiting.longest.min(APPEARS), ..waiting };
    let found = find(system, &volume, waiting).await?;
    mount(system, &volume, &found).await?;
    Ok(volume)
}

/// Waits until the kernel sees the volume; gives its device.
pub async fn find(system: &System, volume: &Attached, waiting: Waiting) -> Result<PathBuf, VolumeError> {
    let begun = Instant::now();
    loop {
        if let Some(device) = locate(system, volume)? {
            return Ok(device);
        }
        let waited = begun.elapsed();
        if waited >= waiting.longest {
            let Attached { id, device } = volume.clone();
            return Err(VolumeError::NoDevice { volume: id, device, waited });
        }
        tokio::time::sleep(waiting.pause).await;
    }
}

/// The device of a volume. NVMe names its devices as it finds them, and the volume's id is the device's serial number
/// (EC2 user guide, "Map Amazon EBS volumes to NVMe device names"); older machines call `/dev/sdf` `/dev/xvdf`.
fn locate(system: &System, volume: &Attached) -> Result<Option<PathBuf>, SystemError> {
    let serial = volume.id.replace('-', "");
    let folder = system.sys.join("block");
    let failed = |source| SystemError::File { what: "read", path: folder.clone(), source };
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let found = fs::read_to_string(folder.join(&name).join("device/serial"));
        if found.is_ok_and(|found| found.trim() == serial) {
            let device = system.dev.join(name);
            return Ok(device.exists().then_some(device));
        }
    }
    let short = volume.device.trim_start_matches("/dev/");
    let names = [short.replacen("sd", "xvd", 1), short.to_owned()];
    Ok(names.iter().map(|name| system.dev.join(name)).find(|path| path.exists()))
}

/// Mounts the device for etcd, now and after each reboot; makes a filesystem first if it is blank.
pub async fn mount(system: &System, volume: &Attached, device: &Path) -> Result<(), VolumeError> {
    let folder = system.path(paths::ETCD_VOLUME);
    if let Some(source) = mounted(system, &folder)? {
        if is_same(Path::new(&source), device) {
            return remember(system, &uuid(system, volume, device).await?).await;
        }
        let (volume, folder) = (volume.id.clone(), folder.display().to_string());
        return Err(VolumeError::Taken { volume, folder, by: source });
    }
    let uuid = filesystem(system, volume, device).await?;
    check(system, volume, device).await?;
    let failed = |source| SystemError::File { what: "create", path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let (from, to) = (device.to_string_lossy(), folder.to_string_lossy());
    let arguments = ["-t", "ext4", "-o", ETCD_MOUNT_OPTIONS, from.as_ref(), to.as_ref()];
    let ended = system.end(&system.commands.mount, &arguments).await?;
    if ended.code != Some(0) {
        return Err(VolumeError::Mount {
            volume: volume.id.clone(),
            device: from.into_owned(),
            folder: to.into_owned(),
            said: ended.said,
        });
    }
    remember(system, &uuid).await
}

/// The id of the device's filesystem, which is made where there is nothing.
async fn filesystem(system: &System, volume: &Attached, device: &Path) -> Result<String, VolumeError> {
    // Of a run that was ended in the middle of it, who had found the device blank.
    let begun =
        File { path: format!("{FOLDER}/formatting"), mode: 0o644, content: format!("{}\n", volume.id) };
    let foreign = |found: String| VolumeError::Foreign {
        volume: volume.id.clone(),
        device: device.display().to_string(),
        found,
    };
    match content(system, device).await? {
        // Also where a run of this machine's was ended between making it and forgetting so: it may be another
        // machine's by now, with etcd's data.
        Content::Ext4 { uuid } => {
            system.remove(&begun.path)?;
            return Ok(uuid);
        }
        Content::Other(found) => return Err(foreign(found)),
        Content::Nothing => {}
    }
    if !system.has(&begun) {
        let read = |source| SystemError::File { what: "read", path: device.to_owned(), source };
        if !is_blank(device).map_err(read)? {
            return Err(foreign("something that is not known".to_owned()));
        }
        system.write(&begun)?;
    }
    let from = device.to_string_lossy();
    system.run(&system.commands.mkfs, &["-q", "-F", "-L", LABEL, &from]).await?;
    let uuid = uuid(system, volume, device).await?;
    system.remove(&begun.path)?;
    Ok(uuid)
}

/// The id of a filesystem that is there.
async fn uuid(system: &System, volume: &Attached, device: &Path) -> Result<String, VolumeError> {
    match content(system, device).await? {
        Content::Ext4 { uuid } => Ok(uuid),
        Content::Nothing => Err(damaged(volume, device, "it is gone".to_owned())),
        Content::Other(found) => Err(damaged(volume, device, format!("it is {found}"))),
    }
}

/// Repairs what is repaired without a question.
async fn check(system: &System, volume: &Attached, device: &Path) -> Result<(), VolumeError> {
    let from = device.to_string_lossy();
    let ended = system.end(&system.commands.fsck, &["-p", &from]).await?;
    match ended.code {
        // 1 and 2: it was repaired (e2fsck(8), "EXIT CODE").
        Some(0..=3) => Ok(()),
        _ => Err(damaged(volume, device, ended.said)),
    }
}

fn damaged(volume: &Attached, device: &Path, said: String) -> VolumeError {
    VolumeError::Damaged { volume: volume.id.clone(), device: device.display().to_string(), said }
}

async fn content(system: &System, device: &Path) -> Result<Content, SystemError> {
    let from = device.to_string_lossy();
    let arguments = ["--probe", "--output", "export", &from];
    let ended = system.end(&system.commands.blkid, &arguments).await?;
    match ended.code {
        Some(0) => Ok(read_content(&ended.printed)),
        // Nothing that it knows (blkid(8), "EXIT STATUS").
        Some(2) => Ok(Content::Nothing),
        Some(8) => Ok(Content::Other("traces of several filesystems".to_owned())),
        _ => Err(ended.failed(&system.commands.blkid, &arguments)),
    }
}

fn read_content(text: &str) -> Content {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
    };
    let plain = |uuid: &String| uuid.len() == 36 && uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match (value("TYPE").as_deref(), value("UUID").filter(plain), value("PTTYPE")) {
        (Some("ext4"), Some(uuid), _) => Content::Ext4 { uuid },
        (Some(other), _, _) => Content::Other(other.to_owned()),
        (None, _, Some(table)) => Content::Other(format!("a partition table ({table})")),
        (None, _, None) => Content::Nothing,
    }
}

/// Whether nothing was ever written to a device, as far as can be told without reading all of it.
fn is_blank(device: &Path) -> io::Result<bool> {
    let mut file = OpenFile::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    let mut blank = |from: u64, length: u64| {
        file.seek(SeekFrom::Start(from))?;
        let mut rest = (&file).take(length);
        let (zeros, mut piece) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            match rest.read(&mut piece)? {
                0 => return Ok::<_, io::Error>(true),
                count if piece[..count] != zeros[..count] => return Ok(false),
                _ => {}
            }
        }
    };
    if !blank(0, BEGINNING)? {
        return Ok(false);
    }
    let groups = (size / GROUP).max(1);
    let step = GROUP * groups.div_ceil(PLACES);
    let mut place = step;
    while place < size {
        if !blank(place, 4096)? {
            return Ok(false);
        }
        place += step;
    }
    Ok(true)
}

/// What is mounted at a folder. In the kernel's list, blanks and backslashes are octal numbers.
pub(crate) fn mounted(system: &System, folder: &Path) -> Result<Option<String>, SystemError> {
    let failed = |source| SystemError::File { what: "read", path: system.mounts.clone(), source };
    let list = fs::read_to_string(&system.mounts).map_err(failed)?;
    let escaped = folder.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    let mut sources = list.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (source, at) = (words.next()?, words.next()?);
        (at == escaped).then(|| source.to_owned())
    });
    // The last one hides the others.
    Ok(sources.next_back())
}

/// Whether two paths lead to one device.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(a), Ok(b)) => (a.rdev() != 0 && a.rdev() == b.rdev()) || (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Has systemd mount it at each start.
async fn remember(system: &System, uuid: &str) -> Result<(), VolumeError> {
    system.write_all(&etcd_volume_files(uuid))?;
    let systemctl = &system.commands.systemctl;
    system.run(systemctl, &["daemon-reload"]).await?;
    system.run(systemctl, &["enable", ETCD_MOUNT_UNIT]).await?;
    Ok(())
}
