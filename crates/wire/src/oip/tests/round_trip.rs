//! What is written is read as it was: every datatype, as JSON and in binary.

use domain::request::NamedTensor;
use domain::tensor::{AlignedBytes, FixedElements};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Tensors of every type, of any bits, and of shapes that fit.
fn tensors() -> impl Strategy<Value = Tensor> {
    (
        0usize..14,
        0usize..4,
        0usize..5,
        vec(any::<[u8; 8]>(), 20),
        vec(any::<String>(), 20),
    )
        .prop_map(|(kind, rows, width, words, strings)| {
            let datatype = DataType::ALL[kind];
            let count = rows * width;
            let elements = match datatype.width() {
                None => Elements::Bytes(
                    strings
                        .into_iter()
                        .take(count)
                        .map(String::into_bytes)
                        .collect(),
                ),
                Some(bytes_each) => {
                    let mut bytes: Vec<u8> = words
                        .iter()
                        .take(count)
                        .flat_map(|it| it[..bytes_each].to_vec())
                        .collect();
                    if datatype == DataType::Bool {
                        bytes.iter_mut().for_each(|it| *it &= 1);
                    }
                    let aligned = AlignedBytes::from(&bytes[..]);
                    Elements::Fixed(FixedElements::new(datatype, aligned).expect("whole elements"))
                }
            };
            Tensor::new(vec![rows, width], elements).expect("fits")
        })
}

/// Bits, but for NaN, of which JSON knows only one.
fn same(a: &Tensor, b: &Tensor) -> bool {
    let number = |tensor: &Tensor, index| match tensor.elements() {
        Elements::Fixed(fixed) => fixed.number(index),
        Elements::Bytes(_) => None,
    };
    a.shape() == b.shape()
        && a.datatype() == b.datatype()
        && (a == b
            || (a.datatype().is_float()
                && (0..a.elements().count()).all(|index| {
                    let (a, b) = (number(a, index), number(b, index));
                    a.map(f64::to_bits) == b.map(f64::to_bits)
                        || (a.is_some_and(f64::is_nan) && b.is_some_and(f64::is_nan))
                })))
}

proptest! {
    #[test]
    fn requests_as_json(tensor in tensors()) {
        let inputs = [NamedTensor { name: "x \" é".to_owned(), tensor }];
        let custom = [("a", Parameter::Integer(-1))];
        let body = encode_request(Some("7"), &inputs, &["y".to_owned()], &custom).expect("UTF-8");
        let read = decode_request(&body, None, &Limits::default()).expect("a request");
        let Body::Request(request) = read else { panic!("JSON") };
        prop_assert_eq!(request.id.as_deref(), Some("7"));
        prop_assert_eq!(&request.inputs[0].name, &inputs[0].name);
        prop_assert_eq!(&request.outputs[0].name, "y");
        prop_assert_eq!(&request.parameters.custom[0].1, &custom[0].1);
        let Source::Tensor(got) = &request.inputs[0].source else { panic!("a tensor") };
        prop_assert!(same(got, &inputs[0].tensor), "{:?}", got);
    }

    #[test]
    fn answers_as_json_and_in_binary(a in tensors(), b in tensors(), binary: bool) {
        let content = |tensor, binary: bool| match binary {
            true => Content::Binary(tensor),
            false => Content::Json(tensor),
        };
        let outputs = [
            OutputRecord { name: "a", content: content(&a, binary) },
            OutputRecord { name: "b", content: content(&b, true) },
        ];
        let response = ResponseRecord {
            model_name: "m", model_version: "1", id: None, parameters: &[], outputs: &outputs,
        };
        let Encoded { body, json_length } = encode_response(&response).expect("UTF-8");
        let length = json_length.map(|it| it.to_string());
        let read = decode_response(&body, length.as_deref(), &Limits::default()).expect("an answer");
        prop_assert!(same(&read.outputs[0].tensor, &a));
        prop_assert_eq!(&read.outputs[1].tensor, &b);
    }

    #[test]
    fn tensors_in_binary(tensor in tensors()) {
        let mut bytes = Vec::new();
        encode_binary(&tensor, &mut bytes).expect("short strings");
        let read = decode_binary("x", tensor.datatype(), tensor.shape().to_vec(), &bytes);
        prop_assert_eq!(read, Ok(tensor));
    }

    #[test]
    fn singles_as_std_rounds_them(numbers in vec(any::<f64>(), 1..20)) {
        let texts: Vec<String> =
            numbers.iter().filter(|it| (**it as f32).is_finite()).map(|it| format!("{it:?}")).collect();
        let body = format!(
            r#"{{"inputs":[{{"name":"x","shape":[{}],"datatype":"FP32","data":[{}]}}]}}"#,
            texts.len(),
            texts.join(", ")
        );
        let read = decode_request(body.as_bytes(), None, &Limits::default()).expect("a request");
        let Body::Request(request) = read else { panic!("JSON") };
        let Source::Tensor(tensor) = &request.inputs[0].source else { panic!("a tensor") };
        let Elements::Fixed(fixed) = tensor.elements() else { panic!("numbers") };
        let want: Vec<u32> =
            texts.iter().map(|it| it.parse::<f32>().expect("a number").to_bits()).collect();
        let got: Vec<u32> =
            fixed.as_slice::<f32>().expect("FP32").iter().map(|it| it.to_bits()).collect();
        prop_assert_eq!(got, want);
    }
}
