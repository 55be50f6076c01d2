//! Who a request belongs to, for logs and for tracing: `x-request-id` and W3C `traceparent` are taken from
//! the caller and given back; what it did not send is made up.

use axum::extract::Request;
use axum::response::Response;
use domain::Time;
use http::{HeaderName, HeaderValue, Method};

use crate::clock::Clock;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A caller's id longer than this is not one.
const ID_BYTES_MAX: usize = 128;

/// What is known of a request when it comes.
pub(crate) struct Trace {
    /// What is only needed for a log line; none when requests are not logged.
    shown: Option<(Method, String, Time)>,
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl Trace {
    pub(crate) fn begin(request: &Request, clock: Clock) -> Self {
        let header = |name| {
            request
                .headers()
                .get(name)
                .filter(|it| it.len() <= ID_BYTES_MAX)
        };
        let shown =
            tracing::enabled!(target: "windlass::request", tracing::Level::DEBUG).then(|| {
                (
                    request.method().clone(),
                    request.uri().path().to_owned(),
                    clock.now(),
                )
            });
        Self {
            shown,
            request_id: header(REQUEST_ID).cloned(),
            traceparent: header(TRACEPARENT)
                .filter(|it| trace_id(it).is_some())
                .cloned(),
        }
    }

    pub(crate) fn end(self, response: &mut Response, clock: Clock) {
        if let Some((method, path, start)) = self.shown {
            let text = |value: Option<&HeaderValue>| {
                value
                    .and_then(|it| it.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            let prediction = text(response.headers().get(super::PREDICTION_ID_HEADER));
            let request_id = match &self.request_id {
                Some(id) => text(Some(id)),
                None => prediction.clone(),
            };
            let trace = self
                .traceparent
                .as_ref()
                .and_then(trace_id)
                .unwrap_or_default();
            let micros = u64::try_from(clock.now().since(start).as_micros()).unwrap_or(0);
            tracing::debug!(
                target: "windlass::request",
                %method,
                path,
                status = response.status().as_u16(),
                micros,
                request_id,
                prediction_id = prediction,
                trace_id = trace,
            );
        }
        let headers = response.headers_mut();
        if let Some(id) = self.request_id {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(traceparent) = self.traceparent {
            headers.insert(TRACEPARENT, traceparent);
        }
    }
}

/// The trace's id in a `traceparent` of version 00; none when it is malformed or all zeros.
/// Source: W3C Trace Context, section 3.2.2.
fn trace_id(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else {
        return None;
    };
    let hex = |it: &str, len: usize| {
        it.len() == len
            && it
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |it: &str| it.bytes().all(|b| b == b'0');
    let valid = version == "00"
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && !zero(trace)
        && !zero(parent);
    valid.then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let check = |text: &'static str, want: Option<&str>| {
            let got = trace_id(&HeaderValue::from_static(text));
            assert_eq!(got.as_deref(), want, "{text}");
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some(trace),
        );
        check(
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            None,
        );
        check(
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            None,
        );
        check(
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            None,
        );
        check("junk", None);
    }
}
