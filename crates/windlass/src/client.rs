//! Talks to a server: one that runs, over HTTP, or one opened in this process, by calling its front.
//!
//! Either way it is the same requests and the same answers, so a command does not know which it is.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use indicatif::ProgressBar;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::Front;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Until a server takes the connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Until it has answered. Pushing a version includes loading it and running its examples.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// Until another piece of an answer that comes in pieces has come.
const PIECE_MAX: Duration = Duration::from_secs(120);
/// How often a body is sent before it is given up.
const DELIVERIES_MAX: u32 = 6;
/// The longest wait between two of them, whatever the server says.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The largest event that is listened to.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// What a file's upload may take more, for each of its bytes: the server gives no longer either.
const UPLOAD_BYTES_PER_S: u64 = 64 * 1024;

/// A server to talk to.
pub(crate) struct Client {
    transport: Transport,
}

enum Transport {
    Remote {
        http: HttpClient<HttpConnector, Body>,
        base: String,
    },
    /// The server is kept for its closing; `serve` keeps its own.
    Local {
        front: Front,
        server: Option<server::Server>,
    },
}

impl Client {
    /// The server that the command line names, or the one that works on the data folder, or else one of
    /// our own.
    pub(crate) async fn connect(context: &Context) -> anyhow::Result<Self> {
        if let Some(url) = &context.server {
            return Ok(Self::remote(url)?);
        }
        if let Some(url) = store::Store::running(&context.data_dir) {
            tracing::debug!(url, "a server works on the data folder");
            return Ok(Self::remote(&url)?);
        }
        let server = server::Server::open(context.config()?).await?;
        let front = server.front();
        Ok(Self {
            transport: Transport::Local {
                front,
                server: Some(server),
            },
        })
    }

    /// A server of which somebody else keeps hold.
    pub(crate) fn local(front: Front) -> Self {
        Self {
            transport: Transport::Local {
                front,
                server: None,
            },
        }
    }

    /// A server at an address.
    pub(crate) fn remote(url: &str) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed = base.parse::<http::Uri>().ok();
        if !parsed.is_some_and(|it| it.scheme_str() == Some("http") && it.authority().is_some()) {
            let message = format!("`{url}` is not the address of a server");
            return Err(Failure::usage(message, "give it as `http://HOST:PORT`"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            transport: Transport::Remote { http, base },
        })
    }

    /// The address, where the server has one.
    pub(crate) fn address(&self) -> Option<&str> {
        match &self.transport {
            Transport::Remote { base, .. } => Some(base),
            Transport::Local { .. } => None,
        }
    }

    /// Closes a server of our own; a running one runs on.
    pub(crate) async fn close(self) {
        if let Transport::Local {
            front,
            server: Some(server),
        } = self.transport
        {
            drop(front);
            server.close().await;
        }
    }

    /// What is at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.call(Method::GET, path, Bytes::new()).await?;
        read(&answer, path)
    }

    /// Sends a record and reads the record that comes back.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        record: &impl Serialize,
    ) -> anyhow::Result<T> {
        let answer = self
            .call(method, path, serde_json::to_vec(record)?.into())
            .await?;
        read(&answer, path)
    }

    /// Sends a record whose answer says nothing more than that it is done.
    pub(crate) async fn tell(
        &self,
        method: Method,
        path: &str,
        record: &impl Serialize,
    ) -> anyhow::Result<()> {
        self.call(method, path, serde_json::to_vec(record)?.into())
            .await?;
        Ok(())
    }

    /// Removes what is at `path`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, Bytes::new()).await?;
        Ok(())
    }

    /// Sends a JSON body as it is.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let mut request = self.request(method, path)?;
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let response = self
            .exchange(request.body(Body::from(body))?, ANSWER_MAX)
            .await?;
        Ok(accepted(response)?)
    }

    /// Asks with a JSON body, and says who asks by a header.
    pub(crate) async fn ask(
        &self,
        path: &str,
        (name, value): (&'static str, &str),
        body: Bytes,
    ) -> anyhow::Result<Bytes> {
        let request = self
            .request(Method::POST, path)?
            .header(header::CONTENT_TYPE, "application/json")
            .header(name, value)
            .body(Body::from(body))?;
        Ok(accepted(self.exchange(request, ANSWER_MAX).await?)?)
    }

    /// Sends a body of any type; where the server has no room for it now, again after as long as it says.
    pub(crate) async fn deliver<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> anyhow::Result<T> {
        let mut deliveries = 1;
        loop {
            let request = self
                .request(Method::POST, path)?
                .header(header::CONTENT_TYPE, content_type)
                .body(Body::from(body.clone()))?;
            let response = self.exchange(request, ANSWER_MAX).await?;
            match come_again(&response) {
                Some(wait) if deliveries < DELIVERIES_MAX => {
                    tracing::info!(status = %response.status(), ?wait, "the server has no room now");
                    tokio::time::sleep(wait).await;
                    deliveries += 1;
                }
                _ => return read(&accepted(response)?, path),
            }
        }
    }

    /// Sends a record and writes the answer as it comes, piece by piece.
    pub(crate) async fn download(
        &self,
        path: &str,
        record: &impl Serialize,
        accept: &'static str,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let request = self
            .request(Method::POST, path)?
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .body(Body::from(serde_json::to_vec(record)?))?;
        let what = what(&request);
        let begun = tokio::time::timeout(ANSWER_MAX, self.begin(request)).await;
        let (head, mut body) = begun.map_err(|_| late(&what, ANSWER_MAX))??.into_parts();
        if !head.status.is_success() {
            let body = whole(body, &what).await?;
            accepted(Response::from_parts(head, body))?;
            return Ok(());
        }
        loop {
            let frame = tokio::time::timeout(PIECE_MAX, body.frame()).await;
            let Some(frame) = frame.map_err(|_| late(&what, PIECE_MAX))? else {
                break;
            };
            // Trailers are no part of a file.
            let Ok(piece) = frame
                .map_err(|error| broken_off(&what, &error))?
                .into_data()
            else {
                continue;
            };
            match out.write_all(&piece) {
                // `windlass query ... | head` has read enough: that is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("writing the answer")?,
            }
        }
        out.flush().context("writing the answer")
    }

    /// Listens to the events at `path`; where nothing is heard for so long, that is an error.
    pub(crate) async fn listen(&self, path: &str, silence: Duration) -> anyhow::Result<Events> {
        let request = self
            .request(Method::GET, path)?
            .header(header::ACCEPT, "text/event-stream")
            .body(Body::empty())?;
        let what = what(&request);
        let begun = tokio::time::timeout(silence, self.begin(request)).await;
        let response = begun.map_err(|_| late(&what, silence))??;
        if !response.status().is_success() {
            let (head, body) = response.into_parts();
            let body = whole(body, &what).await?;
            accepted(Response::from_parts(head, body))?;
            return Err(broken_off(&what, &"it is not an event").into());
        }
        Ok(Events {
            body: response.into_body(),
            read: Vec::new(),
            what,
            silence,
        })
    }

    /// Whether there is something at `path`.
    pub(crate) async fn has(&self, path: &str) -> anyhow::Result<bool> {
        let request = self.request(Method::HEAD, path)?.body(Body::empty())?;
        let response = self.exchange(request, ANSWER_MAX).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        accepted(response)?;
        Ok(true)
    }

    /// Puts a file's content to `path`, piece by piece.
    pub(crate) async fn upload(
        &self,
        path: &str,
        file: std::fs::File,
        progress: ProgressBar,
    ) -> anyhow::Result<()> {
        let size = file.metadata()?.len();
        let file = tokio::fs::File::from_std(file);
        let pieces = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024)
            .inspect_ok(move |piece| progress.inc(piece.len() as u64));
        let request = self
            .request(Method::PUT, path)?
            .header(header::CONTENT_LENGTH, size)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::from_stream(pieces))?;
        let allowed = ANSWER_MAX + Duration::from_secs(size / UPLOAD_BYTES_PER_S);
        accepted(self.exchange(request, allowed).await?)?;
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<http::request::Builder> {
        let uri = match &self.transport {
            Transport::Remote { base, .. } => format!("{base}{path}"),
            Transport::Local { .. } => path.to_owned(),
        };
        let uri: http::Uri = uri
            .parse()
            .with_context(|| format!("`{path}` is no path"))?;
        Ok(Request::builder().method(method).uri(uri))
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        allowed: Duration,
    ) -> anyhow::Result<Response<Bytes>> {
        let what = what(&request);
        let exchange = async {
            let (head, body) = self.begin(request).await?.into_parts();
            let body = whole(body, &what).await?;
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(allowed, exchange)
            .await
            .map_err(|_| late(&what, allowed))?
    }

    /// The answer's head, its body still to come.
    async fn begin(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        match &self.transport {
            Transport::Remote { http, base } => {
                let response = http.request(request).await;
                let response = response.map_err(|error| unreachable_server(base, &error))?;
                Ok(response.map(Body::new))
            }
            Transport::Local { front, .. } => Ok(front.clone().answer(request).await),
        }
    }
}

/// Events as a server sends them.
pub(crate) struct Events {
    body: Body,
    /// What has come of the next ones.
    read: Vec<u8>,
    what: String,
    silence: Duration,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Events {
    /// The next one; that no more come is an error.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Event> {
        let Self {
            body,
            read,
            what,
            silence,
        } = self;
        let next = async {
            loop {
                if let Some(event) = first_event(read) {
                    return Ok(event);
                }
                if read.len() > EVENT_BYTES_MAX {
                    return Err(broken_off(what, &"an event is too large"));
                }
                let Some(frame) = body.frame().await else {
                    return Err(broken_off(what, &"the server ends"));
                };
                let frame = frame.map_err(|error| broken_off(what, &error))?;
                if let Some(piece) = frame.data_ref() {
                    read.extend_from_slice(piece);
                }
            }
        };
        let next = tokio::time::timeout(*silence, next).await;
        Ok(next.map_err(|_| late(what, *silence))??)
    }
}

/// Takes the first whole event out of what was read; comments are passed over.
fn first_event(read: &mut Vec<u8>) -> Option<Event> {
    loop {
        let end = read.windows(2).position(|it| it == b"\n\n")?;
        let block: Vec<u8> = read.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        let (mut name, mut data) = ("message", Vec::new());
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value,
                "data" => data.push(value),
                _ => {}
            }
        }
        if !data.is_empty() {
            return Some(Event {
                name: name.to_owned(),
                data: data.join("\n"),
            });
        }
    }
}

/// A request in words.
fn what(request: &Request<Body>) -> String {
    format!("{} {}", request.method(), request.uri().path())
}

async fn whole(body: Body, what: &str) -> Result<Bytes, Failure> {
    let body = body.collect().await;
    Ok(body.map_err(|error| broken_off(what, &error))?.to_bytes())
}

fn broken_off(what: &str, error: &dyn std::fmt::Display) -> Failure {
    let message = format!("the server's answer to `{what}` broke off: {error}");
    Failure::not_now(message, "look at the server's log")
}

fn late(what: &str, allowed: Duration) -> Failure {
    let message = format!("no answer to `{what}` within {} s", allowed.as_secs());
    Failure::not_now(message, "look at the server's log")
}

/// How long the server wants to be left alone before the same is asked again, where it says so.
fn come_again(response: &Response<Bytes>) -> Option<Duration> {
    if !matches!(response.status().as_u16(), 429 | 503 | 507) {
        return None;
    }
    let after = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = after.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

fn unreachable_server(base: &str, error: &hyper_util::client::legacy::Error) -> Failure {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), innermost);
    let message = format!("the server at `{base}` does not answer: {cause}");
    Failure::not_now(
        message,
        "start it with `windlass serve`, or leave out `--server`",
    )
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8], path: &str) -> anyhow::Result<T> {
    // An answer without content reads as `null`: the unit type takes it.
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).with_context(|| {
        format!("the server's answer at `{path}` cannot be read; is it a Windlass of this version?")
    })
}

/// The body of an answer that is not an error.
fn accepted(response: Response<Bytes>) -> Result<Bytes, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.into_body());
    }
    // A HEAD's answer has no body; the header says the code all the same.
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let error = &body["error"];
    let header = response
        .headers()
        .get("windlass-code")
        .and_then(|it| it.to_str().ok());
    // Our own errors are records; those of the Open Inference Protocol are a sentence.
    let message = text(&error["message"])
        .or_else(|| text(error))
        .unwrap_or_else(|| format!("the server answered {status}"));
    Err(Failure {
        code: text(&error["code"])
            .or_else(|| header.map(str::to_owned))
            .unwrap_or_else(|| format!("http_{}", status.as_u16())),
        message,
        hint: text(&error["hint"]),
        exit: Exit::of_status(status.as_u16()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, want: (&str, &str, Exit)) {
        let response = Response::builder()
            .status(status)
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .expect("a response");
        let failure = accepted(response).expect_err("it is an error");
        assert_eq!((&*failure.code, &*failure.message, failure.exit), want);
    }

    #[test]
    fn errors_of_either_protocol_are_read() {
        let ours = r#"{"error":{"code":"unknown_model","message":"no model `m`","hint":"look"}}"#;
        check(404, ours, ("unknown_model", "no model `m`", Exit::NotFound));
        let theirs = r#"{"error":"no model `m`"}"#;
        check(404, theirs, ("http_404", "no model `m`", Exit::NotFound));
        let want = "the server answered 502 Bad Gateway";
        check(502, "<html>", ("http_502", want, Exit::Failed));
    }

    #[test]
    fn a_body_is_sent_again_where_the_server_says_when() {
        let check = |status: u16, after: &str, want: Option<u64>| {
            let response = Response::builder().status(status);
            let response = match after {
                "" => response,
                after => response.header("retry-after", after),
            };
            let response = response.body(Bytes::new()).expect("a response");
            assert_eq!(
                come_again(&response),
                want.map(Duration::from_secs),
                "{status} {after}"
            );
        };
        check(503, "1", Some(1));
        check(507, "7", Some(7));
        check(503, "86400", Some(30));
        check(503, "", None);
        check(503, "tomorrow", None);
        check(500, "1", None);
        check(200, "1", None);
    }

    #[test]
    fn events_are_read_one_by_one() {
        let mut read =
            b": hello\n\nevent: overview\ndata: {\"a\":\ndata: 1}\nid: 3\n\ndata:x\n\neve".to_vec();
        let event = |name: &str, data: &str| {
            Some(Event {
                name: name.to_owned(),
                data: data.to_owned(),
            })
        };
        assert_eq!(first_event(&mut read), event("overview", "{\"a\":\n1}"));
        assert_eq!(first_event(&mut read), event("message", "x"));
        assert_eq!(first_event(&mut read), None);
        assert_eq!(read, b"eve");
    }

    #[test]
    fn an_address_that_is_none_is_a_wrong_flag() {
        for url in ["localhost:8080", "https://h:1", "http://", ""] {
            let failure = Client::remote(url).err().expect(url);
            assert_eq!(failure.exit, Exit::Usage, "{url}");
        }
        assert!(Client::remote("http://127.0.0.1:8080/").is_ok());
    }
}
