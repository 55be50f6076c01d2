//! Accepts connections and bounds what each may do: how many there are, how long one may be silent, how
//! long its headers and the reading of its answers may take.
//!
//! HTTP/1.1 and HTTP/2 (and with it gRPC) are told apart on one port by the first bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use domain::limits::Limits;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};

use crate::http::Front;
use crate::task::Tasks;

/// Serves `front` until the tasks are told to stop, then lets requests under way finish for at most
/// `drain_ms_max`. Resolves when the last connection is closed.
pub(crate) async fn serve(listener: TcpListener, front: Front, limits: Arc<Limits>, tasks: Tasks) {
    let builder = connection_builder(&limits);
    let graceful = GracefulShutdown::new();
    let places = usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let stopping = tasks.stopping();
    tokio::pin!(stopping);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles or a connection that was reset while it waited: both pass.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, limit = limits.connections_max, "too many connections");
            continue;
        };
        // Without it small answers wait for the peer's acknowledgement; failing to set it only slows.
        let _ = stream.set_nodelay(true);
        let connection = connect(&builder, stream, &front, &limits);
        let connection = graceful.watch(connection.into_owned());
        tasks.start("connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    let drain = Duration::from_millis(limits.drain_ms_max);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(?drain, "requests were cut off: they outlasted the drain");
    }
}

fn connection_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let bytes = usize::try_from(limits.headers_bytes_max).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.headers_ms_max))
        .max_buf_size(bytes.max(8192))
        .max_headers(usize::try_from(limits.headers_max).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits.streams_max).ok())
        .max_header_list_size(u32::try_from(limits.headers_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn connect<'a>(
    builder: &'a auto::Builder<TokioExecutor>,
    stream: TcpStream,
    front: &Front,
    limits: &Limits,
) -> auto::Connection<
    'a,
    TokioIo<Guarded<TcpStream>>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + use<>,
    TokioExecutor,
> {
    let guarded = Guarded::new(
        stream,
        Duration::from_millis(limits.first_byte_ms_max),
        Duration::from_millis(limits.write_ms_max),
    );
    let front = front.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let front = front.clone();
        async move {
            if let Some(refused) = refuse_host(&request) {
                return Ok(refused);
            }
            Ok(front.answer(request.map(axum::body::Body::new)).await)
        }
    });
    builder.serve_connection(TokioIo::new(guarded), service)
}

/// A request of HTTP/1.1 has exactly one `Host` (RFC 9112, 3.2): what sits between the caller and us could
/// read another one than we do.
fn refuse_host(request: &Request<Incoming>) -> Option<axum::response::Response> {
    let hosts = request.headers().get_all(http::header::HOST).iter().count();
    if request.version() != http::Version::HTTP_11 || hosts == 1 {
        return None;
    }
    let why = format!("it has {hosts} `Host` headers, want one");
    Some(crate::http::refuse(&domain::Refusal::Malformed {
        what: "the request",
        why,
    }))
}

/// Bytes of the HTTP/2 preface: with fewer, the protocol may still be unknown.
const PREFACE_BYTES: usize = 24;

/// A stream with two time-outs that no layer above it has: for the first bytes, and for a reader that
/// takes none of what is written.
struct Guarded<S> {
    stream: S,
    /// Until when the protocol must be known; none once it is.
    first_byte: Option<Pin<Box<Sleep>>>,
    read: usize,
    write_max: Duration,
    /// Runs while the other side takes nothing.
    write_stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    fn new(stream: S, first_byte_max: Duration, write_max: Duration) -> Self {
        let first_byte = Some(Box::pin(tokio::time::sleep(first_byte_max)));
        Self {
            stream,
            first_byte,
            read: 0,
            write_max,
            write_stall: None,
        }
    }

    /// Turns a write that waits too long into an error.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_stall = None;
            return written;
        }
        let write_max = self.write_max;
        let stall = self
            .write_stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(write_max)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the reader takes nothing",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(first_byte) = &mut self.first_byte else {
            return read;
        };
        if read.is_ready() {
            let got = buffer.filled().len() - before;
            self.read += got;
            if self.read >= PREFACE_BYTES || got == 0 {
                self.first_byte = None;
            }
            return read;
        }
        ready!(first_byte.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no request came",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What is answered has been asked.
        self.first_byte = None;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.first_byte = None;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch_write(cx, shut)
    }
}

/// The longest that anything here is timed with, for the deadline of a body.
pub(crate) struct BodyClock {
    start: Instant,
    body_max: Duration,
}

impl BodyClock {
    pub(crate) fn start(limits: &Limits) -> Self {
        let start = Instant::now();
        Self {
            start,
            body_max: Duration::from_millis(limits.body_ms_max),
        }
    }

    /// Until when the next piece must come, after `received` bytes: a second more for each 64 KiB.
    pub(crate) fn deadline(&self, received: usize) -> Instant {
        self.start + self.body_max + Duration::from_secs(received as u64 / 65536)
    }
}
