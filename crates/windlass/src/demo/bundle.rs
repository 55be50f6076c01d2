//! What the demo brings along: three versions of a model and the rows that it is asked about, as they lie in
//! `examples/car_loan`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// A version's files.
type Files = [(&'static str, &'static [u8]); 3];

macro_rules! version {
    ($folder:literal) => {
        [
            part!($folder, "model.onnx"),
            part!($folder, "windlass.yaml"),
            part!($folder, "examples.json"),
        ]
    };
}

macro_rules! part {
    ($folder:literal, $name:literal) => {
        (
            $name,
            include_bytes!(concat!(
                "../../../../examples/car_loan/",
                $folder,
                "/",
                $name
            )) as &[u8],
        )
    };
}

/// In the order of their numbers.
const VERSIONS: [(&str, Files); 3] = [
    ("v1", version!("v1")),
    ("v2", version!("v2")),
    ("v3", version!("v3")),
];

/// Applicants of the time before they changed, with what turned out to be true of each.
pub(super) const REFERENCE: &[u8] =
    include_bytes!("../../../../examples/car_loan/stream/reference.parquet");
/// Those of the time after.
pub(super) const DRIFTED: &[u8] =
    include_bytes!("../../../../examples/car_loan/stream/drifted.parquet");

/// Lays the versions out, a folder for each: `v1`, `v2`, `v3`.
pub(super) fn lay_out(folder: &Path) -> anyhow::Result<()> {
    for (name, files) in VERSIONS {
        let folder = folder.join(name);
        let making = || format!("making `{}`", folder.display());
        fs::create_dir_all(&folder).with_context(making)?;
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).with_context(making)?;
        }
    }
    Ok(())
}
