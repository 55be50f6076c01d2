//! Questions to the API, in the name of whoever looks at a page.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;
use wire::api::{ErrorDetailRecord, ErrorRecord};
use wire::path::encode;

/// The most that an answer may have.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const FETCH_SITE: &str = "sec-fetch-site";
/// The header that carries the stable name of a refusal, in every protocol.
const CODE: &str = "windlass-code";

/// Asks the API for one page.
#[derive(Clone)]
pub(crate) struct Ask {
    api: Arc<Router>,
    /// From where the browser says that the page is asked for.
    site: Option<HeaderValue>,
    /// And from whom it believes to ask it.
    host: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) error: ErrorDetailRecord,
}

impl Problem {
    pub(crate) fn unknown(path: &str) -> Self {
        let mut problem = Self::of(StatusCode::NOT_FOUND, format!("there is no page `{path}`"));
        problem.error.code = "unknown_path".to_owned();
        problem
    }

    /// Of what somebody typed and the API was not asked.
    pub(crate) fn typed(message: String) -> Self {
        let mut problem = Self::of(StatusCode::BAD_REQUEST, message);
        problem.error.code = "malformed".to_owned();
        problem
    }

    fn of(status: StatusCode, message: String) -> Self {
        let error = ErrorDetailRecord {
            code: "internal".to_owned(),
            message,
            hint: None,
        };
        Self { status, error }
    }
}

/// An address of the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address(String);

impl Address {
    /// From its segments, which may hold anything.
    pub(crate) fn of(base: &str, segments: &[&str]) -> Self {
        let mut text = base.to_owned();
        for segment in segments {
            text.push('/');
            encode(segment, &mut text);
        }
        Self(text)
    }

    /// Of the control API.
    pub(crate) fn api(segments: &[&str]) -> Self {
        Self::of("/api/v1", segments)
    }

    /// With a parameter of the query.
    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let first = !self.0.contains('?');
        self.0.push(if first { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        encode(&value.to_string(), &mut self.0);
        self
    }

    /// The same where there is a value.
    pub(crate) fn with_some(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ask {
    pub(crate) fn new(api: Arc<Router>, method: &Method, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        let mut site = headers.get(FETCH_SITE).cloned();
        // A link from elsewhere may lead here: looking changes nothing, and no other page sees the answer.
        let follows_link = text("sec-fetch-mode") == Some("navigate")
            && text("sec-fetch-dest") == Some("document")
            && *method == Method::GET;
        if follows_link {
            site = Some(HeaderValue::from_static("none"));
        }
        // Browsers that do not say from where say at least for which site's page they post.
        if *method != Method::GET
            && let Some(origin) = text(ORIGIN.as_str())
        {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_none() || host != text(HOST.as_str()) {
                site = Some(HeaderValue::from_static("cross-site"));
            }
        }
        let host = headers.get(HOST).cloned();
        Self { api, site, host }
    }

    /// A record.
    pub(crate) async fn get<T: DeserializeOwned>(&self, address: Address) -> Result<T, Problem> {
        self.call(Method::GET, &address, Body::empty()).await
    }

    /// What becomes of a record that is sent.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        address: Address,
        record: &impl Serialize,
    ) -> Result<T, Problem> {
        // Records of strings and numbers cannot fail to serialise.
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        self.call(Method::POST, &address, Body::from(bytes)).await
    }

    /// Ends something.
    pub(crate) async fn delete(&self, address: Address) -> Result<(), Problem> {
        let answered = self.bytes(Method::DELETE, &address, Body::empty()).await;
        answered.map(drop)
    }

    /// What is no record.
    pub(crate) async fn text(&self, address: Address) -> Result<String, Problem> {
        let bytes = self.bytes(Method::GET, &address, Body::empty()).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        address: &Address,
        body: Body,
    ) -> Result<T, Problem> {
        let bytes = self.bytes(method, address, body).await?;
        let bytes = if bytes.is_empty() {
            b"null"
        } else {
            bytes.as_slice()
        };
        serde_json::from_slice(bytes).map_err(|error| {
            let message = format!("{}: {error}", address.as_str());
            Problem::of(StatusCode::INTERNAL_SERVER_ERROR, message)
        })
    }

    async fn bytes(
        &self,
        method: Method,
        address: &Address,
        body: Body,
    ) -> Result<Vec<u8>, Problem> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = address.as_str().parse().map_err(|_| {
            Problem::of(
                StatusCode::BAD_REQUEST,
                "the address is too long".to_owned(),
            )
        })?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(site) = &self.site {
            headers.insert(FETCH_SITE, site.clone());
        }
        if let Some(host) = &self.host {
            headers.insert(HOST, host.clone());
        }
        let Ok(response) = Router::clone(&self.api).oneshot(request).await;
        let status = response.status();
        let code = response.headers().get(CODE).cloned();
        let bytes = read(response).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(match serde_json::from_slice::<ErrorRecord>(&bytes) {
            Ok(ErrorRecord { error }) => Problem { status, error },
            // The protocols have errors of their own shapes.
            Err(_) => {
                let mut problem = Problem::of(status, said(&bytes));
                if let Some(code) = code.as_ref().and_then(|it| it.to_str().ok()) {
                    problem.error.code = code.to_owned();
                }
                problem
            }
        })
    }
}

/// The sentence of an error of the Open Inference Protocol, or all that was answered.
fn said(bytes: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(serde_json::Value::Object(error)) => match error.get("error") {
            Some(serde_json::Value::String(said)) => said.clone(),
            _ => String::from_utf8_lossy(bytes).into_owned(),
        },
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

async fn read(response: Response) -> Result<Vec<u8>, Problem> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let read = body.collect().await;
    let read = read.map_err(|error| Problem::of(StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(read.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_anything() {
        let address = Address::api(&["models", "a/b c", "kpi"])
            .with("from", "10:00")
            .with_some("to", None::<u8>)
            .with("by", "ü");
        assert_eq!(
            address.as_str(),
            "/api/v1/models/a%2Fb%20c/kpi?from=10%3A00&by=%C3%BC"
        );
    }
}
