//! The words of Windlass and every decision it takes.
//!
//! Pure: nothing here reads a clock, rolls dice, touches a disk or a socket, waits or logs.
//! What a decision needs is an argument; what must happen next is its return value.

pub mod access;
pub mod alert;
pub mod attention;
pub mod attributes;
pub mod batch;
pub mod budget;
pub mod contract;
pub mod decision;
pub mod event;
pub mod experiment;
pub mod frame;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod manifest;
pub mod maturity;
pub mod monitor;
pub mod name;
pub mod refusal;
pub mod request;
pub mod retention;
pub mod rollout;
pub mod signature;
pub mod task;
pub mod tensor;
pub mod time;
pub mod why;

pub use ledger::PredictionId;
pub use name::{Alias, Digest, ModelName, Reference, Selector, Version};
pub use refusal::Refusal;
pub use signature::{Dimension, Signature, TensorSpec};
pub use tensor::{DataType, Elements, Tensor};
pub use time::Time;
