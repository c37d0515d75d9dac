//! The streams of a connection that are being served, all of them in its task: a task for each would have to be made, run and joined
//! for every request. Whoever can go on is noted, and goes on when the connection is polled; what all of them have to say then leaves
//! at once.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// What serves a stream. On the heap, since it is large and would be moved.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Those at work.
pub(super) struct Serving {
    places: Vec<Place>,
    free: Vec<usize>,
    calls: Arc<Calls>,
    /// Of the connection itself.
    waker: Waker,
}

/// For one stream after the other.
struct Place {
    work: Option<Work>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Who has asked to be polled. One thread uses it; locked only because wakers have to be `Send`.
#[derive(Default)]
struct Calls(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    streams: Vec<usize>,
    connection: bool,
    /// Wakes the task; none while it runs, since it looks again before it rests.
    task: Option<Waker>,
}

/// Wakes a stream.
struct Bell {
    place: usize,
    has_rung: AtomicBool,
    calls: Arc<Calls>,
}

impl Serving {
    /// No streams, and a connection that has to be polled first.
    pub(super) fn new() -> Self {
        let calls = Arc::<Calls>::default();
        calls.waiting().connection = true;
        Serving { places: Vec::new(), free: Vec::new(), waker: Waker::from(Arc::clone(&calls)), calls }
    }

    /// What the connection is to be polled with.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// True if the connection has asked to be polled.
    pub(super) fn is_connection_called(&self) -> bool {
        std::mem::take(&mut self.calls.waiting().connection)
    }

    /// Has one more stream served, when they are next polled.
    pub(super) fn add(&mut self, work: Work) {
        let index = self.free.pop().unwrap_or_else(|| {
            let bell = Arc::new(Bell::new(self.places.len(), &self.calls));
            self.places.push(Place { work: None, waker: Waker::from(Arc::clone(&bell)), bell });
            self.places.len() - 1
        });
        if let Some(place) = self.places.get_mut(index) {
            place.work = Some(work);
            place.bell.ring();
        }
    }

    /// Goes on with those that have asked for it.
    pub(super) fn poll(&mut self) {
        let mut turn = std::mem::take(&mut self.calls.waiting().streams);
        for index in turn.drain(..) {
            let Some(place) = self.places.get_mut(index) else { continue };
            // From now on it may ask again.
            place.bell.has_rung.store(false, Ordering::Relaxed);
            let Some(work) = &mut place.work else { continue };
            if work.as_mut().poll(&mut Context::from_waker(&place.waker)).is_ready() {
                place.work = None;
                self.free.push(index);
            }
        }
        let mut waiting = self.calls.waiting();
        if waiting.streams.is_empty() {
            // It has room already.
            waiting.streams = turn;
        }
    }

    /// Whoever asks from now on wakes the task.
    pub(super) fn rest(&self, cx: &Context<'_>) {
        let mut waiting = self.calls.waiting();
        if waiting.connection || !waiting.streams.is_empty() {
            cx.waker().wake_by_ref();
        } else {
            waiting.task = Some(cx.waker().clone());
        }
    }
}

impl Calls {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Bell {
    fn new(place: usize, calls: &Arc<Calls>) -> Self {
        Bell { place, has_rung: AtomicBool::new(false), calls: Arc::clone(calls) }
    }

    fn ring(&self) {
        if self.has_rung.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.calls.waiting();
        waiting.streams.push(self.place);
        waiting.wake();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut waiting = self.waiting();
        waiting.connection = true;
        waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use super::*;

    /// Counts how often it is polled, and shows its waker; ends when `end` is set.
    #[derive(Default)]
    struct Stream {
        polls: Cell<usize>,
        waker: RefCell<Option<Waker>>,
        end: Cell<bool>,
    }

    fn work(stream: &Rc<Stream>) -> Work {
        let stream = Rc::clone(stream);
        Box::pin(poll_fn(move |cx| {
            stream.polls.set(stream.polls.get() + 1);
            stream.waker.replace(Some(cx.waker().clone()));
            if stream.end.get() { Poll::Ready(()) } else { Poll::Pending }
        }))
    }

    fn wake(stream: &Stream) {
        stream.waker.borrow().iter().for_each(Waker::wake_by_ref);
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Task(Mutex<usize>);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    #[test]
    fn only_streams_that_have_asked_are_polled() {
        let (mut serving, streams) = (Serving::new(), [(); 3].map(|()| Rc::new(Stream::default())));
        streams.iter().for_each(|stream| serving.add(work(stream)));
        serving.poll();
        wake(&streams[1]);
        wake(&streams[1]);
        serving.poll();
        serving.poll();
        assert_eq!(streams.each_ref().map(|stream| stream.polls.get()), [1, 2, 1]);
    }

    #[test]
    fn a_place_is_used_again_and_an_old_waker_harms_nobody() {
        let (mut serving, first, second) = (Serving::new(), Rc::new(Stream::default()), Rc::new(Stream::default()));
        first.end.set(true);
        serving.add(work(&first));
        serving.poll();
        wake(&first);
        serving.poll();
        serving.add(work(&second));
        serving.poll();
        assert_eq!((serving.places.len(), first.polls.get(), second.polls.get()), (1, 1, 1));
    }

    #[test]
    fn the_task_is_woken_once_and_only_while_it_rests() {
        let (mut serving, stream, task) = (Serving::new(), Rc::new(Stream::default()), Arc::new(Task::default()));
        let (waker, woken) = (Waker::from(Arc::clone(&task)), || *task.0.lock().unwrap());
        let cx = Context::from_waker(&waker);
        assert!(serving.is_connection_called() && !serving.is_connection_called());
        serving.add(work(&stream));
        serving.poll();
        assert_eq!(woken(), 0);
        serving.rest(&cx);
        wake(&stream);
        serving.waker().wake_by_ref();
        assert_eq!(woken(), 1);
        serving.poll();
        // The connection has asked as well, and was passed over.
        serving.rest(&cx);
        assert_eq!(woken(), 2);
    }
}
