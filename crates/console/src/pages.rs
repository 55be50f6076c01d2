//! One file for each kind of page; here is what they share.

use askama::Template;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};

use crate::ask::Problem;
use crate::assets;

pub(crate) mod alerts;
mod difference;
pub(crate) mod drift;
pub(crate) mod events;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod predictions;
pub(crate) mod rollouts;
pub(crate) mod story;
pub(crate) mod system;
pub(crate) mod trial;
pub(crate) mod versions;

/// What is around a page.
pub(crate) struct Frame {
    /// What a browser calls the page.
    pub(crate) title: String,
    /// Which part of the console it is in: `models`, `rollouts`, `predictions`, `alerts`, `events`, `system`.
    pub(crate) part: &'static str,
}

impl Frame {
    pub(crate) fn new(part: &'static str, title: impl Into<String>) -> Self {
        let title = title.into();
        Self { title, part }
    }

    /// Where the page finds an asset.
    pub(crate) fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// For the attribute that tells where in the console a reader is.
    pub(crate) fn here(&self, part: &str) -> &'static str {
        if self.part == part { "page" } else { "false" }
    }
}

/// A page, or why there is none.
pub(crate) fn shown<T: Template>(page: Result<T, Problem>) -> Response {
    match page {
        Ok(page) => html(StatusCode::OK, &page),
        Err(problem) => failed(problem),
    }
}

/// A part of a page that is fetched by itself, or why there is none.
pub(crate) fn part<T: Template>(part: Result<T, Problem>) -> Response {
    match part {
        Ok(part) => html(StatusCode::OK, &part),
        // 200, so that it takes the place of what could not be shown.
        Err(problem) => html(StatusCode::OK, &Missing { problem }),
    }
}

/// Back to a page, after something was done.
pub(crate) fn back(to: &str) -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::from_str(to) {
        Ok(to) => drop(response.headers_mut().insert(http::header::LOCATION, to)),
        Err(_) => *response.status_mut() = StatusCode::NO_CONTENT,
    }
    response
}

/// Done, or why not.
pub(crate) fn done(result: Result<(), Problem>, to: &str) -> Response {
    match result {
        Ok(()) => back(to),
        Err(problem) => failed(problem),
    }
}

pub(crate) async fn unknown(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    failed(Problem::unknown(&path))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    problem: Problem,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing {
    problem: Problem,
}

fn failed(problem: Problem) -> Response {
    let status = problem.status;
    let frame = Frame::new("", status.to_string());
    html(status, &ProblemPage { frame, problem })
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    let text = page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page cannot be made");
        String::new()
    });
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
