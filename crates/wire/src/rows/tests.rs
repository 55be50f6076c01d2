use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::signature::Rows;
use domain::{DataType, Dimension, Elements, Refusal, Signature, Tensor, TensorSpec};
use proptest::prelude::*;

use super::*;

/// Inputs as `name:DATATYPE[-1,2](a b)`.
fn signature(inputs: &str) -> Signature {
    let spec = |text: &str| {
        let (name, rest) = text.split_once(':').expect("a name");
        let (datatype, rest) = rest.split_once('[').expect("a shape");
        let (shape, features) = rest.split_once(']').expect("the end of a shape");
        let length = |it: &str| match it.parse() {
            Ok(length) => Dimension::Fixed(length),
            Err(_) => Dimension::Variable(None),
        };
        let features = features.trim_matches(['(', ')']);
        TensorSpec {
            name: name.to_owned(),
            datatype: DataType::from_name(datatype).expect("a datatype"),
            shape: shape.split(',').map(length).collect(),
            features: features.split_whitespace().map(str::to_owned).collect(),
        }
    };
    Signature {
        inputs: inputs.split("; ").map(spec).collect(),
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: None,
    }
}

fn show(result: Result<Vec<NamedTensor>, Refusal>) -> String {
    let show = |it: &NamedTensor| {
        let mut json = Vec::new();
        elements_of(&it.tensor, &mut json);
        format!(
            "{} {:?} {}",
            it.name,
            it.tensor.shape(),
            String::from_utf8_lossy(&json)
        )
    };
    match result {
        Ok(tensors) => tensors.iter().map(show).collect::<Vec<_>>().join("; "),
        Err(refusal) => refusal.to_string(),
    }
}

fn elements_of(tensor: &Tensor, json: &mut Vec<u8>) {
    crate::elements::write_nested(tensor, "x", json).expect("UTF-8");
}

fn v1(inputs: &str, body: &str, want: &str) {
    let got = decode_v1(body.as_bytes(), &signature(inputs), &Limits::default());
    assert_eq!(show(got), want, "{body}");
}

fn mlflow(inputs: &str, body: &str, want: &str) {
    let got = decode_mlflow(body.as_bytes(), &signature(inputs), &Limits::default());
    assert_eq!(show(got), want, "{body}");
}

const MATRIX: &str = "x:FP32[-1,2]";
const NAMED: &str = "x:FP32[-1,2](a b)";
const COLUMNS: &str = "a:INT64[-1,1]; b:BYTES[-1]";
const TWO: &str = "ids:INT64[-1,-1]; scale:FP32[-1,1]";

#[test]
fn lists_take_the_shape_they_are_nested_in() {
    v1(
        MATRIX,
        r#"{"instances":[[1,2],[3,4.5]]}"#,
        "x [2, 2] [[1.0,2.0],[3.0,4.5]]",
    );
    v1(
        MATRIX,
        r#"{"inputs":[[1,2]],"signature_name":"d"}"#,
        "x [1, 2] [[1.0,2.0]]",
    );
    v1(
        "x:FP32[-1,1]",
        r#"{"instances":[1,2]}"#,
        "x [2, 1] [[1.0],[2.0]]",
    );
    v1(
        "x:BYTES[-1]",
        r#"{"instances":["a","b"]}"#,
        r#"x [2] ["a","b"]"#,
    );
    v1(
        "x:UINT8[-1,2,1]",
        r#"{"instances":[[1,2],[3,4]]}"#,
        "x [2, 2, 1] [[[1],[2]],[[3],[4]]]",
    );
    v1(MATRIX, r#"{"instances":[]}"#, "x [0, 2] []");
    v1(
        MATRIX,
        r#"{"instances":[[1,2],[3]]}"#,
        "the request cannot be read: at byte 23: the lists are ragged",
    );
    v1(
        MATRIX,
        r#"{"instances":[1,[3]]}"#,
        "the request cannot be read: at byte 18: the lists are ragged",
    );
    v1(
        MATRIX,
        r#"{"instances":[["a",2]]}"#,
        "input `x`, element 0: `a` is not a value of FP32",
    );
    v1(
        COLUMNS,
        r#"{"instances":[[1,2]]}"#,
        "a list without names for a model with 2 inputs is not supported",
    );
}

#[test]
fn objects_hold_inputs_or_columns() {
    v1(
        TWO,
        r#"{"instances":[{"ids":[1,2],"scale":0.5},{"scale":[2],"ids":[3,4]}]}"#,
        "ids [2, 2] [[1,2],[3,4]]; scale [2, 1] [[0.5],[2.0]]",
    );
    v1(
        TWO,
        r#"{"inputs":{"ids":[[1,2],[3,4]],"scale":[[0.5],[2]]}}"#,
        "ids [2, 2] [[1,2],[3,4]]; scale [2, 1] [[0.5],[2.0]]",
    );
    v1(
        NAMED,
        r#"{"instances":[{"b":2,"a":1},{"a":3,"b":4}]}"#,
        "x [2, 2] [[1.0,2.0],[3.0,4.0]]",
    );
    v1(
        NAMED,
        r#"{"inputs":{"b":[2,4],"a":[1,3]}}"#,
        "x [2, 2] [[1.0,2.0],[3.0,4.0]]",
    );
    v1(
        COLUMNS,
        r#"{"instances":[{"a":1,"b":"x"},{"a":2}]}"#,
        r#"a [2, 1] [[1],[2]]; b [2] ["x",""]"#,
    );
    v1(
        TWO,
        r#"{"instances":[{"ids":[1,2],"scale":0.5},{"ids":[3],"scale":0.5}]}"#,
        "the request cannot be read: the rows of `ids` have different shapes",
    );
    v1(
        TWO,
        r#"{"instances":[{"ids":[1],"scale":0.5},{"ids":[3]}]}"#,
        "the request cannot be read: `scale` is not in every row",
    );
    v1(
        TWO,
        r#"{"instances":[{"ids":[1]},{"ids":[3],"scale":1}]}"#,
        "the request cannot be read: at byte 46: `scale` is not exactly once in every row",
    );
    v1(
        TWO,
        r#"{"inputs":{"ids":[[1]],"other":[1]}}"#,
        "the model has no input `other`; its inputs are `ids`, `scale`",
    );
    v1(
        NAMED,
        r#"{"instances":[{"a":1,"c":2}]}"#,
        "the model has no column `c`; its columns are `a`, `b`",
    );
}

#[test]
fn a_body_has_exactly_one_form() {
    let v1_needs = "the request cannot be read: it needs exactly one of `instances` and `inputs`";
    v1(MATRIX, "{}", v1_needs);
    v1(MATRIX, r#"{"instances":[],"inputs":[]}"#, v1_needs);
    let mlflow_needs = "the request cannot be read: it needs exactly one of `dataframe_split`, \
                        `dataframe_records`, `instances` and `inputs`";
    mlflow(MATRIX, "[[1,2]]", mlflow_needs);
    mlflow(
        MATRIX,
        r#"{"inputs":[[1,2]],"dataframe_records":[]}"#,
        mlflow_needs,
    );
    mlflow(
        MATRIX,
        r#"{"inputs":[[1,2]],"params":{}}"#,
        "x [1, 2] [[1.0,2.0]]",
    );
    mlflow(
        MATRIX,
        r#"{"inputs":[[1,2]],"params":{"temperature":1}}"#,
        "parameter `temperature` in `params` is not supported",
    );
}

#[test]
fn tables_are_read_by_the_names_of_their_columns() {
    let split = r#"{"dataframe_split":{"columns":["b","a"],"index":[0,1],"data":[[2,1],[4,3]]}}"#;
    mlflow(NAMED, split, "x [2, 2] [[1.0,2.0],[3.0,4.0]]");
    mlflow(
        MATRIX,
        r#"{"dataframe_split":{"data":[[1,2]]}}"#,
        "x [1, 2] [[1.0,2.0]]",
    );
    mlflow(
        NAMED,
        r#"{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[3]]}}"#,
        "the request cannot be read: row 1 has 1 values for 2 columns",
    );
    mlflow(
        NAMED,
        r#"{"dataframe_records":[{"a":1,"b":null},{"b":0.5}]}"#,
        "x [2, 2] [[1.0,null],[null,0.5]]",
    );
    mlflow(
        COLUMNS,
        r#"{"dataframe_records":[{"a":1,"b":"x"},{"a":2,"b":3}]}"#,
        "input `b`, element 1: `3` is not a string, as others of its column are",
    );
    mlflow(
        NAMED,
        r#"{"dataframe_records":[{"a":1,"a":2}]}"#,
        "the request cannot be read: at byte 33: `a` is given twice in row 0",
    );
}

fn check_csv(inputs: &str, body: &str, want: &str) {
    assert_eq!(show(decode_csv(body.as_bytes(), &signature(inputs))), want);
}

#[test]
fn comma_separated_values_are_a_table() {
    check_csv(NAMED, "b,a\n2,1\n4.5,\n", "x [2, 2] [[1.0,2.0],[null,4.5]]");
    check_csv(
        COLUMNS,
        "a,b\r\n1,\"x, \"\"y\"\"\"\r\n2,\r\n",
        r#"a [2, 1] [[1],[2]]; b [2] ["x, \"y\"",""]"#,
    );
    check_csv(
        COLUMNS,
        "a,b\n1,007\n2,NA\n",
        r#"a [2, 1] [[1],[2]]; b [2] ["007","NA"]"#,
    );
    check_csv(COLUMNS, "a,b\n1,2\n", r#"a [1, 1] [[1]]; b [1] ["2"]"#);
    check_csv(
        NAMED,
        "a,b\n1\n",
        "the request cannot be read: csv error: record 1 (line: 2, byte: 4): found record with 1 fields, but the previous record has 2 fields",
    );
    check_csv(
        NAMED,
        "a,b\n1,x\n",
        "input `b`, element 0: `x` is not a FP32",
    );
}

fn predictions(layout: Layout, outputs: &[(&str, &Tensor)], want: &str) {
    let got = encode_predictions(outputs, layout).expect("UTF-8");
    assert_eq!(String::from_utf8_lossy(&got), want);
}

#[test]
fn answers_are_laid_out_as_their_protocol_has_them() {
    let label = Tensor::new(vec![2], Elements::from_slice(&[0i64, 1])).expect("fits");
    let scores = [0.75f32, 0.25, 0.5, 0.5];
    let scores = Tensor::new(vec![2, 2], Elements::from_slice(&scores)).expect("fits");
    let other = Tensor::new(vec![1], Elements::Bytes(vec![b"a".to_vec()])).expect("fits");
    predictions(Layout::Rows, &[("y", &label)], r#"{"predictions":[0,1]}"#);
    predictions(
        Layout::Columns,
        &[("p", &scores)],
        r#"{"predictions":[[0.75,0.25],[0.5,0.5]]}"#,
    );
    let both: &[(&str, &Tensor)] = &[("y", &label), ("p", &scores)];
    predictions(
        Layout::Rows,
        both,
        r#"{"predictions":[{"y":0,"p":[0.75,0.25]},{"y":1,"p":[0.5,0.5]}]}"#,
    );
    predictions(
        Layout::Columns,
        both,
        r#"{"predictions":{"y":[0,1],"p":[[0.75,0.25],[0.5,0.5]]}}"#,
    );
    predictions(
        Layout::Rows,
        &[("y", &label), ("o", &other)],
        r#"{"predictions":{"y":[0,1],"o":["a"]}}"#,
    );
}

#[test]
fn rows_of_nothing_cost_nothing() {
    let inputs: Vec<String> = (0..1000).map(|it| format!("c{it}:FP32[-1]")).collect();
    let first: Vec<String> = (0..1000).map(|it| format!("\"c{it}\":1")).collect();
    let body = format!(
        r#"{{"dataframe_records":[{{{}}}{}]}}"#,
        first.join(","),
        ",{}".repeat(100_000)
    );
    mlflow(
        &inputs.join("; "),
        &body,
        "the number of values that the rows leave out is over the limit of 1048576",
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>, text in "[\\[\\]{}:,\"ab1.\\- ]{0,40}") {
        for inputs in [MATRIX, NAMED, COLUMNS, TWO] {
            let (signature, limits) = (signature(inputs), Limits::default());
            for form in ["instances", "inputs", "dataframe_split", "dataframe_records"] {
                let json = format!("{{\"{form}\":{text}}}");
                let _ = decode_mlflow(json.as_bytes(), &signature, &limits);
            }
            let _ = decode_v1(&body, &signature, &limits);
            let _ = decode_csv(&body, &signature);
            let _ = decode_csv(text.as_bytes(), &signature);
        }
    }
}
