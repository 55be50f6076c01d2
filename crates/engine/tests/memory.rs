//! What a model took is given back when its sessions are dropped. In a process of its own, whose memory
//! nothing else changes.

#[path = "it/build.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
mod build;
#[path = "it/runtime.rs"]
mod runtime;

use domain::DataType;
use engine::{Engine, Interrupt, ModelSource, Options, sample_inputs};

const MIB: usize = 1 << 20;

/// A product with a matrix of 64 MiB.
fn large() -> ModelSource {
    let mut graph = build::graph(
        &["y = MatMul x w"],
        &["x FP32 rows,4096"],
        &["y FP32 rows,4096"],
    );
    let weights = vec![0u8; 64 * MIB];
    graph
        .initializers
        .push(build::weights("w", DataType::Fp32, &[4096, 4096], &weights));
    build::source(&build::model(graph))
}

/// The process's memory in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|it| it.starts_with("VmRSS:"))
        .expect("is there");
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse::<usize>().ok());
    kib.expect("a number") / 1024
}

fn load_and_run() -> usize {
    let loaded = runtime::runtime()
        .load(&large(), &Options::one_thread())
        .expect("loads");
    let inputs = sample_inputs(loaded.signature(), 4, 1).expect("small");
    let mut sessions = [
        loaded.session().expect("first"),
        loaded.session().expect("second"),
    ];
    for session in &mut sessions {
        session
            .run(&[&inputs[0]], &[0], &Interrupt::new())
            .expect("runs");
    }
    resident()
}

#[test]
fn unloading_gives_the_memory_back() {
    // The first time, the library itself and the allocator's own pages come in.
    load_and_run();
    let before = resident();
    for round in 0..5 {
        let during = load_and_run();
        let after = resident();
        let seen = format!("round {round}: {before} MiB before, {during} loaded, {after} after");
        assert!(
            during > before + 128,
            "two sessions hold two matrices; {seen}"
        );
        assert!(after < before + 10, "{seen}");
    }
}
