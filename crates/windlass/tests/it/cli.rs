//! The command line, as people and programs use it.

use std::io::Write;

use rustix::process::Signal;

use crate::terminal::{Running, Terminal, runtime};

#[test]
fn a_model_is_pushed_shown_named_and_removed_without_a_server() {
    let terminal = Terminal::new();
    terminal.write("plain.onnx", terminal.read("credit/model.onnx"));
    terminal.check(
        "
        $ list
        no models yet; `windlass push PATH` registers one
        $ push credit
        credit:1 pushed, examples reproduced
        $ push credit
        credit:1 is this package already, examples reproduced
        $ push plain.onnx --name credit
        credit:2 pushed, no examples to check
        $ push lightgbm
        credit-lightgbm:1 pushed, examples reproduced
        $ list
        MODEL            VERSIONS  TRAFFIC  STATE     CREATED
        credit           2         1        unloaded  MOMENT
        credit-lightgbm  1         1        unloaded  MOMENT
        $ alias credit:2 challenger --why a-try
        credit@challenger is credit:2
        $ traffic credit@challenger
        credit is answered by credit:2
        $ show credit-lightgbm
        credit-lightgbm  unloaded

        VERSION  STATE     NAMES    SOURCE     CREATED
        1        verified  traffic  ONNX file  MOMENT

             TENSOR         DATATYPE  SHAPE     COLUMNS
        in   features       FP32      [-1, 13]  Seniority, Time, Age, Expenses, Income, Assets, Debt, Amount, Price, Home, Marital, Records, Job
        out  label          INT64     [-1]
        out  probabilities  FP32      [-1, 2]
        $ remove credit:2
        ! error: `credit:2` cannot be removed: it has the model's traffic
        => Some(3)
        $ traffic credit:1
        credit is answered by credit:1
        $ remove credit:2
        ! error: `credit:2` cannot be removed: alias `challenger` names it
        => Some(3)
        $ alias credit@challenger --remove
        credit@challenger removed
        $ remove credit:2
        credit:2 removed
        $ remove credit
        credit removed
        $ show credit
        ! error: no model `credit`
        ! hint: `windlass list` shows the models
        => Some(4)
        ",
    );
}

#[test]
fn a_triton_repository_is_pushed_as_it_lies() {
    let terminal = Terminal::new();
    let model = terminal.read("lightgbm/model.onnx");
    for number in [1, 2] {
        terminal.write(&format!("repository/risk/{number}/model.onnx"), &model);
    }
    terminal.write(
        "repository/risk/config.pbtxt",
        "backend: \"onnxruntime\" max_batch_size: 16",
    );
    terminal.check(
        "
        $ push repository
        risk:1 pushed, no examples to check
        ",
    );
    terminal.write(
        "repository/risk/config.pbtxt",
        "max_batch_size: 16 instance_group [{ kind: KIND_GPU }]",
    );
    let said = terminal
        .command(&["push", "repository"])
        .output()
        .expect("it starts");
    assert_eq!(
        said.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn what_cannot_be_pushed_says_what_it_is_and_what_to_do() {
    let terminal = Terminal::new();
    terminal.write(
        "model.pkl",
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
    );
    terminal.write("my model.onnx", terminal.read("credit/model.onnx"));
    terminal.write("bad/windlass.yaml", "serve: {instnces: 2}");
    let check = |arguments: &[&str], exit: i32, parts: &[&str]| {
        let output = terminal.command(arguments).output().expect("it starts");
        let said = String::from_utf8(output.stderr).expect("it is text");
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: no `{part}` in: {said}");
        }
    };
    check(&["push", "nowhere"], 4, &["nothing at `nowhere`"]);
    check(&["push", "model.pkl"], 3, &["pickle", "hint:"]);
    check(&["push", "bad"], 3, &["instnces"]);
    check(
        &["push", "credit", "--name", "a/b"],
        2,
        &["model name `a/b` is not one"],
    );
    check(&["serve", "nowhere.onnx"], 4, &["no model `nowhere.onnx`"]);
    check(&["serve", "credit:1"], 2, &["`credit:1` is one version"]);
    check(
        &["serve", "--limit", "rank_max=0"],
        2,
        &["at least 1 is needed"],
    );
    check(
        &["serve", "--limit", "no_such=1"],
        2,
        &["no limit `no_such`"],
    );
    check(
        &["serve", "--host", "0.0.0.0"],
        3,
        &["`--open` is not given"],
    );
    check(
        &["serve", "--server", "http://127.0.0.1:1"],
        2,
        &["starts a server of its own"],
    );
    check(
        &["list", "--server", "http://127.0.0.1:1"],
        5,
        &["does not answer", "refused"],
    );
    check(
        &["list", "--server", "ftp://x"],
        2,
        &["not the address of a server"],
    );
    check(
        &["load", "credit"],
        5,
        &["no server runs on this data folder"],
    );
    check(
        &["list", "--runtime", "nowhere.so"],
        4,
        &["no ONNX Runtime at `nowhere.so`"],
    );
}

#[test]
fn a_failure_is_a_record_for_programs() {
    let terminal = Terminal::new();
    let output = terminal
        .command(&["show", "nope", "--json"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty());
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    let want = serde_json::json!({"error": {
        "code": "unknown_model",
        "message": "no model `nope`",
        "hint": "`windlass list` shows the models",
    }});
    assert_eq!(said, want);
}

#[test]
fn a_running_server_is_found_by_its_data_folder_and_keeps_it_to_itself() {
    let terminal = Terminal::new();
    terminal.write("plain.onnx", terminal.read("credit/model.onnx"));
    // Nobody reads its log: it serves all the same.
    let mut server = terminal.serve(&["credit", "lightgbm"]);
    let url = server.url().to_owned();
    let models = server.up["models"].as_array().expect("a list").clone();
    assert_eq!(models.len(), 2);
    for model in models {
        let name = model["model"].as_str().expect("a name");
        let path = format!("/v2/models/{name}/infer");
        let (status, body) = server.ask("POST", &path, &model["sample"].to_string());
        assert_eq!(status, 200, "{body}");
    }
    terminal.check(&format!(
        "
        $ serve --port 0
        ! error: data folder `data` is in use by the server at `{url}`; stop it or give this one another folder
        => Some(3)
        $ list
        MODEL            VERSIONS  TRAFFIC  STATE  CREATED
        credit           1         1        ready  MOMENT
        credit-lightgbm  1         1        ready  MOMENT
        $ unload credit
        credit is unloaded
        $ predict credit --data credit/rows.csv
        ! error: `credit` is not ready: the server has not loaded it
        ! hint: `windlass load credit` loads it
        => Some(5)
        $ load credit
        credit is ready
        $ push plain.onnx --name credit
        credit:2 pushed, no examples to check
        $ load credit:2
        credit:2 is ready
        $ predict credit:2 --data credit/rows.csv --output out.csv
        $ traffic credit:2
        credit is answered by credit:2
        $ alias credit:1 before
        credit@before is credit:1
        $ predict credit@before --data credit/rows.csv --output out.csv
        "
    ));
    let (port, host) = (url.rsplit(':').next().expect("a port"), "127.0.0.1");
    terminal.check(&format!(
        "
        $ serve --data-dir other --port {port}
        ! error: port {port} at {host} is taken
        ! hint: stop what listens there, give another `--port`, or `--port 0` for a free one
        => Some(5)
        "
    ));
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    terminal.check(
        "
        $ list
        MODEL            VERSIONS  TRAFFIC  STATE     CREATED
        credit           2         2        unloaded  MOMENT
        credit-lightgbm  1         1        unloaded  MOMENT
        ",
    );
    let server = terminal.serve(&[]);
    assert_eq!(server.up["models"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_second_signal_does_not_wait_for_those_who_are_slow() {
    let terminal = Terminal::new();
    let mut server = terminal.serve(&["credit"]);
    // A request that is never finished keeps the first signal's drain from its end.
    let slow = server.begin("POST", "/v2/models/credit/infer", 1000);
    server.signal(Signal::INT);
    server.wait_until_it_takes_no_more();
    server.signal(Signal::INT);
    assert_eq!(server.ended(), Some(130));
    drop(slow);
}

#[test]
fn a_container_says_where_and_what() {
    let terminal = Terminal::new();
    let mut command = terminal.command(&["serve", "--json"]);
    command
        .env("AIP_STORAGE_URI", terminal.path("credit"))
        .env("AIP_HTTP_PORT", "0")
        .env("AIP_HEALTH_ROUTE", "/healthy")
        .env("AIP_PREDICT_ROUTE", "/score");
    let server = Running::start(command);
    assert_eq!(server.up["models"][0]["model"], "credit");
    assert_eq!(server.ask("GET", "/healthy", "").0, 200);
    let row = r#"{"instances": [{"Seniority": 0, "Time": 48, "Age": 23, "Expenses": 45, "Income": 26,
        "Assets": null, "Debt": null, "Amount": 1350, "Price": 1562, "Home": "", "Marital": "married",
        "Records": "no", "Job": "partime"}]}"#;
    let (status, body) = server.ask("POST", "/score", row);
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("bad"), "{body}");
}

#[test]
fn the_demo_keeps_its_data_in_no_folder_that_has_something_in_it() {
    Terminal::new().check(
        "
        $ demo --keep credit
        ! error: `credit` is not empty
        ! hint: name a folder that is new
        => Some(2)
        $ demo --server http://127.0.0.1:1
        ! error: `demo` starts a server of its own, and `http://127.0.0.1:1` is named
        ! hint: leave out `--server`, unset WINDLASS_SERVER
        => Some(2)
        ",
    );
}

#[test]
fn the_runtime_comes_out_of_a_wheel_and_is_found_by_its_order() {
    let terminal = Terminal::new();
    let mut wheel = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    wheel
        .start_file("onnxruntime/capi/libonnxruntime.so.9.9", options)
        .expect("written");
    wheel.write_all(b"a library").expect("written");
    terminal.write("ort.whl", wheel.finish().expect("written").into_inner());
    terminal.check(
        "
        $ runtime install --wheel ort.whl
        ONNX Runtime installed at data/runtime/libonnxruntime.so
        not the tested version 1.31.1; sha256 DIGEST
        $ runtime install --wheel nowhere.whl
        ! error: wheel `nowhere.whl` cannot be opened: No such file or directory (os error 2)
        ! hint: check the path
        => Some(4)
        $ runtime show --runtime data/runtime
        data/runtime/libonnxruntime.so
        used because `--runtime` names it
        ",
    );
    assert_eq!(
        terminal.read("data/runtime/libonnxruntime.so"),
        b"a library"
    );
    let show = terminal
        .command(&["runtime", "show"])
        .env_remove("WINDLASS_ONNXRUNTIME")
        .output();
    let said = String::from_utf8(show.expect("it starts").stdout).expect("it is text");
    assert!(
        said.contains("`windlass runtime install` put it into the data folder"),
        "{said}"
    );
    let show = terminal
        .command(&["runtime", "show", "--json"])
        .output()
        .expect("it starts");
    let said: serde_json::Value = serde_json::from_slice(&show.stdout).expect("JSON");
    assert_eq!(said["library"], runtime().display().to_string());
    assert_eq!(said["reason"], "environment");
}

#[test]
fn silences_are_added_listed_and_ended_without_a_server() {
    Terminal::new().check(
        "
        $ alerts
        no alerts; `--all` shows those that are over
        $ silence
        no silences
        $ silence model=credit subject!=age|income --for 2h --who ann --why work
        silence 1 until MOMENT
        $ silence
        NUMBER  ALERTS                            FROM              UNTIL             WHO  WHY
        1       model=credit subject!=age|income  MOMENT  MOMENT  ann  work
        $ silence --end 1
        silence 1 has ended
        $ silence
        no silences
        $ deliveries
        everything was delivered, or waits
        $ actions
        no rule did anything
        ",
    );
}

#[test]
fn pages_are_printed_from_the_code() {
    let terminal = Terminal::new();
    for (arguments, part) in [
        (&["docs", "cli"][..], "| `--grpc-port <PORT>` |"),
        (&["docs", "limits"], "| `rank_max` | 32 axes | 1 |"),
        (&["docs", "metrics"], "| `windlass_rows_waiting` | gauge |"),
        (
            &["docs", "codes"],
            "| `unknown_model` | 404 | NotFound (5) | no | 4 |",
        ),
        (&["docs", "manifest"], "| `serve.instances` | 1 to 256 |"),
        (
            &["docs", "manifest-schema"],
            "\"additionalProperties\": false",
        ),
        (&["completions", "bash"], "complete -F _windlass"),
        (&["man"], ".TH windlass 1"),
        (&["man", "serve"], ".TH windlass-serve 1"),
    ] {
        let output = terminal.command(arguments).output().expect("it starts");
        let said = String::from_utf8(output.stdout).expect("it is text");
        assert!(said.contains(part), "{arguments:?}: no `{part}` in: {said}");
    }
}

/// ONNX Runtime would keep a record of its use there, to be sent to its makers.
#[test]
fn nothing_is_written_outside_the_data_folder() {
    let terminal = Terminal::new();
    std::fs::create_dir(terminal.path("home")).expect("made");
    let mut push = terminal.command(&["push", "credit"]);
    let home = terminal.path("home");
    push.env("HOME", &home)
        .env("XDG_CACHE_HOME", home.join("cache"));
    assert!(push.output().expect("it starts").status.success());
    let written: Vec<_> = std::fs::read_dir(home).expect("it is there").collect();
    assert!(written.is_empty(), "{written:?}");
}

#[test]
fn a_full_disk_is_told_of_and_loses_nothing() {
    let terminal = Terminal::new();
    std::fs::create_dir(terminal.path("data")).expect("made");
    let got = terminal.shell(
        "mount -t tmpfs -o size=1m tmpfs data
        $WINDLASS push credit
        cat /dev/zero > data/filler 2> /dev/null || true
        $WINDLASS push lightgbm || echo \"=> $?\"
        rm data/filler
        mkfifo up
        $WINDLASS serve credit --port 0 --json > up 2> /dev/null &
        exec 3< up
        read -r _ <&3
        cat /dev/zero > data/filler 2> /dev/null || true
        $WINDLASS push lightgbm || echo \"=> $?\"
        $WINDLASS predict credit --data credit/rows.jsonl --format jsonl | wc -l
        rm data/filler
        $WINDLASS push lightgbm
        $WINDLASS list
        kill $!
        wait $!",
    );
    let want = "credit:1 pushed, examples reproduced
error: the disk is full: writing the registry
=> 5
error: sending `examples.json`: the disk is full: writing a blob
=> 5
50
credit-lightgbm:1 pushed, examples reproduced
MODEL            VERSIONS  TRAFFIC  STATE     CREATED
credit           1         1        ready     MOMENT
credit-lightgbm  1         1        unloaded  MOMENT
";
    assert_eq!(got, want, "what was printed:\n{got}");
}
