//! Reads a request's body: bounded in bytes as sent and as decoded, and in time.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use domain::Refusal;
use domain::limits::Limits;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::listen::BodyClock;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// RFC 1952.
    Gzip,
    /// A zlib stream, RFC 1950, as HTTP means it by `deflate`.
    Deflate,
}

impl Encoding {
    /// The name in a header.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|it| name.eq_ignore_ascii_case(it.name()))
    }

    /// The first encoding that the caller accepts and we know; none to send bytes as they are.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(http::header::ACCEPT_ENCODING)?.to_str().ok()?;
        accept.split(',').find_map(|part| {
            let (name, quality) = part.split_once(';').unwrap_or((part, ""));
            let refused = quality
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0));
            if refused {
                None
            } else {
                Self::from_name(name.trim())
            }
        })
    }
}

/// What was sent, as an argument of a handler: its headers, and its body that is still to be read. axum's own
/// extractor of headers copies them.
pub(crate) struct Sent {
    pub(crate) headers: HeaderMap,
    body: Body,
}

impl<S: Sync> FromRequest<S> for Sent {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        Ok(Self { headers, body })
    }
}

impl Sent {
    /// The whole body, decoded. It can be read once.
    pub(crate) async fn read(&mut self, limits: &Limits) -> Result<Bytes, Refusal> {
        let body = std::mem::take(&mut self.body);
        let sent = read_sent(&self.headers, body, limits).await?;
        let encoding = match self.headers.get(CONTENT_ENCODING) {
            None => None,
            Some(value) => {
                let name = value.to_str().unwrap_or("?").trim();
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    None
                } else {
                    let encoding = Encoding::from_name(name);
                    Some(encoding.ok_or_else(|| Refusal::UnsupportedEncoding {
                        encoding: name.chars().take(80).collect(),
                    })?)
                }
            }
        };
        match encoding {
            None => Ok(sent),
            Some(encoding) => decode(encoding, sent, limits.decoded_bytes_max).await,
        }
    }
}

async fn read_sent(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Refusal> {
    let limit = limits.body_bytes_max;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    if let Some(got) = declared
        && got > limit
    {
        return Err(Refusal::TooLarge {
            what: "the body",
            limit,
            got: Some(got),
        });
    }
    let mut body = std::pin::pin!(body);
    let mut clock = None;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        // Most bodies are here already: a timer is set up only for one that is not.
        let ready = poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            })
        });
        let frame = match ready.await {
            Some(frame) => frame,
            None => {
                let clock = clock.get_or_insert_with(|| BodyClock::start(limits));
                let deadline = clock.deadline(first.len() + rest.len());
                match tokio::time::timeout_at(deadline, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Err(Refusal::BodyTimeout),
                }
            }
        };
        let data = match frame {
            None => break,
            Some(Err(error)) => {
                let why = error.to_string();
                return Err(Refusal::Malformed {
                    what: "the body",
                    why,
                });
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let got = (first.len() + rest.len() + data.len()) as u64;
        if got > limit {
            return Err(Refusal::TooLarge {
                what: "the body",
                limit,
                got: None,
            });
        }
        if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                // The header may lie about the length, so it reserves at most a mebibyte.
                let more = declared
                    .unwrap_or(0)
                    .min(limit)
                    .saturating_sub(first.len() as u64);
                rest.reserve(usize::try_from(more).unwrap_or(0).min(1 << 20));
            }
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// Bytes from which decoding is handed to a blocking thread: below, it takes well under a millisecond.
const INLINE_MAX: usize = 16 * 1024;

async fn decode(encoding: Encoding, sent: Bytes, limit: u64) -> Result<Bytes, Refusal> {
    if sent.len() <= INLINE_MAX && limit <= INLINE_MAX as u64 * 1024 {
        return decode_now(encoding, &sent, limit);
    }
    let decoded = tokio::task::spawn_blocking(move || decode_now(encoding, &sent, limit)).await;
    decoded.map_err(|error| Refusal::Internal {
        what: format!("decoding a body: {error}"),
    })?
}

fn decode_now(encoding: Encoding, sent: &[u8], limit: u64) -> Result<Bytes, Refusal> {
    let mut decoded = Vec::new();
    // One byte more than the limit tells "at the limit" from "over it".
    let result = match encoding {
        Encoding::Gzip => flate2::read::MultiGzDecoder::new(sent)
            .take(limit + 1)
            .read_to_end(&mut decoded),
        Encoding::Deflate => flate2::read::ZlibDecoder::new(sent)
            .take(limit + 1)
            .read_to_end(&mut decoded),
    };
    result.map_err(|error| Refusal::Malformed {
        what: "the body",
        why: format!("it is not {}: {error}", encoding.name()),
    })?;
    if decoded.len() as u64 > limit {
        return Err(Refusal::TooLarge {
            what: "the decoded body",
            limit,
            got: None,
        });
    }
    Ok(decoded.into())
}

/// The bytes in the encoding that the caller accepts.
pub(crate) fn encode(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let level = flate2::Compression::fast();
    // Writing to memory cannot fail.
    match encoding {
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            let _ = encoder.write_all(plain);
            encoder.finish().unwrap_or_default()
        }
        Encoding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            let _ = encoder.write_all(plain);
            encoder.finish().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes_up_to_the_limit() {
        let plain = vec![7; 1000];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let sent = encode(encoding, &plain);
            assert_eq!(decode_now(encoding, &sent, 1000).expect("fits"), plain);
            let over = Refusal::TooLarge {
                what: "the decoded body",
                limit: 999,
                got: None,
            };
            assert_eq!(decode_now(encoding, &sent, 999), Err(over));
            assert!(decode_now(encoding, &sent[1..], 1000).is_err());
        }
    }

    #[test]
    fn the_callers_wish_is_honoured() {
        let check = |accept: &str, want: Option<Encoding>| {
            let mut headers = HeaderMap::new();
            let value = accept.parse().expect("a header");
            headers.insert(http::header::ACCEPT_ENCODING, value);
            assert_eq!(Encoding::accepted(&headers), want, "{accept}");
        };
        check("gzip, deflate", Some(Encoding::Gzip));
        check("br, deflate;q=0.5", Some(Encoding::Deflate));
        check("gzip;q=0, identity", None);
        check("br", None);
    }
}
