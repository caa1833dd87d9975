//! What tests of the agent share: a web server that misbehaves, archives, a machine in a folder.
#![expect(dead_code, reason = "no test uses all of it")]

pub(crate) mod bucket;
pub(crate) mod cluster;
pub(crate) mod etcd;
pub(crate) mod join;
pub(crate) mod member;
pub(crate) mod told;
pub(crate) mod wait;
pub(crate) mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use kcl_http::{Http, Options, Tls};
use kcl_node::retry::Patience;
use kcl_node::system::{Commands, System};
use sha2::{Digest as _, Sha256};

/// Tries four times and does not dawdle.
pub(crate) fn patience() -> Patience {
    let pause = Duration::from_millis(1);
    Patience { attempts: 4, first_pause: pause, longest_pause: pause }
}

pub(crate) fn client() -> Http {
    let options = Options { connect_timeout: Duration::from_secs(5), plain: true };
    Http::new(Tls::of_this_machine().unwrap(), options)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With this.
    Whole(Vec<u8>),
    /// With this, of which only half arrives.
    Cut(Vec<u8>),
    /// Half of this arrives, and nothing more ever.
    Stall(Vec<u8>),
    /// With a status and nothing else.
    Status(u16),
    /// Elsewhere.
    Redirect(String),
}

type Routes = Arc<Mutex<BTreeMap<String, VecDeque<Reply>>>>;

/// A web server that does as it is told.
pub(crate) struct Web {
    address: String,
    routes: Routes,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Routes::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, noted) = (Arc::clone(&routes), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (routes, seen) = (Arc::clone(&shared), Arc::clone(&noted));
                std::thread::spawn(move || drop(serve(stream, &routes, &seen)));
            }
        });
        Self { address, routes, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Replies are given in their order, the last one for ever.
    pub(crate) fn set(&self, path: &str, replies: impl Into<VecDeque<Reply>>) {
        self.routes.lock().unwrap().insert(path.to_owned(), replies.into());
    }

    /// What a path is answered with.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        match self.routes.lock().unwrap()[path].front() {
            Some(Reply::Whole(bytes)) => bytes.clone(),
            _ => Vec::new(),
        }
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }
}

fn serve(mut stream: TcpStream, routes: &Routes, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    // The rest of the head; no request here has a body.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    seen.lock().unwrap().push(path.clone());
    let reply = {
        let mut routes = routes.lock().unwrap();
        let queue = routes.entry(path).or_default();
        if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
    };
    let head = |status: u16, length: usize, more: &str| {
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    match reply.unwrap_or(Reply::Status(404)) {
        Reply::Whole(bytes) => {
            stream.write_all(head(200, bytes.len(), "").as_bytes())?;
            stream.write_all(&bytes)
        }
        Reply::Cut(bytes) => {
            stream.write_all(head(200, bytes.len(), "").as_bytes())?;
            stream.write_all(&bytes[..bytes.len() / 2])
        }
        Reply::Stall(bytes) => {
            stream.write_all(head(200, bytes.len(), "").as_bytes())?;
            stream.write_all(&bytes[..bytes.len() / 2])?;
            // Until the other side has had enough.
            lines.next();
            Ok(())
        }
        Reply::Status(status) => stream.write_all(head(status, 0, "").as_bytes()),
        Reply::Redirect(to) => stream.write_all(head(302, 0, &format!("Location: {to}\r\n")).as_bytes()),
    }
}

/// A gzipped tar archive.
pub(crate) fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A machine in a folder, whose programs only note that they were run.
pub(crate) struct Folder {
    pub(crate) home: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("root")).unwrap();
        let folder = Self { home };
        for program in ["modprobe", "sysctl", "swapoff", "systemctl", "sync", "umount", "mount", "kubectl"] {
            folder.add_program(program, "");
        }
        // These are real; not everybody's PATH has them.
        for (name, program) in [("blkid", "blkid"), ("mkfs", "mkfs.ext4"), ("fsck", "fsck.ext4")] {
            folder.add_program(name, &format!("PATH=$PATH:/usr/sbin:/sbin exec {program} \"$@\""));
        }
        folder.add_program("kubeadm", "");
        for name in ["dev", "sys/block"] {
            fs::create_dir_all(folder.home.path().join(name)).unwrap();
        }
        fs::write(folder.home.path().join("mounts"), "").unwrap();
        folder
    }

    /// A program that does this once it has noted that it was run.
    pub(crate) fn add_program(&self, name: &str, does: &str) {
        let script = format!(
            "#!/bin/sh\nhere=$(dirname \"$0\")\nname=$(basename \"$0\")\n\
             echo \"$name $*\" >> \"$here/ran\"\n\
             if [ -e \"$here/$name-fails\" ]; then echo 'it does not work' >&2; exit 3; fi\n\
             does() {{\n:\n{does}\n}}\n\
             if [ -e \"$here/killed-after\" ] && [ $(wc -l < \"$here/ran\") = $(cat \"$here/killed-after\") ]; then\n\
             (does \"$@\"); kill -9 $PPID; exit\nfi\n\
             does \"$@\"\n"
        );
        // Written by a process of its own: a program cannot be run while any process has it open for
        // writing, and one that this one forks meanwhile would.
        let source = self.home.path().join("source");
        fs::write(&source, script).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "755"]).arg(&source).arg(self.program(name)).status();
        assert!(installed.unwrap().success());
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn system(&self) -> System {
        let commands = Commands {
            modprobe: self.program("modprobe"),
            sysctl: self.program("sysctl"),
            swapoff: self.program("swapoff"),
            systemctl: self.program("systemctl"),
            sync: self.program("sync"),
            umount: self.program("umount"),
            mount: self.program("mount"),
            blkid: self.program("blkid"),
            mkfs: self.program("mkfs"),
            fsck: self.program("fsck"),
            kubeadm: self.program("kubeadm"),
            kubectl: self.program("kubectl"),
        };
        let home = self.home.path();
        let (mounts, sys, dev) = (home.join("mounts"), home.join("sys"), home.join("dev"));
        System { commands, mounts, sys, dev, ..System::new(self.root()) }
    }

    /// Makes a program fail, or work again.
    pub(crate) fn fails(&self, program: &str, fails: bool) {
        let path = self.home.path().join(format!("{program}-fails"));
        if fails { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// Whoever runs the programs is killed once this many were run, counted from now; by nobody with 0.
    pub(crate) fn killed_after(&self, programs: usize) {
        let (path, ran) = (self.home.path().join("killed-after"), self.home.path().join("ran"));
        drop(fs::remove_file(ran));
        if programs == 0 {
            fs::remove_file(path).unwrap();
        } else {
            fs::write(path, programs.to_string()).unwrap();
        }
    }

    /// What was run since it was last asked.
    pub(crate) fn ran(&self) -> String {
        let path = self.home.path().join("ran");
        let text = fs::read_to_string(&path).unwrap_or_default();
        drop(fs::remove_file(path));
        text.replace(&self.root().display().to_string(), "ROOT")
    }

    /// Every file of the machine with permissions and content.
    pub(crate) fn tree(&self) -> String {
        self.tree_with(|_, content| content)
    }

    /// Likewise, with what is made of the content of each path.
    pub(crate) fn tree_with(&self, shown: impl Fn(&str, String) -> String) -> String {
        let mut text = String::new();
        for path in self.files() {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            let content = String::from_utf8(fs::read(&path).unwrap());
            let content = content.unwrap_or_else(|error| format!("({} bytes)", error.as_bytes().len()));
            let name = format!("/{}", path.strip_prefix(self.root()).unwrap().display());
            text += &format!("=== {name} {mode:04o}\n{}\n", shown(&name, content));
        }
        text
    }

    /// Every file of the machine, but for what is on a mounted disk.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.root(), &mut files);
        files
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}
