//! Reads the body of a request, within bounds of size, time and memory. It does not know what is in
//! it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::RequestFailure;

/// The greatest number of bytes of a body.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The bytes of all bodies that are held at a time, in KiB.
const HELD_KIB_MAX: usize = 2 * BODY_BYTES_MAX / 1024;

/// The longest pause within a body.
const PAUSE: Duration = Duration::from_secs(10);

/// The longest time that a body may take.
const TIME: Duration = Duration::from_secs(120);

/// The memory for the bodies of all clients.
#[derive(Debug, Clone)]
pub(super) struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        BodyMemory(Arc::new(Semaphore::new(HELD_KIB_MAX)))
    }
}

/// A body that was read whole, and its share of the memory.
#[derive(Debug)]
pub(super) struct WholeBody {
    pub(super) bytes: Vec<u8>,
    _memory: Vec<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// Reads a body whole.
    ///
    /// # Errors
    /// It is too large, comes too slowly, ends before its end, or there is no memory for it now.
    pub(super) async fn read(&self, mut body: Body) -> Result<WholeBody, RequestFailure> {
        let lower = body.size_hint().lower();
        if lower > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let mut whole = WholeBody {
            bytes: Vec::new(),
            _memory: Vec::new(),
        };
        let end = Instant::now() + TIME;
        while let Some(bytes) = next_part(&mut body, end).await? {
            if whole.bytes.len() + bytes.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            // A vector that grows may have twice as much for a while.
            let share = bytes.len().div_ceil(1024);
            let share = u32::try_from(share).map_err(|_| too_large())?;
            let memory = Arc::clone(&self.0).try_acquire_many_owned(share);
            let memory =
                memory.map_err(|_| RequestFailure::busy("other clients send large bodies"))?;
            match whole._memory.last_mut() {
                Some(before) => before.merge(memory),
                None => whole._memory.push(memory),
            }
            whole.bytes.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

fn too_large() -> RequestFailure {
    let message = format!(
        "a body may have {BODY_BYTES_MAX} bytes at most: put the items in several requests"
    );
    RequestFailure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

async fn next_part(body: &mut Body, end: Instant) -> Result<Option<Bytes>, RequestFailure> {
    loop {
        let frame = timeout_at(end, timeout(PAUSE, body.frame())).await;
        let Ok(Ok(frame)) = frame else {
            let message = "the body comes too slowly, or not at all; nothing was done";
            return Err(RequestFailure::new(
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                message,
            ));
        };
        match frame {
            None => return Ok(None),
            Some(Err(why)) => {
                let message = format!("the body ends before its end ({why}); nothing was done");
                return Err(RequestFailure::bad("bad_body", message));
            }
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
                // Trailers say nothing here.
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use hyper::body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    /// A body of single bytes, with this time before each.
    struct SlowBody {
        pause: Duration,
        bytes: u32,
        wait: Pin<Box<Sleep>>,
    }

    impl SlowBody {
        fn body(pause: Duration, bytes: u32) -> Body {
            let wait = Box::pin(sleep(pause));
            Body::new(SlowBody { pause, bytes, wait })
        }
    }

    impl hyper::body::Body for SlowBody {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.bytes == 0 {
                return Poll::Ready(None);
            }
            ready!(self.wait.as_mut().poll(context));
            self.bytes -= 1;
            self.wait = Box::pin(sleep(self.pause));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"1")))))
        }
    }

    /// Reads such a body. Returns the result, and the time that it took.
    async fn read(pause: Duration, bytes: u32) -> (Result<usize, &'static str>, Duration) {
        let began = Instant::now();
        let memory = BodyMemory::default();
        let whole = memory.read(SlowBody::body(pause, bytes)).await;
        let result = whole.map(|whole| whole.bytes.len());
        (result.map_err(|failure| failure.code), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_has_two_minutes_and_pauses_of_ten_seconds() {
        let second = Duration::from_secs(1);
        assert_eq!(read(9 * second, 13).await.0, Ok(13));
        let (result, time) = read(11 * second, 1).await;
        assert_eq!(result, Err("too_slow"));
        assert!((10..11).contains(&time.as_secs()), "{time:?}");
        let (result, time) = read(9 * second, 1000).await;
        assert_eq!(result, Err("too_slow"));
        assert!((120..121).contains(&time.as_secs()), "{time:?}");
    }
}
