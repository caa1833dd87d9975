//! What a machine of the control plane does, from what it finds: the one place that decides whether a cluster begins.
//!
//! Nothing here asks anybody.

use kcl_node_config::LastEntry;

/// What is on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volume {
    /// No data of etcd.
    Blank,
    /// Data of etcd.
    Data,
}

/// What the mark in the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialized {
    /// There is none: nobody has begun.
    No,
    /// This member has begun, and was cut short.
    ByThisMember,
    /// Another member has begun, and is not through.
    ByAnother,
    /// There is a cluster.
    Yes,
}

/// The other members of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// There are none: a control plane of one machine.
    None,
    /// One of them answers for a majority.
    Answer,
    /// None of them answers for a majority.
    Silent,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `kubeadm init`, once the mark is this machine's. What is on the volume is of a first try that was cut short.
    Begin,
    /// Another machine begins the cluster; this one waits, and looks again.
    Wait,
    /// The same data under a new address, with new certificates.
    Restore,
    /// The newest snapshot in the store is put on the volume first.
    RestoreSnapshot,
    /// A new member of the others' etcd.
    Join,
    /// The member that it was, under a new address, or a new one if the others have given it up.
    Rejoin,
    /// There may be no majority any more: one machine goes on alone with the newest data, and the others join it.
    Recover,
}

/// The table. A cluster is begun only where the mark says that there is none, or that this very member was at it;
/// and not where members of one answer although the mark is gone.
pub fn decide(volume: Volume, initialized: Initialized, others: Others) -> Action {
    match (initialized, others, volume) {
        (Initialized::No | Initialized::Yes, Others::Answer, Volume::Data) => Action::Rejoin,
        (Initialized::No | Initialized::Yes, Others::Answer, Volume::Blank) => Action::Join,
        (Initialized::No, Others::None | Others::Silent, _) | (Initialized::ByThisMember, _, _) => {
            Action::Begin
        }
        (Initialized::ByAnother, _, _) => Action::Wait,
        (Initialized::Yes, Others::None, Volume::Data) => Action::Restore,
        (Initialized::Yes, Others::None, Volume::Blank) => Action::RestoreSnapshot,
        (Initialized::Yes, Others::Silent, _) => Action::Recover,
    }
}

/// How another member is placed while no majority answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// No machine has its volume, so nobody runs it.
    Gone,
    /// A machine has just got its volume, and has still to say how new the data is.
    Comes {
        /// The machine.
        instance: String,
    },
    /// A machine has its volume, and waits too.
    Waits {
        /// The member.
        member: String,
        /// How new its data is.
        last: LastEntry,
    },
    /// A machine has its volume and does not wait: it runs, or is about to.
    Runs {
        /// The machine.
        instance: String,
    },
}

/// Who goes on while no majority answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody yet. These machines are waited for, beside those that are gone.
    Nobody {
        /// The machines.
        waits_for: Vec<String>,
    },
    /// This machine starts the member that it is: those that run know it, and together they may be a majority.
    Start,
    /// This machine goes on alone.
    Alone,
    /// Another member goes on alone: its data is newer.
    Another(String),
}

/// Who goes on, when `patient` says whether there is still time to wait.
///
/// As long as somebody may run, nobody goes on alone: they might be a majority that this machine only cannot reach.
/// Otherwise the one with the newest data does. Whatever was committed is in the logs of a majority, and so in the
/// newest log of any majority (Raft, "Election restriction"). With fewer than that it is the best that there is, once
/// nobody else came in time. Of that log etcd takes what it knows to be committed, which may be without the very last
/// entry where all machines lost their power at the same moment.
pub fn verdict(own: (&str, LastEntry), peers: &[Peer], patient: bool) -> Verdict {
    let (mut waits_for, mut runs, mut waiting) = (Vec::new(), Vec::new(), vec![own]);
    for peer in peers {
        match peer {
            Peer::Gone => {}
            Peer::Comes { instance } => waits_for.push(instance.clone()),
            Peer::Runs { instance } => runs.push(instance.clone()),
            Peer::Waits { member, last } => waiting.push((member.as_str(), *last)),
        }
    }
    let has_data = own.1 != LastEntry::default();
    if !runs.is_empty() && has_data {
        return Verdict::Start;
    }
    waits_for.append(&mut runs);
    let majority = 2 * waiting.len() > peers.len() + 1;
    if !waits_for.is_empty() || (!majority && patient) {
        return Verdict::Nobody { waits_for };
    }
    // Of equally new ones the first by name, so that all come to the same.
    let newest = waiting.into_iter().max_by(|one, other| one.1.cmp(&other.1).then(other.0.cmp(one.0)));
    match newest {
        Some((member, _)) if member != own.0 => Verdict::Another(member.to_owned()),
        _ => Verdict::Alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUMES: [Volume; 2] = [Volume::Blank, Volume::Data];
    const MARKS: [Initialized; 4] =
        [Initialized::No, Initialized::ByThisMember, Initialized::ByAnother, Initialized::Yes];
    const OTHERS: [Others; 3] = [Others::None, Others::Answer, Others::Silent];

    /// Every case there is.
    #[test]
    fn the_table() {
        use Action::{Begin, Join, Recover, Rejoin, Restore, RestoreSnapshot, Wait};
        use Initialized::{ByAnother, ByThisMember, No, Yes};
        // What is done with a blank volume, and with data.
        let table = [
            (No, Others::None, Begin, Begin),
            (ByThisMember, Others::None, Begin, Begin),
            (ByAnother, Others::None, Wait, Wait),
            (Yes, Others::None, RestoreSnapshot, Restore),
            (No, Others::Answer, Join, Rejoin),
            (ByThisMember, Others::Answer, Begin, Begin),
            (ByAnother, Others::Answer, Wait, Wait),
            (Yes, Others::Answer, Join, Rejoin),
            (No, Others::Silent, Begin, Begin),
            (ByThisMember, Others::Silent, Begin, Begin),
            (ByAnother, Others::Silent, Wait, Wait),
            (Yes, Others::Silent, Recover, Recover),
        ];
        assert_eq!(table.len(), MARKS.len() * OTHERS.len());
        for (initialized, others, blank, data) in table {
            let found = VOLUMES.map(|volume| decide(volume, initialized, others));
            assert_eq!(found, [blank, data], "{initialized:?} {others:?}");
        }
    }

    /// Whatever else is found: where there is a cluster, none is begun.
    #[test]
    fn there_is_never_a_second_cluster() {
        for (volume, others) in VOLUMES.iter().flat_map(|volume| OTHERS.map(|others| (*volume, others))) {
            for initialized in [Initialized::Yes, Initialized::ByAnother] {
                assert_ne!(decide(volume, initialized, others), Action::Begin, "{volume:?} {others:?}");
            }
            assert_ne!(decide(volume, Initialized::No, Others::Answer), Action::Begin, "the mark was lost");
            // And blank volumes alone get what is not from themselves.
            let action = decide(volume, Initialized::Yes, others);
            let overwrites = matches!(action, Action::RestoreSnapshot | Action::Join);
            assert!(!overwrites || volume == Volume::Blank, "{volume:?} {others:?}");
        }
    }

    fn last(term: u64, index: u64) -> LastEntry {
        LastEntry { term, index }
    }

    fn waits(member: &str, last: LastEntry) -> Peer {
        Peer::Waits { member: member.to_owned(), last }
    }

    #[test]
    fn the_newest_data_goes_on_alone() {
        let own = ("b", last(3, 10));
        let all = [waits("a", last(3, 9)), waits("c", last(2, 90))];
        assert_eq!(verdict(own, &all, true), Verdict::Alone);
        let another = Verdict::Another("a".to_owned());
        assert_eq!(verdict(own, &[waits("a", last(4, 1)), Peer::Gone], true), another);
        assert_eq!(verdict(own, &[waits("a", last(3, 10)), Peer::Gone], true), another);
        assert_eq!(verdict(own, &[waits("c", last(3, 10)), Peer::Gone], true), Verdict::Alone);
    }

    #[test]
    fn a_majority_is_waited_for_and_one_that_comes_always() {
        let own = ("b", last(3, 10));
        assert_eq!(verdict(own, &[Peer::Gone, Peer::Gone], true), Verdict::Nobody { waits_for: Vec::new() });
        assert_eq!(verdict(own, &[Peer::Gone, Peer::Gone], false), Verdict::Alone);
        let comes = [Peer::Comes { instance: "i-1".to_owned() }, waits("c", last(1, 1))];
        for patient in [true, false] {
            assert_eq!(verdict(own, &comes, patient), Verdict::Nobody { waits_for: vec!["i-1".to_owned()] });
        }
    }

    /// A member with data is one of those that run; one without has to be let in by a majority.
    #[test]
    fn nobody_goes_on_alone_while_another_runs() {
        for patient in [true, false] {
            for other in [Peer::Gone, waits("c", last(1, 1))] {
                let peers = [Peer::Runs { instance: "i-1".to_owned() }, other];
                assert_eq!(verdict(("b", last(1, 1)), &peers, patient), Verdict::Start);
                let waits_for = vec!["i-1".to_owned()];
                assert_eq!(verdict(("b", last(0, 0)), &peers, patient), Verdict::Nobody { waits_for });
            }
        }
    }

    /// All machines come to the same one, if they see the same.
    #[test]
    fn no_two_go_on_alone() {
        let members = [("a", last(3, 10)), ("b", last(3, 10)), ("c", last(2, 11))];
        let own: Vec<bool> = (0..3)
            .map(|index| {
                let others = members.iter().enumerate().filter(|(other, _)| *other != index);
                let peers: Vec<Peer> = others.map(|(_, (member, last))| waits(member, *last)).collect();
                verdict(members[index], &peers, true) == Verdict::Alone
            })
            .collect();
        assert_eq!(own, [true, false, false]);
    }
}
