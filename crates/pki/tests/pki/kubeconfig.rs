//! Kubeconfig files: ours goes in and out, everybody else's stays.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_pki::kubeconfig::{Client, Entry, MAX_BYTES, merge, remove};
use kcl_pki::{Entropy as _, KubeconfigError, SecretText, SystemEntropy};
use proptest::prelude::*;
use serde_yaml::{Mapping, Value};

const NAME: &str = "k8s.example.com";

const ENTRY: Entry<'static> = Entry {
    name: NAME,
    server: "https://api.k8s.example.com:6443",
    certificate_authority_pem: "authority",
    client: None,
    tls_server_name: None,
    namespace: None,
};

/// A file as somebody has it who uses several clusters and tools.
const OTHERS: &str = r##"# comments go, as with kubectl
kind: Config
apiVersion: v1
preferences: {colors: yes}
extensions:
- name: somebody
  extension: {last-update: "Mon, 01 Jan 2029", numbers: [1, 2.5, 012]}
unknown: {"on": "off", empty: [], nothing: ~, nested: [[1, [2]], {}]}
clusters:
- name: zeta
  cluster: &shared
    server: https://zeta.example.com
    insecure-skip-tls-verify: on
    extensions: [{name: minikube.sigs.k8s.io, extension: {version: "1.30"}}]
- name: alpha
  cluster: {<<: *shared, server: "https://alpha.example.com"}
contexts:
- {name: zeta-admin, context: {cluster: zeta, user: zeta-admin, namespace: "123"}}
users:
- name: zeta-admin
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: aws
      args: ["--yes", "yes", "0123", "1e3", "no", "a: b", "tab\there"]
      env: [{name: DEBUG, value: "true"}, {name: EMPTY, value: ""}]
      provideClusterInfo: no
- name: password
  user: {username: "on", password: "#1: 'x'", token: "\u00fc\u2028\U0001f600"}
current-context: zeta-admin
"##;

fn value(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn private_key() -> SecretText {
    SystemEntropy.p256_key().unwrap().to_pem()
}

/// What `OTHERS` means to kubectl.
fn meaning_of_others() -> Value {
    let mut expected = value(OTHERS);
    expected.apply_merge().unwrap();
    expected["preferences"]["colors"] = Value::Bool(true);
    for cluster in [0, 1] {
        expected["clusters"][cluster]["cluster"]["insecure-skip-tls-verify"] = Value::Bool(true);
    }
    expected["users"][0]["user"]["exec"]["provideClusterInfo"] = Value::Bool(false);
    expected
}

#[test]
fn a_new_file_has_what_kubectl_needs() {
    let key = private_key();
    let client = Some(Client { certificate_pem: "certificate", private_key_pem: &key });
    let entry = Entry { client, tls_server_name: Some("kubernetes"), namespace: Some("web"), ..ENTRY };
    let expected = format!(
        "apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: {}
    server: https://api.k8s.example.com:6443
    tls-server-name: kubernetes
  name: k8s.example.com
contexts:
- context:
    cluster: k8s.example.com
    namespace: web
    user: k8s.example.com
  name: k8s.example.com
users:
- name: k8s.example.com
  user:
    client-certificate-data: {}
    client-key-data: {}
current-context: k8s.example.com
",
        STANDARD.encode("authority"),
        STANDARD.encode("certificate"),
        STANDARD.encode(key.reveal()),
    );
    let merged = merge(None, &entry, true).unwrap();
    assert_eq!(value(merged.reveal()), value(&expected));
    for empty in ["", " \n", "---\n", "null", "{}", "# nothing yet\n"] {
        assert_eq!(merge(Some(empty), &entry, true).unwrap().reveal(), merged.reveal(), "{empty:?}");
    }
    assert!(!format!("{merged:?} {entry:?}").contains(&STANDARD.encode(key.reveal())[60..90]));
}

#[test]
fn what_belongs_to_others_stays() {
    let merged = merge(Some(OTHERS), &ENTRY, false).unwrap();
    let merged = value(merged.reveal());
    let mut expected = meaning_of_others();
    for (list, thing) in [("clusters", "cluster"), ("contexts", "context")] {
        let items = merged[list].as_sequence().unwrap();
        let last = items.last().unwrap();
        assert_eq!(last["name"], NAME);
        assert!(last[thing].is_mapping());
        expected[list].as_sequence_mut().unwrap().push(last.clone());
    }
    assert_eq!(merged, expected);
    let keys: Vec<&str> = merged.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap()).collect();
    let order = [
        "kind",
        "apiVersion",
        "preferences",
        "extensions",
        "unknown",
        "clusters",
        "contexts",
        "users",
        "current-context",
    ];
    assert_eq!(keys, order);
}

#[test]
fn nothing_is_a_boolean_or_a_number_to_one_reader_only() {
    let merged = merge(Some(OTHERS), &ENTRY, false).unwrap();
    for quoted in
        ["\"yes\"", "\"0123\"", "\"1e3\"", "\"no\"", "\"on\"", "\"off\"", "\"123\"", "\"true\"", "\"1.30\""]
    {
        assert!(merged.reveal().contains(quoted), "{quoted} is not in the text");
    }
    for plain in ["colors: true", "insecure-skip-tls-verify: true", "provideClusterInfo: false"] {
        assert!(merged.reveal().contains(plain), "{plain} is not in the text");
    }
}

#[test]
fn entries_of_the_same_name_are_replaced_in_place() {
    let existing = format!(
        "clusters:\n- {{name: {NAME}, cluster: {{server: old, proxy-url: old}}}}\n- {{name: b, cluster: {{}}}}\n- {{name: {NAME}, cluster: {{}}}}\n\
         contexts:\n- {{name: {NAME}, context: {{cluster: old}}}}\nusers:\n- {{name: {NAME}, user: {{token: old}}}}\n\
         current-context: b\n"
    );
    let merged = value(merge(Some(&existing), &ENTRY, true).unwrap().reveal());
    let names: Vec<&Value> =
        merged["clusters"].as_sequence().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, [NAME, "b"]);
    assert_eq!(merged["clusters"][0]["cluster"].as_mapping().unwrap().len(), 2);
    assert_eq!(merged["contexts"][0]["context"]["cluster"], NAME);
    assert_eq!(merged["users"][0]["user"]["token"], "old", "no client was given, so the user stays");
    assert_eq!(merged["current-context"], NAME);

    let key = private_key();
    let entry = Entry { client: Some(Client { certificate_pem: "c", private_key_pem: &key }), ..ENTRY };
    let merged = value(merge(Some(&existing), &entry, false).unwrap().reveal());
    assert!(merged["users"][0]["user"]["token"].is_null());
    assert_eq!(merged["current-context"], "b");
    let numbered =
        merge(Some("clusters: [{name: 12, cluster: {}}]"), &Entry { name: "12", ..ENTRY }, true).unwrap();
    assert_eq!(value(numbered.reveal())["clusters"].as_sequence().unwrap().len(), 1);
}

#[test]
fn merging_twice_is_merging_once() {
    let once = merge(Some(OTHERS), &ENTRY, true).unwrap();
    let twice = merge(Some(once.reveal()), &ENTRY, true).unwrap();
    assert_eq!(once.reveal(), twice.reveal());
}

#[test]
fn what_was_put_in_is_taken_out() {
    let merged = merge(Some(OTHERS), &ENTRY, true).unwrap();
    let removed = remove(merged.reveal(), NAME).unwrap().unwrap();
    let mut expected = meaning_of_others();
    expected["current-context"] = "".into();
    assert_eq!(value(removed.reveal()), expected);

    let merged = merge(Some(OTHERS), &ENTRY, false).unwrap();
    let removed = remove(merged.reveal(), NAME).unwrap().unwrap();
    assert_eq!(value(removed.reveal()), meaning_of_others(), "another current context stays");
    for text in [OTHERS, "", "clusters: null\n", "{}"] {
        assert!(remove(text, NAME).unwrap().is_none(), "nothing of it is in {text:?}");
    }
}

#[test]
fn a_broken_file_is_left_alone() {
    let refused = |text: &str| {
        let merged = merge(Some(text), &ENTRY, true).unwrap_err();
        assert_eq!(remove(text, NAME).unwrap_err(), merged);
        merged
    };
    for text in ["a: [", "\tx", "a: b: c", "a: 1\na: 2\n", "kind: Config\n---\nkind: Config\n", "a: *b"] {
        assert!(matches!(refused(text), KubeconfigError::Yaml { .. }), "{text:?}");
    }
    for (text, field) in [("kind: Pod\napiVersion: v1", "kind"), ("apiVersion: v2", "apiVersion")] {
        assert!(matches!(refused(text), KubeconfigError::Foreign { field: found, .. } if found == field));
    }
    for (text, place) in [
        ("[]", "(the whole file)"),
        ("text", "(the whole file)"),
        ("clusters: {}", "clusters"),
        ("users: yes", "users"),
        ("contexts: [{name: a}, b]", "contexts[1]"),
        ("users: [{user: {}}]", "users[0].name"),
        ("users: [{name: [a]}]", "users[0].name"),
        ("clusters: [{name: a, cluster: []}]", "clusters[0].cluster"),
        ("current-context: []", "current-context"),
        ("kind: []", "kind"),
    ] {
        assert!(matches!(refused(text), KubeconfigError::Shape { path, .. } if path == place), "{text:?}");
    }
    for text in ["a: !secret b", "? [a]\n: b"] {
        let error = merge(Some(text), &ENTRY, true).unwrap_err();
        assert!(matches!(error, KubeconfigError::Unwritable { .. }), "{error}");
    }
    assert!(matches!(refused(&" ".repeat(MAX_BYTES + 1)), KubeconfigError::TooLarge { .. }));
    for entry in [Entry { name: " ", ..ENTRY }, Entry { server: "", ..ENTRY }] {
        assert!(matches!(merge(None, &entry, true), Err(KubeconfigError::Empty { .. })));
    }
}

#[test]
fn errors_do_not_repeat_the_file() {
    let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
    for text in [
        format!("client-key-data: \"{secret}"),
        secret.to_owned(),
        format!("[{secret}"),
        format!("{secret}: 1\n{secret}: 2\n"),
        format!("a: !!int {secret}"),
        format!("a: *{secret}"),
        format!("users: {secret}"),
        format!("users: [{{name: a, user: {secret}}}]"),
        format!("a: !{secret} b"),
        format!("a: {secret}: b"),
        format!("<<: {secret}"),
    ] {
        let error = merge(Some(&text), &ENTRY, true).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(&secret[..20]), "{shown}");
        }
    }
}

/// Any value that a YAML file can have, but for texts that stand for something else under the names of booleans.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9: #-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Sequence),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..4).prop_map(|pairs| {
                Value::Mapping(pairs.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
            }),
        ]
    })
}

fn any_list(thing: &'static str) -> impl Strategy<Value = Value> {
    let fields = prop::collection::vec(("[a-z-]{1,8}", any_value()), 0..4);
    let item = (any::<String>(), fields).prop_map(move |(name, fields)| {
        let content: Mapping = fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
        let mut item = Mapping::new();
        item.insert("name".into(), name.into());
        item.insert(thing.into(), content.into());
        Value::Mapping(item)
    });
    prop::collection::vec(item, 0..4).prop_map(Value::Sequence)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_kubeconfig_keeps_what_is_in_it(
        clusters in any_list("cluster"),
        contexts in any_list("context"),
        users in any_list("user"),
        extra in any_value(),
    ) {
        let mut existing = Mapping::new();
        existing.insert("apiVersion".into(), "v1".into());
        existing.insert("kind".into(), "Config".into());
        existing.insert("clusters".into(), clusters);
        existing.insert("contexts".into(), contexts);
        existing.insert("users".into(), users);
        existing.insert("extra".into(), extra);
        existing.insert("current-context".into(), "other".into());
        let existing = Value::Mapping(existing);
        let text = serde_yaml::to_string(&existing).unwrap();
        prop_assume!(value(&text) == existing);
        let merged = merge(Some(&text), &ENTRY, false).unwrap();
        let removed = remove(merged.reveal(), NAME).unwrap().unwrap();
        prop_assert_eq!(value(removed.reveal()), existing);
    }
}
