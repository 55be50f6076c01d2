use std::collections::HashMap;

use domain::limits::Limits;
use domain::signature::Rows;
use domain::{DataType, Dimension, Elements, Refusal, Signature, Tensor, TensorSpec};
use proptest::prelude::*;
use prost::Message;

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
};
use super::*;
use crate::oip::{Content, OutputRecord, ResponseRecord, Source};

fn value(choice: ParameterChoice) -> InferParameter {
    InferParameter {
        parameter_choice: Some(choice),
    }
}

fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: "x".to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        parameters: HashMap::new(),
        contents,
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        inputs,
        raw_input_contents: raw.iter().map(|it| bytes::Bytes::from_static(it)).collect(),
        ..ModelInferRequest::default()
    }
}

fn check(message: ModelInferRequest, want: &str) {
    // Over the wire and back, so that the generated code is in the test.
    let message = ModelInferRequest::decode(&message.encode_to_vec()[..]).expect("a message");
    let got = match decode_infer(message, &Limits::default()) {
        Err(refusal) => refusal.to_string(),
        Ok(request) => {
            let show = |source: &Source| match source {
                Source::Tensor(tensor) => {
                    let mut json = Vec::new();
                    crate::elements::write_nested(tensor, "x", &mut json).expect("UTF-8");
                    format!("{} {}", tensor.datatype(), String::from_utf8_lossy(&json))
                }
                Source::SharedMemory { region, .. } => {
                    format!("in {}+{} {}", region.name, region.offset, region.byte_size)
                }
            };
            let inputs: Vec<String> = request.inputs.iter().map(|it| show(&it.source)).collect();
            inputs.join("; ")
        }
    };
    assert_eq!(got, want);
}

#[test]
fn tensors_come_raw_or_typed_never_both() {
    let typed = || {
        Some(InferTensorContents {
            int_contents: vec![1, -2],
            ..InferTensorContents::default()
        })
    };
    check(
        request(vec![input("INT8", &[1, 2], typed())], &[]),
        "INT8 [[1,-2]]",
    );
    check(
        request(vec![input("INT16", &[2], None)], &[&[1, 0, 2, 0]]),
        "INT16 [1,2]",
    );
    check(
        request(vec![input("INT8", &[2], typed())], &[b"12"]),
        "the request cannot be read: `x` has `contents` and the request has `raw_input_contents`",
    );
    check(
        request(vec![input("INT8", &[2], None)], &[b"12", b"3"]),
        "the request cannot be read: `raw_input_contents` has 1 entries too many",
    );
    check(
        request(vec![input("INT32", &[3], typed())], &[]),
        "input `x` with shape [3] has 3 elements, got 2",
    );
    check(
        request(vec![input("FP32", &[2], typed())], &[]),
        "the request cannot be read: `x` is FP32, yet its elements are in `int_contents`",
    );
    check(
        request(vec![input("FP16", &[2], None)], &[]),
        "`x` of datatype FP16 in `contents` is not supported",
    );
    let wide = InferTensorContents {
        uint_contents: vec![1, 256],
        ..InferTensorContents::default()
    };
    check(
        request(vec![input("UINT8", &[2], Some(wide))], &[]),
        "input `x`, element 1: `256` is not a value of UINT8",
    );
    check(
        request(vec![input("FP32", &[-1], None)], &[b""]),
        "a shape cannot be read: an axis has length `-1`, not zero or more",
    );
    check(
        request(vec![input("FP32", &[1 << 32, 1 << 32], None)], &[b""]),
        "the number of elements of a tensor is over the limit of 268435456",
    );
    check(
        request(vec![input("FP33", &[1], None)], &[b""]),
        "the request cannot be read: `x` has datatype `FP33`, which is not one",
    );
    check(
        request(
            vec![input("UINT8", &[1], None), input("UINT8", &[1], None)],
            &[b"1", b"2"],
        ),
        "input `x` is given twice",
    );
}

#[test]
fn raw_entries_skip_inputs_in_shared_memory() {
    let mut shared = input("FP32", &[1], None);
    shared.parameters = HashMap::from([
        (
            "shared_memory_region".to_owned(),
            value(ParameterChoice::StringParam("r".to_owned())),
        ),
        (
            "shared_memory_byte_size".to_owned(),
            value(ParameterChoice::Int64Param(4)),
        ),
    ]);
    // As KServe's client sends it.
    let mut raw = input("BYTES", &[1], None);
    raw.name = "y".to_owned();
    raw.parameters = HashMap::from([(
        "binary_data_size".to_owned(),
        value(ParameterChoice::Int64Param(99)),
    )]);
    check(
        request(vec![shared, raw], &[&[1, 0, 0, 0, b'a']]),
        r#"in r+0 4; BYTES ["a"]"#,
    );
}

#[test]
fn parameters_mean_what_they_mean_over_http() {
    let mut message = request(Vec::new(), &[]);
    message.id = "7".to_owned();
    for (name, choice) in [
        ("timeout", ParameterChoice::Int64Param(5)),
        (
            "triton_enable_empty_final_response",
            ParameterChoice::BoolParam(true),
        ),
        ("sequence_id", ParameterChoice::Int64Param(0)),
        ("b", ParameterChoice::DoubleParam(0.5)),
        ("a", ParameterChoice::StringParam("c".to_owned())),
    ] {
        message.parameters.insert(name.to_owned(), value(choice));
    }
    message.outputs.push(InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: HashMap::from([
            (
                "classification".to_owned(),
                value(ParameterChoice::Int64Param(3)),
            ),
            (
                "binary_data".to_owned(),
                value(ParameterChoice::BoolParam(true)),
            ),
        ]),
    });
    let request = decode_infer(message.clone(), &Limits::default()).expect("a request");
    assert_eq!(request.id.as_deref(), Some("7"));
    assert_eq!(request.parameters.timeout_us, Some(5));
    assert!(request.parameters.mark_final);
    let names: Vec<&str> = request
        .parameters
        .custom
        .iter()
        .map(|(it, _)| it.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (request.outputs[0].classification, request.outputs[0].binary),
        (Some(3), None)
    );
    let sequence = value(ParameterChoice::Uint64Param(1));
    message
        .parameters
        .insert("sequence_id".to_owned(), sequence);
    let refusal = decode_infer(message, &Limits::default()).expect_err("sequences");
    assert_eq!(
        refusal.to_string(),
        "parameter `sequence_id` is not supported"
    );
}

#[test]
fn answers_are_raw_and_empty_for_shared_memory() {
    let numbers = Tensor::new(vec![2], Elements::from_slice(&[1i16, 2])).expect("fits");
    let words = Tensor::new(vec![1], Elements::Bytes(vec![b"a".to_vec()])).expect("fits");
    let shared = Content::SharedMemory {
        datatype: DataType::Fp32,
        shape: &[1],
    };
    let outputs = [
        ("s", shared),
        ("n", Content::Json(&numbers)),
        ("w", Content::Binary(&words)),
    ]
    .map(|(name, content)| OutputRecord { name, content });
    let response = ResponseRecord {
        model_name: "m",
        model_version: "3",
        id: Some("7"),
        parameters: &[],
        outputs: &outputs,
    };
    let message = encode_infer(&response).expect("short strings");
    let message = ModelInferResponse::decode(&message.encode_to_vec()[..]).expect("a message");
    assert_eq!(
        message.raw_output_contents,
        [&[][..], &[1u8, 0, 2, 0], &[1, 0, 0, 0, b'a']]
    );
    let shown: Vec<String> = message
        .outputs
        .iter()
        .map(|it| {
            format!(
                "{} {} {:?} {}",
                it.name,
                it.datatype,
                it.shape,
                it.parameters.len()
            )
        })
        .collect();
    assert_eq!(shown, ["s FP32 [1] 0", "n INT16 [2] 0", "w BYTES [1] 0"]);
    let stream = stream_response(message, true);
    let parameters = stream.infer_response.expect("an answer").parameters;
    assert!(parameters.contains_key("triton_final_response"));
    let error = stream_error(&Refusal::Draining, "8");
    assert_eq!(error.error_message, "the server is shutting down");
    assert_eq!(error.infer_response.expect("the id").id, "8");
}

#[test]
fn descriptors_name_the_service() {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let service = &set.file[0].service[0];
    assert_eq!(service.name(), "GRPCInferenceService");
    assert_eq!(service.method.len(), 20);
}

#[test]
fn a_configuration_keeps_its_types() {
    let signature = Signature {
        inputs: DataType::ALL
            .map(|datatype| TensorSpec {
                name: datatype.name().to_owned(),
                datatype,
                shape: vec![Dimension::Variable(None), Dimension::Fixed(4)],
                features: Vec::new(),
            })
            .to_vec(),
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: None,
    };
    let record = crate::oip::config("m", "onnxruntime_onnx", "onnxruntime", &signature, 8, None);
    let message = inference::ModelConfigResponse::from(record)
        .config
        .expect("a configuration");
    let types: Vec<i32> = message.input.iter().map(|it| it.data_type).collect();
    assert_eq!(types, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 11, 12, 13]);
    assert_eq!(
        (message.max_batch_size, &message.input[0].dims[..]),
        (8, &[4][..])
    );
}

#[test]
fn a_message_that_lies_is_refused() {
    let lies: [(&str, Vec<u8>); 4] = [
        ("a length of 2^31", vec![0x3a, 0x80, 0x80, 0x80, 0x80, 0x08]),
        ("an unknown wire type", vec![0x3f]),
        ("groups 10 000 deep", [0x7b].repeat(10_000)),
        ("a number that never ends", [0xff].repeat(100)),
    ];
    for (what, bytes) in lies {
        assert!(ModelInferRequest::decode(&bytes[..]).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        if let Ok(message) = ModelInferRequest::decode(&bytes[..]) {
            let _ = decode_infer(message, &Limits::default());
        }
    }

    #[test]
    fn no_damaged_message_makes_it_panic(at in 0usize..200, byte: u8) {
        let typed = InferTensorContents { int_contents: vec![1, 2], ..InferTensorContents::default() };
        let message = request(vec![input("INT8", &[2], Some(typed)), input("FP32", &[1], None)], &[b"1234"]);
        let mut bytes = message.encode_to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(message) = ModelInferRequest::decode(&bytes[..]) {
            let _ = decode_infer(message, &Limits::default());
        }
    }
}
