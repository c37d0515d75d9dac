//! Large futures, made where they stay.

use std::pin::Pin;

/// Makes a future on the heap. `Box::pin` makes it on the stack and moves it when it has found room: ten thousand bytes for each
/// request or connection, of which next to nothing is in use by then.
#[inline]
pub(super) fn on_heap<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let room = Box::new_uninit();
    Box::into_pin(Box::write(room, make()))
}
