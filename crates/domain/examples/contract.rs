//! What looking at a request costs: 30 numbers a row, all fine, and a text. Prints nanoseconds a row.
#![expect(clippy::print_stdout, reason = "its answer")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::hint::black_box;
use std::time::Instant;

use domain::contract::{Contract, Input, Known};
use domain::monitor::inputs::Inputs;
use domain::{DataType, Elements, Tensor};

const COLUMNS: usize = 30;
const TIMES: u32 = 200_000;

fn main() {
    let names: Vec<String> = (0..COLUMNS).map(|it| format!("column_{it}")).collect();
    let levels: Vec<String> = (0..200).map(|it| format!("level {it}")).collect();
    let known = move |name: &str| {
        let text = name == "text";
        Some(Known {
            rows: 10_000,
            missing: 0,
            range: (!text).then_some((0.0, 1.0)),
            levels: text.then(|| levels.clone()),
        })
    };
    let numbers = Input {
        datatype: DataType::Fp32,
        columns: names,
    };
    let text = Input {
        datatype: DataType::Bytes,
        columns: vec!["text".to_owned()],
    };
    let off = |rule: &str| {
        let setting = format!(r#"{{"constant":"off","duplicate":"{rule}"}}"#);
        serde_json::from_str::<Inputs>(&setting).expect("settings")
    };
    let cases = [
        ("range, missing", off("off"), vec![numbers.clone()], 1.0),
        (
            "and constant, duplicate",
            Inputs::default(),
            vec![numbers.clone()],
            1.0,
        ),
        (
            "and a text of 200 levels",
            Inputs::default(),
            vec![numbers.clone(), text],
            1.0,
        ),
        (
            "every value out of range",
            Inputs::default(),
            vec![numbers],
            5.0,
        ),
    ];
    for (what, setting, inputs, scale) in cases {
        let contract = Contract::new(&setting, &inputs, Some(&known));
        for rows in [1usize, 64, 1024] {
            let values: Vec<f32> = (0..rows * COLUMNS)
                .map(|it| (it as f32 * 0.618).fract().max(0.3) * scale)
                .collect();
            let fixed = Tensor::new(vec![rows, COLUMNS], Elements::from_slice(&values));
            let texts = (0..rows).map(|it| format!("level {}", it % 200).into_bytes());
            let texts = Tensor::new(vec![rows, 1], Elements::Bytes(texts.collect()));
            let mut tensors = vec![fixed.expect("it fits"), texts.expect("it fits")];
            tensors.truncate(inputs.len());
            let times = TIMES / rows as u32;
            let mut best = f64::MAX;
            for _ in 0..5 {
                let start = Instant::now();
                for _ in 0..times {
                    black_box(contract.check(black_box(&tensors), rows));
                }
                let took = start.elapsed().as_nanos() as f64;
                best = best.min(took / f64::from(times) / rows as f64);
            }
            println!("{what}, {rows} rows: {best:.0} ns a row");
        }
    }
}
