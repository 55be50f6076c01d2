//! Writes `crates/wire/src/proto/inference.rs` and `inference.bin` from `crates/wire/proto/inference.proto`.
//!
//! The result is committed, so that a build needs no protobuf compiler. It is run in `crates/wire`, after a change of the
//! `.proto`:
//!
//! ```sh
//! pip install grpcio-tools
//! cd crates/wire
//! python -m grpc_tools.protoc -I proto --include_source_info --descriptor_set_out=../../target/inference.fds inference.proto
//! cargo run -p wire-codegen -- ../../target/inference.fds
//! ```

use std::path::Path;

use anyhow::Context;
use prost::Message;
use prost_types::FileDescriptorSet;

/// Fields that are kept as the `Bytes` they arrived in, not copied.
const KEPT: [&str; 2] = [
    ".inference.ModelInferRequest.raw_input_contents",
    ".inference.ModelInferResponse.raw_output_contents",
];

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: wire-codegen DESCRIPTOR_SET")?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{path}`"))?;
    let mut descriptors = FileDescriptorSet::decode(&bytes[..])?;
    let folder = Path::new("src/proto");
    let mut build = tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(folder);
    for field in KEPT {
        build = build.bytes(field);
    }
    build.compile_fds(descriptors.clone())?;
    // Reflection does not show comments; without them the file is a third as long.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    std::fs::write(folder.join("inference.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
