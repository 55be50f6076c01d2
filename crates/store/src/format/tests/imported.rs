use super::*;

const CONFIG: &str = "m/config.pbtxt: ";

#[test]
fn a_triton_repository_is_read_in_place() {
    let config = r#"name: "m" platform: "onnxruntime_onnx" max_batch_size: 8\n input [{ name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] }]\n output { name: "y" data_type: TYPE_STRING dims: 1 }\n dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 100 }\n instance_group [{ count: 2 kind: KIND_CPU }, { count: 1 }]"#;
    let files = format!(
        "
        {CONFIG}{config}
        m/labels.txt: a
        m/1/model.onnx: x
        m/2/model.onnx: x
        m/10/model.onnx: x
        m/10/w.bin: x
        m/010/model.onnx: x
        "
    );
    let want = r#"
        m number 10: Triton model repository, model.onnx of model.onnx w.bin
        {"serve":{"batch":{"rows_max":8,"request_rows_max":8,"delay_max":"100us"},"instances":3}}
        input x FP32 [-1, 3, -1]
        output y BYTES [-1, 1]
        note: `preferred_batch_size` [4, 8] is advice that is not needed here: the best size is measured when the version is loaded
        "#;
    check("m", &files, want);
    check("", &files, want);
    let many = "
        b/1/model.onnx: x
        a/config.pbtxt: version_policy { specific { versions: [1, 3] } }
        a/1/model.onnx: x
        a/2/model.onnx: x
        a/3/model.onnx/model.onnx: x
        a/3/model.onnx/w.bin: x
        ";
    check(
        "",
        many,
        "
        a number 1: Triton model repository, model.onnx of model.onnx
        a number 3: Triton model repository, model.onnx of model.onnx w.bin
        b number 1: Triton model repository, model.onnx of model.onnx
        ",
    );
    check(
        "m",
        &format!(
            "{CONFIG}default_model_filename: \"net.onnx\" version_policy {{ latest {{ num_versions: 2 }} }} max_batch_size: 0\nm/1/net.onnx: x\nm/2/net.onnx: x\nm/3/net.onnx: x"
        ),
        r#"
        m number 2: Triton model repository, net.onnx of net.onnx
        {"serve":{"batch":"off"}}
        m number 3: Triton model repository, net.onnx of net.onnx
        {"serve":{"batch":"off"}}
        "#,
    );
    check(
        "m",
        &format!(
            "{CONFIG}input {{ name: 'x' data_type: TYPE_INT64 dims: [4] }} version_policy {{ all {{}} }}\nm/1/model.onnx: x"
        ),
        r#"
        m number 1: Triton model repository, model.onnx of model.onnx
        {"serve":{"batch":"off"}}
        input x INT64 [4]
        "#,
    );
}

#[test]
fn a_triton_setting_that_is_not_honoured_is_refused_by_name() {
    let check = |config: &str, want: &str| {
        let files = format!("{CONFIG}{config}\nm/1/model.onnx: x");
        let got = show(&lay_out(&files).path().join("at/m"));
        assert_eq!(got.lines().next(), Some(want));
    };
    for name in [
        "sequence_batching",
        "ensemble_scheduling",
        "model_warmup",
        "parameters",
        "optimization",
        "response_cache",
        "model_operations",
        "runtime",
    ] {
        check(
            &format!("\\n{name} {{ }}"),
            &format!("`{name}` (config.pbtxt:2) is not supported"),
        );
    }
    check(
        "instance_group { kind: KIND_GPU }",
        "`instance_group.kind` `KIND_GPU` (config.pbtxt:1) is not supported",
    );
    check(
        "instance_group { gpus: [0] }",
        "`instance_group.gpus` (config.pbtxt:1) is not supported",
    );
    check(
        "platform: \"tensorrt_plan\"",
        "`platform` `tensorrt_plan` (config.pbtxt:1) is not supported",
    );
    check(
        "backend: \"python\"",
        "`backend` `python` (config.pbtxt:1) is not supported",
    );
    check(
        "input { name: \"x\" data_type: TYPE_FP32 dims: 1 reshape { shape: [] } }",
        "`input.reshape` (config.pbtxt:1) is not supported",
    );
    check(
        "dynamic_batching { preserve_ordering: true }",
        "`dynamic_batching.preserve_ordering` (config.pbtxt:1) is not supported",
    );
    check(
        "max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }",
        "`config.pbtxt:1`: `preferred_batch_size` 5 is over `max_batch_size` 4",
    );
    check(
        "name: \"n\"",
        "`config.pbtxt:1`: `name` is `n`, the folder is `m`; Triton wants them the same",
    );
    check(
        "name: 1",
        "`config.pbtxt:1`: `name` is `1`, expected a string",
    );
    check(
        "max_batch_size: 1\\nmax_batch_size: 2",
        "`config.pbtxt:2`: `max_batch_size` is there twice",
    );
    check(
        "max_batch_size: -1",
        "`config.pbtxt:1`: `max_batch_size` is `-1`, expected a whole number from 0 to 65536",
    );
    check(
        "input { name: \"x\" data_type: TYPE_FP32 }",
        "`config.pbtxt:1`: `input` has no `dims`",
    );
    check(
        "input { name: \"x\" data_type: FP32 dims: 1 }",
        "`config.pbtxt:1`: `FP32` is not one of TYPE_BOOL, TYPE_UINT8, TYPE_UINT16, TYPE_UINT32, TYPE_UINT64, TYPE_INT8, TYPE_INT16, TYPE_INT32, TYPE_INT64, TYPE_FP16, TYPE_BF16, TYPE_FP32, TYPE_FP64, TYPE_STRING",
    );
    check(
        "version_policy { specific { versions: 7 } }",
        "`config.pbtxt:1`: `version_policy` names version 7, which is not there",
    );
    check(
        "default_model_filename: \"../x.onnx\"",
        "`config.pbtxt:1`: file path `../x.onnx` is not one: it has a `.` or `..` in it",
    );
    check(
        "default_model_filename: \"no.onnx\"",
        "version 1 of Triton model `m` is not taken",
    );
    check("{", "`config.pbtxt:1`: expected a field's name, got `{`");
    let empty = show(
        &lay_out(&format!("{CONFIG}max_batch_size: 1"))
            .path()
            .join("at/m"),
    );
    assert_eq!(
        empty.lines().next(),
        Some("Triton model `m` without a version is not taken")
    );
}

#[test]
fn a_manifest_beside_a_triton_model_adds_to_it_and_does_not_contradict_it() {
    let files = |manifest: &str| {
        format!("{CONFIG}max_batch_size: 4\nm/1/model.onnx: x\nm/windlass.yaml: {manifest}")
    };
    check(
        "m",
        &files("task: {type: regression}"),
        r#"
        m number 1: Triton model repository, model.onnx of model.onnx
        {"task":{"type":"regression"},"serve":{"batch":{"rows_max":4,"request_rows_max":4}}}
        "#,
    );
    check(
        "m",
        &files("serve: {batch: {rows_max: 8}}"),
        "`serve.batch`: the model's own settings say it too; leave one of them out",
    );
}

#[test]
fn an_mlflow_model_with_the_onnx_flavour_is_read() {
    let mlmodel = |flavour: &str, signature: &str| {
        format!(
            "m/model.onnx: x\nm/conda.yaml: x\nm/MLmodel: artifact_path: model\\nflavors:\\n  {flavour}\\n  \
             python_function:\\n    loader_module: mlflow.onnx\\n    data: model.onnx\\nmlflow_version: 3.1.0\\n{signature}"
        )
    };
    let onnx = "onnx:\\n    data: model.onnx\\n    code: null\\n    onnx_session_options: null\\n    onnx_version: 1.17.0\\n    providers: [CPUExecutionProvider]";
    let columns = r#"signature:\n  inputs: '[{"type": "double", "name": "age", "required": true}, {"type": "long", "name": "sum", "required": true}]'\n  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]'\n  params: null"#;
    check(
        "m",
        &mlmodel(onnx, columns),
        "
        m: MLflow model, model.onnx of model.onnx
        output - FP32 [-1, 2]
        columns age sum
        ",
    );
    let tensors = r#"signature:\n  inputs: '[{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1, 4]}}]'"#;
    check(
        "m",
        &mlmodel(onnx, tensors),
        "m: MLflow model, model.onnx of model.onnx\ninput x INT64 [-1, 4]",
    );
    check(
        "m",
        &mlmodel(onnx, ""),
        "m: MLflow model, model.onnx of model.onnx",
    );
    check(
        "m",
        &mlmodel("sklearn: {pickled_model: model.pkl}", ""),
        "
        an MLflow model of flavour `python_function`, `sklearn` is not taken
        hint: convert it to ONNX with `skl2onnx` and log it with `mlflow.onnx.log_model`
        ",
    );
    check(
        "m",
        &mlmodel("onnx: {data: model.onnx, onnx_session_options: {execution_mode: parallel}}", ""),
        "
        session option `execution_mode` in `MLmodel` is not supported
        hint: log the model without `onnx_session_options`; `serve.threads` and `serve.instances` in `windlass.yaml` set its threads
        ",
    );
    check(
        "m",
        &mlmodel("onnx: {data: ../../etc/passwd}", ""),
        "`MLmodel: flavors.onnx.data`: file path `../../etc/passwd` is not one: it has a `.` or `..` in it",
    );
    check(
        "m",
        &mlmodel("onnx: {data: no.onnx}", ""),
        "`MLmodel: flavors.onnx.data`: nothing at `no.onnx` in the folder",
    );
}
