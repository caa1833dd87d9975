//! What is sent: nothing, what is in memory, or a file that is not.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

/// So much of a file is in memory at a time.
const PIECE: usize = 64 << 10;

/// The body of a request, of a length that is known before.
#[derive(Default)]
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    File { file: File, left: u64, sha256: Option<String> },
}

/// What was to be sent could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the file that is sent cannot be read")]
pub struct BodyError(#[from] io::Error);

/// What a signature says about a body.
pub(crate) enum Payload<'a> {
    /// The hash of this.
    Bytes(&'a [u8]),
    /// This hash.
    Sha256(&'a str),
    /// Nothing.
    Unsigned,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A file, as long as it is now; it is read while it is sent. S3 takes it over TLS as it is; a signature also
    /// covers it with [`Body::with_sha256`].
    pub async fn file(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let left = file.metadata().await?.len();
        Ok(Self(Content::File { file, left, sha256: None }))
    }

    /// With the SHA-256 of a file, in hexadecimal digits: who gets it takes no other content.
    #[must_use]
    pub fn with_sha256(mut self, hash: impl Into<String>) -> Self {
        if let Content::File { sha256, .. } = &mut self.0 {
            *sha256 = Some(hash.into());
        }
        self
    }

    /// How many bytes are still to be sent.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Content::Whole(bytes) => bytes.len() as u64,
            Content::File { left, .. } => *left,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn payload(&self) -> Payload<'_> {
        match &self.0 {
            Content::Whole(bytes) => Payload::Bytes(bytes),
            Content::File { sha256: Some(hash), .. } => Payload::Sha256(hash),
            Content::File { .. } => Payload::Unsigned,
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Whole(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

/// Its length alone: it may be secret.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let (file, left) = match &mut self.get_mut().0 {
            Content::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::File { file, left, .. } => (file, left),
        };
        let mut piece = vec![0; usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE))];
        let mut buffer = ReadBuf::new(&mut piece);
        if let Err(error) = ready!(Pin::new(file).poll_read(context, &mut buffer)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let read = buffer.filled().len();
        if read == 0 {
            // The length was promised: who gets it would wait for the rest.
            let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was sent");
            return Poll::Ready(Some(Err(cut.into())));
        }
        *left -= read as u64;
        piece.truncate(read);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
