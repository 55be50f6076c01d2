//! A table as Parquet, however it is mangled, is read within its bounds or refused.

#![no_main]

use domain::limits::Limits;
use domain::signature::{Rows, Signature};
use domain::{DataType, Dimension, TensorSpec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let limits = Limits {
        decoded_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let signature = Signature {
        inputs: vec![TensorSpec {
            name: "x".to_owned(),
            datatype: DataType::Fp32,
            shape: vec![Dimension::Variable(None), Dimension::Variable(None)],
            features: Vec::new(),
        }],
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: None,
    };
    let body = body.to_vec().into();
    if let Ok(inputs) = wire::rows::decode_parquet(&body, &signature, &limits) {
        assert_eq!(inputs.len(), 1);
    }
});
