//! EC2, as far as a machine of the control plane asks it: volumes, and who has them.

use std::collections::BTreeMap;

use kcl_http::{AwsError, AwsService, xml};

use crate::retry::{Patience, retry};

/// The version of EC2's API.
const VERSION: &str = "2016-11-15";

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// `creating`, `available`, `in-use`, `deleting`, `error`.
    pub state: String,
    /// Which etcd member it is of, and all members: its tag `k8s.io/etcd/main`.
    pub member: String,
    /// Who has it.
    pub attachments: Vec<Attachment>,
}

/// A volume's being attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// To whom.
    pub instance: String,
    /// Under which name: `/dev/sdf`.
    pub device: String,
    /// `attaching`, `attached`, `detaching`, `busy`.
    pub state: String,
}

impl Volume {
    /// How an instance has it.
    pub fn attachment(&self, instance: &str) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.instance == instance)
    }
}

/// The tags of instances, by their ids.
pub type InstanceTags = BTreeMap<String, BTreeMap<String, String>>;

/// EC2 of a region.
#[derive(Clone, Debug)]
pub struct Ec2 {
    service: AwsService,
    patience: Patience,
}

/// The tag of etcd's volumes.
const MEMBER: &str = "k8s.io/etcd/main";

impl Ec2 {
    /// As somebody, with some patience for what may pass.
    pub fn new(service: AwsService, patience: Patience) -> Self {
        Self { service, patience }
    }

    /// All volumes of a cluster's etcd.
    pub async fn etcd_volumes(&self, cluster: &str) -> Result<Vec<Volume>, AwsError> {
        let owned = format!("tag:kubernetes.io/cluster/{cluster}");
        let parameters = [
            ("Filter.1.Name", "tag:KubernetesCluster"),
            ("Filter.1.Value.1", cluster),
            ("Filter.2.Name", owned.as_str()),
            ("Filter.2.Value.1", "owned"),
            ("Filter.3.Name", "tag-key"),
            ("Filter.3.Value.1", MEMBER),
        ];
        let text = self.ask("DescribeVolumes", &parameters).await?;
        volumes(&text).ok_or_else(|| unreadable("DescribeVolumes"))
    }

    /// How an instance does: `running`, `shutting-down`; nothing of one that EC2 knows no more.
    pub async fn instance_state(&self, instance: &str) -> Result<Option<String>, AwsError> {
        match self.ask("DescribeInstances", &[("InstanceId.1", instance)]).await {
            Ok(text) => instance_state(&text).map_err(|_| unreadable("DescribeInstances")),
            Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tags of those of these instances that are a cluster's own, by their ids. At most 200 can be asked for
    /// (`DescribeInstances`, "Filter").
    pub async fn tags(&self, cluster: &str, instances: &[&str]) -> Result<InstanceTags, AwsError> {
        let owned = format!("tag:kubernetes.io/cluster/{cluster}");
        let mut parameters = vec![
            ("Filter.1.Name".to_owned(), "tag:KubernetesCluster"),
            ("Filter.1.Value.1".to_owned(), cluster),
            ("Filter.2.Name".to_owned(), owned.as_str()),
            ("Filter.2.Value.1".to_owned(), "owned"),
            // As ids, one that is not known would be an error for all of them.
            ("Filter.3.Name".to_owned(), "instance-id"),
        ];
        let ids = (1..).zip(instances).map(|(number, id)| (format!("Filter.3.Value.{number}"), *id));
        parameters.extend(ids);
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let text = self.ask("DescribeInstances", &parameters).await?;
        instance_tags(&text).ok_or_else(|| unreadable("DescribeInstances"))
    }

    /// Begins to attach a volume to an instance under a name.
    pub async fn attach(&self, volume: &str, instance: &str, device: &str) -> Result<(), AwsError> {
        let parameters = [("VolumeId", volume), ("InstanceId", instance), ("Device", device)];
        self.ask("AttachVolume", &parameters).await.map(drop)
    }

    /// Begins to detach a volume from an instance.
    pub async fn detach(&self, volume: &str, instance: &str) -> Result<(), AwsError> {
        let parameters = [("VolumeId", volume), ("InstanceId", instance)];
        self.ask("DetachVolume", &parameters).await.map(drop)
    }

    async fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, AwsError> {
        retry(self.patience, AwsError::is_transient, || self.service.query(VERSION, action, parameters)).await
    }
}

fn unreadable(what: &str) -> AwsError {
    AwsError::Unreadable { service: "ec2", what: what.to_owned() }
}

fn volumes(text: &str) -> Option<Vec<Volume>> {
    let document = roxmltree::Document::parse(text).ok()?;
    let list = xml::items(document.root_element(), "volumeSet");
    list.map(|volume| {
        let text = |name| Some(xml::child_text(volume, name)?.to_owned());
        let tags = xml::items(volume, "tagSet");
        let mut tags = tags.filter(|tag| xml::child_text(*tag, "key") == Some(MEMBER));
        let attachments = xml::items(volume, "attachmentSet").map(|attachment| {
            let text = |name| Some(xml::child_text(attachment, name)?.to_owned());
            Some(Attachment {
                instance: text("instanceId")?,
                device: text("device")?,
                state: text("status")?,
            })
        });
        Some(Volume {
            id: text("volumeId")?,
            zone: text("availabilityZone")?,
            state: text("status")?,
            member: tags.next().and_then(|tag| xml::child_text(tag, "value")).unwrap_or_default().to_owned(),
            attachments: attachments.collect::<Option<_>>()?,
        })
    })
    .collect()
}

/// The tags of all instances of an answer.
fn instance_tags(text: &str) -> Option<InstanceTags> {
    let document = roxmltree::Document::parse(text).ok()?;
    let reservations = xml::items(document.root_element(), "reservationSet");
    let instances = reservations.flat_map(|reservation| xml::items(reservation, "instancesSet"));
    let tags = |instance| {
        let tags = xml::items(instance, "tagSet");
        let pairs = tags.filter_map(|tag| {
            let value = xml::child_text(tag, "value").unwrap_or_default();
            Some((xml::child_text(tag, "key")?.to_owned(), value.to_owned()))
        });
        pairs.collect()
    };
    instances
        .map(|instance| Some((xml::child_text(instance, "instanceId")?.to_owned(), tags(instance))))
        .collect()
}

/// The state of the first instance of an answer, if there is one.
fn instance_state(text: &str) -> Result<Option<String>, roxmltree::Error> {
    let document = roxmltree::Document::parse(text)?;
    let reservation = xml::items(document.root_element(), "reservationSet").next();
    let instance = reservation.and_then(|reservation| xml::items(reservation, "instancesSet").next());
    let state = instance.and_then(|instance| xml::child(instance, "instanceState"));
    Ok(state.and_then(|state| xml::child_text(state, "name")).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-1</volumeId>\
            <availabilityZone>eu-north-1a</availabilityZone><status>in-use</status>\
            <attachmentSet><item><volumeId>vol-1</volumeId><instanceId>i-1</instanceId><device>/dev/sdf</device>\
            <status>attached</status></item></attachmentSet>\
            <tagSet><item><key>Name</key><value>x</value></item>\
            <item><key>k8s.io/etcd/main</key><value>a/a,b</value></item></tagSet></item></volumeSet>\
            </DescribeVolumesResponse>";
        let found = volumes(text).unwrap();
        assert_eq!((found.len(), found[0].member.as_str()), (1, "a/a,b"));
        assert_eq!(found[0].attachment("i-1").unwrap().device, "/dev/sdf");
        assert!(found[0].attachment("i-2").is_none());
        assert_eq!(volumes("<r/>"), Some(Vec::new()));
        assert!(volumes("no").is_none() && volumes("<r><volumeSet><item/></volumeSet></r>").is_none());

        let text = "<r><reservationSet><item><instancesSet><item><instanceState><code>32</code>\
                    <name>shutting-down</name></instanceState></item></instancesSet></item></reservationSet></r>";
        assert_eq!(instance_state(text), Ok(Some("shutting-down".to_owned())));
        assert_eq!(instance_state("<r/>"), Ok(None));

        let text = "<r><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><tagSet>\
            <item><key>a</key><value>b</value></item><item><key>c</key><value/></item></tagSet></item></instancesSet>\
            </item><item><instancesSet><item><instanceId>i-2</instanceId></item></instancesSet></item>\
            </reservationSet></r>";
        let found = instance_tags(text).unwrap();
        assert_eq!(
            found["i-1"],
            [("a", "b"), ("c", "")].map(|(key, value)| (key.into(), value.into())).into()
        );
        assert!(found["i-2"].is_empty() && found.len() == 2);
        assert_eq!(instance_tags("<r/>"), Some(BTreeMap::new()));
        assert_eq!(instance_tags("no"), None);
    }
}
