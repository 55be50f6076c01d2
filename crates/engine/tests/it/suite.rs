//! The suite that every engine must pass.

use domain::DataType;
use engine::ModelSource;
use engine::conformance::{self, Models};
use engine::fake::Fake;

use crate::build;
use crate::runtime::runtime;

#[test]
fn onnx_runtime_conforms() {
    let models = Models {
        add: build::source(&build::add()),
        endless: build::source(&build::endless()),
        lookup: build::source(&build::lookup()),
        copy: |datatype| build::source(&build::copy(datatype)),
        broken: ModelSource {
            bytes: b"not a model".as_slice().into(),
            file_name: "model.onnx".to_owned(),
            folder: None,
        },
    };
    conformance::run(&runtime(), &models);
}

#[test]
fn the_fake_conforms() {
    let models = Models {
        add: Fake::model(
            "input: a FP32 -1,2
             input: b FP32 -1,2
             output: sum FP32 -1,2
             output: first FP32 -1,2
             does: add 0",
        ),
        endless: Fake::model(
            "input: x FP32 -1,2
             output: y FP32 -1,2
             does: copy
             hold",
        ),
        lookup: Fake::model(
            "input: index INT64 -1
             output: value FP32 -1
             does: lookup 10 20 30",
        ),
        copy: |datatype: DataType| {
            Fake::model(&format!(
                "input: x {datatype} -1,-1
                 output: y {datatype} -1,-1
                 does: copy"
            ))
        },
        broken: ModelSource {
            bytes: b"not a model".as_slice().into(),
            file_name: "model.fake".to_owned(),
            folder: None,
        },
    };
    conformance::run(&Fake::default(), &models);
}
