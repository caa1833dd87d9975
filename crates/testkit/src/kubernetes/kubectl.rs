//! Runs the real kubectl.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::programs::{Programs, file, programs};
use crate::error::Error;
use crate::world::Run;

/// What kubectl is told to give administrators their rights, as `kubeadm init` does.
pub const BIND_ADMINS: [&str; 5] = [
    "create",
    "clusterrolebinding",
    "kubeadm:cluster-admins",
    "--clusterrole=cluster-admin",
    "--group=kubeadm:cluster-admins",
];

/// Runs kubectl with `args` as the user, and against the server, of a kubeconfig file.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<Run, Error> {
    kubectl_reads(kubeconfig, args, "")
}

/// Likewise, with `input` on its standard input: `kubectl_reads(&admin, &["apply", "-f", "-"], object)`.
pub fn kubectl_reads(kubeconfig: &Path, args: &[&str], input: &str) -> Result<Run, Error> {
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    run(&programs()?, &[&[kubeconfig.as_str()], args].concat(), input)
}

/// Runs kubectl with nothing but `args`: no kubeconfig, no preferences, no cache of anybody.
pub(super) fn run(programs: &Programs, args: &[&str], input: &str) -> Result<Run, Error> {
    let program = programs.path("kubectl")?;
    // What kubectl remembers of a server would be believed of the next one on the same port.
    let home = tempfile::tempdir().map_err(file("create", &std::env::temp_dir()))?;
    let failed = |source| Error::Program { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(args)
        .env("HOME", home.path())
        .env_remove("KUBECONFIG")
        .env_remove("KUBECACHEDIR")
        .env_remove("KUBERC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.as_bytes().to_owned();
        // By a thread of its own, so that it may say something before it has read everything; and it may
        // end without reading at all.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok(Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Writes a kubeconfig for one server and the user of one client certificate, all given as paths. Tests of
/// kcl's own kubeconfig have no use for it.
pub fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &Path,
    certificate: &Path,
    key: &Path,
) -> Result<(), Error> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(path, config.to_string()).map_err(file("write", path))
}
