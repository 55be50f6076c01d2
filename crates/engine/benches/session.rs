//! What a run costs on a model so small that little but its cost shows: 30 numbers in, two probabilities
//! out. `benches/ort.rs` has the same without this crate; one process cannot hold both.

#[path = "../tests/it/build.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod build;
#[path = "../tests/it/runtime.rs"]
mod runtime;

use divan::Bencher;
use engine::{Engine, Interrupt, Options, sample_inputs};

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 32, 1024])]
fn engine(bencher: Bencher<'_, '_>, rows: usize) {
    let loaded = runtime::runtime().load(&build::source(&build::linear()), &Options::one_thread());
    let loaded = loaded.expect("loads");
    let mut session = loaded.session().expect("is there");
    let inputs = sample_inputs(loaded.signature(), rows, 1).expect("small");
    bencher.bench_local(|| {
        session
            .run(&[&inputs[0]], &[0], &Interrupt::new())
            .expect("runs")
    });
}
