//! Bodies that hold rows instead of tensors: KServe V1, TensorFlow Serving, Vertex AI and MLflow scoring.
//!
//! R1. Exactly one of the forms that the protocol knows. KServe V1: `instances` or `inputs`. MLflow: these,
//!     `dataframe_split` or `dataframe_records`; a list without a name is refused, as MLflow refuses it.
//! R2. Lists go to the model's only input; their shape is how they are nested, and regular. Where the input
//!     has one more axis, of length 1 or variable, it is added: `[1, 2]` fills `[-1, 1]`.
//! R3. Objects by the names of inputs hold a tensor each (`inputs`) or one row of each (`instances`).
//!     Objects by the names of columns become the columns of a table ([`domain::frame`]).
//! R4. A value that a row of a table leaves out, or gives as `null`, is missing.
//! R5. `params` of MLflow and `parameters` of Vertex change what a model does; ours take none: refused
//!     unless empty. Other unknown keys are passed over.

use domain::Refusal;

mod csv;
mod encode;
mod json;
mod nested;
mod parquet;
mod table;

pub use csv::decode_csv;
pub use encode::{Layout, encode_predictions};
pub use json::{decode_mlflow, decode_v1};
pub use parquet::decode_parquet;
pub(crate) use parquet::read as read_parquet;

const WHAT: &str = "the request";

/// The most columns of a table; models that take more take them as a matrix.
const COLUMNS_MAX: usize = 16_384;

fn check_columns(count: usize) -> Result<(), Refusal> {
    if count <= COLUMNS_MAX {
        return Ok(());
    }
    Err(Refusal::TooLarge {
        what: "the number of columns of a table",
        limit: COLUMNS_MAX as u64,
        got: None,
    })
}

fn malformed(why: String) -> Refusal {
    Refusal::Malformed { what: WHAT, why }
}

#[cfg(test)]
mod tests;
