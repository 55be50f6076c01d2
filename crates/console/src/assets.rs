//! Scripts, styles and the icon: in the binary, compressed once, and kept by browsers for as long as they do not change.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

/// Name, type and content. Those with a version in their names are other people's, each with its licence beside it.
const FILES: [(&str, &str, &[u8]); 6] = [
    (
        "console.css",
        "text/css",
        include_bytes!("../assets/console.css"),
    ),
    (
        "console.js",
        "text/javascript",
        include_bytes!("../assets/console.js"),
    ),
    (
        "htmx.js",
        "text/javascript",
        include_bytes!("../assets/htmx-2.0.11.min.js"),
    ),
    (
        "uplot.js",
        "text/javascript",
        include_bytes!("../assets/uplot-1.6.32.min.js"),
    ),
    (
        "uplot.css",
        "text/css",
        include_bytes!("../assets/uplot-1.6.32.min.css"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_bytes!("../assets/icon.svg"),
    ),
];

struct Asset {
    content_type: &'static str,
    content: &'static [u8],
    compressed: Vec<u8>,
    /// Of the content, in the address, so that a new one is another address.
    digest: String,
}

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let assets = FILES.into_iter().map(|(name, content_type, content)| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let compressed = encoder.write_all(content).and_then(|()| encoder.finish());
        let digest = Sha256::digest(content);
        let digest = digest
            .iter()
            .take(6)
            .map(|it| format!("{it:02x}"))
            .collect();
        let asset = Asset {
            content_type,
            content,
            compressed: compressed.unwrap_or_default(),
            digest,
        };
        (name, asset)
    });
    assets.collect()
});

/// Where a page finds an asset.
pub(crate) fn address(name: &str) -> String {
    let digest = ASSETS.get(name).map_or("", |it| it.digest.as_str());
    format!("/console/assets/{name}?{digest}")
}

pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(name.as_str()) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|it| it.to_str().ok());
    let gzip = accepts.is_some_and(|it| it.contains("gzip"));
    let body = if gzip {
        Body::from(asset.compressed.as_slice())
    } else {
        Body::from(asset.content)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_loads_is_small() {
        let all: usize = ASSETS.values().map(|it| it.compressed.len()).sum();
        assert!(all <= 150 * 1024, "{all} bytes");
    }
}
