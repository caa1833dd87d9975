//! Lets go of this machine's etcd volume, so that the next machine has it at once.

use std::time::Duration;

use kcl_http::{AwsError, AwsService, xml};
use kcl_node_config::{NodeConfig, paths};

use crate::system::{System, SystemError};

/// The version of EC2's API.
const EC2: &str = "2016-11-15";

/// How soon unmounting is tried again: what still has a file open there is ending.
const AGAIN: Duration = Duration::from_millis(500);

/// Why the volume is not free.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// EC2.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The machine.
    #[error(transparent)]
    System(#[from] SystemError),
    /// What is mounted cannot be read.
    #[error("failed to read what is mounted")]
    Mounts(#[source] std::io::Error),
    /// EC2's answer.
    #[error("EC2's list of volumes cannot be read")]
    Unreadable,
}

/// Writes what is not on the disk yet, and unmounts etcd's folder; tries until it works.
pub async fn unmount(system: &System) -> Result<(), VolumeError> {
    while is_mounted(system)? {
        system.run(&system.commands.sync, &[]).await?;
        let folder = system.path(paths::ETCD_VOLUME);
        match system.run(&system.commands.umount, &[&folder.to_string_lossy()]).await {
            // A program that is not there does not come.
            Err(error @ SystemError::Run { .. }) => return Err(error.into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Whether something is mounted at etcd's folder.
fn is_mounted(system: &System) -> Result<bool, VolumeError> {
    let mounts = std::fs::read_to_string(&system.mounts).map_err(VolumeError::Mounts)?;
    Ok(has_mount(&mounts, &system.path(paths::ETCD_VOLUME).to_string_lossy()))
}

/// Whether a folder stands in a list like `/proc/self/mounts`, in which blanks are `\040`.
fn has_mount(mounts: &str, folder: &str) -> bool {
    let folder = folder.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(folder.as_str()))
}

/// Detaches the volume of this machine's etcd member; nothing to do where none is attached. Gives its id.
pub async fn detach(
    ec2: &AwsService,
    config: &NodeConfig,
    volume_tag: &str,
    instance: &str,
) -> Result<Option<String>, VolumeError> {
    let filters = [
        ("attachment.instance-id", instance),
        ("tag:KubernetesCluster", &config.cluster),
        ("tag:k8s.io/etcd/main", volume_tag),
    ];
    let names: Vec<[String; 2]> =
        (1..=filters.len()).map(|n| [format!("Filter.{n}.Name"), format!("Filter.{n}.Value.1")]).collect();
    let pairs = names.iter().zip(filters);
    let parameters: Vec<(&str, &str)> = pairs
        .flat_map(|([name, value], filter)| [(name.as_str(), filter.0), (value.as_str(), filter.1)])
        .collect();
    let found = ec2.query(EC2, "DescribeVolumes", &parameters).await?;
    let Some(volume) = volume(&found)? else { return Ok(None) };
    ec2.query(EC2, "DetachVolume", &[("VolumeId", &volume), ("InstanceId", instance)]).await?;
    Ok(Some(volume))
}

/// The id of the first volume of an answer.
fn volume(text: &str) -> Result<Option<String>, VolumeError> {
    let document = roxmltree::Document::parse(text).map_err(|_| VolumeError::Unreadable)?;
    let volumes = xml::items(document.root_element(), "volumeSet");
    Ok(volumes.filter_map(|volume| xml::child_text(volume, "volumeId")).map(str::to_owned).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_whole_path() {
        let mounts =
            "/dev/root / ext4 rw 0 0\n/dev/nvme1n1 /var/lib/etcd ext4 rw 0 0\n/dev/x /a\\040b ext4 rw 0 0\n";
        assert!(has_mount(mounts, "/var/lib/etcd") && has_mount(mounts, "/a b"));
        assert!(!has_mount(mounts, "/var/lib") && !has_mount(mounts, "/dev/root") && !has_mount("", "/"));
    }

    #[test]
    fn the_volume_is_the_answers_first() {
        let one = "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-1</volumeId></item></volumeSet>\
                   </DescribeVolumesResponse>";
        assert_eq!(volume(one).unwrap().as_deref(), Some("vol-1"));
        assert_eq!(volume("<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>").unwrap(), None);
        assert!(volume("no").is_err());
    }
}
