//! [`IngressStandIn`]: what answers in place of an ingress controller.
//!
//! A fake, because no container is run: it answers every HTTP request with 404, as a controller does that has no
//! rule for the host. On 127.0.0.1 only.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

const ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// One that answers, until the process ends.
#[derive(Debug)]
pub struct IngressStandIn {
    port: u16,
}

impl IngressStandIn {
    /// Starts one on a free port.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever goes away meanwhile has no answer to miss.
                let _ = answer(stream);
            }
        });
        Ok(Self { port })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    // The headers end with an empty line.
    while request.read_line(&mut line)? > 0 && line.trim() != "" {
        line.clear();
    }
    stream.write_all(ANSWER)
}
