//! Who the control plane's machines are: each keeps a record in the store, and the API's names follow them all.

use std::net::IpAddr;

use futures::future::try_join_all;
use kcl_http::{AwsError, AwsService};
use kcl_node_config::{ConfigError, ControlPlane, Etcd, MemberRecord, rfc3339};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::dns::{self, ALIVE, Names};
use crate::imds::{Identity, Imds, ImdsError};
use crate::records;
use crate::store::{Condition, Store, StoreError, Written};

/// What is met on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembersError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record.
    #[error(transparent)]
    Record(#[from] ConfigError),
    /// Route53.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Another machine has this one's place.
    #[error(
        "etcd member {member} is the machine {instance} now, since {at}\nhint: this machine is replaced; terminate it"
    )]
    Replaced {
        /// The member.
        member: String,
        /// The other machine.
        instance: String,
        /// When it said so last.
        at: String,
    },
}

/// This machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its instance id.
    pub instance: String,
    /// Its address inside the VPC.
    pub address: IpAddr,
    /// Its address on the Internet.
    pub public_address: Option<IpAddr>,
}

impl Here {
    /// What the machine's metadata says.
    pub async fn of(identity: &Identity, imds: &Imds) -> Result<Self, ImdsError> {
        let public = imds.get("meta-data/public-ipv4").await?;
        Ok(Self {
            instance: identity.instance_id.clone(),
            address: identity.private_ip,
            public_address: public.and_then(|text| text.trim().parse().ok()),
        })
    }
}

/// Whether this machine stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Names lead to it.
    Stays,
    /// Names lead to it no more, if there is another.
    Goes,
}

/// Says in the store that this machine is its member and alive, and has the API's names lead to all machines that
/// are, unless they do already as far as is known (`before`). Gives what they lead to now.
///
/// What cannot be read changes no name: the store being out of reach takes no machine out of DNS.
pub async fn publish(
    store: &Store,
    route53: &AwsService,
    told: &ControlPlane,
    here: &Here,
    presence: Presence,
    before: Option<&Names>,
) -> Result<Names, MembersError> {
    let own = match presence {
        Presence::Stays => Some(refresh(store, told, here).await?),
        Presence::Goes => None,
    };
    if told.dns.is_empty() {
        return Ok(Names::new());
    }
    let (others, now) = (others(store, &told.etcd).await?, OffsetDateTime::now_utc());
    let zones: Vec<(&str, Names)> = told
        .dns
        .iter()
        .map(|wanted| (wanted.zone.as_str(), dns::names(wanted, own.as_ref(), &others, now)))
        .collect();
    let names: Names = zones.iter().flat_map(|(_, names)| names.clone()).collect();
    if before != Some(&names) {
        try_join_all(zones.iter().map(|(zone, names)| dns::publish(route53, zone, names))).await?;
    }
    Ok(names)
}

/// Has the API's names lead to this machine, which is about to begin or to restore its cluster, unless another one is
/// alive: then that one has the API, and this one will have it later. The records stay as they are.
pub async fn publish_first(
    store: &Store,
    route53: &AwsService,
    told: &ControlPlane,
    here: &Here,
) -> Result<(), MembersError> {
    if told.dns.is_empty() {
        return Ok(());
    }
    let now = OffsetDateTime::now_utc();
    if others(store, &told.etcd).await?.iter().any(|other| dns::serves(other, now)) {
        return Ok(());
    }
    let own = record(&told.etcd.member, here, None, now)?;
    let published = told.dns.iter().map(async |wanted| {
        dns::publish(route53, &wanted.zone, &dns::names(wanted, Some(&own), &[], now)).await
    });
    try_join_all(published).await?;
    Ok(())
}

/// The records of the other members, as far as there are some.
async fn others(store: &Store, etcd: &Etcd) -> Result<Vec<MemberRecord>, MembersError> {
    records::of_others(store, &etcd.members, &etcd.member).await
}

/// Writes this machine's record anew; what else bootstrap has said in it stays.
async fn refresh(store: &Store, told: &ControlPlane, here: &Here) -> Result<MemberRecord, MembersError> {
    let member = &told.etcd.member;
    let path = MemberRecord::path(member);
    let now = OffsetDateTime::now_utc();
    let object = store.get(&path).await?;
    let old = object.as_ref().map(|object| MemberRecord::read(member, &object.bytes)).transpose()?;
    let record = record(member, here, old, now)?;
    let condition = object.as_ref().map_or(Condition::Absent, |object| Condition::Unchanged(&object.etag));
    match store.put(&path, record.to_json()?.as_bytes(), condition).await? {
        Written::Yes(_) => Ok(record),
        // Either another machine was faster, or this very write was done and its answer lost.
        Written::ConditionFailed => {
            let object = store.get(&path).await?;
            let now_there = object.map(|object| MemberRecord::read(member, &object.bytes)).transpose()?;
            match now_there {
                Some(found) if found.instance == here.instance => Ok(found),
                Some(found) => Err(replaced(found)),
                None => Ok(record),
            }
        }
    }
}

/// The record to write in the place of an old one, unless that is another machine's that is alive.
fn record(
    member: &str,
    here: &Here,
    old: Option<MemberRecord>,
    now: OffsetDateTime,
) -> Result<MemberRecord, MembersError> {
    let Here { instance, address, public_address } = here;
    let at = rfc3339(now);
    let (member, instance) = (member.to_owned(), instance.clone());
    let waits_with = match old {
        Some(old) if old.instance == instance => old.waits_with,
        Some(old) => {
            let alive = OffsetDateTime::parse(&old.at, &Rfc3339).is_ok_and(|at| now - at < ALIVE);
            if alive {
                return Err(replaced(old));
            }
            None
        }
        None => None,
    };
    let (address, public_address) = (*address, *public_address);
    Ok(MemberRecord { member, instance, address, public_address, at, waits_with })
}

fn replaced(by: MemberRecord) -> MembersError {
    let MemberRecord { member, instance, at, .. } = by;
    MembersError::Replaced { member, instance, at }
}

#[cfg(test)]
mod tests {
    use kcl_node_config::LastEntry;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00.5 UTC);

    fn old(instance: &str, at: &str) -> MemberRecord {
        MemberRecord {
            member: "a".to_owned(),
            instance: instance.to_owned(),
            address: [10, 0, 0, 9].into(),
            public_address: None,
            at: at.to_owned(),
            waits_with: Some(LastEntry { term: 2, index: 7 }),
        }
    }

    #[test]
    fn a_record_is_taken_over_from_a_machine_that_is_gone_only() {
        let here = Here { instance: "i-1".to_owned(), address: [10, 0, 0, 1].into(), public_address: None };
        let record = |old| record("a", &here, old, NOW);
        let fresh = record(None).unwrap();
        assert_eq!((fresh.at.as_str(), fresh.waits_with), ("2026-03-01T12:00:00Z", None));
        assert_eq!(record(Some(old("i-0", "2026-03-01T11:54:00Z"))).unwrap(), fresh);
        let own = record(Some(old("i-1", "2026-03-01T11:59:30Z"))).unwrap();
        assert_eq!((own.address, own.waits_with), (here.address, Some(LastEntry { term: 2, index: 7 })));
        let error = record(Some(old("i-2", "2026-03-01T11:59:30Z"))).unwrap_err().to_string();
        assert!(
            error.starts_with("etcd member a is the machine i-2 now, since 2026-03-01T11:59:30Z"),
            "{error}"
        );
    }
}
