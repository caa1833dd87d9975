//! Makes and runs moto, the AWS that the tests talk to.
//!
//! Takes nothing but a cache folder; gives a running server on a free loopback port. The virtual
//! environment is made once per list of requirements, by whichever process comes first, and is kept.
//! A server ends with its [`Moto`] value, and with this process, however this process ends: it watches
//! its standard input.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use std::{env, process};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::front::locked;

const REQUIREMENTS: &str = include_str!("../moto/requirements.txt");
const SCRIPTS: [(&str, &str); 3] = [
    ("launcher.py", include_str!("../moto/launcher.py")),
    ("mends.py", include_str!("../moto/mends.py")),
    ("amis.json", include_str!("../moto/amis.json")),
];

/// Old logs are of no use; one working day is what somebody may still want to look at.
const KEEP_LOGS: Duration = Duration::from_hours(24);

/// A running moto server.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

/// What runs a server.
#[derive(Debug)]
enum Process {
    /// One that we started.
    Own {
        child: Child,
        /// Its input and output: it is told to make copies of itself, and to go when the input ends.
        talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    },
    /// One that a server of ours made of itself. It ends with that one at the latest.
    Copy {
        /// Says that it may go, by its end.
        _lifeline: TcpStream,
    },
}

/// Which moto to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// With the mends of moto/mends.py.
    Mended,
    /// As published, for canary tests.
    Plain,
}

impl Moto {
    /// Starts a server, installing it first if this machine has none yet (says so on stderr then, as it
    /// takes about half a minute).
    pub fn start(flavour: Flavour) -> Result<Self, Error> {
        let cache = cache_folder()?;
        let python = environment(&cache)?;
        let scripts = scripts(&cache)?;
        let log = new_log(&cache)?;
        let log_file = File::create(&log).map_err(file("create", &log))?;

        let mut command = Command::new(&python);
        command
            .arg(scripts.join("launcher.py"))
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file);
        if flavour == Flavour::Plain {
            command.arg("--plain");
        }
        // A moto that the developer's own variables reach into would not be the same for everybody.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("MOTO_") && name != "MOTO_IAM_LOAD_MANAGED_POLICIES" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .spawn()
            .map_err(|source| Error::Python { command: python.display().to_string(), source })?;
        let mut line = String::new();
        let mut talk = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        if let Some((_, stdout)) = &mut talk {
            // Ends either with the line or with the process.
            if let Err(error) = stdout.read_line(&mut line) {
                tracing::debug!(%error, "moto's port could not be read");
            }
        }
        let Some(port) = port_of(&line) else {
            let why = stop(&mut child);
            return Err(Error::Moto { why, tail: tail(&log), log });
        };
        let process = Process::Own { child, talk: Mutex::new(talk) };
        Ok(Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), log })
    }

    /// Another server, with everything that is in this one now. Nothing may be under way, and only a server that was
    /// started can be copied, not a copy.
    pub fn copy(&self) -> Result<Self, Error> {
        let failed = |why: String| Error::Moto { why, tail: tail(&self.log), log: self.log.clone() };
        let Process::Own { talk, .. } = &self.process else {
            return Err(failed("a copy is not copied".to_owned()));
        };
        let mut talk = locked(talk);
        let Some((stdin, stdout)) = talk.as_mut() else {
            return Err(failed("it does not listen".to_owned()));
        };
        let mut line = String::new();
        let told = stdin.write_all(b"copy\n").and_then(|()| stdin.flush());
        told.and_then(|()| stdout.read_line(&mut line)).map_err(|error| failed(error.to_string()))?;
        let port = port_of(&line).ok_or_else(|| failed("it said no port of its copy".to_owned()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // The first connection is the lifeline.
        let lifeline = TcpStream::connect(address).map_err(|error| failed(error.to_string()))?;
        Ok(Self { process: Process::Copy { _lifeline: lifeline }, address, log: self.log.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it writes to, tracebacks above all.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let Process::Own { child, .. } = &mut self.process else { return };
        stop(child);
        // Nobody needs the log of a server that ended well; a failing test has quoted it by now.
        drop(fs::remove_file(&self.log));
    }
}

fn stop(child: &mut Child) -> String {
    // Already gone is fine.
    drop(child.kill());
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

fn port_of(line: &str) -> Option<u16> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("port")?.as_u64()?.try_into().ok()
}

/// The folder in which kcl's tools keep what can be made again: `KCL_CACHE_DIR`, else
/// `$XDG_CACHE_HOME/kcl`, else `~/.cache/kcl`.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("KCL_CACHE_DIR") {
        return Ok(folder);
    }
    if let Some(folder) = set("XDG_CACHE_HOME") {
        return Ok(folder.join("kcl"));
    }
    set("HOME").map(|home| home.join(".cache").join("kcl")).ok_or(Error::NoCacheFolder)
}

/// The Python that moto runs on, which has boto3 too.
pub(crate) fn python() -> Result<PathBuf, Error> {
    environment(&cache_folder()?)
}

/// The Python of a virtual environment that has moto; makes the environment if need be.
fn environment(cache: &Path) -> Result<PathBuf, Error> {
    let folder = cache.join(format!("moto-{}", short_hash([REQUIREMENTS])));
    let python = folder.join("bin").join("python");
    if python.exists() {
        return Ok(python);
    }
    fs::create_dir_all(cache).map_err(file("create", cache))?;
    let lock_path = cache.join("moto.lock");
    let lock = File::create(&lock_path).map_err(file("create", &lock_path))?;
    lock.lock().map_err(file("lock", &lock_path))?;
    // Another process may have made it while we waited.
    if python.exists() {
        return Ok(python);
    }
    say(&format!("installing the local AWS (moto) into {}, once: about half a minute", folder.display()));
    let building = cache.join(format!("moto-building-{}", process::id()));
    let made = install(&building);
    if made.is_err() {
        // What is left of it would only be in the way.
        drop(fs::remove_dir_all(&building));
    }
    made?;
    // The environment is used through bin/python only, which does not mind the new name.
    fs::rename(&building, &folder).map_err(file("rename", &building))?;
    say("installed");
    Ok(python)
}

fn install(folder: &Path) -> Result<(), Error> {
    drop(fs::remove_dir_all(folder));
    let venv_hint = "install the venv module of python3 (on Debian and Ubuntu: apt install python3-venv)";
    run(
        OsStr::new("python3"),
        &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()],
        venv_hint,
    )?;
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).map_err(file("write", &list))?;
    let python = folder.join("bin").join("python");
    let arguments: [&OsStr; 7] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "install".as_ref(),
        "--no-deps".as_ref(),
        "--no-input".as_ref(),
        "--requirement".as_ref(),
        list.as_os_str(),
    ];
    run(python.as_os_str(), &arguments, "pip must reach a package index that has the versions above")
}

fn run(program: &OsStr, arguments: &[&OsStr], hint: &'static str) -> Result<(), Error> {
    let command = std::iter::once(program)
        .chain(arguments.iter().copied())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Python { command: command.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Error::Install { command, output: last_lines(&String::from_utf8_lossy(&said), 15), hint })
}

/// Writes the scripts beside the environment. Keyed by their content, so several checkouts can share a
/// cache folder.
fn scripts(cache: &Path) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = cache.join(format!("moto-scripts-{}", short_hash(SCRIPTS.map(|(_, text)| text))));
    if folder.exists() {
        return Ok(folder);
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let building = cache.join(format!("moto-scripts-building-{}-{number}", process::id()));
    fs::create_dir_all(&building).map_err(file("create", &building))?;
    for (name, text) in SCRIPTS {
        let path = building.join(name);
        fs::write(&path, text).map_err(file("write", &path))?;
    }
    if let Err(source) = fs::rename(&building, &folder) {
        // Somebody else was faster: theirs is the same.
        drop(fs::remove_dir_all(&building));
        if !folder.exists() {
            return Err(Error::File { what: "create", path: folder, source });
        }
    }
    Ok(folder)
}

fn new_log(cache: &Path) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = cache.join("moto-logs");
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    drop_old_logs(&folder);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(folder.join(format!("{}-{number}.log", process::id())))
}

fn drop_old_logs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > KEEP_LOGS) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    last_lines(&fs::read_to_string(log).unwrap_or_default(), 15)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn short_hash<const N: usize>(texts: [&str; N]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize()).chars().take(12).collect()
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// The one thing that this crate says by itself: a first run would look like it hangs.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "kcl-testkit: {text}"));
}
