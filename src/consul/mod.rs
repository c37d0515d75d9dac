//! The Consul agent's HTTP API, as far as lictor uses it: a thin client over reqwest with the deadlines, bounds and error classes that
//! following needs, and the pace at which it may be asked. What answers are worth is for those who ask.

mod agent;
mod answer;
mod api;
mod failure;
mod pace;

pub use agent::{Agent, encode};
pub use answer::{Answer, Meta};
pub use api::Query;
pub use failure::{Error, Failure};
pub use pace::{Backoff, Bucket, vary};
