//! What a user sees, against the real program.

mod cli;
mod predict;
mod terminal;
mod top;
