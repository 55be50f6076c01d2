use proptest::prelude::*;

use super::*;

#[test]
fn a_manifest_speaks_for_what_its_source_is() {
    let manifest = "model: risk\\nsource: ./model.onnx\\nexamples: {file: ./rows/known.json}\\n\
                    task: {type: regression}";
    let want = r#"
        risk: ONNX file, model.onnx of examples.json model.onnx
        {"task":{"type":"regression"},"examples":{"file":"examples.json","tolerance":{"absolute":0.00001,"relative":0.0001}}}
        "#;
    let files = format!(
        "
        m/windlass.yaml: {manifest}
        m/model.onnx: x
        m/other.csv: 1
        m/rows/known.json: {{}}
        "
    );
    for path in ["m", "m/windlass.yaml", "m/model.onnx"] {
        check(path, &files, want);
    }
    // Without a source it is about the folder; a lone file then comes alone.
    let files = "
        m/windlass.yaml: task: {type: regression}
        m/model.onnx: x
        m/w.bin: w
        ";
    let task = r#"{"task":{"type":"regression"}}"#;
    check(
        "m",
        files,
        &format!("m: ONNX folder, model.onnx of model.onnx w.bin\n{task}"),
    );
    check(
        "m/model.onnx",
        files,
        &format!("model: ONNX file, model.onnx of model.onnx\n{task}"),
    );
    // It is not about another file.
    let files = "
        m/windlass.yaml: source: a.onnx
        m/a.onnx: x
        m/b.onnx: x
        ";
    check("m/b.onnx", files, "b: ONNX file, b.onnx of b.onnx");
    check("m", files, "a: ONNX file, a.onnx of a.onnx");
    check(
        "m",
        "m/windlass.yaml: source: a.onnx",
        "`source`: nothing at `a.onnx`, looked for beside the manifest",
    );
}

#[test]
fn a_manifest_that_is_wrong_is_refused_with_key_line_and_remedy() {
    let check = |text: &str, want: &str| {
        check(
            "m",
            &format!("m/model.onnx: x\nm/windlass.yaml: {text}"),
            want,
        );
    };
    check(
        "model: a\\nthreshold: 3",
        "`threshold`: windlass.yaml:2: not a setting; the settings here are `model`, `source`, `task`, `signature`, `serve`, `examples`, `ledger`, `budget`, `monitor`, `alerts`, `rollout`",
    );
    check(
        "serve:\\n  timeot: 1s",
        "`timeot`: windlass.yaml:2: not a setting; the settings here are `batch`, `timeout`, `instances`, `threads`, `device`, `pad`",
    );
    check(
        "serve: {timeout: soon}",
        "`windlass.yaml:1`: `soon` is not a length of time such as `2ms`, `1s` or `30d`",
    );
    check(
        "task: {type: guess}",
        "`windlass.yaml:1`: `guess` is not one of `binary`, `multiclass`, `regression`, `embedding`",
    );
    check(
        "task:\\n  type: binary\\n  treshold: 1",
        "`treshold`: windlass.yaml:3: not a setting; the settings here are `positive`, `threshold`, `classes`, `scores`, `label`, `by_group`",
    );
    check(
        "serve:\\n  batch: {rows: 3}",
        "`rows`: windlass.yaml:2: not a setting; the settings here are `rows_max`, `request_rows_max`, `delay_max`",
    );
    check(
        "model: ../x",
        "`model`: model name `../x` is not one: it must start with a letter or a digit",
    );
    for source in ["../model.onnx", "/etc/passwd", "a/../../b"] {
        let got = show(
            &lay_out(&format!("m/windlass.yaml: source: {source}"))
                .path()
                .join("at/m"),
        );
        assert!(
            got.ends_with("; it must lie below the manifest's folder"),
            "{got}"
        );
        let got = show(
            &lay_out(&format!(
                "m/model.onnx: x\nm/windlass.yaml: examples: {{file: {source}}}"
            ))
            .path()
            .join("at/m"),
        );
        assert!(
            got.ends_with("; it must lie below the manifest's folder"),
            "{got}"
        );
    }
}

#[test]
fn batching_is_switched_off_by_a_word() {
    check(
        "m",
        "
        m/model.onnx: x
        m/windlass.yaml: serve: {batch: off, pad: off}
        ",
        r#"
        m: ONNX folder, model.onnx of model.onnx
        {"serve":{"batch":"off","pad":"off"}}
        "#,
    );
}

#[test]
fn a_manifest_is_printed_as_it_is_read() {
    for text in [
        "serve: {batch: off}",
        "serve: {batch: {rows_max: 8, delay_max: 2ms}, pad: {axis: 1, inputs: [a]}}",
        "task: {type: binary, threshold: 0.25, classes: [no, yes]}",
        "signature: {features: {x: [a, 'on', '1']}}",
    ] {
        let manifest = parse_manifest(text).expect(text);
        let printed = print_yaml(&manifest).expect(text);
        assert_eq!(parse_manifest(&printed), Ok(manifest), "{printed}");
    }
}

proptest! {
    #[test]
    fn any_manifest_is_read_or_refused(text in "\\PC*") {
        let _ = parse_manifest(&text);
    }

    #[test]
    fn a_manifest_of_its_own_words_is_read_or_refused(
        text in "(model|task|type|binary|serve|batch|off|rows_max|pad|axis|[:{},\\[\\]&*!|>'\"#\n -]|[0-9])*"
    ) {
        let _ = parse_manifest(&text);
    }

}
