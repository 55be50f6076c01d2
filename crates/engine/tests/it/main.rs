//! Every engine against the suite of all, and ONNX Runtime against models of its own.

mod build;
mod inspect;
mod onnx;
mod runtime;
mod sniff;
mod suite;
