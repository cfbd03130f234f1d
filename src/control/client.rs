//! The other side of the API: asks a run over its socket. It makes sure that the run is of this user,
//! or of root, before it says anything. It does not know what is asked.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use super::body::BODY_BYTES_MAX;
use super::failure::RequestFailure;

/// The longest time in which a run must take a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The reason for which a request has no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The run has said why.
    #[error("{message}")]
    Refused { code: String, message: String },
    /// There is nobody at the socket.
    #[error("{}: nobody serves it: {source}", path.display())]
    NotThere { path: PathBuf, source: io::Error },
    #[error("{}: it is served by user {uid}, and not asked", path.display())]
    OtherUser { path: PathBuf, uid: u32 },
    #[error("{}: the run has ended, or the connection was lost: {why}", path.display())]
    Lost { path: PathBuf, why: String },
    #[error("{}: the run does not answer", path.display())]
    Late { path: PathBuf },
    #[error("{}: this is no answer of a dishrack: {why}", path.display())]
    Strange { path: PathBuf, why: String },
}

impl NoAnswer {
    /// Describes an answer that is none.
    pub(crate) fn strange(path: &Path, why: &dyn fmt::Display) -> Self {
        NoAnswer::Strange {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// Returns `true` if the run refused for the reason of this code.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, NoAnswer::Refused { code, .. } if code == wanted)
    }
}

impl From<RequestFailure> for NoAnswer {
    fn from(failure: RequestFailure) -> Self {
        NoAnswer::Refused {
            code: failure.code.to_owned(),
            message: failure.message,
        }
    }
}

/// A connection to a run.
pub(crate) struct Client {
    path: PathBuf,
    /// The process that serves it.
    pub(crate) pid: Option<i32>,
    sender: Sender,
    /// The longest time for an answer.
    time: Option<Duration>,
    runtime: Runtime,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the run that serves this socket.
    pub(crate) fn connect(path: &Path) -> Result<Self, NoAnswer> {
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().build();
        let runtime = runtime.map_err(|source| not_there(path, source))?;
        let (sender, pid) = runtime.block_on(dial(path))?;
        Ok(Client {
            path: path.to_owned(),
            pid,
            sender,
            time: None,
            runtime,
        })
    }

    /// Returns the path of the run's socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for each answer no longer than this.
    pub(crate) fn answer_within(&mut self, time: Duration) {
        self.time = Some(time);
    }

    /// Asks, and waits for the answer for as long as it takes.
    pub(crate) fn ask(
        &mut self,
        method: Method,
        target: &str,
        key: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Value, NoAnswer> {
        let response = self.send(method, target, key, body.into())?;
        self.whole(response)
    }

    /// Reads an answer whole.
    fn whole(&self, response: Response<Incoming>) -> Result<Value, NoAnswer> {
        self.runtime.block_on(whole(&self.path, response))
    }

    /// Asks for something that comes line by line, each a JSON value.
    pub(crate) fn ask_for_lines(&mut self, target: &str) -> Result<AnswerLines<'_>, NoAnswer> {
        let response = self.send(Method::GET, target, None, Bytes::new())?;
        if !response.status().is_success() {
            return Err(match self.whole(response) {
                Ok(answer) => NoAnswer::strange(&self.path, &format_args!("{answer}")),
                Err(why) => why,
            });
        }
        Ok(AnswerLines {
            path: &self.path,
            runtime: &self.runtime,
            body: response.into_body(),
            read: Vec::new(),
        })
    }

    fn send(
        &mut self,
        method: Method,
        target: &str,
        key: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let mut request = request(&self.path, method, target, body)?;
        if let Some(key) = key {
            let key = HeaderValue::try_from(key).map_err(|why| lost(&self.path, &why))?;
            request.headers_mut().insert("idempotency-key", key);
        }
        let time = self
            .time
            .unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        let (path, sender) = (&self.path, &mut self.sender);
        self.runtime.block_on(async {
            match timeout(time, send(path, sender, request)).await {
                Err(_) => Err(NoAnswer::Late { path: path.clone() }),
                Ok(response) => response,
            }
        })
    }
}

/// The way in which requests are sent.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Connects to the run that serves this socket, and returns what requests are sent by, and its process.
/// It is called within a runtime.
pub(crate) async fn dial(path: &Path) -> Result<(Sender, Option<i32>), NoAnswer> {
    let connected = timeout(CONNECT_TIME, UnixStream::connect(path)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = stream.map_err(|source| not_there(path, source))?;
    let peer = stream
        .peer_cred()
        .map_err(|source| not_there(path, source))?;
    if peer.uid() != geteuid().as_raw() && peer.uid() != 0 {
        let (path, uid) = (path.to_owned(), peer.uid());
        return Err(NoAnswer::OtherUser { path, uid });
    }
    let shaken = handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|why| lost(path, &why))?;
    // What goes wrong on it, the request is told.
    tokio::spawn(async move { drop(connection.await) });
    Ok((sender, peer.pid()))
}

/// Makes a request.
pub(crate) fn request(
    path: &Path,
    method: Method,
    target: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let request = Request::builder().method(method).uri(target);
    let request = request.header(hyper::header::HOST, "run");
    let request = request.body(Full::new(body));
    request.map_err(|why| lost(path, &why))
}

/// Sends a request, and waits for the beginning of its answer.
pub(crate) async fn send(
    path: &Path,
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, NoAnswer> {
    sender.ready().await.map_err(|why| lost(path, &why))?;
    let response = sender.send_request(request).await;
    response.map_err(|why| lost(path, &why))
}

/// Reads an answer whole.
pub(crate) async fn whole<B>(path: &Path, response: Response<B>) -> Result<Value, NoAnswer>
where
    B: Body<Data = Bytes, Error: fmt::Display>,
{
    let status = response.status();
    let whole = response.into_body().collect().await;
    let whole = whole.map_err(|why| lost(path, &why))?.to_bytes();
    let answer: Value =
        serde_json::from_slice(&whole).map_err(|why| NoAnswer::strange(path, &why))?;
    refusal(status, &answer).map_or(Ok(answer), Err)
}

fn not_there(path: &Path, source: io::Error) -> NoAnswer {
    NoAnswer::NotThere {
        path: path.to_owned(),
        source,
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub(crate) struct AnswerLines<'a> {
    path: &'a Path,
    runtime: &'a Runtime,
    body: Incoming,
    /// Bytes that were read and are no whole line yet.
    read: Vec<u8>,
}

impl Iterator for AnswerLines<'_> {
    type Item = Result<Value, NoAnswer>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let value = serde_json::from_slice(&line);
                return Some(value.map_err(|why| NoAnswer::strange(self.path, &why)));
            }
            match self.runtime.block_on(self.body.frame())? {
                Ok(frame) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.read.extend_from_slice(&bytes);
                    }
                }
                Err(why) => return Some(Err(lost(self.path, &why))),
            }
        }
    }
}

/// The greatest number of bytes that are put in one request.
pub(crate) const PUT_BYTES_MAX: usize = BODY_BYTES_MAX;

fn lost(path: &Path, why: &dyn fmt::Display) -> NoAnswer {
    NoAnswer::Lost {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn refusal(status: StatusCode, answer: &Value) -> Option<NoAnswer> {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (!status.is_success()).then(|| NoAnswer::Refused {
        code: text("code"),
        message: text("message"),
    })
}
