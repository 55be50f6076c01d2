//! Protocol records and conversions: bytes into the words of `domain`, and answers into bytes.
//!
//! Pure and synchronous: nothing here opens a socket or a file. Everything that comes from a network is
//! read here, so nothing here panics, whatever the bytes are.

mod elements;
mod json;
mod number;

pub mod alerts;
pub mod api;
pub mod attributes;
pub mod code;
pub mod experiments;
pub mod labels;
pub mod oip;
pub mod path;
pub mod proto;
pub mod rollouts;
pub mod rows;
