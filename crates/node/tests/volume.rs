//! etcd's volume: found and waited for at moto's EC2, its filesystem made, checked and mounted with the real programs.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::Folder;
use common::cluster::{Machine, World};
use common::wait::until;
use kcl_node::device;
use kcl_node::system::{Commands, System};
use kcl_node::volume::{Attached, VolumeError, Waiting};
use kcl_node_config::State;

const WAITING: Waiting = Waiting { longest: Duration::from_millis(200), pause: Duration::from_millis(10) };

/// The machine, told to wait a second.
fn impatient(machine: &Machine) -> String {
    let output = machine.command(1).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is said where the volume is not to be had; kubeadm is not run, and nothing is made.
#[test]
fn a_volume_that_cannot_be_had_is_told_apart() {
    let mut text = String::new();
    let mut tell = |machine: &Machine, others: &[&str]| {
        let said = impatient(machine);
        let mut error = machine.redacted(said.split_once("error: ").unwrap().1);
        for (number, other) in (1..).zip(others) {
            error = error.replace(other, &format!("OTHER-{number}"));
        }
        let seconds = regex::Regex::new("after [0-9]+ s").unwrap();
        text += &seconds.replace_all(&error, "after N s");
        let ran = fs::read_to_string(machine.folder.program("ran")).unwrap();
        assert!(!ran.contains("mkfs") && !ran.contains("mount") && !ran.contains("kubeadm"), "{ran}");
    };
    // None.
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    world.delete_volume(&disk);
    tell(&machine, &[]);
    // Only one of another member, and in another zone.
    let world = World::new(&["a", "b"]);
    let (other, disk) = (world.volume("b"), world.volume_in("a", "eu-north-1b"));
    let machine = world.machine("a", &disk);
    tell(&machine, &[&other.id]);
    // Two.
    let disk = world.volume("a");
    let second = world.volume("a");
    let machine = world.machine("a", &disk);
    tell(&machine, &[&second.id]);
    // Another machine has it.
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    let holder = world.instance();
    world.attach(&disk, &holder);
    tell(&machine, &[&holder]);
    // The kernel does not see it.
    let world = World::new(&["a"]);
    let machine = world.machine("a", &world.volume("a"));
    machine.unplug();
    tell(&machine, &[]);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// While it waits it says for what, and it goes on once the volume is free.
#[test]
fn a_volume_is_waited_for() {
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    let holder = world.instance();
    world.attach(&disk, &holder);
    let child = machine.start();
    let wanted = format!("the etcd volume {}, which {holder} (running) has", disk.id);
    until("it says what it waits for", || {
        world.try_status(&machine).and_then(|status| status.waits_for).as_ref() == Some(&wanted)
    });
    let status = world.status(&machine);
    assert_eq!((status.state, status.step.as_str()), (State::Running, "volume"));
    world.detach(&disk, &holder);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(&format!("waiting for {wanted}")), "{said}");
    assert_eq!(world.status(&machine).waits_for, None);
}

/// A device that is a file.
struct Device {
    folder: Folder,
    volume: Attached,
    path: PathBuf,
}

impl Device {
    fn new() -> Self {
        let folder = Folder::new();
        let volume = Attached { id: "vol-0123456789abcdef0".to_owned(), device: "/dev/sdf".to_owned() };
        let path = folder.home.path().join("dev/xvdf");
        fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
        Self { folder, volume, path }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn real(&self, program: &str, arguments: &[&str]) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let run = Command::new(program).args(arguments).arg(&self.path).env("PATH", path).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    }

    async fn mount(&self) -> Result<(), VolumeError> {
        let system = self.folder.system();
        let device = device::find(&system, &self.volume, WAITING).await?;
        device::mount(&system, &self.volume, &device).await
    }

    fn hash(&self) -> String {
        // Much faster than what is built for tests.
        let output = Command::new("sha256sum").arg(&self.path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What is on a volume that is not a whole ext4 is told, and not one byte of it is changed.
#[tokio::test]
async fn a_foreign_or_damaged_filesystem_is_never_overwritten() {
    type Put = fn(&Device);
    let contents: [(&str, Put); 7] = [
        ("another filesystem", |device| device.real("mkfs.ext2", &["-q", "-F"])),
        ("swap", |device| device.real("mkswap", &["-q"])),
        ("a partition table", |device| device.write(446, &partition_table())),
        ("something at its beginning", |device| device.write(1 << 20, b"somebody's data")),
        ("something far behind", |device| device.write(128 << 20, b"somebody's data")),
        ("ext4 without its superblock", |device| {
            device.real("mkfs.ext4", &["-q", "-F"]);
            device.write(0, &[0; 4096]);
        }),
        ("ext4 with garbage in it", |device| {
            device.real("mkfs.ext4", &["-q", "-F"]);
            device.write(64 << 10, &vec![0xa5; 512 << 10]);
        }),
    ];
    let mut text = String::new();
    // fsck's own words are those of its release.
    let words = regex::Regex::new("(?s)is damaged: .*\nhint").unwrap();
    for (name, put) in contents {
        let device = Device::new();
        put(&device);
        let before = device.hash();
        let error = device.mount().await.unwrap_err();
        let said = error.to_string().replace(&device.folder.home.path().display().to_string(), "HOME");
        let said = words.replace(&said, "is damaged: ...\nhint");
        text += &format!("{name}:\n{said}\n");
        let ran = device.folder.ran();
        assert!(!ran.contains("mkfs") && !ran.contains("mount "), "{name}: {ran}");
        if matches!(error, VolumeError::Foreign { .. }) {
            assert_eq!(device.hash(), before, "{name}");
        }
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

/// A partition of Linux, and the mark of such a table.
fn partition_table() -> [u8; 66] {
    let mut table = [0; 66];
    table[..16].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]);
    table[64..].copy_from_slice(&[0x55, 0xaa]);
    table
}

/// A machine that was ended while it made the filesystem makes it again: it had found the volume blank. Another
/// machine does not know that.
#[tokio::test]
async fn a_filesystem_that_was_begun_is_made_again_by_who_began_it() {
    let device = Device::new();
    device.folder.fails("mkfs", true);
    assert!(matches!(device.mount().await, Err(VolumeError::System(_))));
    device.write(1 << 20, b"half a filesystem");
    device.folder.fails("mkfs", false);
    device.mount().await.unwrap();
    assert!(device.folder.ran().contains("mkfs -q -F -L kcl-etcd"));

    let another = Device::new();
    another.write(1 << 20, b"half a filesystem");
    assert!(matches!(another.mount().await, Err(VolumeError::Foreign { .. })));
}

/// Something else is mounted where it belongs.
#[tokio::test]
async fn the_place_is_taken() {
    let device = Device::new();
    let folder = device.folder.root().join("var/lib/etcd");
    let mounts = format!("tmpfs {} tmpfs rw 0 0\n", folder.display());
    fs::write(device.folder.home.path().join("mounts"), mounts).unwrap();
    assert!(matches!(device.mount().await, Err(VolumeError::Taken { by, .. }) if by == "tmpfs"));
}

/// The device is found by the volume's id, wherever the kernel has it, or by the name that EC2 gave it.
#[tokio::test]
async fn the_device_is_found_by_the_volumes_id() {
    let device = Device::new();
    let (system, home) = (device.folder.system(), device.folder.home.path());
    for (name, serial) in [("nvme0n1", "vol0999999999999999"), ("nvme2n1", "vol0123456789abcdef0")] {
        let path = home.join("sys/block").join(name).join("device/serial");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{serial}\n")).unwrap();
    }
    let find = async || device::find(&system, &device.volume, WAITING).await;
    assert!(matches!(find().await, Err(VolumeError::NoDevice { .. })), "the kernel has it, udev not yet");
    fs::write(home.join("dev/nvme2n1"), "").unwrap();
    assert_eq!(find().await.unwrap(), home.join("dev/nvme2n1"));
    fs::remove_dir_all(home.join("sys/block/nvme2n1")).unwrap();
    assert_eq!(find().await.unwrap(), home.join("dev/xvdf"));
    fs::rename(home.join("dev/xvdf"), home.join("dev/sdf")).unwrap();
    assert_eq!(find().await.unwrap(), home.join("dev/sdf"));
}

/// A loop device that is detached and unmounted when dropped.
struct Loop {
    device: String,
    mounted: PathBuf,
}

impl Loop {
    /// Only root may have one.
    fn of(file: &Path, mounted: PathBuf) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        made.status.success().then_some(Self { device, mounted })
    }

    fn unmount(&self) {
        let done = Command::new("umount").arg(&self.mounted).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.mounted).output());
        drop(Command::new("losetup").args(["--detach", &self.device]).output());
    }
}

/// With a block device of the kernel: made, mounted, found mounted, mounted again with what was on it. Runs as root
/// only: nobody else may mount.
#[tokio::test]
async fn a_real_device_is_mounted_with_what_is_on_it() {
    let folder = Folder::new();
    let disk = folder.home.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let volume = Attached { id: "vol-1".to_owned(), device: "/dev/sdf".to_owned() };
    let etcd = folder.root().join("var/lib/etcd");
    let Some(device) = Loop::of(&disk, etcd.clone()) else { return };
    let commands = Commands { systemctl: folder.program("systemctl"), ..Commands::default() };
    let system = System { commands, ..System::new(folder.root()) };
    let path = Path::new(&device.device);
    device::mount(&system, &volume, path).await.unwrap();
    assert!(etcd.join("lost+found").exists());
    fs::write(etcd.join("word"), "mellon").unwrap();
    device::mount(&system, &volume, path).await.unwrap();
    device.unmount();
    assert!(!etcd.join("word").exists());
    device::mount(&system, &volume, path).await.unwrap();
    assert_eq!(fs::read_to_string(etcd.join("word")).unwrap(), "mellon");
    let unit = fs::read_to_string(folder.root().join("etc/systemd/system/var-lib-etcd.mount")).unwrap();
    let uuid = Command::new("blkid").args(["-s", "UUID", "-o", "value", "-p"]).arg(path).output().unwrap();
    let uuid = String::from_utf8(uuid.stdout).unwrap();
    assert!(unit.contains(&format!("What=/dev/disk/by-uuid/{}\n", uuid.trim())), "{unit}");
    // Another device at the same place is not taken for this one.
    let other = folder.home.path().join("other");
    fs::File::create(&other).unwrap().set_len(64 << 20).unwrap();
    let error = device::mount(&system, &volume, &other).await.unwrap_err();
    assert!(matches!(&error, VolumeError::Taken { by, .. } if *by == device.device), "{error}");
}
