//! Alerts from a finding to a receiver: one that records, and others that hang, redirect, fail or do not end.

use std::collections::VecDeque;
use std::sync::Mutex;

use domain::alert::receiver::Receivers;
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use tokio::io::BufReader;
use tokio::sync::mpsc;

use super::*;

mod actions;

/// What a receiver does with the next request; the last is repeated.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(&'static str),
    Hang,
    NoEnd,
}

/// A receiver on a port of its own: a head and a body for each request come out of `heard`.
struct Receiver {
    address: SocketAddr,
    heard: mpsc::Receiver<(String, Value)>,
}

impl Receiver {
    async fn open(does: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, heard) = mpsc::channel(100);
        let script = Mutex::new(VecDeque::from(does.to_vec()));
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let Some(request) = read_request(&mut stream).await else {
                    continue;
                };
                let does = {
                    let mut script = script.lock().expect("one holder");
                    let next = script.pop_front().expect("a script");
                    if script.is_empty() {
                        script.push_back(next);
                    }
                    next
                };
                // The test may have ended.
                let _ = tell.send(request).await;
                let mut stream = stream.into_inner();
                match does {
                    Does::Hang => kept.push(stream),
                    Does::Answer(answer) => {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    Does::NoEnd => {
                        let head = b"HTTP/1.1 500 x\r\ntransfer-encoding: chunked\r\n\r\n";
                        let _ = stream.write_all(head).await;
                        while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
                    }
                }
            }
        });
        Self { address, heard }
    }

    async fn next(&mut self) -> (String, Value) {
        self.heard.recv().await.expect("a request")
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    use tokio::io::AsyncBufReadExt;
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 x\r\ncontent-length: 4\r\n\r\nbusy";
const GONE: &str = "HTTP/1.1 410 x\r\ncontent-length: 0\r\n\r\n";
const MOVED: &str = "HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";

/// A file of receivers that tells at once, where `receivers` is the list.
fn receivers(receivers: &Value) -> Receivers {
    let file = json!({
        "group": {"wait": "0s", "interval": "0s", "repeat": "1h"},
        "retry": {"first": "1ms", "longest": "1ms", "attempts": 3},
        "receivers": receivers,
    });
    serde_json::from_value(file).expect("a file of receivers")
}

fn webhook(receiver: &Receiver) -> Value {
    json!({"name": "ops", "kind": "webhook", "allow_private": true,
        "url": format!("http://ann:s3cret@{}/hook?a=b", receiver.address)})
}

fn finding(verdict: Verdict, version: u32) -> Finding {
    Finding {
        model: "m".parse().expect("a name"),
        version: domain::Version::new(version),
        monitor: "quality".to_owned(),
        subject: "accuracy".to_owned(),
        segment: None,
        verdict,
        severity: Severity::Page,
        summary: "accuracy fell to 0.5".to_owned(),
        evidence: Evidence::from([("accuracy".to_owned(), Fact::Number(0.5))]),
    }
}

impl Site {
    async fn telling(told: &Value) -> Self {
        Self::alerting(tempfile::tempdir().expect("a folder"), receivers(told)).await
    }

    async fn alerting(folder: tempfile::TempDir, receivers: Receivers) -> Self {
        let fake = Fake::default();
        let config = Config {
            alerts: Some(receivers),
            ..config(&fake, folder.path(), Limits::default())
        };
        Self::of(fake, folder, config).await
    }

    async fn found(&self, verdict: Verdict, version: u32) {
        self.app
            .alerts
            .report(vec![finding(verdict, version)])
            .await;
    }

    async fn alert(&self) -> String {
        let alerts = self.get("/api/v1/alerts?all=true").await;
        alerts["items"][0]["id"]
            .as_str()
            .expect("an alert")
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_from_its_beginning_to_its_end() {
    let mut receiver = Receiver::open(&[Does::Answer(FAILED), Does::Answer(OK)]).await;
    let site = Site::telling(&json!([webhook(&receiver)])).await;
    site.found(Verdict::Bad, 1).await;
    for _ in 0..2 {
        // The first is refused and comes again.
        let (head, body) = receiver.next().await;
        assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("authorization: Basic YW5uOnMzY3JldA==\r\n"),
            "{head}"
        );
        assert_eq!(body["status"], "firing");
        assert_eq!(body["groupLabels"], json!({"model": "m"}));
        assert_eq!(body["alerts"][0]["labels"]["severity"], "page");
        assert_eq!(body["alerts"][0]["annotations"]["evidence"], "accuracy=0.5");
    }
    let listed = site.get("/api/v1/alerts?model=m&severity=page").await;
    assert_eq!(listed["items"][0]["state"], "firing");
    assert_eq!(
        site.get("/api/v1/alerts?severity=ticket").await["items"],
        json!([])
    );
    let alert = site.alert().await;
    let path = format!("/api/v1/alerts/{alert}");
    let seen = site
        .post(&format!("{path}/ack"), json!({"who": "ann"}))
        .await;
    assert_eq!(seen["acknowledged"]["who"], "ann");
    let said = json!({"useful": false, "why": "a test", "who": "bob"}).to_string();
    let said = site
        .call(Method::POST, &format!("{path}/feedback"), said)
        .await;
    assert_eq!(said.status, StatusCode::OK);
    site.found(Verdict::Unknown, 1).await;
    site.found(Verdict::Fine, 1).await;
    let (_, body) = receiver.next().await;
    assert_eq!(body["status"], "resolved");
    assert_ne!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    let shown = site.get(&path).await;
    assert_eq!(shown["state"], "resolved");
    let history: Vec<&str> = shown["history"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["kind"].as_str())
        .collect();
    assert_eq!(history, ["resolved", "feedback", "acknowledged", "firing"]);
    assert_eq!(
        (
            &shown["feedback"][0]["useful"],
            &shown["feedback"][0]["who"]
        ),
        (&json!(false), &json!("bob"))
    );
    assert_eq!(site.get("/api/v1/alerts").await["items"], json!([]));
    let waits = |it: &Value| it.as_array().is_some_and(Vec::is_empty);
    site.until("/api/v1/deliveries?waiting=true", waits).await;
    let metrics = metrics_of(&site).await;
    for line in [
        "windlass_alert_deliveries_total 2\n",
        "windlass_alert_delivery_failures_total 1\n",
        "windlass_alert_dead_letters 0\n",
        "windlass_alerts_firing{severity=\"page\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    site.end().await;
}

async fn metrics_of(site: &Site) -> String {
    let uri = format!("http://{}/metrics", site.address);
    let request = Request::get(uri).body(Body::empty()).expect("valid");
    let response = site.client.request(request).await.expect("an answer");
    let bytes = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What a receiver that does this is given up for.
async fn given_up(does: Does, allow_private: bool) -> String {
    let mut receiver = Receiver::open(&[does]).await;
    let mut told = webhook(&receiver);
    told["allow_private"] = json!(allow_private);
    told["timeout"] = json!("100ms");
    let site = Site::telling(&json!([told])).await;
    site.found(Verdict::Bad, 1).await;
    let dead = |it: &Value| it[0]["dead"] == true;
    let letters = site.until("/api/v1/deliveries", dead).await;
    let (attempts, why) = (&letters[0]["attempts"], letters[0]["why"].as_str());
    let said = format!("{attempts}: {}", why.expect("a reason"));
    assert!(!letters.to_string().contains("s3cret"), "{letters}");
    // Tried again by hand it is given up again, with as many attempts.
    if allow_private {
        for _ in 0..attempts.as_u64().expect("a number") {
            receiver.next().await;
        }
        let path = format!("/api/v1/deliveries/{}/retry", letters[0]["id"]);
        let reply = site.call(Method::POST, &path, "").await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        receiver.next().await;
        site.until("/api/v1/deliveries", dead).await;
    } else {
        assert!(receiver.heard.try_recv().is_err(), "it was called");
    }
    site.end().await;
    said.replace(&receiver.address.port().to_string(), "PORT")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_left_and_tried_again() {
    assert_eq!(
        given_up(Does::Hang, true).await,
        "3: no answer within 100 ms"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    assert_eq!(
        given_up(Does::Answer(MOVED), true).await,
        "1: it answered 302: it sends us elsewhere, which is not followed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_read_no_further_than_its_reason() {
    let why = given_up(Does::NoEnd, true).await;
    assert_eq!(why, format!("3: it answered 500 ({})", "more".repeat(50)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_never_be_taken_is_given_up_at_once() {
    assert_eq!(
        given_up(Does::Answer(GONE), true).await,
        "1: it answered 410"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_a_failure() {
    let why = given_up(Does::Answer("HELO\r\n\r\n"), true).await;
    assert!(why.starts_with("3: `127.0.0.1:PORT`: "), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_called_only_where_that_is_allowed() {
    assert_eq!(
        given_up(Does::Answer(OK), false).await,
        "1: `127.0.0.1` is at 127.0.0.1, which is loopback; `allow_private: true` permits it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_cannot_be_told_are_refused_at_the_start() {
    let check = async |receiver: Value, want: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            alerts: Some(receivers(&json!([receiver]))),
            ..config(&Fake::default(), folder.path(), Limits::default())
        };
        let refusal = Server::open(config).await.err().expect("refused");
        let said = refusal.to_string();
        assert!(said.starts_with(want), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    };
    check(
        json!({"name": "a", "kind": "webhook", "url": "https://x:s3cret@exa_mple..org/"}),
        "`receivers[0].url`: `exa_mple..org` is no name or address that a certificate could have",
    )
    .await;
    check(
        json!({"name": "a", "kind": "slack", "url": "ftp://s3cret"}),
        "`receivers[0].url`: it begins neither with `https://` nor with `http://`",
    )
    .await;
    check(
        json!({"name": "a", "kind": "webhook", "url": "http://x", "headers": {"a": "s3cret\n"}}),
        "`receivers[0].headers.a`: it is not a header",
    )
    .await;
    check(
        json!({"name": "a", "kind": "webhook"}),
        "`receivers[0].url`: it is missing",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_and_slack_and_a_relay_are_told_in_their_own_words() {
    let mut manager = Receiver::open(&[Does::Answer(OK)]).await;
    let mut slack = Receiver::open(&[Does::Answer(OK)]).await;
    let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = relay.local_addr().expect("an address").port();
    let site = Site::telling(&json!([
        {"name": "am", "kind": "alertmanager", "url": format!("http://{}/am/", manager.address),
            "allow_private": true},
        {"name": "chat", "kind": "slack", "url": format!("http://{}/x", slack.address),
            "allow_private": true},
        {"name": "mail", "kind": "smtp", "host": "127.0.0.1", "port": port, "from": "w@example.org",
            "to": ["ann@example.org"], "allow_private": true},
    ]))
    .await;
    site.found(Verdict::Bad, 1).await;
    let (head, body) = manager.next().await;
    assert!(
        head.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(body[0]["labels"]["alertname"], "quality");
    assert!(body[0].get("endsAt").is_none(), "{body}");
    let (_, body) = slack.next().await;
    let text = body["text"].as_str().expect("a text");
    assert!(text.starts_with("*[FIRING:1] m*\n• page: quality accuracy: accuracy fell to 0.5 ("));
    let mail = take_mail(&relay).await;
    assert!(
        mail.starts_with(
            "EHLO windlass\r\nMAIL FROM:<w@example.org>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
        ),
        "{mail}"
    );
    assert!(mail.contains("\r\nSubject: [FIRING:1] m\r\n"), "{mail}");
    site.found(Verdict::Fine, 1).await;
    let (_, body) = manager.next().await;
    assert!(body[0]["endsAt"].is_string(), "{body}");
    site.end().await;
}

/// A relay that takes one mail; gives back all that was said to it.
async fn take_mail(relay: &TcpListener) -> String {
    use tokio::io::AsyncBufReadExt;
    let (stream, _) = relay.accept().await.expect("a connection");
    let mut stream = BufReader::new(stream);
    let mut said = String::new();
    let answer = async |stream: &mut BufReader<TcpStream>, text: &str| {
        stream
            .get_mut()
            .write_all(text.as_bytes())
            .await
            .expect("sent");
    };
    answer(&mut stream, "220-hello\r\n220 there\r\n").await;
    let mut in_message = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.expect("a line") == 0 {
            return said;
        }
        said.push_str(&line);
        match line.trim_end() {
            "DATA" => {
                in_message = true;
                answer(&mut stream, "354 go on\r\n").await;
            }
            "." => {
                in_message = false;
                answer(&mut stream, "250 taken\r\n").await;
            }
            "QUIT" => return said,
            _ if in_message => {}
            _ => answer(&mut stream, "250 fine\r\n").await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_keeps_quiet_until_it_is_ended() {
    let mut receiver = Receiver::open(&[Does::Answer(OK)]).await;
    let site = Site::telling(&json!([webhook(&receiver)])).await;
    let wanted = json!({"matchers": ["model=m"], "for": "1h", "who": "ann", "why": "work"});
    let silence = site.post("/api/v1/silences", wanted).await;
    site.found(Verdict::Bad, 1).await;
    let muted = |it: &Value| it["items"][0]["muted"] == format!("silence {}", silence["id"]);
    site.until("/api/v1/alerts", muted).await;
    assert_eq!(site.get("/api/v1/silences").await, json!([silence]));
    assert!(receiver.heard.try_recv().is_err());
    let path = format!("/api/v1/silences/{}", silence["id"]);
    assert_eq!(
        site.call(Method::DELETE, &path, "").await.status,
        StatusCode::OK
    );
    receiver.next().await;
    let again = site.call(Method::DELETE, &path, "").await;
    assert_eq!(
        show(&again),
        format!("409 \"silence `{}` has ended already\"", silence["id"])
    );
    for (record, want) in [
        (
            json!({"matchers": [], "for": "1h"}),
            "`matchers` cannot be read: 0 are given, want 1 to 20",
        ),
        (
            json!({"matchers": ["x"], "for": "1h"}),
            "`matchers` cannot be read: `x` is not a matcher such as `model=credit` or `subject!=age`",
        ),
        (
            json!({"matchers": ["a=b"], "for": "900d"}),
            "`for` cannot be read: `900d` is not over 0 and at most 365d",
        ),
    ] {
        let reply = site
            .call(Method::POST, "/api/v1/silences", record.to_string())
            .await;
        assert_eq!(show(&reply), format!("400 {:?}", want));
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_no_other_and_not_the_end() {
    let mut hangs = Receiver::open(&[Does::Hang]).await;
    let mut other = Receiver::open(&[Does::Answer(OK)]).await;
    let mut first = webhook(&hangs);
    first["name"] = json!("hangs");
    first["timeout"] = json!("60s");
    let site = Site::telling(&json!([first, webhook(&other)])).await;
    site.found(Verdict::Bad, 1).await;
    hangs.next().await;
    other.next().await;
    let one = |it: &Value| it.as_array().map(Vec::len) == Some(1);
    site.until("/api/v1/deliveries?waiting=true", one).await;
    let folder = site.end().await;
    // What was under way is delivered by the next server.
    let mut answers = Receiver::open(&[Does::Answer(OK)]).await;
    let mut first = webhook(&answers);
    first["name"] = json!("hangs");
    let site = Site::alerting(folder, receivers(&json!([first, webhook(&other)]))).await;
    let (_, body) = answers.next().await;
    assert_eq!(body["status"], "firing");
    assert!(other.heard.try_recv().is_err(), "it was told twice");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_not_told_before_its_beginning() {
    let mut receiver = Receiver::open(&[Does::Answer(FAILED), Does::Answer(OK)]).await;
    let file = Receivers {
        retry: serde_json::from_value(json!({"first": "100ms"})).expect("a setting"),
        ..receivers(&json!([webhook(&receiver)]))
    };
    let site = Site::alerting(tempfile::tempdir().expect("a folder"), file).await;
    site.found(Verdict::Bad, 1).await;
    receiver.next().await;
    // While the beginning waits to be tried again, the end comes.
    site.found(Verdict::Fine, 1).await;
    for want in ["firing", "resolved"] {
        let (_, body) = receiver.next().await;
        assert_eq!(body["status"], want);
    }
    site.end().await;
}
