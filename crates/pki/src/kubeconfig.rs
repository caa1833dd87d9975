//! Kubeconfig files: our entry put into one, or taken out of it, with everything else in it left as it means.
//!
//! Takes and gives text; who calls reads and writes the file, with mode 0600. Comments and quoting are not kept
//! (kubectl does not keep them either); every value and the order of all entries are. What was read is overwritten
//! when it is no longer needed, but for the buffers inside the YAML parser, which cannot be reached.
//!
//! See <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::{Mapping, Value};

use crate::error::{KubeconfigError, excerpt, parser_words};
use crate::secret::SecretText;
use crate::yaml::{self, Unwritable};

/// The largest kubeconfig that is read, in bytes: some thousand clusters.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The three lists that name things, and the field that holds the thing.
const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];

/// The fields of a kubeconfig that are booleans. Where a hand-written file says `yes`, kubectl reads `true`.
const BOOLEANS: [&str; 4] =
    ["insecure-skip-tls-verify", "disable-compression", "provideClusterInfo", "colors"];

/// What a client shows to the API server.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its certificate, as PEM.
    pub certificate_pem: &'a str,
    /// Its private key, as PEM.
    pub private_key_pem: &'a SecretText,
}

/// A cluster, a context and a user of one name.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name of all three.
    pub name: &'a str,
    /// The API server's URL.
    pub server: &'a str,
    /// The authorities that may have signed the API server's certificate, as PEM.
    pub certificate_authority_pem: &'a str,
    /// Who to be. Without it a user of this name is left as it is.
    pub client: Option<Client<'a>>,
    /// The name that the API server's certificate is checked for, if it is not the one in `server`.
    pub tls_server_name: Option<&'a str>,
    /// The namespace that commands take by default.
    pub namespace: Option<&'a str>,
}

/// The text of `existing` (nothing if there is no file yet) with this entry in it: in the place of those of the
/// same name, otherwise at the end. With `make_current` its context becomes the current one.
///
/// Errors: a text that is no kubeconfig, or that could not be written back without loss; an entry without name or
/// server.
pub fn merge(
    existing: Option<&str>,
    entry: &Entry<'_>,
    make_current: bool,
) -> Result<SecretText, KubeconfigError> {
    let Entry { name, server, certificate_authority_pem, client, tls_server_name, namespace } = *entry;
    for (field, value) in [("name", name), ("server", server)] {
        if value.trim().is_empty() {
            return Err(KubeconfigError::Empty { field });
        }
    }
    let mut config = Config::read(existing.unwrap_or_default())?;
    config.set_default("apiVersion", "v1");
    config.set_default("kind", "Config");

    let mut cluster = Mapping::new();
    cluster.insert("certificate-authority-data".into(), base64(certificate_authority_pem).into());
    cluster.insert("server".into(), server.into());
    if let Some(tls_server_name) = tls_server_name {
        cluster.insert("tls-server-name".into(), tls_server_name.into());
    }
    config.put("clusters", "cluster", name, cluster)?;

    let mut context = Mapping::new();
    context.insert("cluster".into(), name.into());
    if let Some(namespace) = namespace {
        context.insert("namespace".into(), namespace.into());
    }
    context.insert("user".into(), name.into());
    config.put("contexts", "context", name, context)?;

    if let Some(Client { certificate_pem, private_key_pem }) = client {
        let mut user = Mapping::new();
        user.insert("client-certificate-data".into(), base64(certificate_pem).into());
        user.insert("client-key-data".into(), base64(private_key_pem.reveal()).into());
        config.put("users", "user", name, user)?;
    }
    if make_current {
        config.set("current-context", name);
    }
    config.write()
}

/// The text of `existing` without the cluster, context and user of this name, and without a current context if
/// that was it; nothing if they are not in it, and the file can stay as it is.
///
/// Errors: those of [`merge`].
pub fn remove(existing: &str, name: &str) -> Result<Option<SecretText>, KubeconfigError> {
    let mut config = Config::read(existing)?;
    let mut changed = false;
    for (list, _) in LISTS {
        changed |= config.take(list, name)?;
    }
    if config.current_context() == Some(name) {
        config.set("current-context", "");
        changed = true;
    }
    if changed { config.write().map(Some) } else { Ok(None) }
}

/// A kubeconfig that was read. Its texts are overwritten when dropped.
struct Config {
    root: Value,
    /// Bytes that writing it may take.
    room: usize,
}

impl Drop for Config {
    fn drop(&mut self) {
        yaml::wipe(&mut self.root);
    }
}

impl Config {
    fn read(text: &str) -> Result<Self, KubeconfigError> {
        if text.len() > MAX_BYTES {
            return Err(KubeconfigError::TooLarge { size: text.len(), limit: MAX_BYTES });
        }
        if yaml::is_too_deep(text) {
            return Err(KubeconfigError::Yaml { reason: yaml::TOO_DEEP.to_owned() });
        }
        let unreadable = |error: serde_yaml::Error| KubeconfigError::Yaml { reason: parser_words(&error) };
        let root = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_yaml::from_str(text).map_err(unreadable)?
        };
        let mut config = Self { root, room: 2 * text.len() };
        config.root.apply_merge().map_err(unreadable)?;
        if config.root.is_null() {
            config.root = Value::Mapping(Mapping::new());
        }
        restore_booleans(&mut config.root);
        config.check()?;
        Ok(config)
    }

    /// It must be a kubeconfig, with lists of things that have names.
    fn check(&mut self) -> Result<(), KubeconfigError> {
        let Value::Mapping(root) = &self.root else {
            return Err(shape("(the whole file)".to_owned(), &self.root, "a mapping"));
        };
        for (field, expected) in [("apiVersion", "v1"), ("kind", "Config")] {
            match root.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::String(found)) if found == expected => {}
                Some(Value::String(found)) => {
                    return Err(KubeconfigError::Foreign { field, found: excerpt(found) });
                }
                Some(other) => return Err(shape(field.to_owned(), other, "a text")),
            }
        }
        for (list, thing) in LISTS {
            check_list(root.get(list), list, thing)?;
        }
        match root.get("current-context") {
            None | Some(Value::Null | Value::String(_)) => Ok(()),
            Some(other) => Err(shape("current-context".to_owned(), other, "a text")),
        }
    }

    fn mapping(&mut self) -> Option<&mut Mapping> {
        self.root.as_mapping_mut()
    }

    fn set(&mut self, field: &str, value: &str) {
        if let Some(root) = self.mapping() {
            root.insert(field.into(), value.into());
        }
    }

    fn set_default(&mut self, field: &str, value: &str) {
        if self.root.get(field).is_none_or(Value::is_null) {
            self.set(field, value);
        }
    }

    fn current_context(&self) -> Option<&str> {
        self.root.get("current-context").and_then(Value::as_str)
    }

    /// The list `list`, made if it is missing.
    fn list(&mut self, list: &str) -> Result<&mut Vec<Value>, KubeconfigError> {
        let missing =
            || KubeconfigError::Shape { path: list.to_owned(), found: "something else", expected: "a list" };
        let root = self.mapping().ok_or_else(missing)?;
        let value = root.entry(list.into()).or_insert(Value::Null);
        if value.is_null() {
            *value = Value::Sequence(Vec::new());
        }
        value.as_sequence_mut().ok_or_else(missing)
    }

    /// Puts a thing into a list, in the place of the first of its name; further ones of its name go.
    fn put(&mut self, list: &str, thing: &str, name: &str, content: Mapping) -> Result<(), KubeconfigError> {
        let mut item = Mapping::new();
        item.insert(thing.into(), content.into());
        item.insert("name".into(), name.into());
        let item = Value::Mapping(item);
        self.room += room(&item);
        let items = self.list(list)?;
        let place = items.iter().position(|item| is_named(item, name)).unwrap_or(items.len());
        drop_named(items, name);
        items.insert(place, item);
        Ok(())
    }

    /// Takes everything of this name out of a list. Says whether there was any.
    fn take(&mut self, list: &str, name: &str) -> Result<bool, KubeconfigError> {
        match self.root.get(list) {
            None | Some(Value::Null) => Ok(false),
            Some(_) => Ok(drop_named(self.list(list)?, name)),
        }
    }

    fn write(&self) -> Result<SecretText, KubeconfigError> {
        let empty = Mapping::new();
        let root = self.root.as_mapping().unwrap_or(&empty);
        // A few kilobytes more for field names, indentation and quotes.
        let text = yaml::to_text(root, self.room + 4096).map_err(|what| KubeconfigError::Unwritable {
            what: match what {
                Unwritable::Tag => "a value with a YAML tag",
                Unwritable::Key => "a mapping with a list or a mapping as a key",
            },
        })?;
        Ok(SecretText::new(text))
    }
}

/// The items of a list must be mappings with a name and the thing that is named.
fn check_list(list: Option<&Value>, name: &str, thing: &str) -> Result<(), KubeconfigError> {
    let items = match list {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Sequence(items)) => items,
        Some(other) => return Err(shape(name.to_owned(), other, "a list")),
    };
    for (index, item) in items.iter().enumerate() {
        let Value::Mapping(item) = item else {
            return Err(shape(format!("{name}[{index}]"), item, "a mapping"));
        };
        match item.get("name") {
            Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
            other => {
                let found = other.unwrap_or(&Value::Null);
                return Err(shape(format!("{name}[{index}].name"), found, "a text"));
            }
        }
        match item.get(thing) {
            None | Some(Value::Null | Value::Mapping(_)) => {}
            Some(other) => return Err(shape(format!("{name}[{index}].{thing}"), other, "a mapping")),
        }
    }
    Ok(())
}

/// Whether an item of a list has this name. A name like `123` may stand there as a number.
fn is_named(item: &Value, name: &str) -> bool {
    match item.get("name") {
        Some(Value::String(found)) => found == name,
        Some(Value::Number(found)) => found.to_string() == name,
        Some(Value::Bool(found)) => found.to_string() == name,
        _ => false,
    }
}

/// Drops the items of this name, and overwrites what was in them.
fn drop_named(items: &mut Vec<Value>, name: &str) -> bool {
    let before = items.len();
    items.retain_mut(|item| {
        let named = is_named(item, name);
        if named {
            yaml::wipe(item);
        }
        !named
    });
    items.len() < before
}

/// Makes booleans of what kubectl, with its YAML 1.1, takes for such in the fields that are booleans.
fn restore_booleans(value: &mut Value) {
    match value {
        Value::Sequence(items) => items.iter_mut().for_each(restore_booleans),
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                let boolean = key.as_str().is_some_and(|key| BOOLEANS.contains(&key));
                match value.as_str().and_then(yaml::old_boolean) {
                    Some(meant) if boolean => *value = Value::Bool(meant),
                    _ => restore_booleans(value),
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with a part of the file.
fn shape(path: String, found: &Value, expected: &'static str) -> KubeconfigError {
    let found = match found {
        Value::Null => "missing or empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a value with a YAML tag",
    };
    KubeconfigError::Shape { path, found, expected }
}

/// Bytes that writing a value may take.
fn room(value: &Value) -> usize {
    match value {
        Value::String(text) => 2 * text.len() + 16,
        Value::Sequence(items) => items.iter().map(room).sum(),
        Value::Mapping(mapping) => mapping.iter().map(|(key, value)| 16 + room(key) + room(value)).sum(),
        _ => 32,
    }
}

/// Base64 of a text, as kubectl has it in fields that end in `-data`. It ends up in a value that is overwritten.
fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
