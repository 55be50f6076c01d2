//! What the machine allows, for `bench/run.py` to hold servers against.
//!
//! `limit http` is the bare HTTP server that a model server cannot beat on the same stack: it reads the whole
//! body, looks at none of it, and answers as many bytes as the real server would. One thread, Windlass's own
//! allocator and HTTP library. What is left between it and Windlass is parsing, queueing, the engine and encoding.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt;
use bytes::Bytes;
use clap::Parser;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The bare limits of this machine.
#[derive(Parser)]
enum Limit {
    /// Serve every path: read the body, answer a fixed number of bytes.
    Http {
        /// The port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// The length of every answer.
        #[arg(long)]
        answer_bytes: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let Limit::Http { port, answer_bytes } = Limit::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(http(port, answer_bytes))
}

/// Runs until it is killed.
async fn http(port: u16, answer_bytes: usize) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on `{address}`"))?;
    // A connection that cannot have it is only slower, so the answer is not needed.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));

    let answer = Bytes::from(vec![b' '; answer_bytes]);
    let respond = move |body: Bytes| async move {
        drop(body);
        ([(CONTENT_TYPE, "application/json")], answer)
    };
    let app = Router::new()
        .fallback(respond)
        .layer(DefaultBodyLimit::disable());
    axum::serve(listener, app).await.context("serving")
}
