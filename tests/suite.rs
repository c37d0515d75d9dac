//! Everything that is tested from outside, in one binary: the true app, scripted origins, a real Consul.
//!
//! A file here is a behaviour; `support` holds what they share; `house` is about the source itself, `reference` about what
//! operators read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test's name is its sentence")]

mod support;

mod access_log;
mod admin;
mod balancing;
mod checks;
mod cli;
mod connections;
mod connect;
mod corpus;
mod dashboard;
mod consul_faults;
mod consul_outages;
mod deadlines;
mod discovery;
mod egress;
mod ejection;
mod explain;
mod failover;
mod failure;
mod forwarding;
mod grpc;
mod garbled;
mod hand;
mod hostile;
mod http2;
mod last_lists;
mod leader;
mod lifecycle;
mod limits;
mod locality;
mod many_services;
mod metrics;
mod mesh;
mod mirroring;
mod probes;
mod prometheus;
mod proxy_protocol;
mod registration;
mod retries;
mod service_routes;
mod routing;
mod stale;
mod streaming;
mod supervision;
mod tcp;
mod timeouts;
#[cfg(feature = "otlp")]
mod tracing;
mod tls;
mod upstream_h2;
mod top;
mod window;
mod trusted;
mod upstream_tls;
mod websocket;
mod kv;
mod rights;
mod tutorial;
mod walkthroughs;
mod house;
mod reference;
