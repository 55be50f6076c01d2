//! What every engine must do: one suite, run for each. A failed check panics with what was seen.

use std::thread;

use domain::signature::Rows;
use domain::tensor::{AlignedBytes, FixedElements};
use domain::{DataType, Elements, Refusal, Tensor};

use crate::{Engine, Failure, Interrupt, Loaded, ModelSource, Options, Session, sample_inputs};

/// The same models in an engine's own format. `rows` and `width` stand for variable axes.
pub struct Models {
    /// Inputs `a` and `b`, outputs `sum`, which is theirs, and `first`, which is `a`: FP32 `[rows, 2]`.
    pub add: ModelSource,
    /// Input `x`, output `y`: FP32 `[rows, 2]`. A run does not end by itself.
    pub endless: ModelSource,
    /// Input `index`, INT64 `[rows]`; output `value`, FP32 `[rows]`: 10, 20, 30 for 0, 1, 2. A run with any
    /// other index fails.
    pub lookup: ModelSource,
    /// Input `x` and output `y`, which is the input: `[rows, width]` of this type.
    pub copy: fn(DataType) -> ModelSource,
    /// Not a model.
    pub broken: ModelSource,
}

/// Checks everything, one after the other.
pub fn run(engine: &dyn Engine, models: &Models) {
    signature_is_that_of_the_model(engine, models);
    rows_are_answered_the_same_joined_and_alone(engine, models);
    outputs_come_in_the_order_asked(engine, models);
    every_type_passes_bit_for_bit(engine, models);
    stopped_before_it_begins(engine, models);
    stopped_while_it_runs(engine, models);
    stopped_after_it_ended(engine, models);
    a_failed_run_leaves_the_session_usable(engine, models);
    what_does_not_fit_is_reported(engine, models);
    sessions_run_side_by_side(engine, models);
    sessions_outlive_the_model(engine, models);
    what_cannot_be_honoured_is_refused(engine, models);
}

fn signature_is_that_of_the_model(engine: &dyn Engine, models: &Models) {
    let loaded = load(engine, &models.add);
    let signature = loaded.signature();
    let show = |specs: &[domain::TensorSpec]| -> Vec<String> {
        let show = |it: &domain::TensorSpec| {
            let shape = domain::signature::show_dimensions(&it.shape);
            format!("{} {} {shape}", it.name, it.datatype)
        };
        specs.iter().map(show).collect()
    };
    assert_eq!(
        show(&signature.inputs),
        ["a FP32 [-1, 2]", "b FP32 [-1, 2]"]
    );
    assert_eq!(
        show(&signature.outputs),
        ["sum FP32 [-1, 2]", "first FP32 [-1, 2]"]
    );
    assert_eq!((signature.rows, &signature.task), (Rows::Outermost, &None));
    assert_eq!(
        engine.files(&models.add.bytes, &models.add.file_name),
        Ok(vec![])
    );
    let inputs = sample_inputs(signature, 3, 1).expect("small");
    let answers = answer(
        &mut *session(&*loaded),
        &inputs.iter().collect::<Vec<_>>(),
        &[0],
    );
    assert_eq!(answers, Ok(vec![floats(&[3, 2], &[0.; 6])]));
}

fn rows_are_answered_the_same_joined_and_alone(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.add));
    let a = floats(&[3, 2], &[1., 2., 3., 4., 5., 6.]);
    let b = floats(&[3, 2], &[0.5, 0.25, 1e9, -4., f32::INFINITY, 0.1]);
    let joined = answer(&mut *session, &[&a, &b], &[0]).expect("runs");
    for row in 0..3 {
        let part = |tensor: &Tensor| tensor.rows(row..row + 1).expect("there");
        let alone = answer(&mut *session, &[&part(&a), &part(&b)], &[0]).expect("runs");
        assert_eq!(part(&joined[0]), alone[0], "row {row}");
    }
    let none = floats(&[0, 2], &[]);
    assert_eq!(
        answer(&mut *session, &[&none, &none], &[0]),
        Ok(vec![none.clone()])
    );
}

fn outputs_come_in_the_order_asked(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.add));
    let (a, b) = (floats(&[1, 2], &[1., 2.]), floats(&[1, 2], &[10., 20.]));
    let sum = floats(&[1, 2], &[11., 22.]);
    let mut check = |outputs: &[usize], want: &[&Tensor]| {
        let got = answer(&mut *session, &[&a, &b], outputs).expect("runs");
        assert_eq!(got.iter().collect::<Vec<_>>(), want, "{outputs:?}");
    };
    check(&[0, 1], &[&sum, &a]);
    check(&[1, 0], &[&a, &sum]);
    check(&[1], &[&a]);
}

fn every_type_passes_bit_for_bit(engine: &dyn Engine, models: &Models) {
    for datatype in DataType::ALL {
        let mut session = session(&*load(engine, &(models.copy)(datatype)));
        let elements = match datatype.width() {
            None => Elements::Bytes(vec![
                b"".to_vec(),
                "gr\u{fc}n".as_bytes().to_vec(),
                b"\xff\xfe not UTF-8".to_vec(),
                b"a NUL \0 inside".to_vec(),
                vec![b'x'; 100_000],
                b"\0".to_vec(),
            ]),
            Some(width) => {
                // Every bit pattern of a byte somewhere, so that NaNs of all kinds are among the floats.
                let last = if datatype == DataType::Bool { 1 } else { 255 };
                let bytes: Vec<u8> = (0..=last).cycle().take(6 * 128 * width).collect();
                let bytes = AlignedBytes::from(bytes.as_slice());
                Elements::Fixed(FixedElements::new(datatype, bytes).expect("whole"))
            }
        };
        let count = elements.count();
        let input = Tensor::new(vec![2, count / 2], elements).expect("fits");
        let got = answer(&mut *session, &[&input], &[0]).expect("runs");
        assert!(got[0] == input || same_bytes(&got[0], &input), "{datatype}");
    }
}

fn same_bytes(one: &Tensor, other: &Tensor) -> bool {
    match (one.elements(), other.elements()) {
        (Elements::Fixed(a), Elements::Fixed(b)) => {
            one.shape() == other.shape() && a.as_bytes() == b.as_bytes()
        }
        _ => false,
    }
}

fn stopped_before_it_begins(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.add));
    let a = floats(&[1, 2], &[1., 2.]);
    let interrupt = Interrupt::new();
    interrupt.stop();
    let got = session.run(&[&a, &a], &[0], &interrupt);
    assert_eq!(got, Err(Failure::Interrupted));
    assert!(answer(&mut *session, &[&a, &a], &[0]).is_ok());
}

fn stopped_while_it_runs(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.endless));
    let x = floats(&[1, 2], &[1., 2.]);
    // More than once: a stop must not reach the next run of the session.
    for _ in 0..3 {
        let interrupt = Interrupt::new();
        thread::scope(|scope| {
            let run = scope.spawn(|| session.run(&[&x], &[0], &interrupt));
            while !interrupt.is_running() && !run.is_finished() {
                thread::yield_now();
            }
            assert!(!run.is_finished(), "it does not end by itself");
            interrupt.stop();
            let got = run.join().expect("does not panic");
            assert_eq!(got, Err(Failure::Interrupted));
        });
    }
}

fn stopped_after_it_ended(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.add));
    let a = floats(&[1, 2], &[1., 2.]);
    for _ in 0..3 {
        let interrupt = Interrupt::new();
        assert!(session.run(&[&a, &a], &[0], &interrupt).is_ok());
        interrupt.stop();
        assert_eq!(
            session.run(&[&a, &a], &[0], &interrupt),
            Err(Failure::Interrupted)
        );
    }
    assert!(answer(&mut *session, &[&a, &a], &[0]).is_ok());
}

fn a_failed_run_leaves_the_session_usable(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.lookup));
    let index = |numbers: &[i64]| {
        Tensor::new(vec![numbers.len()], Elements::from_slice(numbers)).expect("fits")
    };
    for _ in 0..3 {
        match answer(&mut *session, &[&index(&[1, 77])], &[0]) {
            Err(Failure::Failed(why)) => assert!(!why.is_empty() && !why.contains('/'), "{why}"),
            got => panic!("{got:?}"),
        }
        let got = answer(&mut *session, &[&index(&[2, 0, 1])], &[0]);
        assert_eq!(got, Ok(vec![floats(&[3], &[30., 10., 20.])]));
    }
}

fn what_does_not_fit_is_reported(engine: &dyn Engine, models: &Models) {
    let mut session = session(&*load(engine, &models.add));
    let good = floats(&[1, 2], &[1., 2.]);
    let double = Tensor::new(vec![1, 2], Elements::from_slice(&[1f64, 2.])).expect("fits");
    let string = Tensor::new(vec![1, 2], Elements::Bytes(vec![vec![]; 2])).expect("fits");
    let huge = Tensor::new(vec![usize::MAX, 0], Elements::from_slice::<f32>(&[])).expect("empty");
    let mut check = |what: &str, inputs: &[&Tensor], outputs: &[usize]| {
        let got = answer(&mut *session, inputs, outputs);
        assert!(matches!(got, Err(Failure::Failed(_))), "{what}: {got:?}");
        assert!(
            answer(&mut *session, &[&good, &good], &[0]).is_ok(),
            "after {what}"
        );
    };
    check("no inputs", &[], &[0]);
    check("an input too few", &[&good], &[0]);
    check("an input too many", &[&good, &good, &good], &[0]);
    check("another type", &[&good, &double], &[0]);
    check("strings", &[&string, &good], &[0]);
    check("another rank", &[&good, &floats(&[2], &[1., 2.])], &[0]);
    check(
        "another width",
        &[&good, &floats(&[1, 3], &[1., 2., 3.])],
        &[0],
    );
    check("a size that is no number", &[&huge, &huge], &[0]);
    check("an output that is not there", &[&good, &good], &[0, 2]);
}

fn sessions_run_side_by_side(engine: &dyn Engine, models: &Models) {
    let loaded = load(engine, &models.add);
    thread::scope(|scope| {
        for thread in 0..2u8 {
            let mut session = session(&*loaded);
            scope.spawn(move || {
                for step in 0..200u8 {
                    let rows = usize::from(step % 5) + 1;
                    let number = f32::from(thread) * 1000. + f32::from(step);
                    let a = floats(&[rows, 2], &vec![number; rows * 2]);
                    let got = answer(&mut *session, &[&a, &a], &[0]);
                    assert_eq!(
                        got,
                        Ok(vec![floats(&[rows, 2], &vec![2. * number; rows * 2])])
                    );
                }
            });
        }
    });
}

fn sessions_outlive_the_model(engine: &dyn Engine, models: &Models) {
    let loaded = load(engine, &models.add);
    let mut sessions = [session(&*loaded), session(&*loaded)];
    drop(loaded);
    let a = floats(&[1, 2], &[1., 2.]);
    for session in &mut sessions {
        assert!(answer(&mut **session, &[&a, &a], &[0]).is_ok());
    }
}

fn what_cannot_be_honoured_is_refused(engine: &dyn Engine, models: &Models) {
    let elsewhere = Options {
        device: "abacus".to_owned(),
        ..Options::one_thread()
    };
    let refused = engine.load(&models.add, &elsewhere).err();
    let known = match refused {
        Some(Refusal::DeviceMissing { device, known }) if device == "abacus" => known,
        other => panic!("{other:?}"),
    };
    assert!(known.contains("`cpu`"), "{known}");
    let refused = engine.load(&models.broken, &Options::one_thread()).err();
    let refused = refused.expect("it is not a model");
    assert!(!refused.to_string().contains('/'), "{refused}");
    let Models { broken, .. } = models;
    assert!(engine.files(&broken.bytes, &broken.file_name).is_err());
}

fn load(engine: &dyn Engine, source: &ModelSource) -> Box<dyn Loaded> {
    match engine.load(source, &Options::one_thread()) {
        Ok(loaded) => loaded,
        Err(refusal) => panic!("`{}`: {refusal}", source.file_name),
    }
}

fn session(loaded: &dyn Loaded) -> Box<dyn Session> {
    match loaded.session() {
        Ok(session) => session,
        Err(refusal) => panic!("{refusal}"),
    }
}

fn answer(
    session: &mut dyn Session,
    inputs: &[&Tensor],
    outputs: &[usize],
) -> Result<Vec<Tensor>, Failure> {
    session.run(inputs, outputs, &Interrupt::new())
}

fn floats(shape: &[usize], numbers: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), Elements::from_slice(numbers)).expect("the shape fits the numbers")
}
