//! EBS volumes that outlive machines.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    self, Filter, ResourceType, VolumeModification, VolumeModificationState, VolumeState, VolumeType,
};
use kcl_engine::{Attrs, LiveNode, Owner, Resource};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::{Scope, each_once};
use crate::permission::{Ground, Permission};
use crate::tags::GROUP_TAG;
use crate::wait::{self, SLOW_RESOURCE};

/// Volumes: etcd's, and those that were made for persistent volumes.
pub(crate) struct Volume;

impl Kind for Volume {
    type Resource = resource::Volume;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:volume"];

    /// Those that were made for persistent volumes are removed with the cluster, whatever it wants.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            Permission::read(&["ec2:DescribeVolumesModifications"]),
            ground.ec2_create(&["ec2:CreateVolume"]),
            ground.ec2_change(&["ec2:ModifyVolume"]),
            ground.ec2_retag(),
        ];
        let volumes = ground.all::<resource::Volume>().into_iter();
        [
            Permission::read(&["ec2:DescribeVolumes"]),
            ground.if_wanted::<resource::Volume>(manage.concat()),
            ground.ec2_delete(&["ec2:DeleteVolume"]),
            ec2::use_keys(ground, volumes.filter_map(|(_, volume)| volume.kms_key)),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let volumes = marked(scope).await?;
        let live = volumes.iter().filter(|volume| is_there(volume)).filter_map(|volume| {
            let mut ours = Ours::of(scope.cluster, volume.volume_id(), volume.tags())?;
            // A machine's own disk: it comes and goes with the machine, and one that outlived it is removed with the
            // cluster.
            if ours.tags.contains_key(GROUP_TAG) {
                if !volume.attachments().is_empty() {
                    return None;
                }
                ours.owner = Owner::Controller;
            }
            let wanted: Option<resource::Volume> = scope.wanted.get(&ours.name());
            let live = read(volume, &ours, wanted.as_ref());
            Some(ours.live(ours.name(), &live))
        });
        // etcd's volumes are found by these tags on the machines, too.
        let nodes = live.collect::<Result<Vec<_>, _>>()?;
        Ok(ec2::recognise(scope, nodes, |live: &resource::Volume, want| {
            let etcd = |volume: &resource::Volume| {
                let tags = volume.tags.iter().filter(|(key, _)| key.starts_with("k8s.io/etcd/"));
                tags.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
            };
            live.zone == want.zone && !etcd(want).is_empty() && etcd(live) == etcd(want)
        }))
    }

    async fn create(aws: &Aws, name: &str, want: &resource::Volume) -> Result<Attrs, Error> {
        let call = aws.ec2.create_volume().availability_zone(&want.zone).size(want.size);
        let call = call.volume_type(VolumeType::from(want.volume_type.as_str()));
        let call = call.set_iops(want.iops).set_throughput(want.throughput).encrypted(want.encrypted);
        let call = call.set_kms_key_id(want.kms_key.clone());
        let call = call.client_token(aws.token(resource::Volume::SCHEMA.kind, name, want));
        let call = call.tag_specifications(ec2::specification(ResourceType::Volume, &want.tags));
        let answer = call.send().await.during("ec2:CreateVolume")?;
        let id = ec2::required(answer.volume_id(), "ec2:CreateVolume", "volume id")?;
        if answer.state() != Some(&VolumeState::Available) {
            let what = format!("the volume {id} to become available");
            let was_seen = AtomicBool::new(false);
            wait::until(CREATION, "ec2:DescribeVolumes", &what, || made(aws, id, want, &was_seen)).await?;
        }
        Ok(ec2::attrs(id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::Volume,
        want: &resource::Volume,
    ) -> Result<Attrs, Error> {
        let id = ec2::id_of(live)?;
        ec2::retag(aws, id, &old.tags, &want.tags).await?;
        modify(aws, id, old, want).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::Volume) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            aws.ec2.delete_volume().volume_id(id).send().await.during("ec2:DeleteVolume")?;
            Ok(())
        };
        blockers::delete(&aws.others, id, call, || blockers::of_volume(aws, ec2::cluster_of(&old.tags), id))
            .await
    }
}

/// The volumes with one of the cluster's marks. Those without ours are controllers', unless one that is wanted has
/// lost it: they are asked for only where one is missing, or where the cluster goes.
async fn marked(scope: &Scope<'_>) -> Result<Vec<types::Volume>, Error> {
    let [of_ours, of_the_cluster] = scope.ec2_exact_filters();
    let volumes = describe(scope.aws, of_ours).await?;
    let names: BTreeSet<&str> = volumes.iter().filter_map(|volume| ec2::name_of(volume.tags())).collect();
    let wanted = scope.wanted_names(resource::Volume::SCHEMA.kind);
    if scope.is_exhaustive() || wanted.iter().any(|name| !names.contains(name)) {
        let others = describe(scope.aws, of_the_cluster).await?;
        return Ok(each_once(volumes, others, types::Volume::volume_id));
    }
    Ok(volumes)
}

async fn describe(aws: &Aws, filter: Filter) -> Result<Vec<types::Volume>, Error> {
    let call = aws.ec2.describe_volumes().filters(filter);
    call.into_paginator().items().send().try_collect().await.during("ec2:DescribeVolumes")
}

/// Without data in them they are there in seconds.
const CREATION: Duration = Duration::from_mins(2);

/// Whether a new volume can be used. EC2 says that it makes one and looks at its key later: where that cannot be used,
/// the volume fails, or is gone again.
async fn made(
    aws: &Aws,
    id: &str,
    want: &resource::Volume,
    was_seen: &AtomicBool,
) -> Result<Option<()>, Error> {
    const ACTION: &str = "ec2:CreateVolume";
    let call = aws.ec2.describe_volumes().volume_ids(id);
    let state = match call.send().await.during("ec2:DescribeVolumes") {
        Ok(answer) => {
            was_seen.store(true, Ordering::Relaxed);
            answer.volumes().first().and_then(|volume| volume.state().cloned())
        }
        Err(error) if error.is_not_found() => {
            was_seen.load(Ordering::Relaxed).then_some(VolumeState::Deleted)
        }
        Err(error) => return Err(error),
    };
    match state {
        Some(VolumeState::Available | VolumeState::InUse) => Ok(Some(())),
        Some(VolumeState::Error | VolumeState::Deleting | VolumeState::Deleted) => {
            // It is of no use to anybody; what cannot be removed goes with the cluster.
            let _ = aws.ec2.delete_volume().volume_id(id).send().await;
            let key = want.kms_key.as_ref().map(|key| format!(": look whether the key {key} may be used"));
            let message = format!("AWS could not make the volume {id}{}", key.unwrap_or_default());
            Err(Error::new(ErrorKind::Refused, ACTION, message))
        }
        _ => Ok(None),
    }
}

fn is_there(volume: &types::Volume) -> bool {
    !matches!(volume.state(), Some(VolumeState::Deleting | VolumeState::Deleted))
}

fn read(volume: &types::Volume, ours: &Ours, wanted: Option<&resource::Volume>) -> resource::Volume {
    let volume_type = volume.volume_type().map(VolumeType::as_str).unwrap_or_default();
    // AWS also tells what the other types have by their size.
    let has_iops = ["gp3", "io1", "io2"].contains(&volume_type);
    resource::Volume {
        zone: volume.availability_zone().unwrap_or_default().to_owned(),
        size: volume.size().unwrap_or_default(),
        volume_type: volume_type.to_owned(),
        iops: volume.iops().filter(|_| has_iops),
        throughput: volume.throughput().filter(|_| volume_type == "gp3"),
        encrypted: volume.encrypted().unwrap_or(false),
        kms_key: volume.kms_key_id().and_then(|live| kms_key(live, wanted?.kms_key.as_deref())),
        tags: ours.tags.clone(),
    }
}

/// The key as the spec spells it: a volume tells its key's ARN, whatever it was asked for by, and does not
/// say whether that is the account's default. An alias cannot be compared; the key is fixed anyway.
fn kms_key(live: &str, wanted: Option<&str>) -> Option<String> {
    let wanted = wanted?;
    let is_same = wanted.contains("alias/") || live == wanted || live.ends_with(&format!("/{wanted}"));
    Some(if is_same { wanted } else { live }.to_owned())
}

async fn modify(aws: &Aws, id: &str, old: &resource::Volume, want: &resource::Volume) -> Result<(), Error> {
    let same = (old.size, &old.volume_type, old.iops, old.throughput)
        == (want.size, &want.volume_type, want.iops, want.throughput);
    if same {
        return Ok(());
    }
    if want.size < old.size {
        let message = format!(
            "{id} has {} GiB and a volume cannot shrink to {} GiB: make a new one and move the data",
            old.size, want.size
        );
        return Err(Error::new(ErrorKind::Refused, "ec2:ModifyVolume", message));
    }
    let call = || async {
        let call = aws.ec2_once.modify_volume().volume_id(id);
        let call = call.set_size((old.size != want.size).then_some(want.size));
        let call = call.volume_type(VolumeType::from(want.volume_type.as_str()));
        let call = call.set_iops(want.iops).set_throughput(want.throughput);
        call.send().await.during("ec2:ModifyVolume").map(drop).map_err(|error| explain(id, error))
    };
    // Asked for again after a lost answer, it would be refused: the next change is taken hours later.
    let begun = || async {
        let newest = newest_change(aws, id).await?;
        Ok(newest.is_some_and(|change| leads_to(&change, want)).then_some(()))
    };
    wait::create_once(call, begun).await?;
    let what = format!("the change of {id} to take effect");
    wait::until(SLOW_RESOURCE, "ec2:DescribeVolumesModifications", &what, || modified(aws, id)).await
}

fn explain(id: &str, error: Error) -> Error {
    let limits = ["VolumeModificationRateExceeded", "IncorrectModificationState", "OptimizingVolume"];
    if !error.is_code(&limits) {
        return error;
    }
    let message =
        format!("{id} was changed before: AWS takes the next change once that is done, or hours later");
    Error { message, ..error }
}

/// The change of the volume that was begun last, if there was ever one.
async fn newest_change(aws: &Aws, id: &str) -> Result<Option<VolumeModification>, Error> {
    let call = aws.ec2.describe_volumes_modifications().volume_ids(id);
    let answer = match call.send().await.during("ec2:DescribeVolumesModifications") {
        Err(error) if error.is_not_found() => return Ok(None),
        result => result?,
    };
    let changes = answer.volumes_modifications.unwrap_or_default().into_iter();
    Ok(changes.max_by_key(|change| change.start_time().map(DateTime::secs)))
}

/// Whether the change, by what is told of it, leads to what is wanted.
fn leads_to(change: &VolumeModification, want: &resource::Volume) -> bool {
    change.modification_state() != Some(&VolumeModificationState::Failed)
        && change.target_volume_type().is_none_or(|to| to.as_str() == want.volume_type)
        && change.target_size().is_none_or(|to| to == want.size)
        && change.target_iops().is_none_or(|to| want.iops.is_none_or(|iops| iops == to))
        && change.target_throughput().is_none_or(|to| want.throughput.is_none_or(|wanted| wanted == to))
}

/// The volume has its new size and speed as soon as it is being optimized.
async fn modified(aws: &Aws, id: &str) -> Result<Option<()>, Error> {
    let newest = newest_change(aws, id).await?;
    match newest.as_ref().and_then(VolumeModification::modification_state) {
        Some(VolumeModificationState::Modifying) => Ok(None),
        Some(VolumeModificationState::Failed) => {
            let why = newest.as_ref().and_then(|change| change.status_message());
            let why = why.unwrap_or("no reason is given");
            Err(Error::new(ErrorKind::Refused, "ec2:ModifyVolume", format!("changing {id} failed: {why}")))
        }
        _ => Ok(Some(())),
    }
}

#[cfg(test)]
mod tests {
    use super::kms_key;
    use kcl_engine::{Action, Because, Wanted};
    use kcl_model::resource::Volume;
    use kcl_testkit::Reply;

    use crate::testing::{self, CLUSTER, World};

    #[test]
    fn keys_are_spelled_as_wanted() {
        let arn = "arn:aws:kms:eu-north-1:123456789012:key/0a1b";
        assert_eq!(kms_key(arn, None), None);
        assert_eq!(kms_key(arn, Some("0a1b")).as_deref(), Some("0a1b"));
        assert_eq!(kms_key(arn, Some(arn)).as_deref(), Some(arn));
        assert_eq!(kms_key(arn, Some("alias/etcd")).as_deref(), Some("alias/etcd"));
        assert_eq!(kms_key(arn, Some("2c3d")).as_deref(), Some(arn));
    }

    fn wanted(change: impl FnOnce(&mut Volume)) -> Wanted {
        let name = format!("a.etcd-main.{CLUSTER}");
        let mut volume = Volume {
            zone: "eu-north-1a".to_owned(),
            size: 20,
            volume_type: "gp3".to_owned(),
            iops: Some(3000),
            throughput: Some(125),
            encrypted: true,
            kms_key: None,
            tags: testing::tags(&name),
        };
        change(&mut volume);
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, &name, &volume);
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let bigger = wanted(|volume| {
            volume.size = 40;
            volume.iops = Some(4000);
            volume.throughput = Some(250);
            volume.tags.insert("kcl.dev/x".to_owned(), "1".to_owned());
        });
        let done = world.round_trip(&wanted(|_| {}), &bigger).await;
        assert_eq!(done, [(Action::Update, format!("volume/a.etcd-main.{CLUSTER}"))]);
    }

    #[tokio::test]
    async fn a_lost_answer_asks_for_no_second_change() {
        let world = World::start().await;
        world.reach(&wanted(|_| {})).await;
        let lost = world.lose_answer("ec2", "ModifyVolume");
        world.reach(&wanted(|volume| volume.size = 40)).await;
        assert_eq!((lost.count(), world.local.count("ec2", "ModifyVolume")), (1, 1));
    }

    #[tokio::test]
    async fn none_shrinks() {
        let world = World::start().await;
        world.reach(&wanted(|_| {})).await;
        let smaller = wanted(|volume| volume.size = 10);
        let plan = world.plan(&smaller).await;
        assert!(plan.is_empty(), "{plan:#?}");
        let refused: Vec<_> = plan.refusals.iter().map(|refusal| refusal.because.clone()).collect();
        let because =
            Because::Immutable { field: "size".to_owned(), why: "a volume cannot shrink".to_owned() };
        assert_eq!(refused, [vec![because]]);
    }

    #[tokio::test]
    async fn one_whose_key_cannot_be_used_is_an_error() {
        let world = World::start().await;
        world.local.after(|call, mut response| {
            let state = match call.action.as_str() {
                "CreateVolume" => "creating",
                "DescribeVolumes" => "error",
                _ => return Reply::Send(response),
            };
            let text = response.text().replace("<status>available<", &format!("<status>{state}<"));
            response.body = text.into();
            Reply::Send(response)
        });
        let name = format!("a.etcd-main.{CLUSTER}");
        let want: Volume =
            wanted(|volume| volume.kms_key = Some("alias/gone".to_owned())).get(&name).expect("it is wanted");
        let made = <super::Volume as crate::kind::Kind>::create(&world.aws, &name, &want).await;
        let error = made.expect_err("it cannot be made");
        assert!(error.message.ends_with("look whether the key alias/gone may be used"), "{error}");
        assert_eq!(world.local.count("ec2", "DeleteVolume"), 1);
    }
}
