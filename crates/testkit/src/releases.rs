//! What `kcl` needs of the world outside AWS before it plans: hashes of release files, and builds of kcl-node.
//!
//! The release server answers for any file: its hash is that of its path. The builds are stand-ins: the head of a
//! program for each kind of processor, and nothing behind it. Tests that run kcl-node give the real one.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io, thread};

use sha2::{Digest as _, Sha256};

/// The URL of the process's release server.
pub fn release_server() -> io::Result<&'static str> {
    static URL: OnceLock<String> = OnceLock::new();
    if let Some(url) = URL.get() {
        return Ok(url);
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::Builder::new().name("releases".to_owned()).spawn(move || serve(&listener))?;
    // Of two that were started at the same time, one stays idle.
    Ok(URL.get_or_init(|| url))
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // Whoever went away does not hear the answer.
        drop(answer(&stream));
    }
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.strip_suffix(".sha256") {
        Some(file) => ("200 OK", hex::encode(Sha256::digest(file.as_bytes()))),
        None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// Writes stand-ins for kcl-node into `folder`, one for each kind of processor.
pub fn node_agent_stand_ins(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let stand_in = |name: &str, machine: u8| {
        // 64 bits, little endian; the kind of processor stands in the nineteenth byte.
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        head[18] = machine;
        let path = folder.join(name);
        fs::write(&path, head).map(|()| path)
    };
    Ok(vec![stand_in("kcl-node-amd64", 62)?, stand_in("kcl-node-arm64", 183)?])
}
