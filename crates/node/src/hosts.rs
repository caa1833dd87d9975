//! The API's name on a machine of the control plane: whom it leads to there, whatever DNS says.
//!
//! kubeadm reaches the API server by its name before any name is published, and a load balancer does not lead a
//! machine back to itself.

use std::fs;
use std::io;
use std::net::IpAddr;

use kcl_node_config::File;

use crate::system::{System, SystemError};

const PATH: &str = "/etc/hosts";

/// What marks the line that is ours.
const MARK: &str = "# kcl-node: the Kubernetes API";

/// cloud-init would write `/etc/hosts` anew at each start, where an image tells it to.
const CLOUD_INIT: (&str, &str) = ("/etc/cloud/cloud.cfg.d/99-kcl-node.cfg", "manage_etc_hosts: false\n");

/// Leads a name to an address; a name that is an address already leads there anyway.
pub fn lead(system: &System, name: &str, address: IpAddr) -> Result<(), SystemError> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let path = system.path(PATH);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|source| SystemError::File { what: "read", path, source })?,
    };
    let (cloud_init, content) = CLOUD_INIT;
    system.write(&File { path: cloud_init.to_owned(), mode: 0o644, content: content.to_owned() })?;
    system.write(&File { path: PATH.to_owned(), mode: 0o644, content: with(&text, name, address) })?;
    Ok(())
}

/// The text of `/etc/hosts` with our line at its beginning, where it comes before any other of the name.
fn with(text: &str, name: &str, address: IpAddr) -> String {
    let others = text.lines().filter(|line| !line.ends_with(MARK));
    let own = format!("{address} {name} {MARK}");
    std::iter::once(own.as_str()).chain(others).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let system = System::new(folder.path());
        let read = || fs::read_to_string(system.path(PATH)).unwrap();
        let [first, second] = [[172, 20, 32, 7], [172, 20, 64, 8]].map(IpAddr::from);
        lead(&system, "api.internal.example.com", first).unwrap();
        fs::write(system.path(PATH), format!("127.0.0.1 localhost\n{}::1 localhost", read())).unwrap();
        lead(&system, "api.internal.example.com", second).unwrap();
        let wanted = "172.20.64.8 api.internal.example.com # kcl-node: the Kubernetes API\n\
                      127.0.0.1 localhost\n::1 localhost\n";
        assert_eq!(read(), wanted);
        lead(&system, "10.0.0.1", first).unwrap();
        assert_eq!(read(), wanted, "an address needs no line");
    }
}
