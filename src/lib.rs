//! lictor: a client-side load-balancing reverse proxy for people who run services with Consul.
//!
//! **What we were told** (config) and **who is out there** (discovery) make **today's truth** (table). A request comes in
//! (listener), belongs somewhere (route), to a group (cluster) from which one is chosen (balance) among those that may serve
//! (health), goes out (upstream), and comes back (proxy). Someone may watch (admin), and whoever
//! looks for us finds us (registration). All of it starts and stops in one place (app).

// In the order of the paragraph above, then what all lean on.
pub mod config;
pub mod discovery;
pub mod table;
pub mod listener;
pub mod route;
pub mod cluster;
pub mod balance;
pub mod health;
pub mod probe;
pub mod upstream;
pub mod proxy;
pub mod explanation;
pub mod admin;
pub mod registration;
pub mod app;
pub mod cli;

pub mod access;
pub mod account;
pub mod consul;
pub mod endpoint;
pub mod journal;
pub mod lifecycle;
pub mod mesh;
pub mod message;
pub mod metrics;
pub mod tls;
pub mod trace;

pub mod registry;
