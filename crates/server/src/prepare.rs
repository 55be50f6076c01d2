//! From a version's files to a session that may serve: load, reproduce the examples, find out whether
//! padding is harmless, and measure how many rows a run should have.

use std::time::Duration;

use domain::manifest::{BatchSetting, Manifest, Off, PadSetting, Tolerance};
use domain::request::{NamedTensor, fit};
use domain::signature::Rows;
use domain::{DataType, Dimension, Elements, Refusal, Signature, Tensor, batch};
use engine::{Engine, Failure, Interrupt, Loaded, ModelSource, Session, sample_inputs};

use crate::clock::{Clock, thread_cpu};
use crate::join::{Grouping, Padding};

/// A version that may serve.
pub(crate) struct Prepared {
    pub(crate) loaded: Box<dyn Loaded>,
    pub(crate) session: Box<dyn Session>,
    pub(crate) grouping: Grouping,
    pub(crate) limits: batch::Limits,
    /// One row that it answers; none where none was found.
    pub(crate) sample: Option<Vec<NamedTensor>>,
}

/// Rows with known answers, as pushed with the version.
pub(crate) struct Examples {
    pub(crate) inputs: Vec<NamedTensor>,
    pub(crate) outputs: Vec<NamedTensor>,
    pub(crate) tolerance: Tolerance,
}

/// The longest that a request is passed over, unless the manifest says otherwise.
const DELAY_MAX: Duration = Duration::from_millis(2);

/// Rows of a run that are tried when measuring. More than 128 gain nothing for any model measured.
const ROWS_TRIED: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// How long measuring may take, and a run: a longer one would make every request in it wait.
const MEASURE_MAX: Duration = Duration::from_millis(250);
const RUN_MAX: Duration = Duration::from_millis(50);
/// The same by the wall clock, for a machine that is busy with other things.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a larger run must gain in rows per second to be chosen.
const GAIN_MIN: f64 = 1.05;

/// The length tried along variable axes; short enough to be quick, long enough to be typical of text.
const LENGTH_TRIED: usize = 32;

/// A version that may turn out to be able to serve.
pub(crate) struct Candidate<'a> {
    pub(crate) signature: &'a Signature,
    pub(crate) manifest: &'a Manifest,
    pub(crate) examples: Option<&'a Examples>,
    pub(crate) rows_waiting_max: u32,
}

/// How an engine is to run a version.
pub(crate) fn engine_options(manifest: &Manifest) -> engine::Options {
    let cpu = engine::Options::one_thread();
    engine::Options {
        threads: manifest.serve.threads.unwrap_or(cpu.threads).max(1),
        device: manifest.serve.device.clone().unwrap_or(cpu.device),
    }
}

/// Makes sure that a version may serve: it reproduces its examples, and where padding was declared it
/// changes nothing. Gives where padding is harmless.
pub(crate) fn verify(
    session: &mut dyn Session,
    candidate: &Candidate<'_>,
) -> Result<Option<Padding>, Refusal> {
    let Candidate {
        signature,
        manifest,
        examples,
        ..
    } = *candidate;
    if let Some(examples) = examples {
        reproduce(session, signature, examples)?;
    }
    if runs_alone(candidate) {
        return Ok(None);
    }
    padding(session, signature, manifest.serve.pad.as_ref())
}

/// Whether requests are never joined, whatever their shapes.
fn runs_alone(candidate: &Candidate<'_>) -> bool {
    candidate.signature.rows == Rows::Whole
        || match &candidate.manifest.serve.batch {
            BatchSetting::Off(Off::Off) => true,
            BatchSetting::Limits(limits) => limits.rows_max == Some(1),
        }
}

/// Loads a version that is to serve.
pub(crate) fn prepare(
    engine: &dyn Engine,
    source: &ModelSource,
    candidate: &Candidate<'_>,
    clock: Clock,
) -> Result<Prepared, Refusal> {
    let Candidate {
        signature,
        manifest,
        examples,
        rows_waiting_max,
    } = *candidate;
    let options = engine_options(manifest);
    let loaded = engine.load(source, &options)?;
    let mut session = loaded.session()?;
    let padding = verify(session.as_mut(), candidate)?;
    let (rows_set, delay_max) = match &manifest.serve.batch {
        BatchSetting::Off(Off::Off) => (None, None),
        BatchSetting::Limits(limits) => (limits.rows_max, limits.delay_max),
    };
    let rows_max = match rows_set {
        _ if runs_alone(candidate) => 1,
        Some(rows) => rows,
        None => {
            let begin = clock.now();
            let waited = || clock.now().since(begin);
            // Where the engine computes in this thread alone, what others do on its core is not the model's: a version
            // that is loaded under load would be given short runs for as long as it serves.
            let spent: &dyn Fn() -> Duration = if options == engine::Options::one_thread() {
                &thread_cpu
            } else {
                &waited
            };
            measure(session.as_mut(), signature, spent, &waited)
        }
    };
    let sample = match examples {
        Some(examples) => first_row(signature, &examples.inputs),
        None => sample(session.as_mut(), signature),
    };
    let grouping = Grouping::new(signature, padding);
    let delay_max = delay_max.map_or(DELAY_MAX, |it| it.0);
    let limits = batch::Limits {
        rows_max,
        delay_max,
        rows_waiting_max,
    };
    Ok(Prepared {
        loaded,
        session,
        grouping,
        limits,
        sample,
    })
}

/// Lengths of variable axes that are tried for a request that people are shown, short ones first.
const SAMPLE_LENGTHS: [usize; 6] = [4, 1, 32, 224, 512, 576];

/// A request of zeros and empty strings that the model answers.
fn sample(session: &mut dyn Session, signature: &Signature) -> Option<Vec<NamedTensor>> {
    SAMPLE_LENGTHS.into_iter().find_map(|length| {
        let inputs = sample_inputs(signature, 1, length)?;
        run(session, &inputs, &all_outputs(signature)).ok()?;
        let names = signature.inputs.iter().map(|it| it.name.clone());
        Some(
            names
                .zip(inputs)
                .map(|(name, tensor)| NamedTensor { name, tensor })
                .collect(),
        )
    })
}

fn first_row(signature: &Signature, inputs: &[NamedTensor]) -> Option<Vec<NamedTensor>> {
    if signature.rows == Rows::Whole {
        return Some(inputs.to_vec());
    }
    inputs
        .iter()
        .map(|it| {
            Some(NamedTensor {
                name: it.name.clone(),
                tensor: it.tensor.rows(0..1)?,
            })
        })
        .collect()
}

fn all_outputs(signature: &Signature) -> Vec<usize> {
    (0..signature.outputs.len()).collect()
}

fn run(
    session: &mut dyn Session,
    inputs: &[Tensor],
    outputs: &[usize],
) -> Result<Vec<Tensor>, String> {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    session
        .run(&inputs, outputs, &Interrupt::new())
        .map_err(|failure| match failure {
            Failure::Interrupted => "it was interrupted".to_owned(),
            Failure::Failed(why) => why,
        })
}

/// The signature with its outputs' row axes as they are. Some exporters declare that an output has one
/// row whatever goes in; a run of three rows shows it.
pub(crate) fn settle_rows(session: &mut dyn Session, mut signature: Signature) -> Signature {
    const ROWS: usize = 3;
    let open = |it: &domain::TensorSpec| matches!(it.shape.first(), Some(Dimension::Variable(_)));
    if signature.rows == Rows::Outermost || !signature.inputs.iter().all(open) {
        return signature;
    }
    let mut tried = signature.clone();
    for output in &mut tried.outputs {
        if let Some(first) = output.shape.first_mut() {
            *first = Dimension::Variable(None);
        }
    }
    tried.rows = Signature::rows_of(&tried.inputs, &tried.outputs);
    if tried.rows == Rows::Whole {
        return signature;
    }
    let Some(inputs) = sample_inputs(&tried, ROWS, LENGTH_TRIED) else {
        return signature;
    };
    let Ok(outputs) = run(session, &inputs, &all_outputs(&tried)) else {
        return signature;
    };
    if outputs.iter().all(|it| it.shape().first() == Some(&ROWS)) {
        signature = tried;
    }
    signature
}

/// Runs the examples and compares the answers with the known ones.
fn reproduce(
    session: &mut dyn Session,
    signature: &Signature,
    examples: &Examples,
) -> Result<(), Refusal> {
    let wanted: Vec<String> = examples.outputs.iter().map(|it| it.name.clone()).collect();
    let fitted = fit(signature, examples.inputs.clone(), &wanted)?;
    let got =
        run(session, &fitted.inputs, &fitted.outputs).map_err(|why| Refusal::ExamplesFailed {
            why: format!("running them failed: {why}"),
        })?;
    for (want, got) in examples.outputs.iter().zip(&got) {
        if let Some(why) = difference(got, &want.tensor, examples.tolerance) {
            let why = format!("output `{}`, {why}", want.name);
            return Err(Refusal::ExamplesFailed { why });
        }
    }
    Ok(())
}

/// What differs between an answer and the known one by more than the tolerance; none when nothing does.
fn difference(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Option<String> {
    if got.shape() != want.shape() {
        return Some(format!(
            "shape: want {:?}, got {:?}",
            want.shape(),
            got.shape()
        ));
    }
    if got.datatype() != want.datatype() {
        return Some(format!(
            "datatype: want {}, got {}",
            want.datatype(),
            got.datatype()
        ));
    }
    let per_row = want.elements().count() / want.shape().first().copied().unwrap_or(1).max(1);
    let place = |index: usize| {
        let width = per_row.max(1);
        format!("row {}, element {}", index / width, index % width)
    };
    match (got.elements(), want.elements()) {
        (Elements::Bytes(got), Elements::Bytes(want)) => {
            let index = got.iter().zip(want).position(|(got, want)| got != want)?;
            let show = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
            let (want, got) = (show(&want[index]), show(&got[index]));
            Some(format!("{}: want `{want}`, got `{got}`", place(index)))
        }
        (Elements::Fixed(got), Elements::Fixed(want)) => {
            let exact = !want.datatype().is_float();
            (0..per_row * got_rows(got, per_row)).find_map(|index| {
                let (got, want) = (got.number(index)?, want.number(index)?);
                let same = if exact { got == want } else { tolerance.accepts(got, want) };
                (!same).then(|| {
                    let Tolerance { absolute, relative } = tolerance;
                    format!(
                        "{}: want {want}, got {got} (tolerance {absolute} absolute, {relative} relative)",
                        place(index)
                    )
                })
            })
        }
        _ => Some("elements differ in kind".to_owned()),
    }
}

fn got_rows(fixed: &domain::tensor::FixedElements, per_row: usize) -> usize {
    let width = fixed.datatype().width().unwrap_or(1);
    fixed.as_bytes().len() / width / per_row.max(1)
}

/// The rows from which a larger run gains little, by the time that was `spent` on runs, until too much was or it was
/// `waited` for too long.
fn measure(
    session: &mut dyn Session,
    signature: &Signature,
    spent: &dyn Fn() -> Duration,
    waited: &dyn Fn() -> Duration,
) -> u32 {
    let outputs = all_outputs(signature);
    let begin = spent();
    let is_over = || spent().saturating_sub(begin) > MEASURE_MAX || waited() > WAIT_MAX;
    let mut best = (1, 0.0);
    for rows in ROWS_TRIED {
        let Some(inputs) = sample_inputs(signature, rows as usize, LENGTH_TRIED) else {
            break;
        };
        // The first run of a shape allocates; the quickest of the next ones counts.
        let mut quickest = Duration::MAX;
        for _ in 0..4 {
            let before = spent();
            if run(session, &inputs, &outputs).is_err() {
                // Zeros need not mean anything to a model: it is served with what was found so far.
                return best.0;
            }
            quickest = quickest.min(spent().saturating_sub(before));
            if is_over() {
                break;
            }
        }
        let rate = f64::from(rows) / quickest.as_secs_f64().max(1e-9);
        if rate > best.1 * GAIN_MIN {
            best = (rows, rate);
        }
        if is_over() || quickest * 2 > RUN_MAX {
            break;
        }
    }
    best.0
}

/// Where padding is harmless: what the manifest declares, or what is recognised by an input named
/// `attention_mask`. Declared or recognised, it is proved before it is used.
fn padding(
    session: &mut dyn Session,
    signature: &Signature,
    setting: Option<&PadSetting>,
) -> Result<Option<Padding>, Refusal> {
    let (axis, inputs, declared) = match setting {
        Some(PadSetting::Off(Off::Off)) => return Ok(None),
        Some(PadSetting::Axis(pad)) => {
            let inputs: Result<Vec<usize>, Refusal> = pad
                .inputs
                .iter()
                .map(|name| {
                    let index = signature.inputs.iter().position(|it| it.name == *name);
                    index.ok_or_else(|| Refusal::InvalidManifest {
                        field: "serve.pad.inputs".to_owned(),
                        why: format!("the model has no input `{name}`"),
                    })
                })
                .collect();
            (pad.axis, inputs?, true)
        }
        None => {
            let Some(mask) = signature.input("attention_mask") else {
                return Ok(None);
            };
            let inputs = (0..signature.inputs.len())
                .filter(|index| signature.inputs[*index].shape.len() == mask.shape.len())
                .collect();
            (1, inputs, false)
        }
    };
    let variable = |index: &usize| {
        axis > 0
            && matches!(
                signature.inputs[*index].shape.get(axis),
                Some(Dimension::Variable(_))
            )
    };
    if inputs.is_empty() || !inputs.iter().all(variable) {
        if !declared {
            return Ok(None);
        }
        return Err(Refusal::InvalidManifest {
            field: "serve.pad.axis".to_owned(),
            why: format!(
                "axis {axis} is not a variable one, other than rows, of every input named"
            ),
        });
    }
    match prove(session, signature, axis, &inputs) {
        Ok(outputs) => Ok(Some(Padding {
            axis,
            inputs,
            outputs,
        })),
        Err(_) if !declared => Ok(None),
        Err(why) => Err(Refusal::InvalidManifest {
            field: "serve.pad".to_owned(),
            why: format!("padding changes the model's answers: {why}"),
        }),
    }
}

/// Runs a row as it is and lengthened, and compares. Gives the outputs that come out longer.
fn prove(
    session: &mut dyn Session,
    signature: &Signature,
    axis: usize,
    inputs: &[usize],
) -> Result<Vec<usize>, String> {
    const SHORT: usize = 5;
    const LONG: usize = 9;
    let mut plain = sample_inputs(signature, 1, SHORT).ok_or("its inputs are too large")?;
    for index in inputs {
        plain[*index] = real_values(&plain[*index]).ok_or("an input cannot be padded")?;
    }
    let mut longer = plain.clone();
    for index in inputs {
        longer[*index] = plain[*index]
            .padded(axis, LONG)
            .ok_or("an input cannot be padded")?;
    }
    let outputs = all_outputs(signature);
    let want = run(session, &plain, &outputs)?;
    let got = run(session, &longer, &outputs)?;
    let mut cut = Vec::new();
    for (index, (got, want)) in got.into_iter().zip(&want).enumerate() {
        let is_longer = got.shape().get(axis) == Some(&LONG);
        let got = if is_longer {
            cut.push(index);
            got.cut(axis, SHORT).ok_or("an output cannot be cut")?
        } else {
            got
        };
        let tolerance = Tolerance {
            absolute: 1e-4,
            relative: 1e-3,
        };
        if let Some(why) = difference(&got, want, tolerance) {
            return Err(format!("output `{}`, {why}", signature.outputs[index].name));
        }
    }
    Ok(cut)
}

/// Ones, and small different whole numbers where there is room: a mask must say "real", and tokens that
/// are all alike would hide a model that mixes them up.
fn real_values(like: &Tensor) -> Option<Tensor> {
    let count = like.elements().count();
    let ones = |index: usize| i64::from(index.is_multiple_of(2)) + 1;
    let elements = match like.datatype() {
        DataType::Int64 => Elements::from_slice(&vec![1i64; count]),
        DataType::Int32 => Elements::from_slice(&vec![1i32; count]),
        DataType::Fp32 => {
            Elements::from_slice(&(0..count).map(|it| ones(it) as f32).collect::<Vec<_>>())
        }
        DataType::Bool => Elements::from_bools(&vec![true; count]),
        _ => return None,
    };
    Tensor::new(like.shape().to_vec(), elements)
}

#[cfg(test)]
mod tests {
    use engine::fake::Fake;

    use super::*;

    /// The rows of a run that are chosen where a run takes a millisecond and a tenth of one for each row, and by the wall
    /// so many times as long.
    fn measured(times: u32) -> u32 {
        let fake = Fake::default();
        let lines = b"windlass-fake-model\ninput: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy";
        let source = ModelSource {
            bytes: lines.as_slice().into(),
            file_name: "model.fake".to_owned(),
            folder: None,
        };
        let loaded = fake
            .load(&source, &engine::Options::one_thread())
            .expect("a model");
        let mut session = loaded.session().expect("a session");
        let spent = || {
            let runs = fake.runs().into_iter();
            runs.map(|rows| Duration::from_micros(1000 + 100 * rows as u64))
                .sum()
        };
        let waited = || spent() * times;
        measure(session.as_mut(), loaded.signature(), &spent, &waited)
    }

    #[test]
    fn a_busy_machine_changes_nothing_unless_it_takes_too_long() {
        assert_eq!(measured(1), 128);
        assert_eq!(measured(8), 128);
        assert_eq!(measured(100), 8);
    }
}
