//! A buffer that lies ready for whoever on this thread needs one next. Most messages are read, looked at and written in one go, and
//! are small: one buffer that is used again at once stays in the nearest cache, where one for each connection would be fetched from
//! afar each time.

use std::cell::RefCell;

use bytes::BytesMut;

/// A larger one is not kept: it was made for a long message.
const MOST: usize = 16 * 1024;

/// The buffer, or none while somebody has it.
#[derive(Debug, Default)]
pub struct Spare(RefCell<BytesMut>);

impl Spare {
    /// Takes it; an empty one without room if somebody else has it.
    pub fn take(&self) -> BytesMut {
        self.0.take()
    }

    /// Takes back a buffer that has nothing in it, and leaves one without room.
    pub fn give(&self, buffer: &mut BytesMut) {
        let buffer = std::mem::take(buffer);
        if buffer.is_empty() && (1..=MOST).contains(&buffer.capacity()) {
            self.0.replace(buffer);
        }
    }

    /// Has it used in place, for what is split off it at once.
    pub fn with<T>(&self, work: impl FnOnce(&mut BytesMut) -> T) -> T {
        work(&mut self.0.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_it_is_large() {
        let spare = Spare::default();
        assert_eq!(spare.take().capacity(), 0);
        spare.give(&mut BytesMut::with_capacity(1000));
        let mut taken = spare.take();
        assert!(taken.capacity() >= 1000 && spare.take().capacity() == 0);
        spare.give(&mut taken);
        assert!(spare.take().capacity() >= 1000);
        spare.give(&mut BytesMut::with_capacity(2 * MOST));
        assert_eq!(spare.take().capacity(), 0);
    }
}
