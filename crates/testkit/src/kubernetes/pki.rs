//! The keys that an API server is started with, as files in kubeadm's layout.
//!
//! Takes a cluster's keys from a state store in a folder ([`write()`]), or makes new ones ([`fresh`]), and issues
//! with them what a machine of the control plane would: everything that `/etc/kubernetes/pki` has. Further
//! client certificates are [`Pki::client`]'s. kcl-pki makes them all; that a server also takes keys
//! of openssl is tested in crates/testkit/tests/kubernetes.rs.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use kcl_pki::{Issued, KeyId, Keyset, KeysetName, Profile, SubjectAltNames, SystemEntropy};
use time::{Duration, OffsetDateTime};

use super::kubectl;
use super::programs::file;
use crate::error::Error;

/// How long what is issued here is valid: as long as kubeadm's, so that nobody takes it for what is to be renewed.
const VALIDITY: Duration = Duration::days(365);

/// The first address of services in kOps' default range, which the API server has within the cluster.
const SERVICE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1));

/// A folder in kubeadm's layout, and the keysets that it was made from.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    keysets: BTreeMap<KeysetName, Keyset>,
}

/// A client certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Client {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Writes the files that kubeadm would find on a control-plane machine into the folder `into`, with the keys in
/// `state`: one cluster's folder (`<store>/<name of the cluster>`) in a state store of files.
pub fn write(state: &Path, into: &Path) -> Result<Pki, Error> {
    let mut keysets = BTreeMap::new();
    for name in KeysetName::ALL {
        keysets.insert(name, stored(state, name)?);
    }
    let cluster = state.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    issue_all(keysets, &[format!("api.{cluster}"), format!("api.internal.{cluster}")], into)
}

/// Likewise, with new keys of no cluster.
pub fn fresh(into: &Path) -> Result<Pki, Error> {
    let mut keysets = BTreeMap::new();
    for name in KeysetName::ALL {
        let made = Keyset::generate(name, &mut SystemEntropy, OffsetDateTime::now_utc());
        keysets.insert(name, made.map_err(failed(format!("make the keys {name}")))?);
    }
    issue_all(keysets, &[], into)
}

impl Pki {
    /// The folder: what [`super::ApiServerConfig::pki`] wants.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A certificate for a user of the API server.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Client, Error> {
        let profile = Profile::ApiClient { user: user.to_owned(), group: group.map(str::to_owned) };
        // A user may be called system:something, a file in some places not.
        self.issue(&profile, &format!("clients/{}", user.replace(':', "-")))
    }

    /// A kubeconfig, beside the keys, for a user of a server that is not known yet: for programs that are told
    /// the server in another way.
    pub(super) fn kubeconfig(&self, user: &str) -> Result<PathBuf, Error> {
        let client = self.client(user, None)?;
        let path = client.certificate.with_extension("conf");
        let authority = self.folder.join("ca.crt");
        kubectl::write_kubeconfig(&path, "https://127.0.0.1", &authority, &client.certificate, &client.key)?;
        Ok(path)
    }

    /// What a machine with an etcd member has for it, as in kubeadm's folder of keys: the authority, and
    /// certificates for this address of its own.
    pub fn etcd_machine(&self, node: &str, address: IpAddr, into: &Path) -> Result<(), Error> {
        let alt_names = || SubjectAltNames {
            dns: vec!["localhost".to_owned(), node.to_owned()],
            ips: vec![address, IpAddr::V4(Ipv4Addr::LOCALHOST)],
        };
        put(into, "etcd/ca.crt", &self.keysets[&KeysetName::EtcdCa].trust_bundle())?;
        for profile in [
            Profile::EtcdServer { node: node.to_owned(), alt_names: alt_names() },
            Profile::EtcdPeer { node: node.to_owned(), alt_names: alt_names() },
            Profile::ApiServerEtcdClient,
            Profile::EtcdHealthcheckClient,
        ] {
            self.issue_into(into, &profile, profile.kubeadm_file().unwrap_or_else(|| profile.name()))?;
        }
        Ok(())
    }

    fn issue(&self, profile: &Profile, name: &str) -> Result<Client, Error> {
        self.issue_into(&self.folder, profile, name)
    }

    fn issue_into(&self, folder: &Path, profile: &Profile, name: &str) -> Result<Client, Error> {
        let what = || format!("issue the certificate {name}");
        let Issued { certificate_pem, private_key, .. } = self.keysets[&profile.authority()]
            .authority(OffsetDateTime::now_utc())
            .map_err(failed(what()))?
            .issue(profile, VALIDITY, &mut SystemEntropy)
            .map_err(failed(what()))?;
        Ok(Client {
            certificate: put(folder, &format!("{name}.crt"), &certificate_pem)?,
            key: put(folder, &format!("{name}.key"), private_key.to_pem().reveal())?,
        })
    }
}

/// A keyset as a control-plane machine reads it from the state store.
fn stored(state: &Path, name: KeysetName) -> Result<Keyset, Error> {
    let read = |path: &str| {
        let path = state.join(path);
        fs::read(&path).map_err(file("read", &path))
    };
    let what = || format!("read the keys {name} in {}", state.display());
    let index = read(&name.index_path())?;
    let mut private: BTreeMap<KeyId, Vec<u8>> = BTreeMap::new();
    for key in Keyset::parse(name, &index).map_err(failed(what()))?.keys() {
        private.insert(key.id().clone(), read(&name.private_key_path(key.id()))?);
    }
    Keyset::parse_with_private(name, &index, &private).map_err(failed(what()))
}

fn issue_all(keysets: BTreeMap<KeysetName, Keyset>, names: &[String], into: &Path) -> Result<Pki, Error> {
    for (name, keyset) in &keysets {
        let files = name.kubeadm_files();
        let private =
            keyset.primary_private_pem().map_err(failed(format!("use the private key of {name}")))?;
        put(into, files.public, &keyset.trust_bundle())?;
        put(into, files.private, private.reveal())?;
    }
    let here = |names: &[String]| SubjectAltNames {
        dns: ["localhost", "kubernetes.default.svc"]
            .map(str::to_owned)
            .into_iter()
            .chain(names.to_vec())
            .collect(),
        ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    let mut api = here(names);
    api.ips.push(SERVICE_ADDRESS);
    let node = "localhost".to_owned();
    let pki = Pki { folder: into.to_owned(), keysets };
    for profile in [
        Profile::ApiServer(api),
        Profile::ApiServerKubeletClient { group: Some("kubeadm:cluster-admins".to_owned()) },
        Profile::FrontProxyClient,
        Profile::EtcdServer { node: node.clone(), alt_names: here(&[]) },
        Profile::EtcdPeer { node, alt_names: here(&[]) },
        Profile::ApiServerEtcdClient,
        Profile::EtcdHealthcheckClient,
    ] {
        pki.issue(&profile, profile.kubeadm_file().unwrap_or_else(|| profile.name()))?;
    }
    Ok(pki)
}

fn put(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file("create", parent))?;
    }
    fs::write(&path, text).map_err(file("write", &path))?;
    Ok(path)
}

fn failed<E: StdError + Send + Sync + 'static>(what: String) -> impl FnOnce(E) -> Error {
    move |source| Error::Keys { what, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use kcl_pki::Material;

    use super::*;

    /// A cluster's folder in a state store of files, whose signing keys are being replaced.
    fn state(folder: &Path) {
        for name in KeysetName::ALL {
            let now = OffsetDateTime::now_utc();
            let mut keyset = Keyset::generate(name, &mut SystemEntropy, now).unwrap();
            if name == KeysetName::ServiceAccount {
                keyset.add(&mut SystemEntropy, now).unwrap();
            }
            put(folder, &name.index_path(), &keyset.index_yaml()).unwrap();
            for key in keyset.keys() {
                let private = key.private_key().unwrap().to_pem();
                put(folder, &name.private_key_path(key.id()), private.reveal()).unwrap();
            }
        }
    }

    #[test]
    fn a_machine_has_the_keys_of_the_state_store() {
        let home = tempfile::tempdir().unwrap();
        let (store, into) = (home.path().join("k8s.example.com"), home.path().join("pki"));
        state(&store);
        let pki = write(&store, &into).unwrap();
        let text = |name: &str| fs::read_to_string(pki.folder().join(name)).unwrap();
        let Material::Certificate(ca) = pki.keysets[&KeysetName::KubernetesCa].primary().material() else {
            unreachable!()
        };
        assert_eq!(text("ca.crt"), ca.to_pem());
        assert_eq!(text("sa.pub").matches("BEGIN PUBLIC KEY").count(), 2);
        for name in ["apiserver", "etcd/server", "apiserver-etcd-client", "front-proxy-client"] {
            assert!(text(&format!("{name}.crt")).starts_with("-----BEGIN CERTIFICATE"));
            assert!(text(&format!("{name}.key")).starts_with("-----BEGIN PRIVATE KEY"));
        }
        assert!(!format!("{pki:?}").contains("PRIVATE"));
    }

    #[test]
    fn keys_that_are_not_there_are_named() {
        let home = tempfile::tempdir().unwrap();
        let error = write(&home.path().join("k8s.example.com"), &home.path().join("pki")).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("failed to read ") && error.ends_with("keyset.yaml"), "{error}");
    }
}
