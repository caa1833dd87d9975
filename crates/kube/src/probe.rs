//! Whether an ingress answers: one plain HTTP request, as a browser's first one.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to answer. Load balancers hold a connection whose target does not for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `host` for `/` by HTTP, connecting to `place`; gives the answer's status. Any answer is one: a controller
/// without a rule for the host says 404.
pub async fn http_answers(host: &str, place: (&str, u16)) -> Result<StatusCode, String> {
    let (address, port) = place;
    let answer = timeout(PATIENCE, ask(host, address, port));
    answer.await.map_err(|_| format!("{address}:{port} does not answer within {} s", PATIENCE.as_secs()))?
}

async fn ask(host: &str, address: &str, port: u16) -> Result<StatusCode, String> {
    let failed = |error: &dyn std::error::Error| format!("{address}:{port}: {error}");
    let stream = TcpStream::connect((address, port)).await.map_err(|error| failed(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| failed(&error))?;
    let request = Request::get("/").header("host", host).header("user-agent", "kcl");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let answer = sender.send_request(request);
    tokio::select! {
        answer = answer => answer.map(|answer| answer.status()).map_err(|error| failed(&error)),
        // It ends before the answer only where it broke.
        ended = connection => match ended {
            Ok(()) => Err(format!("{address}:{port} closed the connection without an answer")),
            Err(error) => Err(failed(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn server(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn any_answer_is_one() {
        let port = server(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(http_answers("karlaru.com", ("127.0.0.1", port)).await, Ok(StatusCode::NOT_FOUND));
    }

    #[tokio::test]
    async fn silence_is_none() {
        let port = server(b"").await;
        let error = http_answers("karlaru.com", ("127.0.0.1", port)).await.unwrap_err();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = http_answers("karlaru.com", ("127.0.0.1", closed)).await.unwrap_err();
        assert!(error.contains("refused"), "{error}");
    }
}
