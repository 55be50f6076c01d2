//! A POST to a receiver: one connection, no redirects, and no more of the answer than a reason.

use std::pin::pin;

use ::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use domain::alert::receiver::Receiver;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::target::{Failure, Host, base64};
use super::tls::{Stream, Tls};

/// The most bytes of an answer that are read, its head and its body each.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How much of an answer is quoted.
const QUOTED_MAX: usize = 200;

/// A URL, taken apart once.
pub(super) struct HttpTarget {
    host: Host,
    tls: Option<Tls>,
    authority: String,
    path: String,
    /// They may hold what nobody else should know.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpTarget {
    /// The receiver's URL with `suffix` behind its path; else the setting that is wrong and why.
    pub(super) fn new(receiver: &Receiver, suffix: &str) -> Result<Self, (String, String)> {
        // The URL is a secret: what is wrong with it is told without it.
        let url = receiver.url.as_ref().map_or("", |it| it.0.as_str());
        let wrong = |why: &str| ("url".to_owned(), why.to_owned());
        let uri: Uri = url
            .parse()
            .map_err(|_| wrong("it is not one such as `http://host:9093/path`"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => {
                return Err(wrong(
                    "it begins neither with `https://` nor with `http://`",
                ));
            }
        }
        let secure = uri.scheme_str() == Some("https");
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let name = authority.host();
        if name.is_empty() {
            return Err(wrong("it names no host"));
        }
        let name = name.trim_matches(['[', ']']);
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        let ca = receiver.ca.as_deref();
        if ca.is_some() && !secure {
            return Err(("ca".to_owned(), "only `https` takes it".to_owned()));
        }
        let tls = secure.then(|| Tls::new("url", name, ca)).transpose()?;
        let mut headers = Vec::new();
        if let Some((user, _)) = authority.as_str().rsplit_once('@') {
            let value = format!("Basic {}", base64(&unescaped(user)));
            let value = HeaderValue::from_str(&value)
                .map_err(|_| wrong("its name and password cannot be sent"))?;
            headers.push((AUTHORIZATION, value));
        }
        for (name, value) in &receiver.headers {
            let at = format!("headers.{name}");
            let read = name.parse::<HeaderName>().ok();
            let read = read.zip(HeaderValue::from_str(&value.0).ok());
            let (header, mut value) =
                read.ok_or_else(|| (at.clone(), "it is not a header".to_owned()))?;
            if [HOST, CONTENT_TYPE, CONNECTION].contains(&header)
                || header == ::http::header::CONTENT_LENGTH
                || header == ::http::header::TRANSFER_ENCODING
            {
                return Err((at, "the server sets it".to_owned()));
            }
            value.set_sensitive(true);
            headers.push((header, value));
        }
        let path = match uri.path_and_query() {
            Some(path) if suffix.is_empty() => path.to_string(),
            _ => format!("{}{suffix}", uri.path().trim_end_matches('/')),
        };
        let shown = authority.as_str();
        let shown = shown.rsplit_once('@').map_or(shown, |(_, it)| it);
        Ok(Self {
            host: Host {
                name: name.to_owned(),
                port,
                allow_private: receiver.allow_private,
            },
            tls,
            authority: shown.to_owned(),
            path,
            headers,
        })
    }

    /// Sends a body and waits for what becomes of it.
    pub(super) async fn post(&self, body: &str) -> Result<(), Failure> {
        let passing =
            |error: hyper::Error| Failure::Passing(format!("`{}`: {error}", self.authority));
        let stream = self.host.connect().await?;
        let stream: Stream = match &self.tls {
            Some(tls) => tls.over(stream).await?,
            None => Box::new(stream),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(passing)?;
        let mut request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| Failure::Final(format!("the request cannot be made: {error}")))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(passing)?;
            judge(response).await
        };
        // The connection is driven from here; it may end before the last of the answer is looked at.
        let (mut exchange, connection) = (pin!(exchange), pin!(connection));
        tokio::select! {
            biased;
            result = &mut exchange => return result,
            _ = connection => {}
        }
        exchange.await
    }
}

async fn judge(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let said = quoted(response.into_body()).await;
    let answer = format!("it answered {}{said}", status.as_u16());
    if status.is_redirection() {
        return Err(Failure::Final(format!(
            "{answer}: it sends us elsewhere, which is not followed"
        )));
    }
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passing.contains(&status) {
        return Err(Failure::Passing(answer));
    }
    Err(Failure::Final(answer))
}

/// The beginning of a body, as a reason.
async fn quoted(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(piece) = frame.into_data() {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() >= QUOTED_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let shown: String = text
        .chars()
        .take(QUOTED_MAX)
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    match shown.trim() {
        "" => String::new(),
        shown => format!(" ({shown})"),
    }
}

/// A name and a password as they were before they were put into a URL.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|it| u8::from_str_radix(it, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}
