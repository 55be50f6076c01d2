//! A server on a real socket, with the fake engine: what its callers see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{HeaderMap, Method, Request, StatusCode};
use axum::body::Body;
use domain::Refusal;
use domain::limits::Limits;
use engine::fake::Fake;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::app::App;
use super::{Config, ContainerRoutes, EngineSource, Hostnames, Server};

mod alerts;
mod inputs;
mod looks;
mod overview;
mod quality;
mod rollouts;
mod series;
mod why;

const COPY: &str = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy";
const ADD: &str = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: add 1";
const HELD: &str = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy\nhold";

/// Set, because it would be measured otherwise, and a model that is held would never end.
const ROWS: &str = "serve: {batch: {rows_max: 4}}";

/// For how long a test waits for what must come; much longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(180);

struct Site {
    fake: Fake,
    address: SocketAddr,
    client: Client<HttpConnector, Body>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
    app: Arc<App>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

fn config(fake: &Fake, folder: &std::path::Path, limits: Limits) -> Config {
    Config {
        data_dir: folder.to_owned(),
        engine: EngineSource::Ready(Arc::new(fake.clone())),
        limits,
        shared_memory: false,
        hostnames: Hostnames::Only(Vec::new()),
        cores: 1,
        container: ContainerRoutes::default(),
        ledger_mode: domain::ledger::Mode::default(),
        prices: None,
        alerts: None,
    }
}

impl Site {
    async fn open() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        Self::at(tempfile::tempdir().expect("a folder"), limits).await
    }

    async fn at(folder: tempfile::TempDir, limits: Limits) -> Self {
        let fake = Fake::default();
        let config = config(&fake, folder.path(), limits);
        Self::of(fake, folder, config).await
    }

    async fn of(fake: Fake, folder: tempfile::TempDir, config: Config) -> Self {
        let server = Server::open(config).await.expect("a server");
        let app = Arc::clone(&server.app);
        for (model, outcome) in server.want_all().await.expect("a registry") {
            outcome.unwrap_or_else(|refusal| panic!("{model}: {refusal}"));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let ended = tokio::spawn(server.run(vec![listener], async {
            // Dropping the sender stops the server too.
            let _ = stopped.await;
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            fake,
            address,
            client,
            stop: Some(stop),
            ended,
            folder,
            app,
        }
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(body.into())
            .expect("valid");
        let response = self.client.request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.call(Method::GET, path, "").await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.body
    }

    async fn post(&self, path: &str, record: Value) -> Value {
        let reply = self.call(Method::POST, path, record.to_string()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.body
    }

    /// Asks again and again until an answer is as wanted; fails with the last one where none is for too long.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let body = self.get(path).await;
            if wanted(&body) {
                return body;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{path} says still {body}"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Registers a model of the fake engine under a name; its examples, where given, beside it.
    async fn push(&self, name: &str, lines: &str, examples: Option<&Value>) -> Reply {
        let mut files = Vec::new();
        let mut manifest = ROWS.to_owned();
        if let Some(examples) = examples {
            files.push(("examples.json", examples.to_string().into_bytes()));
            manifest.push_str("\nexamples: {file: examples.json}");
        }
        self.push_files(name, lines, files, manifest).await
    }

    async fn push_with(&self, name: &str, lines: &str, manifest: &str) -> Reply {
        self.push_files(name, lines, Vec::new(), manifest.to_owned())
            .await
    }

    async fn push_files(
        &self,
        name: &str,
        lines: &str,
        mut files: Vec<(&'static str, Vec<u8>)>,
        manifest: String,
    ) -> Reply {
        files.push(("model.fake", Fake::model(lines).bytes.to_vec()));
        let mut records = Vec::new();
        for (path, bytes) in files {
            let digest = domain::Digest::new(Sha256::digest(&bytes).into());
            let size = bytes.len();
            let blob = format!("/api/v1/blobs/{digest}");
            assert_eq!(
                self.call(Method::PUT, &blob, bytes).await.status,
                StatusCode::OK
            );
            records.push(json!({"path": path, "digest": digest.to_string(), "size": size}));
        }
        let record = json!({
            "files": records, "main": "model.fake", "manifest": manifest, "source": "test",
        });
        self.call(
            Method::POST,
            &format!("/api/v1/models/{name}/versions"),
            record.to_string(),
        )
        .await
    }

    async fn serve(&self, name: &str, lines: &str) {
        self.serve_with(name, lines, ROWS).await;
    }

    async fn serve_with(&self, name: &str, lines: &str, manifest: &str) {
        if lines.ends_with("hold") {
            // Loading tries a request.
            self.fake.release(1);
        }
        let pushed = self.push_with(name, lines, manifest).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
        let loaded = self
            .call(Method::POST, &format!("/api/v1/models/{name}/load"), "")
            .await;
        assert_eq!(loaded.status, StatusCode::OK, "{}", loaded.body);
    }

    async fn ask(&self, reference: &str) -> Reply {
        self.call(
            Method::POST,
            &format!("/v2/models/{reference}/infer"),
            question(),
        )
        .await
    }

    async fn traffic(&self, name: &str, version: u32) -> Reply {
        let record = json!({"version": version, "why": "test"}).to_string();
        self.call(
            Method::PUT,
            &format!("/api/v1/models/{name}/traffic"),
            record,
        )
        .await
    }

    async fn end(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.ended.await.expect("a clean end");
        self.folder
    }
}

fn question() -> String {
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})
        .to_string()
}

/// `STATUS MESSAGE`, or the version that answered and its first output.
fn show(reply: &Reply) -> String {
    match (&reply.body["error"], &reply.body["outputs"][0]["data"]) {
        (Value::Null, data) => {
            format!(
                "{} {data}",
                reply.body["model_version"].as_str().unwrap_or("?")
            )
        }
        (Value::String(error), _) => format!("{} {error}", reply.status.as_u16()),
        (error, _) => format!("{} {}", reply.status.as_u16(), error["message"]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_go_where_they_say() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    assert_eq!(site.push("m", ADD, None).await.body["version"], 2);
    assert_eq!(
        show(&site.ask("m/versions/2").await),
        "503 `m:2` is not ready: it is not loaded; `windlass load m:2` loads it"
    );
    let alias = json!({"version": 2, "why": "trial"}).to_string();
    let path = "/api/v1/models/m/aliases/next";
    assert_eq!(
        site.call(Method::PUT, path, alias).await.status,
        StatusCode::OK
    );
    assert_eq!(show(&site.ask("m").await), "1 [1.0,2.0]");
    assert_eq!(show(&site.ask("m@next").await), "2 [2.0,3.0]");
    assert_eq!(show(&site.ask("m/versions/2").await), "2 [2.0,3.0]");
    assert_eq!(
        show(&site.ask("m/versions/3").await),
        "404 no version `m:3`; `windlass show MODEL` shows its versions and aliases"
    );
    assert_eq!(
        show(&site.ask("n").await),
        "404 no model `n`; `windlass list` shows the models"
    );
    assert_eq!(
        show(&site.ask("m@last").await),
        "404 no alias `m@last`; `windlass show MODEL` shows its versions and aliases"
    );
    let history = site
        .call(Method::GET, "/api/v1/models/m/aliases/next/history", "")
        .await
        .body;
    assert_eq!(
        (&history[0]["to"], &history[0]["why"]),
        (&json!(2), &json!("trial"))
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_load_fails_no_request() {
    const CALLERS: usize = 8;
    let site = Arc::new(Site::open().await);
    site.serve("m", COPY).await;
    site.push("m", ADD, None).await;
    let (done, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (site, done, answered) =
                (Arc::clone(&site), Arc::clone(&done), Arc::clone(&answered));
            #[expect(clippy::disallowed_methods, reason = "a test's own task")]
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let reply = site.ask("m").await;
                    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in [2, 1, 2, 1, 2] {
        let before = answered.load(Ordering::Relaxed);
        assert_eq!(site.traffic("m", version).await.status, StatusCode::OK);
        assert_eq!(
            site.ask("m").await.body["model_version"],
            version.to_string()
        );
        // Each swap is under load: callers were answered since the last one.
        while answered.load(Ordering::Relaxed) < before + CALLERS {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no failed request");
    }
    let versions = site
        .call(Method::POST, "/v2/repository/index", "")
        .await
        .body;
    assert_eq!(
        versions.as_array().map(Vec::len),
        Some(1),
        "the old version is gone: {versions}"
    );
    let site = Arc::into_inner(site).expect("callers have ended");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_was_taken() {
    let mut site = Site::open().await;
    site.serve("m", HELD).await;
    let (fake, address) = (site.fake.clone(), site.address);
    let drained = async {
        let held = fake.clone();
        tokio::task::spawn_blocking(move || held.wait_until_held(1))
            .await
            .expect("held");
        drop(site.stop.take());
        // The listener is closed before the requests under way have ended.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        fake.release(1);
    };
    let client: Client<HttpConnector, Body> = site.client.clone();
    let uri = format!("http://{address}/v2/models/m/infer");
    let request = Request::builder().method(Method::POST).uri(uri);
    let request = request.body(Body::from(question())).expect("valid");
    let (response, ()) = tokio::join!(client.request(request), drained);
    assert_eq!(response.expect("an answer").status(), StatusCode::OK);
    site.ended.await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_ends_its_run() {
    let site = Site::open().await;
    site.serve("m", HELD).await;
    let body = question();
    let mut stream = TcpStream::connect(site.address)
        .await
        .expect("a connection");
    let request = format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let fake = site.fake.clone();
    tokio::task::spawn_blocking(move || fake.wait_until_held(1))
        .await
        .expect("held");
    drop(stream);
    // Only a free session can take this one: nothing was released for the first.
    let fake = site.fake.clone();
    let second = async {
        while site.call(Method::GET, "/v2/models/m/stats", "").await.body["model_stats"][0]["inference_stats"]
            ["fail"]["count"]
            != 1
        {
            tokio::task::yield_now().await;
        }
        fake.release(1);
    };
    let (reply, ()) = tokio::join!(site.ask("m"), second);
    assert_eq!(show(&reply), "1 [1.0,2.0]");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_is_there_after_a_restart() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    site.push("m", ADD, None).await;
    site.traffic("m", 2).await;
    let folder = site.end().await;
    let site = Site::at(folder, Limits::default()).await;
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_folder_is_refused() {
    let site = Site::open().await;
    let other = config(&site.fake, site.folder.path(), Limits::default());
    let refusal = Server::open(other).await.err().expect("refused");
    assert!(matches!(refusal, Refusal::Conflict { .. }), "{refusal}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_must_reproduce_its_examples() {
    let site = Site::open().await;
    let example = |output: f64| {
        json!({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2, 3, 4, output]}],
        })
    };
    let refused = site.push("m", ADD, Some(&example(5.1))).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        refused.body["error"]["message"],
        "the model does not reproduce its own examples: output `y`, row 1, element 1: want \
         5.099999904632568, got 5 (tolerance 0.00001 absolute, 0.0001 relative)"
    );
    assert_eq!(site.ask("m").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        site.push("m", ADD, Some(&example(5.0))).await.status,
        StatusCode::CREATED
    );
    let again = site.push("m", ADD, Some(&example(5.0))).await;
    assert_eq!(
        (again.status, &again.body["new"]),
        (StatusCode::OK, &json!(false))
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_load_is_not_registered() {
    let site = Site::open().await;
    let refused = site
        .push("m", &format!("{COPY}\nrefuse: no operator `Nope`"), None)
        .await;
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        refused.body
    );
    assert_eq!(
        site.call(Method::GET, "/api/v1/models/m", "").await.status,
        StatusCode::NOT_FOUND
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_bound_the_answer_is_quick_and_says_when_to_come_back() {
    let limits = Limits {
        rows_waiting_max: 1,
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    site.serve("m", HELD).await;
    let fake = site.fake.clone();
    let refused = async {
        let held = fake.clone();
        tokio::task::spawn_blocking(move || held.wait_until_held(1))
            .await
            .expect("held");
        // One waits, the other is refused: whichever of the two it is.
        let (mut second, third) = (Box::pin(site.ask("m")), site.ask("m"));
        let refused = tokio::select! {
            reply = &mut second => reply,
            reply = third => reply,
        };
        fake.release(10);
        refused
    };
    let (first, refused) = tokio::join!(site.ask("m"), refused);
    assert_eq!(show(&first), "1 [1.0,2.0]");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(
        show(&refused),
        "503 `m:1` has 1 rows waiting and takes no more now"
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_travels_with_its_request() {
    let site = Site::open().await;
    site.serve("m", HELD).await;
    let mut body: Value = serde_json::from_str(&question()).expect("JSON");
    body["parameters"] = json!({"timeout": 1000});
    let reply = site
        .call(Method::POST, "/v2/models/m/infer", body.to_string())
        .await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        show(&reply),
        "504 `m:1` did not answer within 1 ms; raise `serve.timeout` of the model or the request's own timeout"
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_changes_nothing() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{}/api/v1/models/m/unload", site.address))
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty())
        .expect("valid");
    let response = site.client.request(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    // Nor does a browser that was led here by a name that points here and is somebody else's.
    for path in ["/api/v1/models", "/console", "/"] {
        let request = Request::builder()
            .uri(format!("http://{}{path}", site.address))
            .header("host", "evil.example:8080")
            .header("accept", "text/html")
            .header("sec-fetch-site", "none")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .body(Body::empty())
            .expect("valid");
        let response = site.client.request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(site.ask("m").await.status, StatusCode::OK);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed() {
    let limits = Limits {
        first_byte_ms_max: 50,
        headers_ms_max: 50,
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    for sent in [
        "",
        "GET / HT",
        "PRI * HTTP",
        "POST / HTTP/1.1\r\nhost: x\r\n",
    ] {
        let mut stream = TcpStream::connect(site.address)
            .await
            .expect("a connection");
        stream.write_all(sent.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        // Resolves when the server closes; a reset is a close too.
        let _ = stream.read_to_end(&mut rest).await;
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_refused() {
    let limits = Limits {
        body_ms_max: 50,
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    site.serve("m", COPY).await;
    let mut stream = TcpStream::connect(site.address)
        .await
        .expect("a connection");
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).await.expect("an answer");
    assert_eq!(&reply, b"HTTP/1.1 408");
    site.end().await;
}
