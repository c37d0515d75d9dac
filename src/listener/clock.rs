//! The date as answers carry it (RFC 9110 section 5.6.7), made once a second and not with each answer.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock of one thread.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Cell<u64>,
    text: RefCell<Vec<u8>>,
}

impl Clock {
    /// Now.
    pub(super) fn now(&self) -> std::cell::Ref<'_, [u8]> {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second.replace(second) != second {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *self.text.borrow_mut() = text.into_bytes();
        }
        std::cell::Ref::map(self.text.borrow(), Vec::as_slice)
    }
}
