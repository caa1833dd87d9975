//! What holds for a keyset whatever is done with it.

use std::collections::BTreeMap;

use kcl_pki::{
    CA_VALIDITY, Entropy, EntropyError, KeyId, Keyset, KeysetError, KeysetName, PrivateKey, SystemEntropy,
};
use proptest::prelude::*;
use time::Duration;

use crate::support::{Counting, NOW, private_objects};

#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Promote(prop::sample::Index),
    Distrust(prop::sample::Index),
    /// Write it and read it again.
    Store,
    /// Read it without the private keys.
    ReadPublic,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Add),
        3 => any::<prop::sample::Index>().prop_map(Step::Promote),
        3 => any::<prop::sample::Index>().prop_map(Step::Distrust),
        1 => Just(Step::Store),
        1 => Just(Step::ReadPublic),
    ]
}

/// One primary key, which is trusted; distinct ids; and the bundle has the trusted ones with the primary first.
fn check_invariants(keyset: &Keyset) {
    let list = keyset.list();
    assert_eq!(list.iter().filter(|key| key.primary).count(), 1);
    assert!(list.iter().all(|key| !key.primary || key.trusted));
    assert!(list.iter().all(|key| key.trusted == key.distrusted.is_none()));
    let mut ids: Vec<&KeyId> = list.iter().map(|key| &key.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), list.len());
    assert_eq!(keyset.trusted().next().unwrap().id(), keyset.primary().id());
    assert_eq!(keyset.trusted().count(), list.iter().filter(|key| key.trusted).count());
    let bundle: String = keyset.trusted().map(|key| key.material().to_pem()).collect();
    assert_eq!(keyset.trust_bundle(), bundle);
}

/// Does a step, and checks that what is refused leaves the keyset as it was.
fn take(keyset: &mut Keyset, step: Step, seconds: i64) {
    let now = NOW + Duration::seconds(seconds);
    let before = keyset.clone();
    let id = |index: prop::sample::Index| index.get(before.keys()).id().clone();
    let name = before.name();
    match step {
        Step::Add => {
            let id = keyset.add(&mut Counting::default(), now).unwrap();
            assert_eq!(keyset.primary().id(), before.primary().id());
            assert!(keyset.get(&id).unwrap().is_trusted());
            assert!(before.keys().iter().all(|key| *key.id() < id), "ids sort by time");
        }
        Step::Promote(index) => {
            let id = id(index);
            match keyset.promote(&id, now) {
                Ok(changed) => {
                    assert_eq!(changed, *before.primary().id() != id);
                    assert_eq!(*keyset.primary().id(), id);
                    assert!(keyset.get(before.primary().id()).unwrap().is_trusted());
                }
                Err(_) => assert_eq!(*keyset, before),
            }
        }
        Step::Distrust(index) => {
            let id = id(index);
            match keyset.distrust(&id, now) {
                Ok(changed) => {
                    assert_eq!(changed, before.get(&id).unwrap().is_trusted());
                    assert!(!keyset.get(&id).unwrap().is_trusted());
                }
                Err(error) => {
                    assert_eq!(error, KeysetError::DistrustPrimary { keyset: name, id });
                    assert_eq!(*keyset, before);
                }
            }
        }
        Step::Store => {
            let objects = private_objects(keyset);
            *keyset = Keyset::parse_with_private(name, keyset.index_yaml().as_bytes(), &objects).unwrap();
            assert_eq!(*keyset, before);
        }
        Step::ReadPublic => {
            let mut public = Keyset::parse(name, keyset.index_yaml().as_bytes()).unwrap();
            assert!(public.list().iter().all(|key| !key.has_private_key));
            assert_eq!(public.index_yaml(), before.index_yaml());
            assert_eq!(public.trust_bundle(), before.trust_bundle());
            for (id, pem) in private_objects(keyset) {
                public.attach(&id, &pem).unwrap();
            }
            assert_eq!(public, before);
        }
    }
    keyset.is_successor_of(&before).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rotations_lose_nothing(steps in prop::collection::vec(step(), 0..24)) {
        let first = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
        let mut keyset = first.clone();
        for (second, step) in (1..).zip(steps) {
            take(&mut keyset, step, second);
            check_invariants(&keyset);
        }
        keyset.is_successor_of(&first).unwrap();
        if keyset.keys().len() > first.keys().len() {
            prop_assert!(first.is_successor_of(&keyset).is_err());
        }
    }
}

#[test]
fn token_keys_rotate_and_are_read_back() {
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(KeysetName::ServiceAccount, &mut entropy, NOW).unwrap();
    let first = keyset.primary().id().clone();
    let second = keyset.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    keyset.promote(&second, NOW + Duration::HOUR).unwrap();
    keyset.distrust(&first, NOW + Duration::DAY).unwrap();
    check_invariants(&keyset);
    let objects = private_objects(&keyset);
    let again = Keyset::parse_with_private(keyset.name(), keyset.index_yaml().as_bytes(), &objects).unwrap();
    assert_eq!(again, keyset);
    assert_eq!(again.index_yaml(), keyset.index_yaml());
}

#[test]
fn a_key_that_must_not_sign_is_not_promoted() {
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(KeysetName::KubernetesCa, &mut entropy, NOW).unwrap();
    let distrusted = keyset.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    keyset.distrust(&distrusted, NOW + Duration::HOUR).unwrap();
    let error = keyset.promote(&distrusted, NOW + Duration::HOUR).unwrap_err();
    assert!(matches!(error, KeysetError::Distrusted { .. }), "{error}");

    let other = keyset.add(&mut entropy, NOW + Duration::days(2)).unwrap();
    let expired = keyset.promote(&other, NOW + Duration::days(3) + CA_VALIDITY).unwrap_err();
    assert!(matches!(expired, KeysetError::Expired { .. }), "{expired}");
    let early = keyset.promote(&other, NOW).unwrap_err();
    assert!(matches!(early, KeysetError::NotYetValid { .. }), "{early}");

    let mut objects = private_objects(&keyset);
    objects.remove(&other);
    let index = keyset.index_yaml();
    let mut partial = Keyset::parse_with_private(keyset.name(), index.as_bytes(), &objects).unwrap();
    let error = partial.promote(&other, NOW + Duration::days(2)).unwrap_err();
    let path = format!("pki/private/kubernetes-ca/{other}.key");
    assert_eq!(error, KeysetError::NoPrivateKey { keyset: keyset.name(), id: other, path });

    let unknown = KeyId::parse("000000000000000000000000").unwrap();
    for result in [keyset.promote(&unknown, NOW), keyset.distrust(&unknown, NOW)] {
        assert!(matches!(result, Err(KeysetError::NoSuchKey { .. })));
    }
}

#[test]
fn an_index_that_would_lose_something_is_no_successor() {
    let mut entropy = Counting::default();
    let one = Keyset::generate(KeysetName::EtcdCa, &mut entropy, NOW).unwrap();
    let mut two = one.clone();
    let added = two.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    two.is_successor_of(&one).unwrap();
    assert_eq!(
        one.is_successor_of(&two).unwrap_err(),
        KeysetError::Lost { keyset: KeysetName::EtcdCa, id: added.clone() }
    );
    let mut distrusted = two.clone();
    distrusted.distrust(&added, NOW + Duration::DAY).unwrap();
    distrusted.is_successor_of(&two).unwrap();
    let back = two.is_successor_of(&distrusted).unwrap_err();
    assert!(matches!(back, KeysetError::Changed { field: "distrusted", .. }), "{back}");

    let parse = |text: &str| Keyset::parse(KeysetName::EtcdCa, text.as_bytes()).unwrap();
    let moved = parse(&one.index_yaml().replace("created: \"2030", "created: \"2029"));
    assert!(matches!(moved.is_successor_of(&one), Err(KeysetError::Changed { field: "created", .. })));
    let stranger = Keyset::generate(KeysetName::EtcdCa, &mut entropy, NOW).unwrap();
    let text = stranger.index_yaml().replace(stranger.primary().id().as_str(), one.primary().id().as_str());
    assert!(matches!(
        parse(&text).is_successor_of(&one),
        Err(KeysetError::Changed { field: "certificate", .. })
    ));
    let other = Keyset::generate(KeysetName::FrontProxyCa, &mut entropy, NOW).unwrap();
    assert!(matches!(other.is_successor_of(&one), Err(KeysetError::OtherKeyset { .. })));
}

/// Randomness that is broken in one way.
enum Broken {
    Silent,
    Constant,
    /// It always gives the same key.
    Stuck(PrivateKey),
    /// It gives RSA keys for ECDSA keys and the other way round.
    Swapped,
}

impl Entropy for Broken {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self {
            Self::Silent => Err(EntropyError::Unavailable { what: "random bytes" }),
            Self::Constant => {
                bytes.fill(0);
                Ok(())
            }
            Self::Stuck(_) | Self::Swapped => SystemEntropy.fill(bytes),
        }
    }

    fn p256_key(&mut self) -> Result<PrivateKey, EntropyError> {
        match self {
            Self::Stuck(key) => Ok(key.clone()),
            Self::Swapped => Counting::default().rsa_2048_key(),
            Self::Silent | Self::Constant => SystemEntropy.p256_key(),
        }
    }

    fn rsa_2048_key(&mut self) -> Result<PrivateKey, EntropyError> {
        self.p256_key()
    }
}

#[test]
fn broken_randomness_is_an_error_and_changes_nothing() {
    for name in KeysetName::ALL {
        for mut broken in [Broken::Silent, Broken::Constant] {
            assert!(matches!(Keyset::generate(name, &mut broken, NOW), Err(KeysetError::Entropy(_))));
        }
    }
    let swapped = Keyset::generate(KeysetName::EtcdCa, &mut Broken::Swapped, NOW).unwrap_err();
    assert!(matches!(swapped, KeysetError::Entropy(EntropyError::WrongAlgorithm { .. })), "{swapped}");

    let mut stuck = Broken::Stuck(SystemEntropy.p256_key().unwrap());
    let mut keyset = Keyset::generate(KeysetName::EtcdCa, &mut stuck, NOW).unwrap();
    let before = keyset.clone();
    let repeated = keyset.add(&mut stuck, NOW + Duration::HOUR).unwrap_err();
    assert!(
        matches!(repeated, KeysetError::Entropy(EntropyError::Repeats { what: "a key", .. })),
        "{repeated}"
    );
    let repeated =
        keyset.add(&mut Counting::default(), NOW).and_then(|_| keyset.add(&mut Counting::default(), NOW));
    assert!(matches!(repeated, Err(KeysetError::Entropy(EntropyError::Repeats { what: "an id", .. }))));
    keyset.is_successor_of(&before).unwrap();
}

#[test]
fn a_clock_out_of_bounds_is_an_error() {
    for seconds in [-1, 253_000_000_000] {
        let now = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let error = Keyset::generate(KeysetName::EtcdCa, &mut SystemEntropy, now).unwrap_err();
        assert!(matches!(error, KeysetError::Clock { .. }), "{error}");
    }
    // Ids end where 64 bits of nanoseconds do, in the year 2554.
    let now = time::macros::datetime!(2555-01-01 00:00 UTC);
    assert!(matches!(
        Keyset::generate(KeysetName::EtcdCa, &mut SystemEntropy, now),
        Err(KeysetError::Clock { .. })
    ));
}

#[test]
fn private_keys_that_are_not_listed_are_passed_over() {
    let keyset = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
    let mut objects: BTreeMap<KeyId, Vec<u8>> = private_objects(&keyset);
    objects.insert(KeyId::parse("000000000000000000000000").unwrap(), b"left behind".to_vec());
    let again = Keyset::parse_with_private(keyset.name(), keyset.index_yaml().as_bytes(), &objects).unwrap();
    assert_eq!(again, keyset);
}
