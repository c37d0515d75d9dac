//! Between workers and the thread that writes: lines that wait, so many bytes of them and no more. It is one text, to which workers add
//! what they have and which the thread takes as a whole: so the bound is one of bytes, whether lines are short or long, few or many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that wait at most: some eight thousand lines. As many again may be on their way to where they are written.
pub(super) const MOST: usize = 4 * 1024 * 1024;
/// Room that is kept where there was need of more.
const KEPT: usize = 512 * 1024;
/// How long lines gather before they are taken, where there are any all the time: to be woken for each batch, and to take a worker's place
/// for that, cost more than all of the writing.
const GATHERING: Duration = Duration::from_millis(10);
/// So many bytes are taken at once.
const ENOUGH: usize = MOST / 4;

/// Shared by those who add and the one who takes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
    /// The file is to be opened anew. Not behind the lock, since whoever writes looks at it between any two pieces.
    reopen: AtomicBool,
    /// No reader is to be waited for any more.
    left: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    closed: bool,
    /// The one who takes has nothing to do. Only then it is woken, which costs a worker more than the lines do.
    asleep: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Lines have come, or the file is to be opened anew.
    Write,
    /// Nothing more will come.
    End,
}

impl Queue {
    /// Adds whole lines; none of them, and false, if there is no room for all.
    pub(super) fn add(&self, lines: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.text.len() + lines.len() > MOST {
            return false;
        }
        let was_enough = waiting.text.len() >= ENOUGH;
        waiting.text.extend_from_slice(lines);
        let is_enough = waiting.text.len() >= ENOUGH;
        self.wake(waiting, is_enough && !was_enough);
        true
    }

    /// Has the file opened anew before anything else is written.
    pub(super) fn reopen(&self) {
        let waiting = self.lock();
        self.reopen.store(true, Ordering::Release);
        self.wake(waiting, true);
    }

    /// Whether the file is to be opened anew.
    pub(super) fn reopens(&self) -> bool {
        self.reopen.load(Ordering::Acquire)
    }

    /// The same, for whoever does it now.
    pub(super) fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    /// Has no reader waited for any more.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether nobody is to be waited for any more.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.wake(waiting, true);
    }

    /// Waits for something to do, and takes all lines in exchange for what is left of those before.
    pub(super) fn take(&self, text: &mut Vec<u8>) -> Next {
        text.clear();
        text.shrink_to(KEPT);
        let is_calm = |waiting: &Waiting| !self.reopens() && !waiting.closed;
        let gathers = |waiting: &mut Waiting| waiting.text.len() < ENOUGH && is_calm(waiting);
        let gathered = self.news.wait_timeout_while(self.lock(), GATHERING, gathers);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        while waiting.text.is_empty() && is_calm(&waiting) {
            waiting.asleep = true;
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut waiting.text, text);
        if text.is_empty() && !self.reopens() { Next::End } else { Next::Write }
    }

    /// Wakes whoever takes, if need be, and not before it finds the lock open.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>, urges: bool) {
        let sleeps = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if sleeps || urges {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_many_bytes_however_many_come_at_once() {
        let (queue, mut text) = (Queue::default(), Vec::new());
        for size in [10, 50 * 1024] {
            let mut line = vec![b'x'; size - 1];
            line.push(b'\n');
            let count = (0..).take_while(|_| queue.add(&line)).count();
            assert_eq!(count, MOST / size);
            assert_eq!(queue.take(&mut text), Next::Write);
            assert_eq!(text.len(), count * size);
        }
    }

    #[test]
    fn what_came_before_its_end_is_still_taken() {
        let (queue, mut text) = (Queue::default(), Vec::new());
        assert!(queue.add(b"a\n"));
        queue.reopen();
        queue.close();
        assert!(!queue.add(b"b\n"));
        assert_eq!((queue.take(&mut text), text.as_slice()), (Next::Write, &b"a\n"[..]));
        assert!(queue.take_reopen());
        assert_eq!((queue.take(&mut text), text.as_slice()), (Next::End, &b""[..]));
    }
}
