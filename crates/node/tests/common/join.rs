//! A stand-in for the join service: over TLS of the cluster's own authority, it says what it is told to.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kcl_http::{certificates, private_key};
use kcl_join::{Envelope, Grant, Refused, Token};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::told::{API, Keys};

pub(crate) const TOKEN: &str = "abcdef.0123456789abcdef";

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With the token.
    Grant,
    /// Not, for this reason; `true` if it may be asked again.
    Refuse(&'static str, bool),
}

/// The service; its last answer is given for ever.
pub(crate) struct JoinService {
    address: SocketAddr,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl JoinService {
    pub(crate) fn start(keys: &Keys) -> Self {
        let issued = keys.server();
        let chain = certificates(&issued.certificate_pem, "the certificate").unwrap();
        let key = private_key(issued.private_key.to_pem().reveal(), "the key").unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(VecDeque::from([Answer::Grant])));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (config, shared, noted) = (Arc::new(config), Arc::clone(&answers), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                drop(serve(StreamOwned::new(connection, stream), &shared, &noted));
            }
        });
        Self { address, answers, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn set(&self, answers: impl Into<VecDeque<Answer>>) {
        *self.answers.lock().unwrap() = answers.into();
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    answers: &Mutex<VecDeque<Answer>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(found) = line.strip_prefix("content-length:") {
            length = found.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let envelope: Envelope = serde_json::from_slice(&body).unwrap();
    asked.lock().unwrap().push(envelope.request);
    let answer = {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    };
    let (status, text) = match answer.unwrap() {
        Answer::Grant => {
            let token = Token::from(TOKEN.to_owned());
            let (expires, api_endpoint) = ("2099-01-01T00:00:00Z".to_owned(), format!("{API}:443"));
            (200, serde_json::to_string(&Grant { token, expires, api_endpoint })?)
        }
        Answer::Refuse(reason, retry) => {
            let refused = Refused { reason: reason.to_owned(), retry };
            (if retry { 503 } else { 403 }, serde_json::to_string(&refused)?)
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(text.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
