//! The volume of this machine's etcd member: found by its tags, waited for, attached.
//!
//! A volume is the one thing that tells two machines of one member apart: only one of them can have it. So nothing
//! else of the control plane is done before it is attached.

use std::time::Duration;

use kcl_http::AwsError;
use tokio::time::Instant;

use crate::ec2::{Ec2, Volume};
use crate::system::SystemError;

/// The names under which EC2 lets data volumes be attached, by their last letter (EC2 user guide, "Device names for
/// volumes on Amazon EC2 instances").
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// Which volume is wanted, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// What the volume is tagged with: `a/a,b,c`.
    pub tag: &'a str,
    /// The machine.
    pub instance: &'a str,
    /// Its zone.
    pub zone: &'a str,
}

/// How long is waited, and how often looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The longest.
    pub longest: Duration,
    /// Between two looks.
    pub pause: Duration,
}

/// A volume that this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// `vol-…`.
    pub id: String,
    /// The name that EC2 knows it by on this machine: `/dev/sdf`. The kernel has its own.
    pub device: String,
}

/// Why there is no volume to keep data on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// EC2.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The machine.
    #[error(transparent)]
    System(#[from] SystemError),
    /// None.
    #[error(
        "there is no etcd volume of {cluster} that is tagged k8s.io/etcd/main={tag}\nhint: `kcl update --yes` makes it; if it was deleted, restore it from a snapshot of EC2 with the same tags, or the newest etcd snapshot is restored onto a new one"
    )]
    Missing {
        /// The cluster.
        cluster: String,
        /// The tag's value.
        tag: String,
    },
    /// Not where the machine is.
    #[error(
        "the etcd volume {volume} is in {zone}, and this machine is in {own}: a volume cannot leave its zone\nhint: the instance group's subnet has to be in {zone}"
    )]
    OtherZone {
        /// The volume.
        volume: String,
        /// Its zone.
        zone: String,
        /// The machine's.
        own: String,
    },
    /// More than one.
    #[error(
        "several volumes are tagged k8s.io/etcd/main={tag}: {volumes}\nhint: take the tag off all but the one that has the cluster's data"
    )]
    Several {
        /// The tag's value.
        tag: String,
        /// Their ids.
        volumes: String,
    },
    /// Somebody else has it.
    #[error(
        "the etcd volume {volume} is still attached to {holder} ({state}) after {} s\nhint: terminate {holder} if it is not needed, or detach the volume from it; then run this again", waited.as_secs()
    )]
    Busy {
        /// The volume.
        volume: String,
        /// Who has it.
        holder: String,
        /// How that machine does.
        state: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// It is free, and does not become this machine's.
    #[error("the etcd volume {volume} is still not attached after {} s: it is {state}", waited.as_secs())]
    NotAttached {
        /// The volume.
        volume: String,
        /// How it is.
        state: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// It will never be of use.
    #[error(
        "the etcd volume {volume} is in the state `{state}`\nhint: look at it in the EC2 console; the newest etcd snapshot is restored onto a new volume"
    )]
    State {
        /// The volume.
        volume: String,
        /// How it is.
        state: String,
    },
    /// EC2 says that it is attached, and the kernel does not see it.
    #[error(
        "the etcd volume {volume} is attached as {device}, and no such device appeared in {} s\nhint: look at `lsblk` and `dmesg`", waited.as_secs()
    )]
    NoDevice {
        /// The volume.
        volume: String,
        /// EC2's name for it.
        device: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Something else than etcd's data is on it.
    #[error(
        "the etcd volume {volume} ({device}) has {found} on it where ext4 is wanted; nothing was changed\nhint: if nothing on it is needed, delete the volume, and `kcl update --yes` makes a new one"
    )]
    Foreign {
        /// The volume.
        volume: String,
        /// The device.
        device: String,
        /// What is on it.
        found: String,
    },
    /// Its filesystem is broken.
    #[error(
        "the filesystem of the etcd volume {volume} ({device}) is damaged: {said}\nhint: nothing was changed that fsck does not change by itself; make a snapshot of the volume in EC2, then repair it with `fsck.ext4 {device}` and run this again"
    )]
    Damaged {
        /// The volume.
        volume: String,
        /// The device.
        device: String,
        /// What fsck or the kernel says.
        said: String,
    },
    /// It is whole, and cannot be mounted all the same.
    #[error(
        "failed to mount the etcd volume {volume} ({device}) at {folder}: {said}\nhint: the kernel may say more: look at `dmesg`"
    )]
    Mount {
        /// The volume.
        volume: String,
        /// The device.
        device: String,
        /// Where it belongs.
        folder: String,
        /// What mount says.
        said: String,
    },
    /// The place is taken.
    #[error(
        "{by} is mounted at {folder}, where the etcd volume {volume} belongs\nhint: unmount it, and run this again"
    )]
    Taken {
        /// The volume.
        volume: String,
        /// The folder.
        folder: String,
        /// What is there.
        by: String,
    },
}

/// Who is told what is waited for.
pub trait Waits: Sync {
    /// This is waited for now.
    fn waits(&self, what: &str) -> impl Future<Output = ()> + Send;

    /// Nothing is any more.
    fn goes_on(&self) -> impl Future<Output = ()> + Send;
}

/// Attaches the volume, once nobody else has it. What it waits for is told each time that it looks.
pub async fn attach(
    ec2: &Ec2,
    wanted: Wanted<'_>,
    waiting: Waiting,
    told: &impl Waits,
) -> Result<Attached, VolumeError> {
    let begun = Instant::now();
    let mut letters = LETTERS;
    loop {
        let volumes = ec2.etcd_volumes(wanted.cluster).await?;
        let Volume { id, state, attachments, .. } = choose(&volumes, wanted)?;
        let own = attachments.iter().find(|attachment| attachment.instance == wanted.instance);
        if let Some(own) = own.filter(|own| own.state == "attached") {
            return Ok(Attached { id: id.clone(), device: own.device.clone() });
        }
        let other = attachments.iter().find(|attachment| attachment.instance != wanted.instance);
        let passed = begun.elapsed();
        match (state.as_str(), other) {
            ("available", _) => try_to_attach(ec2, id, wanted.instance, &mut letters).await?,
            ("creating" | "in-use", None) => {
                told.waits(&format!("the etcd volume {id}, which is {state}")).await;
            }
            ("in-use", Some(holder)) => {
                let holder = &holder.instance;
                let state = ec2.instance_state(holder).await?.unwrap_or_else(|| "gone".to_owned());
                told.waits(&format!("the etcd volume {id}, which {holder} ({state}) has")).await;
                if passed >= waiting.longest {
                    let (volume, holder) = (id.clone(), holder.clone());
                    return Err(VolumeError::Busy { volume, holder, state, waited: passed });
                }
            }
            (state, _) => return Err(VolumeError::State { volume: id.clone(), state: state.to_owned() }),
        }
        if passed >= waiting.longest {
            return Err(VolumeError::NotAttached {
                volume: id.clone(),
                state: state.clone(),
                waited: passed,
            });
        }
        tokio::time::sleep(waiting.pause).await;
    }
}

/// The volume among all of the cluster's etcd.
fn choose<'a>(volumes: &'a [Volume], wanted: Wanted<'_>) -> Result<&'a Volume, VolumeError> {
    let Wanted { cluster, tag, zone, .. } = wanted;
    let tagged: Vec<&Volume> = volumes.iter().filter(|volume| volume.member == tag).collect();
    let here: Vec<&Volume> = tagged.iter().copied().filter(|volume| volume.zone == zone).collect();
    match (here.as_slice(), tagged.as_slice()) {
        ([one], _) => Ok(one),
        ([], []) => Err(VolumeError::Missing { cluster: cluster.to_owned(), tag: tag.to_owned() }),
        ([], [elsewhere, ..]) => Err(VolumeError::OtherZone {
            volume: elsewhere.id.clone(),
            zone: elsewhere.zone.clone(),
            own: zone.to_owned(),
        }),
        (several, _) => {
            let volumes: Vec<&str> = several.iter().map(|volume| volume.id.as_str()).collect();
            Err(VolumeError::Several { tag: tag.to_owned(), volumes: volumes.join(", ") })
        }
    }
}

/// Asks for the volume. What the next look answers is no error here: that somebody else was faster, or that a machine
/// has only begun to run.
async fn try_to_attach(
    ec2: &Ec2,
    volume: &str,
    instance: &str,
    letters: &mut std::ops::RangeInclusive<char>,
) -> Result<(), VolumeError> {
    let letter = letters.clone().next().unwrap_or(*LETTERS.start());
    match ec2.attach(volume, instance, &format!("/dev/sd{letter}")).await {
        Err(error) if matches!(error.code(), Some("VolumeInUse" | "IncorrectState")) => Ok(()),
        // The image has a volume of that name.
        Err(error)
            if error.code() == Some("InvalidParameterValue") && letters.next() < Some(*LETTERS.end()) =>
        {
            Ok(())
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(id: &str, zone: &str, member: &str) -> Volume {
        Volume {
            id: id.to_owned(),
            zone: zone.to_owned(),
            state: "available".to_owned(),
            member: member.to_owned(),
            attachments: Vec::new(),
        }
    }

    #[test]
    fn it_is_the_one_with_the_tag_in_the_zone() {
        let wanted = Wanted { cluster: "c", tag: "a/a,b", instance: "i-1", zone: "z1" };
        let [own, other, elsewhere] =
            [volume("vol-1", "z1", "a/a,b"), volume("vol-2", "z1", "b/a,b"), volume("vol-3", "z2", "a/a,b")];
        let volumes = [elsewhere.clone(), other.clone(), own.clone()];
        assert_eq!(choose(&volumes, wanted).unwrap().id, "vol-1");
        let said = |volumes: &[Volume]| choose(volumes, wanted).unwrap_err().to_string();
        assert!(
            said(std::slice::from_ref(&other)).starts_with("there is no etcd volume of c that is tagged")
        );
        assert!(said(&[elsewhere]).contains("vol-3 is in z2, and this machine is in z1"));
        assert!(said(&[own.clone(), own]).contains("vol-1, vol-1"));
    }
}
