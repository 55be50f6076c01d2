//! Every model as it is now, on a terminal that is none.

use crate::terminal::Terminal;

fn said(terminal: &Terminal, arguments: &[&str]) -> String {
    let output = terminal.command(arguments).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn what_is_served_is_printed_once_where_nobody_looks() {
    let terminal = Terminal::new();
    // Of a folder that no server works on, too.
    assert_eq!(
        said(&terminal, &["top"]),
        "no models; `windlass push` registers one\n"
    );
    let server = terminal.serve(&["credit"]);
    let (status, sample) = server.ask("GET", "/api/v1/models/credit/sample", "");
    assert_eq!(status, 200, "{sample}");
    for _ in 0..30 {
        let (status, body) = server.ask("POST", "/v2/models/credit/infer", &sample);
        assert_eq!(status, 200, "{body}");
    }
    // It is counted every two seconds.
    let counted = || {
        let record = said(&terminal, &["top", "--once", "--json"]);
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        let points = record["models"][0]["recent"]["points"].as_array().cloned();
        let mut points = points.into_iter().flatten();
        points.any(|it| it["p99_ms"].is_number()).then_some(record)
    };
    let record = loop {
        if let Some(record) = counted() {
            break record;
        }
    };
    assert_eq!(record["models"][0]["name"], "credit");
    assert_eq!(record["models"][0]["state"], "ready");
    let text = said(&terminal, &["top", "--once"]);
    let (head, row) = text.split_once('\n').expect("two lines");
    let words = |line: &str| -> Vec<String> {
        line.split("  ")
            .map(|it| it.trim().to_owned())
            .filter(|it| !it.is_empty())
            .collect()
    };
    assert_eq!(
        words(head),
        [
            "ATTENTION",
            "MODEL",
            "ANSWERS",
            "REQ/S",
            "P50 MS",
            "P99 MS",
            "ERRORS",
            "QUALITY",
            "DRIFT",
            "ALERTS",
            "WHY"
        ]
    );
    assert_eq!(words(row)[..3], ["-", "credit", "1"]);
}
