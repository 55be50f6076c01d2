//! What a run of `benches/session.rs` costs without this crate. `bound` is the least that the library takes:
//! inputs and outputs bound once, nothing copied. `plain` is `ort`'s own way, with a copy of the answer.

#[path = "../tests/it/build.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod build;
#[path = "../tests/it/runtime.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod runtime;

use std::sync::OnceLock;

use divan::Bencher;
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{Tensor, TensorRef};

const ROWS: [usize; 3] = [1, 32, 1024];

fn main() {
    divan::main();
}

fn session() -> Session {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(|| {
        let builder = ort::init_from(runtime::library()).expect("is there");
        builder.build().expect("starts")
    });
    let builder = Session::builder(environment).expect("has options");
    let mut builder = builder.with_intra_threads(1).expect("one thread");
    let source = build::source(&build::linear());
    builder.commit_from_memory(&source.bytes).expect("loads")
}

#[divan::bench(args = ROWS)]
fn plain(bencher: Bencher<'_, '_>, rows: usize) {
    let mut session = session();
    let x = vec![0f32; rows * 30];
    bencher.bench_local(|| {
        let view = TensorRef::from_array_view(([rows, 30], x.as_slice())).expect("fits");
        let answers = session.run(ort::inputs![view]).expect("runs");
        let (shape, numbers) = answers[0].try_extract_tensor::<f32>().expect("floats");
        (shape.to_vec(), numbers.to_vec())
    });
}

#[divan::bench(args = ROWS)]
fn bound(bencher: Bencher<'_, '_>, rows: usize) {
    let mut session = session();
    let x = Tensor::from_array(([rows, 30], vec![0f32; rows * 30])).expect("fits");
    let p = Tensor::<f32>::new(&Allocator::default(), [rows, 2]).expect("fits");
    let mut binding = session.create_binding().expect("binds");
    binding.bind_input("x", &x).expect("is an input");
    binding.bind_output("p", p).expect("is an output");
    bencher.bench_local(|| drop(session.run_binding(&binding).expect("runs")));
}
