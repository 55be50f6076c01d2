//! An engine for tests: its models are a few lines of text, and it does exactly what they say, at once.
//!
//! ```text
//! windlass-fake-model
//! input: a FP32 -1,2
//! input: b FP32 -1,2
//! output: sum FP32 -1,2
//! does: add 0.5
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `input: NAME TYPE SIZES` | an input; a size of -1 is variable, a name is a variable axis of that name |
//! | `output: NAME TYPE SIZES` | an output |
//! | `does: copy` | each output is the input at its place |
//! | `does: add NUMBER` | the first output is the sum of all inputs and the number, the others are the inputs in turn; all are FP32 |
//! | `does: lookup NUMBERS` | the output is the FP32 at the INT64 of the input; the run fails where there is none |
//! | `does: fail SENTENCE` | every run fails |
//! | `does: panic` | every run panics |
//! | `hold` | every run waits until [`Fake::release`] lets it go on, or until it is stopped |
//! | `file: NAME` | the model needs this file beside it |
//! | `refuse: SENTENCE` | it cannot be loaded |
//! | `sessions: NUMBER` | of what is loaded so many sessions can be made, and no more |

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use domain::{DataType, Dimension, Elements, Refusal, Signature, Tensor, TensorSpec};

use crate::interrupt::Stop;
use crate::{Engine, Failure, Interrupt, Loaded, ModelSource, Options, Session};

/// The first line of every such model.
pub const MARK: &str = "windlass-fake-model\n";

/// The engine, and the test's hand on its runs. Clones are the same engine.
#[derive(Clone, Default)]
pub struct Fake {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    released: usize,
    held: usize,
    runs: Vec<usize>,
}

impl Fake {
    /// A model's file from the lines after the first.
    pub fn model(lines: &str) -> ModelSource {
        let lines: Vec<&str> = lines.lines().map(str::trim).collect();
        ModelSource {
            bytes: format!("{MARK}{}", lines.join("\n")).into_bytes().into(),
            file_name: "model.fake".to_owned(),
            folder: None,
        }
    }

    /// Lets this many held runs go on; runs that are not held yet find the way open.
    pub fn release(&self, runs: usize) {
        self.gate.lock().released += runs;
        self.gate.changed.notify_all();
    }

    /// Blocks until this many runs are held at the same time.
    pub fn wait_until_held(&self, runs: usize) {
        let state = self.gate.lock();
        let waited = self.gate.changed.wait_while(state, |it| it.held < runs);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The size of the first axis of the first input of every run so far, in the order in which they began.
    pub fn runs(&self) -> Vec<usize> {
        self.gate.lock().runs.clone()
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn files(&self, bytes: &[u8], _file_name: &str) -> Result<Vec<String>, Refusal> {
        Ok(parse(bytes)?.files)
    }

    fn load(&self, source: &ModelSource, options: &Options) -> Result<Box<dyn Loaded>, Refusal> {
        if options.device != Options::CPU {
            return Err(Refusal::DeviceMissing {
                device: options.device.clone(),
                known: format!("`{}`", Options::CPU),
            });
        }
        let script = parse(&source.bytes)?;
        if let Some(why) = script.refuse {
            return Err(invalid(why));
        }
        let folder = source.folder.as_deref();
        let there = |name: &&String| folder.is_some_and(|it| it.join(name).is_file());
        if let Some(name) = script.files.iter().find(|it| !there(it)) {
            return Err(invalid(format!("the file `{name}` is not beside it")));
        }
        Ok(Box::new(FakeModel {
            sessions_left: AtomicUsize::new(script.sessions.unwrap_or(usize::MAX)),
            script: Arc::new(script),
            gate: Arc::clone(&self.gate),
        }))
    }
}

struct Script {
    signature: Signature,
    does: Does,
    hold: bool,
    files: Vec<String>,
    refuse: Option<String>,
    sessions: Option<usize>,
}

enum Does {
    Copy,
    Add(f32),
    Lookup(Vec<f32>),
    Fail(String),
    Panic,
}

struct FakeModel {
    sessions_left: AtomicUsize,
    script: Arc<Script>,
    gate: Arc<Gate>,
}

impl Loaded for FakeModel {
    fn signature(&self) -> &Signature {
        &self.script.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, Refusal> {
        let one_less = |left: usize| left.checked_sub(1);
        let left = &self.sessions_left;
        if left.fetch_update(Relaxed, Relaxed, one_less).is_err() {
            return Err(invalid("no more sessions can be made of it"));
        }
        let stopped = Arc::new(Mutex::new(false));
        let (flag, gate) = (Arc::clone(&stopped), Arc::clone(&self.gate));
        let stop: Stop = Arc::new(move || {
            *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
            // Under the gate's lock, so that a run which just looked at the flag is already waiting.
            drop(gate.lock());
            gate.changed.notify_all();
        });
        Ok(Box::new(FakeSession {
            script: Arc::clone(&self.script),
            gate: Arc::clone(&self.gate),
            stopped,
            stop,
        }))
    }
}

struct FakeSession {
    script: Arc<Script>,
    gate: Arc<Gate>,
    stopped: Arc<Mutex<bool>>,
    stop: Stop,
}

impl Session for FakeSession {
    fn run(
        &mut self,
        inputs: &[&Tensor],
        outputs: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Vec<Tensor>, Failure> {
        self.check(inputs, outputs)?;
        self.set_stopped(false);
        let running = interrupt.begin(&self.stop)?;
        let rows = inputs.first().and_then(|it| it.shape().first().copied());
        self.gate.lock().runs.push(rows.unwrap_or(1));
        if self.script.hold {
            self.wait()?;
        }
        let answers = outputs.iter().map(|it| self.compute(inputs, *it)).collect();
        running.end();
        answers
    }
}

impl FakeSession {
    fn check(&self, inputs: &[&Tensor], outputs: &[usize]) -> Result<(), Failure> {
        let Signature {
            inputs: specs,
            outputs: known,
            ..
        } = &self.script.signature;
        if specs.len() != inputs.len() {
            return Err(failed(format!(
                "{} inputs wanted, got {}",
                specs.len(),
                inputs.len()
            )));
        }
        for (spec, tensor) in specs.iter().zip(inputs) {
            if spec.datatype != tensor.datatype() || !spec.accepts_shape(tensor.shape()) {
                return Err(failed(format!("input `{}` does not fit", spec.name)));
            }
        }
        match outputs.iter().find(|it| **it >= known.len()) {
            Some(index) => Err(failed(format!("no output #{index}"))),
            None => Ok(()),
        }
    }

    fn set_stopped(&self, to: bool) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    fn wait(&self) -> Result<(), Failure> {
        let stopped = || *self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.gate.lock();
        state.held += 1;
        self.gate.changed.notify_all();
        let waited = self
            .gate
            .changed
            .wait_while(state, |it| it.released == 0 && !stopped());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
        if stopped() {
            return Err(Failure::Interrupted);
        }
        state.released -= 1;
        Ok(())
    }

    fn compute(&self, inputs: &[&Tensor], output: usize) -> Result<Tensor, Failure> {
        let numbers = |tensor: &Tensor| match tensor.elements() {
            Elements::Fixed(fixed) => fixed.as_slice::<f32>().unwrap_or_default().to_vec(),
            Elements::Bytes(_) => Vec::new(),
        };
        let answer = |like: &Tensor, numbers: &[f32]| {
            let tensor = Tensor::new(like.shape().to_vec(), Elements::from_slice(numbers));
            tensor.ok_or_else(|| failed("the inputs differ in shape".to_owned()))
        };
        match &self.script.does {
            Does::Copy => Ok(inputs[output].clone()),
            Does::Add(_) if output > 0 => Ok(inputs[output - 1].clone()),
            Does::Add(amount) => {
                let mut sum = vec![*amount; numbers(inputs[0]).len()];
                for input in inputs {
                    sum.iter_mut()
                        .zip(numbers(input))
                        .for_each(|(sum, it)| *sum += it);
                }
                answer(inputs[0], &sum)
            }
            Does::Lookup(table) => {
                let Elements::Fixed(fixed) = inputs[0].elements() else {
                    return Err(failed("the input is no number".to_owned()));
                };
                let find = |index: &i64| {
                    let found = usize::try_from(*index).ok().and_then(|it| table.get(it));
                    found
                        .copied()
                        .ok_or_else(|| failed(format!("no entry {index}")))
                };
                let indexes = fixed.as_slice::<i64>().unwrap_or_default();
                let found: Vec<f32> = indexes.iter().map(find).collect::<Result<_, _>>()?;
                answer(inputs[0], &found)
            }
            Does::Fail(why) => Err(failed(why.clone())),
            Does::Panic => panic!("the model says so"),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Script, Refusal> {
    let text = std::str::from_utf8(bytes).ok();
    let Some(lines) = text.and_then(|it| it.strip_prefix(MARK)) else {
        return Err(Refusal::UnsupportedFormat {
            found: "a file without the fake engine's mark".to_owned(),
            hint: "begin it with `windlass-fake-model`".to_owned(),
        });
    };
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let (mut does, mut hold, mut files) = (None, false, Vec::new());
    let (mut refuse, mut sessions) = (None, None);
    for line in lines.lines().filter(|it| !it.is_empty()) {
        let unknown = || invalid(format!("`{line}` is no line of a fake model"));
        match line.split_once(": ") {
            Some(("input", spec)) => inputs.push(parse_spec(spec).ok_or_else(unknown)?),
            Some(("output", spec)) => outputs.push(parse_spec(spec).ok_or_else(unknown)?),
            Some(("does", what)) => does = Some(parse_does(what).ok_or_else(unknown)?),
            Some(("file", name)) => files.push(name.to_owned()),
            Some(("refuse", why)) => refuse = Some(why.to_owned()),
            Some(("sessions", most)) => {
                sessions = Some(most.parse().map_err(|_| unknown())?);
            }
            None if line == "hold" => hold = true,
            _ => return Err(unknown()),
        }
    }
    let does = does.ok_or_else(|| invalid("it does nothing"))?;
    check_shape(&does, &inputs, &outputs)?;
    let rows = Signature::rows_of(&inputs, &outputs);
    let signature = Signature {
        inputs,
        outputs,
        rows,
        task: None,
    };
    Ok(Script {
        signature,
        does,
        hold,
        files,
        refuse,
        sessions,
    })
}

/// What `compute` relies on.
fn check_shape(does: &Does, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Result<(), Refusal> {
    let all = |specs: &[TensorSpec], want| specs.iter().all(|it| it.datatype == want);
    let (takes, gives) = (inputs.len(), outputs.len());
    let fits = match does {
        Does::Copy => gives <= takes,
        Does::Add(_) => {
            takes > 0
                && gives <= takes + 1
                && all(inputs, DataType::Fp32)
                && all(outputs, DataType::Fp32)
        }
        Does::Lookup(_) => {
            takes == 1 && all(inputs, DataType::Int64) && all(outputs, DataType::Fp32)
        }
        Does::Fail(_) | Does::Panic => true,
    };
    if fits {
        Ok(())
    } else {
        Err(invalid("its inputs and outputs do not fit what it does"))
    }
}

fn parse_spec(text: &str) -> Option<TensorSpec> {
    let mut words = text.split(' ');
    let name = words.next()?.to_owned();
    let datatype = DataType::from_name(words.next()?)?;
    let dimension = |size: &str| match size.parse::<i64>() {
        Ok(size) => usize::try_from(size).map_or(Dimension::Variable(None), Dimension::Fixed),
        Err(_) => Dimension::Variable(Some(size.to_owned())),
    };
    // No sizes at all: a scalar.
    let shape = words
        .next()
        .map_or_else(Vec::new, |it| it.split(',').map(dimension).collect());
    Some(TensorSpec {
        name,
        datatype,
        shape,
        features: Vec::new(),
    })
}

fn parse_does(text: &str) -> Option<Does> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match verb {
        "copy" => Does::Copy,
        "add" => Does::Add(rest.parse().ok()?),
        "lookup" => Does::Lookup(
            rest.split(' ')
                .map(|it| it.parse().ok())
                .collect::<Option<_>>()?,
        ),
        "fail" => Does::Fail(rest.to_owned()),
        "panic" => Does::Panic,
        _ => return None,
    })
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::InvalidModel { why: why.into() }
}

fn failed(why: String) -> Failure {
    Failure::Failed(why)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const HELD: &str = "input: x FP32 rows
        output: y FP32 rows
        does: add 1
        hold";

    #[test]
    fn held_runs_go_on_when_released_and_only_then() {
        let fake = Fake::default();
        let loaded = fake
            .load(&Fake::model(HELD), &Options::one_thread())
            .expect("loads");
        let x = Tensor::new(vec![2], Elements::from_slice(&[1f32, 2.])).expect("fits");
        let y = Tensor::new(vec![2], Elements::from_slice(&[2f32, 3.])).expect("fits");
        let mut session = loaded.session().expect("is there");
        let interrupt = Interrupt::new();
        thread::scope(|scope| {
            let stopped = scope.spawn(|| {
                let got = session.run(&[&x], &[0], &interrupt);
                (got, session)
            });
            fake.wait_until_held(1);
            interrupt.stop();
            let (got, mut session) = stopped.join().expect("does not panic");
            assert_eq!(got, Err(Failure::Interrupted));

            let x = &x;
            let released = scope.spawn(move || session.run(&[x], &[0], &Interrupt::new()));
            fake.wait_until_held(1);
            fake.release(1);
            assert_eq!(released.join().expect("does not panic"), Ok(vec![y]));
        });
        assert_eq!(fake.runs(), [2, 2]);
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused() {
        let check = |lines: &str, want: &str| {
            let refused = Fake::default().load(&Fake::model(lines), &Options::one_thread());
            let refusal = refused.err().expect("is refused");
            assert_eq!(refusal.to_string(), format!("the model cannot run: {want}"));
        };
        check("", "it does nothing");
        check("does: dance", "`does: dance` is no line of a fake model");
        check(
            "input: x FP33 1",
            "`input: x FP33 1` is no line of a fake model",
        );
        check(
            "output: y FP32\ndoes: copy",
            "its inputs and outputs do not fit what it does",
        );
        check(
            "does: panic\nfile: gone",
            "the file `gone` is not beside it",
        );
        check("does: panic\nrefuse: not today", "not today");
    }
}
