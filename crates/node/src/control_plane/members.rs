//! The members of etcd: who answers, who is who, and what of their list has to be mended.

use std::net::IpAddr;
use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::{File, LastEntry, MemberRecord, paths};

use super::{ControlPlaneError, Work};
use crate::bootstrap::Event;
use crate::etcd::{self, Etcd, EtcdError, Member, client_url, peer_url};
use crate::records;
use crate::retry::{Patience, retry};
use crate::store::Condition;
use crate::system::FOLDER;

/// A learner has a copy of all data before it is given a vote: minutes, where that is large.
const PROMOTION: Patience =
    Patience { attempts: 60, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(5) };

/// A member that answers for a majority.
pub(super) struct Answering {
    /// It.
    pub(super) etcd: Etcd,
    /// Its machine.
    pub(super) address: IpAddr,
    /// Everybody in the cluster.
    pub(super) members: Vec<Member>,
}

/// The records of the other members, as far as there are some.
pub(super) async fn records(work: &Work<'_>) -> Result<Vec<MemberRecord>, ControlPlaneError> {
    records::of_others(work.store, &work.told.etcd.members, work.member()).await
}

/// Has kubeadm make what etcd knows its clients by, which it does not do before `kubeadm init` otherwise.
pub(super) async fn client(work: &Work<'_>) -> Result<(), ControlPlaneError> {
    if !work.system.path(&format!("{}/apiserver-etcd-client.crt", paths::PKI)).exists() {
        work.kubeadm().phase(&["certs", "apiserver-etcd-client"]).await?;
    }
    Ok(())
}

/// Another member that answers for a majority, if there is one.
pub(super) async fn ask(work: &Work<'_>) -> Result<Option<Answering>, ControlPlaneError> {
    let records = records(work).await?;
    if records.is_empty() {
        return Ok(None);
    }
    client(work).await?;
    for MemberRecord { address, .. } in records {
        let etcd = Etcd::with_keys_of(work.system, &client_url(address))?;
        // Whoever does not answer is one that does not.
        if let Ok(members) = etcd.members().await {
            return Ok(Some(Answering { etcd, address, members }));
        }
    }
    Ok(None)
}

/// Says in the store that this machine is the member now. Which machine was it before is remembered here until its
/// node is deleted.
pub(super) async fn announce(
    work: &Work<'_>,
    waits_with: Option<LastEntry>,
) -> Result<(), ControlPlaneError> {
    let path = MemberRecord::path(work.member());
    let mut record = MemberRecord {
        member: work.member().to_owned(),
        instance: work.identity.instance_id.clone(),
        address: work.identity.private_ip,
        // The node agent knows it, and says it when it runs.
        public_address: None,
        at: crate::now(),
        waits_with,
    };
    if let Some(object) = work.store.get(&path).await? {
        let former = MemberRecord::read(work.member(), &object.bytes)?;
        if former.instance == record.instance {
            record.public_address = former.public_address;
        } else {
            work.system.write(&former_note(&former.instance))?;
        }
    }
    work.store.put(&path, record.to_json()?.as_bytes(), Condition::Always).await?;
    Ok(())
}

/// Who was this member before.
fn former_note(instance: &str) -> File {
    File { path: format!("{FOLDER}/former-machine"), mode: 0o644, content: format!("{instance}\n") }
}

/// Deletes the node of the machine that was this member before: it has no volume and comes back under this name no
/// more. What stays is an eyesore, and stops nothing.
pub(super) async fn delete_node_of_former(work: &Work<'_>) {
    let note = former_note("").path;
    let Ok(former) = std::fs::read_to_string(work.system.path(&note)) else { return };
    let (former, admin) = (former.trim(), work.system.path(paths::ADMIN));
    let kubeconfig = format!("--kubeconfig={}", admin.display());
    let arguments = [
        kubeconfig.as_str(),
        "delete",
        "node",
        former,
        "--ignore-not-found",
        "--wait=false",
        "--request-timeout=30s",
    ];
    let deleted = work.system.run(&work.system.commands.kubectl, &arguments).await;
    if let Err(error) = deleted.and_then(|_| work.system.remove(&note)) {
        let what = format!("the node of the former machine {former} was not deleted: {}", chain(&error));
        work.report.tell(&Event::Warning(&what));
    }
}

/// Starts kube-proxy on this machine again. It was started while the API's name still led to another machine, and the
/// kubelet gave it the names as they were then. That it goes on with these stops nothing until that machine goes.
pub(super) async fn restart_own_proxy(work: &Work<'_>) {
    let kubeconfig = format!("--kubeconfig={}", work.system.path(paths::ADMIN).display());
    let here = format!("--field-selector=spec.nodeName={}", work.identity.instance_id);
    let arguments = [
        kubeconfig.as_str(),
        "delete",
        "pod",
        "--namespace=kube-system",
        "--selector=k8s-app=kube-proxy",
        &here,
        "--wait=false",
        "--request-timeout=30s",
    ];
    if let Err(error) = work.system.run(&work.system.commands.kubectl, &arguments).await {
        let what = format!("kube-proxy on this machine was not started again: {}", chain(&error));
        work.report.tell(&Event::Warning(&what));
    }
}

/// Takes members out of the cluster that are nobody's: of machines that are gone, and whose place this one takes.
/// One that is in a record, or at whose address anybody listens, stays.
pub(super) async fn remove_dead(work: &Work<'_>, answering: &Answering) -> Result<(), ControlPlaneError> {
    let mut living = records(work).await?;
    living.push(MemberRecord {
        member: work.member().to_owned(),
        instance: work.identity.instance_id.clone(),
        address: work.identity.private_ip,
        public_address: None,
        at: String::new(),
        waits_with: None,
    });
    for member in answering.members.iter().filter(|member| !is_somebodys(member, &living)) {
        let urls = member.client_urls.iter().chain(&member.peer_urls);
        let mut listens = false;
        for url in urls {
            listens |= etcd::listens(url).await;
        }
        if listens {
            continue;
        }
        let what =
            format!("the etcd member {} ({}) is gone for good; it is removed", member.id(), member.name);
        work.report.tell(&Event::Finds(&what));
        match answering.etcd.remove_member(member.id()).await {
            Err(error) if error.is_not_found() => {}
            done => done?,
        }
    }
    Ok(())
}

/// Whether a member is in one of these records, by its name or where it is.
fn is_somebodys(member: &Member, living: &[MemberRecord]) -> bool {
    living
        .iter()
        .any(|record| member.name == record.instance || member.peer_urls.contains(&peer_url(record.address)))
}

/// Has the others know this member by its own address, with a vote.
pub(super) async fn repair_own(work: &Work<'_>) -> Result<(), ControlPlaneError> {
    let etcd = work.own_etcd()?;
    let passing = EtcdError::is_transient;
    let id = retry(work.patience, passing, || etcd.status()).await?.member();
    let members = retry(work.patience, passing, || etcd.members()).await?;
    let Some(own) = members.into_iter().find(|member| member.id() == id) else { return Ok(()) };
    let url = etcd::peer_url(work.identity.private_ip);
    if own.peer_urls != [url.as_str()] {
        retry(work.patience, passing, || etcd.update_member(id, &url)).await?;
    }
    if own.is_learner {
        // Asked of somebody who has a vote.
        let others = ask(work).await?;
        let whom = others.map_or(etcd, |answering| answering.etcd);
        retry(PROMOTION, passing, || whom.promote_member(id)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_somebodys_by_name_or_address() {
        let member = |name: &str, peer: &str| -> Member {
            let text = serde_json::json!({"ID": "1", "name": name, "peerURLs": [peer]});
            serde_json::from_value(text).unwrap()
        };
        let record = MemberRecord {
            member: "b".to_owned(),
            instance: "i-2".to_owned(),
            address: [10, 0, 0, 2].into(),
            public_address: None,
            at: String::new(),
            waits_with: None,
        };
        let is = |name, peer| is_somebodys(&member(name, peer), std::slice::from_ref(&record));
        assert!(is("i-2", "https://10.0.0.9:2380"), "it has not said yet where it is now");
        assert!(is("", "https://10.0.0.2:2380"), "it was added, and has not started");
        assert!(!is("i-1", "https://10.0.0.1:2380") && !is("", "https://10.0.0.1:2380"));
    }
}
