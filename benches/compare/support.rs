//! Of what tests stand on: a real Consul.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "there a failure is a failed test")]

#[path = "../../tests/support/binary.rs"]
pub mod binary;
#[path = "../../tests/support/client.rs"]
pub mod client;
#[path = "../../tests/support/consul/mod.rs"]
pub mod consul;
#[path = "../../tests/support/debian.rs"]
pub mod debian;
