//! What the lock-free parts are made of: the standard library's. They name it by way of this file, so that
//! `tests/interleavings` can give them another one, under which every order of their steps is tried.

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
