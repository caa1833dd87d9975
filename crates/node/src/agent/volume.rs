//! Lets go of this machine's etcd volume, so that the next machine has it at once.

use std::time::Duration;

use kcl_http::AwsError;
use kcl_node_config::paths;

use crate::device;
use crate::ec2::Ec2;
use crate::system::{System, SystemError};
use crate::volume::VolumeError;

/// How soon unmounting is tried again: what still has a file open there is ending.
const AGAIN: Duration = Duration::from_millis(500);

/// Writes what is not on the disk yet, and unmounts etcd's folder; tries until it works.
pub async fn unmount(system: &System) -> Result<(), VolumeError> {
    let folder = system.path(paths::ETCD_VOLUME);
    while device::mounted(system, &folder)?.is_some() {
        system.run(&system.commands.sync, &[]).await?;
        match system.run(&system.commands.umount, &[&folder.to_string_lossy()]).await {
            // A program that is not there does not come.
            Err(error @ SystemError::Run { .. }) => return Err(error.into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Detaches all volumes of the cluster's etcd that this machine has, which is one, or none. Gives their ids.
pub async fn detach(ec2: &Ec2, cluster: &str, instance: &str) -> Result<Vec<String>, AwsError> {
    let mut detached = Vec::new();
    for volume in ec2.etcd_volumes(cluster).await? {
        if volume.attachment(instance).is_some_and(|attachment| attachment.state != "detaching") {
            ec2.detach(&volume.id, instance).await?;
            detached.push(volume.id);
        }
    }
    Ok(detached)
}
