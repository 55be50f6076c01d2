use domain::limits::Limits;
use domain::{DataType, Elements, Refusal, Tensor};

use super::*;

mod hostile;
mod round_trip;

fn show_tensor(tensor: &Tensor) -> String {
    let elements = match tensor.elements() {
        Elements::Bytes(strings) => {
            let strings: Vec<_> = strings
                .iter()
                .map(|it| String::from_utf8_lossy(it))
                .collect();
            format!("{strings:?}")
        }
        Elements::Fixed(fixed) => {
            let numbers: Vec<_> = (0..tensor.elements().count())
                .filter_map(|index| fixed.number(index))
                .collect();
            format!("{numbers:?}")
        }
    };
    format!("{} {:?} {elements}", tensor.datatype(), tensor.shape())
}

fn show(request: &InferenceRequest) -> String {
    let mut parts = Vec::new();
    if let Some(id) = &request.id {
        parts.push(format!("id {id:?}"));
    }
    for input in &request.inputs {
        let source = match &input.source {
            Source::Tensor(tensor) => show_tensor(tensor),
            Source::SharedMemory {
                datatype,
                shape,
                region,
            } => format!(
                "{datatype} {shape:?} in {}+{} {}",
                region.name, region.offset, region.byte_size
            ),
        };
        parts.push(format!("{} {source}", input.name));
    }
    for output in &request.outputs {
        let mut text = format!("-> {}", output.name);
        if let Some(binary) = output.binary {
            text.push_str(if binary { " binary" } else { " json" });
        }
        if let Some(count) = output.classification {
            text.push_str(&format!(" top {count}"));
        }
        if let Some(region) = &output.shared_memory {
            text.push_str(&format!(" in {}+{}", region.name, region.offset));
        }
        parts.push(text);
    }
    let Parameters {
        timeout_us,
        binary_output,
        mark_final,
        custom,
    } = &request.parameters;
    if let Some(timeout) = timeout_us {
        parts.push(format!("timeout {timeout}"));
    }
    if *binary_output {
        parts.push("all binary".to_owned());
    }
    if *mark_final {
        parts.push("mark final".to_owned());
    }
    if !custom.is_empty() {
        parts.push(format!("{custom:?}"));
    }
    parts.join("; ")
}

fn read(body: &[u8], json_length: Option<&str>) -> String {
    match decode_request(body, json_length, &Limits::default()) {
        Ok(Body::Request(request)) => show(&request),
        Ok(Body::Raw(bytes)) => format!("raw {} bytes", bytes.len()),
        Err(refusal) => refusal.to_string(),
    }
}

fn check(body: &str, want: &str) {
    assert_eq!(read(body.as_bytes(), None), want, "{body}");
}

/// One input `x` with these members.
fn check_input(members: &str, want: &str) {
    check(&format!(r#"{{"inputs":[{{"name":"x",{members}}}]}}"#), want);
}

#[test]
fn a_request_is_read_whatever_the_order_of_its_keys() {
    let want = "x FP32 [1, 3] [1.0, -2.5, 0.5]";
    check_input(
        r#""shape":[1,3],"datatype":"FP32","data":[1,-2.5,0.5]"#,
        want,
    );
    check_input(
        r#""data":[1,-2.5,0.5],"datatype":"FP32","shape":[1,3]"#,
        want,
    );
    check_input(
        r#""shape":[1,3],"data":[[1, -2.5,  0.5]],"datatype":"FP32""#,
        want,
    );
    check(
        r#" { "model_name":"m", "id":"7", "inputs" : [ {"datatype":"FP32", "data":[ [ 1 ,
            -2.5, 0.5 ] ] , "shape":[1,3],"name":"x", "extra":{"a":[1,{}]} } ] } "#,
        &format!(r#"id "7"; {want}"#),
    );
    check(r#"{"id":"","inputs":[]}"#, r#"id """#);
}

#[test]
fn data_is_flat_or_nested_as_the_shape_is() {
    let nested = |data: &str, want: &str| {
        check_input(
            &format!(r#""shape":[2,2],"datatype":"INT8","data":{data}"#),
            want,
        );
    };
    let want = "x INT8 [2, 2] [1.0, 2.0, 3.0, 4.0]";
    nested("[1,2,3,4]", want);
    nested("[[1,2],[3,4]]", want);
    nested(
        "[[1,2,3],[4]]",
        "the request cannot be read: at byte 70: `data` of `x` has a list of another length than its shape [2, 2]",
    );
    nested(
        "[[[1,2],[3,4]]]",
        "the request cannot be read: at byte 65: `data` of `x` is nested deeper than its shape [2, 2]",
    );
    nested(
        "[1,2,[3,4]]",
        "the request cannot be read: at byte 67: `data` of `x` mixes elements and lists [2, 2]",
    );
    nested(
        "[1,2,3]",
        "input `x` with shape [2, 2] has 4 elements, got 3",
    );
    nested(
        "[1,2,3,4,5]",
        "input `x` with shape [2, 2] has 4 elements, got 5",
    );
    nested(
        "[[1,2]]",
        "input `x` with shape [2, 2] has 4 elements, got 2",
    );
    nested(
        "7",
        "the request cannot be read: at byte 62: `data` of `x` is not a list",
    );
    check_input(
        r#""shape":[0,3],"datatype":"FP32","data":[]"#,
        "x FP32 [0, 3] []",
    );
    check_input(
        r#""shape":[2,0],"datatype":"FP32","data":[[],[]]"#,
        "x FP32 [2, 0] []",
    );
    check_input(
        r#""shape":[],"datatype":"FP32","data":[5]"#,
        "x FP32 [] [5.0]",
    );
}

#[test]
fn a_value_that_its_type_does_not_hold_is_refused() {
    let value = |datatype: &str, value: &str, want: &str| {
        let members = format!(r#""shape":[1],"datatype":"{datatype}","data":[{value}]"#);
        check_input(&members, want);
    };
    let refused = |datatype: &str, text: &str| {
        let got = text.trim_matches('"');
        let article = match datatype {
            "BYTES" => "a string".to_owned(),
            datatype => format!("a value of {datatype}"),
        };
        value(
            datatype,
            text,
            &format!("input `x`, element 0: `{got}` is not {article}"),
        );
    };
    refused("UINT8", "256");
    refused("UINT8", "-1");
    refused("INT8", "-129");
    refused("INT32", "1.5");
    refused("INT64", "9223372036854775808");
    refused("UINT64", "18446744073709551616");
    refused("INT64", "null");
    refused("INT64", "\"1\"");
    refused("INT64", "true");
    refused("BOOL", "2");
    refused("FP32", "1e999");
    refused("FP32", "3.5e38");
    refused("FP16", "65520");
    refused("FP32", "true");
    refused("FP32", "\"abc\"");
    refused("BYTES", "1");
    refused("BYTES", "null");
    value(
        "UINT64",
        "18446744073709551615",
        "x UINT64 [1] [1.8446744073709552e19]",
    );
    value(
        "INT64",
        "-9223372036854775808",
        "x INT64 [1] [-9.223372036854776e18]",
    );
    value("INT64", "3.0", "x INT64 [1] [3.0]");
    value("BOOL", "true", "x BOOL [1] [1.0]");
    value("BOOL", "0", "x BOOL [1] [0.0]");
    value("FP16", "0.1", "x FP16 [1] [0.0999755859375]");
    value("BF16", "0.1", "x BF16 [1] [0.10009765625]");
    value("BYTES", r#""a\u00e9\n""#, r#"x BYTES [1] ["aé\n"]"#);
    for text in ["null", "NaN", "\"NaN\""] {
        value("FP32", text, "x FP32 [1] [NaN]");
    }
    for text in ["Infinity", "\"Infinity\""] {
        value("FP64", text, "x FP64 [1] [inf]");
    }
    for text in ["-Infinity", "\"-Infinity\""] {
        value("FP32", text, "x FP32 [1] [-inf]");
    }
}

#[test]
fn what_is_missing_or_twice_is_named() {
    check(
        "{}",
        "the request cannot be read: the request has no `inputs`",
    );
    check(
        r#"{"inputs":[{}]}"#,
        "the request cannot be read: an input has no `name`",
    );
    check_input(
        r#""shape":[1],"data":[1]"#,
        "the request cannot be read: input `x` has no `datatype`",
    );
    check_input(
        r#""datatype":"FP32","data":[1]"#,
        "the request cannot be read: input `x` has no `shape`",
    );
    check_input(
        r#""datatype":"FP32","shape":[1]"#,
        "the request cannot be read: input `x` has no `data`",
    );
    check_input(
        r#""datatype":"FP32","shape":[1],"data":[1],"data":[2]"#,
        "the request cannot be read: at byte 71: `data` is given twice",
    );
    let one = r#"{"name":"x","datatype":"FP32","shape":[1],"data":[1]}"#;
    check(
        &format!(r#"{{"inputs":[{one},{one}]}}"#),
        "input `x` is given twice",
    );
    check(
        &format!(r#"{{"inputs":[{one}],"outputs":[{{"name":"y"}},{{"name":"y"}}]}}"#),
        "output `y` is asked for twice",
    );
    check_input(
        r#""datatype":"FP31","shape":[1],"data":[1]"#,
        "the request cannot be read: at byte 40: `FP31` is not a datatype, want BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES",
    );
}

#[test]
fn parameters_are_honoured_refused_or_the_callers_own() {
    let parameters = |members: &str, want: &str| {
        check(
            &format!(r#"{{"inputs":[],"parameters":{{{members}}}}}"#),
            want,
        );
    };
    parameters(r#""timeout":1500"#, "timeout 1500");
    parameters(r#""timeout":"1500""#, "timeout 1500");
    parameters(
        r#""timeout":-1"#,
        "the request cannot be read: parameter `timeout` is not a whole number of zero or more",
    );
    parameters(r#""binary_data_output":true"#, "all binary");
    parameters(r#""priority":0,"sequence_id":0,"sequence_start":false"#, "");
    parameters(
        r#""sequence_id":"","triton_enable_empty_final_response":true"#,
        "mark final",
    );
    parameters(r#""priority":1"#, "parameter `priority` is not supported");
    parameters(
        r#""sequence_id":7"#,
        "parameter `sequence_id` is not supported",
    );
    parameters(
        r#""sequence_id":"a""#,
        "parameter `sequence_id` is not supported",
    );
    parameters(
        r#""sequence_end":true"#,
        "parameter `sequence_end` is not supported",
    );
    parameters(r#""triton_x":1"#, "parameter `triton_x` is not supported");
    parameters(
        r#""a":1,"b":18446744073709551615,"c":0.5,"d":"e","f":null,"g":{"h":1},"headers":"i""#,
        r#"[("a", Integer(1)), ("b", Unsigned(18446744073709551615)), ("c", Number(0.5)), ("d", Text("e")), ("headers", Text("i"))]"#,
    );
}

#[test]
fn outputs_say_how_they_are_wanted() {
    check(
        r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":true}},
            {"name":"c","parameters":{"binary_data":false,"classification":3}},
            {"name":"d","parameters":{"shared_memory_region":"r","shared_memory_offset":8,"shared_memory_byte_size":4}}]}"#,
        "-> a; -> b binary; -> c json top 3; -> d in r+8",
    );
    check(
        r#"{"inputs":[],"outputs":[{"name":"d","parameters":{"shared_memory_region":"r"}}]}"#,
        "the request cannot be read: `d` needs both `shared_memory_region` and `shared_memory_byte_size`",
    );
}

/// A request whose inputs are in binary: its JSON, then the blobs.
fn check_binary(json: &str, blobs: &[u8], want: &str) {
    let body = [json.as_bytes(), blobs].concat();
    assert_eq!(read(&body, Some(&json.len().to_string())), want, "{json}");
}

#[test]
fn blobs_follow_the_json_in_the_order_of_their_inputs() {
    let json = r#"{"inputs":[
        {"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},
        {"name":"b","shape":[1],"datatype":"INT16","data":[5]},
        {"name":"s","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}},
        {"name":"c","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":9}},
        {"name":"e","shape":[0],"datatype":"FP32","parameters":{"binary_data_size":0}}]}"#;
    let blobs = [&[1, 0, 2, 1][..], &[1, 0, 0, 0, b'x', 0, 0, 0, 0]].concat();
    let want = r#"a INT16 [2] [1.0, 258.0]; b INT16 [1] [5.0]; s FP32 [1] in r+0 4; c BYTES [2] ["x", ""]; e FP32 [0] []"#;
    check_binary(json, &blobs, want);
    check_binary(
        json,
        &[&blobs[..], b"!"].concat(),
        "the request cannot be read: unexpected additional input data: 1 bytes after the last input",
    );
    check_binary(
        json,
        &blobs[..12],
        "the request cannot be read: `c` claims 9 bytes after the JSON, 8 are left",
    );
    // The header may stand beside pure JSON.
    check_binary(r#"{"inputs":[],"id":"a"}"#, b"", r#"id "a""#);
}

/// Both bodies are what tritonclient 2.73 makes of the same request.
#[test]
fn tritonclients_requests_are_read() {
    let outputs = |binary| {
        format!(
            r#""outputs":[{{"name":"y","parameters":{{"classification":2,"binary_data":{binary}}}}}],"parameters":{{"timeout":7,"mine":"x"}}}}"#
        )
    };
    let json = format!(
        r#"{{"id":"r1","inputs":[{{"name":"f","shape":[1,4],"datatype":"FP32","data":[0.10000000149011612,1.0000000116860974e-07,-3.3999999521443642e+38,5.0]}},{{"name":"s","shape":[2],"datatype":"BYTES","data":["a","\u00E9\n"]}},{{"name":"t","shape":[2],"datatype":"BOOL","data":[true,false]}}],{}"#,
        outputs(false)
    );
    let want = |form| {
        format!(
            r#"id "r1"; f FP32 [1, 4] [0.10000000149011612, 1.0000000116860974e-7, -3.3999999521443642e38, 5.0]; s BYTES [2] ["a", "é\n"]; t BOOL [2] [1.0, 0.0]; -> y {form} top 2; timeout 7; [("mine", Text("x"))]"#
        )
    };
    check(&json, &want("json"));
    let json = format!(
        r#"{{"id":"r1","inputs":[{{"name":"f","shape":[1,4],"datatype":"FP32","parameters":{{"binary_data_size":16}}}},{{"name":"s","shape":[2],"datatype":"BYTES","parameters":{{"binary_data_size":12}}}},{{"name":"t","shape":[2],"datatype":"BOOL","data":[true,false]}}],{}"#,
        outputs(true)
    );
    assert_eq!(json.len(), 364);
    let blobs = b"\xcd\xcc\xcc=\x95\xbf\xd63\x9e\xc9\x7f\xff\x00\x00\xa0@\x01\x00\x00\x00a\x03\x00\x00\x00\xc3\xa9\n";
    check_binary(&json, blobs, &want("binary"));
}

#[test]
fn raw_bodies_take_the_shape_of_the_models_only_input() {
    use domain::signature::Rows;
    use domain::{Dimension, Signature, TensorSpec};
    assert_eq!(read(b"1234", Some("0")), "raw 4 bytes");
    let raw = |datatype, shape: &[i64], rows, body: &[u8], want: &str| {
        let dimension = |it: &i64| match usize::try_from(*it) {
            Ok(length) => Dimension::Fixed(length),
            Err(_) => Dimension::Variable(None),
        };
        let signature = Signature {
            inputs: vec![TensorSpec {
                name: "x".to_owned(),
                datatype,
                shape: shape.iter().map(dimension).collect(),
                features: Vec::new(),
            }],
            outputs: Vec::new(),
            rows,
            task: None,
        };
        let got = raw_request(body, &signature);
        let got = got.map_or_else(|refusal| refusal.to_string(), |it| show(&it));
        assert_eq!(got, want);
    };
    let (outermost, whole) = (Rows::Outermost, Rows::Whole);
    raw(
        DataType::Uint8,
        &[-1, 4],
        outermost,
        b"\x01\x02\x03\x04",
        "x UINT8 [1, 4] [1.0, 2.0, 3.0, 4.0]; all binary",
    );
    raw(
        DataType::Uint16,
        &[-1, -1],
        outermost,
        b"\x01\x00\x03\x00",
        "x UINT16 [1, 2] [1.0, 3.0]; all binary",
    );
    raw(
        DataType::Bytes,
        &[-1, 1],
        outermost,
        b"hello",
        r#"x BYTES [1, 1] ["hello"]; all binary"#,
    );
    raw(
        DataType::Uint8,
        &[-1, -1],
        whole,
        b"1",
        "a raw binary request for input `x` of shape [-1, -1] is not supported",
    );
    raw(
        DataType::Uint16,
        &[-1, 4],
        outermost,
        b"123",
        "the request cannot be read: `x` with shape [1, 4] and datatype UINT16 has 4 elements of 2 bytes, got 3 bytes",
    );
}

fn answer(outputs: &[OutputRecord<'_>], id: Option<&str>, want: &str) {
    let parameters = [("prediction_id", "p-1")];
    let response = ResponseRecord {
        model_name: "m\"",
        model_version: "1",
        id,
        parameters: &parameters[..usize::from(id.is_some())],
        outputs,
    };
    let got = match encode_response(&response) {
        Ok(Encoded { body, json_length }) => {
            let split = json_length.unwrap_or(body.len());
            let (json, blobs) = body.split_at(split);
            serde_json::from_slice::<serde_json::Value>(json).expect("strict JSON");
            format!("{} {blobs:?}", String::from_utf8_lossy(json))
        }
        Err(refusal) => refusal.to_string(),
    };
    assert_eq!(got, want);
}

#[test]
fn answers_are_json_or_binary_output_by_output() {
    let floats = [
        0.1f32,
        1.0,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-30,
    ];
    let floats = Tensor::new(vec![2, 3], Elements::from_slice(&floats)).expect("fits");
    let words = Elements::Bytes(vec![b"a\"b".to_vec(), b"".to_vec()]);
    let words = Tensor::new(vec![2], words).expect("fits");
    let truths = Tensor::new(vec![2], Elements::from_bools(&[true, false])).expect("fits");
    let output = |name, content| OutputRecord { name, content };
    answer(
        &[
            output("f", Content::Json(&floats)),
            output("w", Content::Json(&words)),
            output("t", Content::Json(&truths)),
        ],
        None,
        r#"{"model_name":"m\"","model_version":"1","outputs":[{"name":"f","datatype":"FP32","shape":[2,3],"data":[0.1,1.0,null,"Infinity","-Infinity",1e-30]},{"name":"w","datatype":"BYTES","shape":[2],"data":["a\"b",""]},{"name":"t","datatype":"BOOL","shape":[2],"data":[true,false]}]} []"#,
    );
    answer(
        &[
            output("w", Content::Binary(&words)),
            output(
                "s",
                Content::SharedMemory {
                    datatype: DataType::Fp32,
                    shape: &[1],
                },
            ),
            output("t", Content::Binary(&truths)),
        ],
        Some("7"),
        r#"{"model_name":"m\"","model_version":"1","id":"7","parameters":{"prediction_id":"p-1"},"outputs":[{"name":"w","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}},{"name":"s","datatype":"FP32","shape":[1]},{"name":"t","datatype":"BOOL","shape":[2],"parameters":{"binary_data_size":2}}]} [3, 0, 0, 0, 97, 34, 98, 0, 0, 0, 0, 1, 0]"#,
    );
    let bytes = Tensor::new(vec![1], Elements::Bytes(vec![vec![0xff]])).expect("fits");
    answer(
        &[output("b", Content::Json(&bytes))],
        None,
        "output `b` as JSON, with a string that is not UTF-8, is not supported",
    );
}

#[test]
fn descriptions_are_as_clients_read_them() {
    use domain::signature::Rows;
    use domain::{Dimension, Signature, TensorSpec};
    let spec = |name: &str, datatype, shape: Vec<Dimension>| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape,
        features: Vec::new(),
    };
    let rows = || Dimension::Variable(Some("n".to_owned()));
    let mut signature = Signature {
        inputs: vec![spec("x", DataType::Fp32, vec![rows(), Dimension::Fixed(4)])],
        outputs: vec![spec("y", DataType::Bytes, vec![rows()])],
        rows: Rows::Outermost,
        task: None,
    };
    assert_eq!(
        json(&metadata(
            "m",
            vec!["1".to_owned()],
            "onnxruntime_onnx",
            &signature
        )),
        r#"{"name":"m","versions":["1"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"y","datatype":"BYTES","shape":[-1]}]}"#
    );
    assert_eq!(
        json(&config(
            "m",
            "onnxruntime_onnx",
            "onnxruntime",
            &signature,
            64,
            Some(DynamicBatching {
                max_queue_delay_microseconds: 100
            })
        )),
        r#"{"name":"m","platform":"onnxruntime_onnx","backend":"onnxruntime","max_batch_size":64,"input":[{"name":"x","data_type":"TYPE_FP32","dims":[4]}],"output":[{"name":"y","data_type":"TYPE_STRING","dims":[]}],"dynamic_batching":{"max_queue_delay_microseconds":100}}"#
    );
    signature.rows = Rows::Whole;
    let whole = config("m", "p", "b", &signature, 64, None);
    assert_eq!(
        (whole.max_batch_size, &whole.input[0].dims[..]),
        (0, &[-1, 4][..])
    );
    assert_eq!(
        json(&Statistics {
            model_stats: vec![ModelStatistics::default()]
        }),
        concat!(
            r#"{"model_stats":[{"name":"","version":"","last_inference":0,"inference_count":0,"execution_count":0,"#,
            r#""inference_stats":{"success":{"count":0,"ns":0},"fail":{"count":0,"ns":0},"queue":{"count":0,"ns":0},"#,
            r#""compute_input":{"count":0,"ns":0},"compute_infer":{"count":0,"ns":0},"compute_output":{"count":0,"ns":0},"#,
            r#""cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"response_stats":{},"batch_stats":[],"memory_usage":[]}]}"#
        )
    );
}

fn json(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).expect("a record")
}

fn refusal_of(result: Result<Tensor, Refusal>) -> String {
    result.map_or_else(|it| it.to_string(), |it| show_tensor(&it))
}
