//! The hot path: one small tabular row, and one image, as JSON and in binary.

use divan::Bencher;
use divan::counter::BytesCount;
use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::{Elements, Tensor};
use wire::oip::{
    Body, Content, InferenceRequest, OutputRecord, ResponseRecord, Source, decode_request,
    encode_request, encode_response,
};

fn main() {
    divan::main();
}

/// Numbers without a pattern, the same every time.
fn numbers(count: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        numbers.push((state >> 11) as f64 / (1u64 << 53) as f64);
    }
    numbers
}

fn body(shape: &[usize], text: impl Fn(f64) -> String) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let data: Vec<String> = numbers(count).into_iter().map(text).collect();
    format!(
        r#"{{"inputs":[{{"name":"input","shape":{shape:?},"datatype":"FP32","data":[{}]}}]}}"#,
        data.join(",")
    )
    .into_bytes()
}

fn decode(body: &[u8], limits: &Limits) -> InferenceRequest {
    match decode_request(body, None, limits).expect("a request") {
        Body::Request(request) => request,
        Body::Raw(_) => unreachable!("no header"),
    }
}

fn scores() -> (Tensor, Tensor) {
    let label = Tensor::new(vec![1], Elements::from_slice(&[1i64])).expect("fits");
    let scores = [0.123_456_79f32, 0.876_543_2];
    let scores = Tensor::new(vec![1, 2], Elements::from_slice(&scores)).expect("fits");
    (label, scores)
}

fn encode(label: &Tensor, scores: &Tensor) -> Vec<u8> {
    let parameters = [("prediction_id", "0198c2f4-7b1e-7c3a-9d55-0123456789ab")];
    let outputs =
        [("label", label), ("probabilities", scores)].map(|(name, tensor)| OutputRecord {
            name,
            content: Content::Json(tensor),
        });
    let response = ResponseRecord {
        model_name: "credit",
        model_version: "1",
        id: None,
        parameters: &parameters,
        outputs: &outputs,
    };
    encode_response(&response).expect("numbers").body
}

const ROW: &[usize] = &[1, 30];
const IMAGE: &[usize] = &[1, 3, 224, 223];

#[divan::bench]
fn row_of_30_decode(bencher: Bencher) {
    let (body, limits) = (body(ROW, |it| format!("{it:.4}")), Limits::default());
    bencher.bench_local(|| decode(&body, &limits));
}

#[divan::bench]
fn row_of_30_with_17_digits_decode(bencher: Bencher) {
    let (body, limits) = (body(ROW, |it| format!("{it}")), Limits::default());
    bencher.bench_local(|| decode(&body, &limits));
}

#[divan::bench]
fn row_encode(bencher: Bencher) {
    let (label, scores) = scores();
    bencher.bench_local(|| encode(&label, &scores));
}

#[divan::bench]
fn row_of_30_decode_and_encode(bencher: Bencher) {
    let (body, limits) = (body(ROW, |it| format!("{it:.4}")), Limits::default());
    let (label, scores) = scores();
    bencher.bench_local(|| (decode(&body, &limits), encode(&label, &scores)));
}

#[divan::bench]
fn image_decode(bencher: Bencher) {
    let (body, limits) = (body(IMAGE, |it| format!("{it:.4}")), Limits::default());
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench_local(|| decode(&body, &limits));
}

#[divan::bench]
fn image_with_17_digits_decode(bencher: Bencher) {
    let (body, limits) = (body(IMAGE, |it| format!("{it}")), Limits::default());
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench_local(|| decode(&body, &limits));
}

#[divan::bench]
fn image_with_data_before_its_shape_decode(bencher: Bencher) {
    let text = String::from_utf8(body(IMAGE, |it| format!("{it:.4}"))).expect("JSON");
    let (head, data) = text.split_once("\"data\":").expect("data");
    let data = data.trim_end_matches("}]}");
    let head = head
        .trim_start_matches(r#"{"inputs":[{"#)
        .trim_end_matches(',');
    let body = format!(r#"{{"inputs":[{{"data":{data},{head}}}]}}"#).into_bytes();
    let limits = Limits::default();
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench_local(|| decode(&body, &limits));
}

#[divan::bench]
fn image_in_binary_decode(bencher: Bencher) {
    let count: usize = IMAGE.iter().product();
    let mut body = format!(
        r#"{{"inputs":[{{"name":"input","shape":{IMAGE:?},"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}]}}"#,
        count * 4
    )
    .into_bytes();
    let (length, limits) = (body.len().to_string(), Limits::default());
    body.resize(body.len() + count * 4, 0);
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench_local(|| decode_request(&body, Some(&length), &limits));
}

#[divan::bench]
fn image_encode(bencher: Bencher) {
    let limits = Limits::default();
    let request = decode(&body(IMAGE, |it| format!("{it:.4}")), &limits);
    let inputs: Vec<NamedTensor> = request
        .inputs
        .into_iter()
        .map(|it| match it.source {
            Source::Tensor(tensor) => NamedTensor {
                name: it.name,
                tensor,
            },
            Source::SharedMemory { .. } => unreachable!("it was in the body"),
        })
        .collect();
    bencher.bench_local(|| encode_request(None, &inputs, &[], &[]));
}

/// The same row by serde_json, as a yardstick: its own number parsing into a `Vec<f32>`.
#[divan::bench]
fn row_of_30_by_serde_json(bencher: Bencher) {
    let body = body(ROW, |it| format!("{it:.4}"));
    bencher.bench_local(|| serde_json::from_slice::<yardstick::Request>(&body).expect("JSON"));
}

/// The same image by serde_json.
#[divan::bench]
fn image_by_serde_json(bencher: Bencher) {
    let body = body(IMAGE, |it| format!("{it:.4}"));
    bencher
        .counter(BytesCount::of_slice(&body))
        .bench_local(|| serde_json::from_slice::<yardstick::Request>(&body).expect("JSON"));
}

mod yardstick {
    #[derive(serde::Deserialize)]
    pub(crate) struct Request {
        #[expect(dead_code, reason = "only read")]
        inputs: Vec<Input>,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Input {
        name: String,
        shape: Vec<usize>,
        datatype: String,
        data: Vec<f32>,
    }
}
