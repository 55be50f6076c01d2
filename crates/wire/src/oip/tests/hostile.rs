//! Bodies meant to do harm (H1 to H5): each is refused, quickly, and none makes us panic.

use proptest::prelude::*;

use super::*;

fn shape(shape: &str, want: &str) {
    check_input(
        &format!(r#""shape":{shape},"datatype":"FP32","data":[]"#),
        want,
    );
}

#[test]
fn a_shape_cannot_claim_what_it_likes() {
    shape(
        "[4294967296,4294967296]",
        "the number of elements of a tensor is over the limit of 268435456",
    );
    shape(
        "[9223372036854775807,2]",
        "the number of elements of a tensor is 18446744073709551614, at most 268435456 is taken",
    );
    shape(
        "[268435457]",
        "the number of elements of a tensor is 268435457, at most 268435456 is taken",
    );
    // The largest that is taken reserves nothing: no text fills it.
    shape(
        "[268435456]",
        "input `x` with shape [268435456] has 268435456 elements, got 0",
    );
    shape("[0]", "x FP32 [0] []");
    shape(
        "[-1]",
        "a shape cannot be read: an axis has length `-1`, not zero or more",
    );
    shape(
        "[18446744073709551616]",
        "the request cannot be read: at byte 52: the length of an axis is `18446744073709551616`",
    );
    shape(
        "[1.5]",
        "the request cannot be read: at byte 35: the length of an axis is `1.5`",
    );
    let long = format!("[{}]", vec!["1"; 10_000_000].join(","));
    shape(&long, "a shape cannot be read: it has more than 32 axes");
}

#[test]
fn depth_is_bounded_wherever_it_is() {
    let deep = "[".repeat(100_000);
    for body in [
        deep.clone(),
        format!(r#"{{"a":{deep}"#),
        format!(r#"{{"inputs":{deep}"#),
        format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":{deep}"#),
        format!(r#"{{"inputs":[{{"data":{deep}"#),
        format!(r#"{{"inputs":[],"parameters":{{"a":{deep}"#),
        format!(r#"{{"inputs":[],"outputs":[{{"name":{deep}"#),
    ] {
        let got = read(body.as_bytes(), None);
        assert!(got.contains("cannot be read"), "{got}");
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let body = br#"{"inputs":[]}"#;
    for text in [
        "99999999999999999999",
        "-1",
        "14",
        "",
        "abc",
        "1.5",
        "+13",
        "0x0d",
    ] {
        let got = read(body, Some(text));
        assert!(
            got.starts_with("`Inference-Header-Content-Length` cannot be read"),
            "{got}"
        );
    }
    assert_eq!(read(body, Some("13")), "");
    assert_eq!(read(body, Some("0")), "raw 13 bytes");
    let got = read(body, Some("12"));
    assert_eq!(
        got,
        "the request cannot be read: at byte 12: expected `,` or `}`"
    );
}

#[test]
fn lengths_in_binary_are_checked_before_they_are_believed() {
    let check = |datatype, shape: &[usize], bytes: &[u8], want: &str| {
        assert_eq!(
            refusal_of(decode_binary("x", datatype, shape.to_vec(), bytes)),
            want
        );
    };
    check(
        DataType::Bytes,
        &[1],
        &[0xff; 4],
        "the request cannot be read: `x`, element 0, claims 4294967295 bytes, 0 are left",
    );
    check(
        DataType::Bytes,
        &[1 << 28],
        &[0; 8],
        "input `x` with shape [268435456] has 268435456 elements, got 2",
    );
    check(
        DataType::Bytes,
        &[1],
        &[0; 5],
        "the request cannot be read: `x` ends with 1 bytes that are not the length of a string",
    );
    check(
        DataType::Fp64,
        &[usize::MAX, 2],
        &[0; 8],
        &format!(
            "the request cannot be read: `x` with shape {:?} and datatype FP64 has {} elements of 8 bytes, got 8 bytes",
            [usize::MAX, 2],
            usize::MAX
        ),
    );
    check(
        DataType::Bool,
        &[2],
        &[1, 7],
        "input `x`, element 1: `7` is not 0 or 1",
    );
    let claim = |size: &str, want: &str| {
        check_input(
            &format!(
                r#""shape":[1],"datatype":"UINT8","parameters":{{"binary_data_size":{size}}}"#
            ),
            want,
        );
    };
    claim(
        "1",
        "the request cannot be read: `x` claims 1 bytes after the JSON, 0 are left",
    );
    claim(
        "18446744073709551615",
        "the request cannot be read: `x` claims 18446744073709551615 bytes after the JSON, 0 are left",
    );
    claim(
        "-1",
        "the request cannot be read: parameter `binary_data_size` is not a whole number of zero or more",
    );
    claim(
        "0",
        "the request cannot be read: `x` with shape [1] and datatype UINT8 has 1 elements of 1 bytes, got 0 bytes",
    );
    check_input(
        r#""shape":[1],"datatype":"UINT8","data":[1],"parameters":{"binary_data_size":1}"#,
        "the request cannot be read: input `x` has more than one of `data`, `binary_data_size` and `shared_memory_region`",
    );
}

#[test]
fn a_string_of_50_megabytes_is_just_a_string() {
    let body = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"BYTES","data":["{}"]}}]}}"#,
        "a".repeat(50_000_000)
    );
    let Ok(Body::Request(request)) = decode_request(body.as_bytes(), None, &Limits::default())
    else {
        panic!("a request");
    };
    let Source::Tensor(tensor) = &request.inputs[0].source else {
        panic!("a tensor");
    };
    assert_eq!(binary_size(tensor), 50_000_004);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>, header in proptest::option::of("[0-9]{0,3}")) {
        let _ = decode_request(&body, header.as_deref(), &Limits::default());
        let _ = decode_response(&body, header.as_deref(), &Limits::default());
    }

    /// Any cut and any changed byte of a request that has everything.
    #[test]
    fn no_damaged_request_makes_it_panic(cut in 0usize..400, at in 0usize..400, byte: u8) {
        let json = r#"{"id":"a","parameters":{"timeout":5,"binary_data_output":true},"inputs":[
            {"name":"a","shape":[1,2],"datatype":"FP32","data":[[1.5e3,-0.25]]},
            {"name":"b","shape":[2],"datatype":"BYTES","data":["\ud83d\ude00","b"]},
            {"name":"c","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}}],
            "outputs":[{"name":"y","parameters":{"classification":2}}]}"#;
        let mut body = [json.as_bytes(), &[1, 2, 3, 4]].concat();
        let length = json.len().to_string();
        let at = at % body.len();
        body[at] = byte;
        let _ = decode_request(&body, Some(&length), &Limits::default());
        body.truncate(cut);
        let _ = decode_request(&body, None, &Limits::default());
    }

    #[test]
    fn no_blob_makes_it_panic(bytes: Vec<u8>, kind in 0usize..14, shape in proptest::collection::vec(0usize..5, 0..4)) {
        let _ = decode_binary("x", DataType::ALL[kind], shape, &bytes);
    }
}
