//! What the tests stand on: a real Consul, scripted origins, a client for exact bytes, and patience.
//!
//! Each file tests itself: a tool that lies would make every test above it lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "here a failure is a failed test, and says which"
)]

pub mod app;
pub mod binary;
pub mod browser;
pub mod chain;
pub mod client;
pub mod consul;
mod debian;
pub mod fake;
pub mod frames;
pub mod grpc;
pub mod h2;
pub mod mesh;
pub mod origin;
pub mod raw;
pub mod spawned;
pub mod tls;
pub mod visitor;
pub mod window;
