//! What an ONNX file says about itself, and that no bytes whatever do harm.

use domain::{DataType, Refusal};
use engine::onnx::inspect::{check_external, inspect};
use proptest::prelude::*;
use prost::Message;

use crate::build::{self, Attribute, Entry, Function, Model};

fn facts_of(model: &Model) -> Result<engine::onnx::inspect::Facts, Refusal> {
    inspect(&model.encode_to_vec())
}

fn entry(key: &str, value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn facts_come_from_every_corner() {
    let mut model = build::endless();
    model.metadata.push(entry("author", "me"));
    model.functions.push(Function {
        name: "Twice".to_owned(),
        domain: "acme".to_owned(),
        nodes: vec![build::node("y = Mul x two")],
    });
    let graph = model.graph.as_mut().expect("has one");
    graph.nodes.push(build::node("z = acme.Twice y"));
    graph.nodes.push(build::node("w = other.Frob z"));
    let mut classifier = build::node("l p = ai.onnx.ml.TreeEnsembleClassifier x");
    classifier.attributes.push(Attribute {
        name: "classlabels_int64s".to_owned(),
        kind: 7,
        ints: vec![-1, 1],
        ..Attribute::default()
    });
    graph.nodes.push(classifier);
    // A tensor in an attribute of a node of the loop's body.
    let mut held = build::weights("held", DataType::Fp32, &[1], &[]);
    held.external.push(entry("location", "held.bin"));
    let body = graph.nodes[0].attributes[0]
        .graph
        .as_mut()
        .expect("has one");
    let mut constant = build::node("c = Constant");
    constant.attributes.push(Attribute {
        name: "value".to_owned(),
        kind: 4,
        tensor: Some(held),
        ..Attribute::default()
    });
    body.nodes.push(constant);

    let facts = facts_of(&model).expect("is one");
    let show = |set: &std::collections::BTreeSet<engine::onnx::inspect::Operator>| {
        set.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        show(&facts.operators),
        "Add Constant Identity Loop Mul acme.Twice ai.onnx.ml.TreeEnsembleClassifier other.Frob"
    );
    assert_eq!(show(&facts.functions), "acme.Twice");
    assert_eq!(
        show(&facts.custom_operators().cloned().collect()),
        "other.Frob"
    );
    assert_eq!(
        facts.external_files.into_iter().collect::<Vec<_>>(),
        ["held.bin"]
    );
    assert_eq!(facts.classes, ["-1", "1"]);
    assert_eq!(facts.metadata["author"], "me");
    assert_eq!((facts.opsets[""], facts.opsets["ai.onnx.ml"]), (17, 3));
    assert_eq!((facts.inputs.len(), facts.outputs.len()), (1, 1));
}

#[test]
fn class_labels_that_differ_are_none() {
    let classifier = |labels: &[&str]| {
        let mut node = build::node("l p = ai.onnx.ml.LinearClassifier x");
        node.attributes.push(Attribute {
            name: "classlabels_strings".to_owned(),
            kind: 8,
            strings: labels.iter().map(|it| (*it).to_owned()).collect(),
            ..Attribute::default()
        });
        node
    };
    let check = |all: &[&[&str]], want: &[&str]| {
        let mut graph = build::graph(&[], &[], &[]);
        graph.nodes = all.iter().map(|it| classifier(it)).collect();
        assert_eq!(
            facts_of(&build::model(graph)).expect("is one").classes,
            want
        );
    };
    check(&[&["good", "bad"]], &["good", "bad"]);
    check(&[&["good", "bad"], &["good", "bad"]], &["good", "bad"]);
    check(&[&["good", "bad"], &["a", "b"]], &[]);
}

#[test]
fn external_data_lies_beside_the_model() {
    for location in [
        "weights.bin",
        "model.onnx.data",
        "a-b_c 1",
        "gewichte-\u{fc}",
    ] {
        assert_eq!(check_external(location), Ok(location));
    }
    for location in [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../weights",
        "a/b",
        "a/../../b",
        "./a",
        "..\\a",
        "a\\b",
        "C:a",
        "C:\\a",
        "a\0.onnx",
        "a\n",
        "//host/share",
        "a:stream",
        "a.",
        "a ",
        " a",
        "*",
        "*/_ORT_MEM_ADDR_/*",
        &"a".repeat(256),
    ] {
        let mut model = build::lookup();
        let table = &mut model.graph.as_mut().expect("has one").initializers[0];
        // Even where it would not be used: the table's data is in the file.
        table.external.push(entry("location", location));
        let refused = facts_of(&model);
        assert!(
            matches!(refused, Err(Refusal::ExternalDataOutside { .. })),
            "{location:?}: {refused:?}"
        );
    }
}

#[test]
fn what_is_no_model_is_refused_with_the_reason() {
    let check = |bytes: &[u8], want: &str| {
        let refusal = inspect(bytes).expect_err("is no model");
        assert_eq!(refusal.to_string(), format!("the model cannot run: {want}"));
    };
    check(b"", "the file is empty");
    check(b"hello world", "the file is not an ONNX model");
    check(
        &[0x08, 0x08],
        "the file is not an ONNX model: it has no graph",
    );
    check(&[0x08], "the file is cut short or is not an ONNX model");
    check(
        &[0x3a, 0x7f, 0x00],
        "the file is cut short: a part of 127 bytes has 1 left",
    );
    let endless_length = [
        0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    let want = "the file is cut short: a part of 18446744073709551615 bytes has 0 left";
    check(&endless_length, want);
    let mut deep = build::graph(&[], &[], &[]);
    for _ in 0..40 {
        let mut outer = build::graph(&["y = If x"], &[], &[]);
        outer.nodes[0].attributes.push(Attribute {
            name: "then_branch".to_owned(),
            graph: Some(Box::new(deep)),
            ..Attribute::default()
        });
        deep = outer;
    }
    let deep = build::model(deep).encode_to_vec();
    check(&deep, "its graphs are nested more than 32 deep");
    // Two bytes each, from which a decoder makes a whole node.
    let count = (1 << 22) + 1;
    let nodes = [0x0a, 0x00].repeat(count);
    let mut many = vec![0x3a];
    prost::encoding::encode_varint(nodes.len() as u64, &mut many);
    many.extend(nodes);
    check(&many, "it has more than 4194304 parts");
}

#[test]
fn every_cut_of_a_model_is_refused_or_is_a_model() {
    let whole = build::endless().encode_to_vec();
    for length in 0..whole.len() {
        let cut = inspect(&whole[..length]);
        assert!(
            matches!(cut, Ok(_) | Err(Refusal::InvalidModel { .. })),
            "{length}: {cut:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = inspect(&bytes);
        let _ = engine::sniff::sniff(&bytes, "model");
    }

    #[test]
    fn any_change_to_a_model_is_survived(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = build::endless().encode_to_vec();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = inspect(&bytes);
        let _ = engine::sniff::sniff(&bytes, "model.onnx");
    }
}
