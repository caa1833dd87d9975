//! The control plane's table as whole runs of the binary: EC2 and S3 are moto's, the metadata service is testkit's,
//! kubeadm is a stand-in that has the real one make what does not need containerd, and etcd is real.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use common::cluster::World;
use common::etcd::{keys, put};
use kcl_node::etcd::{MemberId, peer_url};
use kcl_node_config::{MarkState, State};

/// Blank volume, no mark: the cluster is begun, and marked as begun.
#[tokio::test]
async fn a_cluster_is_begun_once() {
    let world = World::new(&["a"]);
    let disk = world.volume("a");
    let machine = world.machine("a", &disk);
    let said = machine.succeed();
    assert!(said.contains("Blank, No, None: Begin"), "{said}");
    let mark = world.mark().unwrap();
    assert_eq!((mark.state, mark.member.as_str()), (MarkState::Initialized, "a"));
    assert_eq!((&mark.volume, &mark.instance), (&disk.id, &machine.instance));
    let members = machine.etcd().members().await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].peer_urls, [peer_url(machine.address.into())]);
    let record = world.record("a");
    assert_eq!((record.instance, record.address), (machine.instance.clone(), machine.address.into()));
    let status = world.status(&machine);
    assert_eq!((status.state, status.step.as_str(), status.error), (State::Done, "agent", None));
    let _ = (MemberId(0), keys, put);
}
