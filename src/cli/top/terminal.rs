//! The terminal: keys in, the screen out, until somebody leaves. Whatever happens, it is left as it was.

use std::pin::Pin;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Order;
use super::feed::Feed;
use super::model::{Message, Model};
use super::screen::{self, Choice};
use crate::cli::Error;
use crate::cli::window::Window;

/// Between two looks at the keyboard: nobody notices that.
const LOOK: Duration = Duration::from_millis(40);
/// Between two attempts to find a feed again.
const AGAIN: Duration = Duration::from_secs(1);
/// A feed that is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);

/// Shows what there is until somebody presses `q`. The first look has to succeed: who is at the wrong address wants to know it at once.
pub(super) async fn run(window: &Window, order: Order) -> Result<(), Error> {
    let feed = Feed::open(window).await?;
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut terminal = ratatui::try_init()?;
    let result = tokio::select! {
        result = show(&mut terminal, window, feed, order) => result,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    ratatui::try_restore()?;
    result
}

async fn show(terminal: &mut DefaultTerminal, window: &Window, feed: Feed, order: Order) -> Result<(), Error> {
    let (mut model, mut choice) = (Model::default(), Choice::new(order));
    let mut link = Link { window, state: State::Heard(feed, Instant::now()) };
    // Drawing is what costs something here: it is done where something has changed.
    let mut is_news = true;
    loop {
        // Whatever is at hand first, so that a key is not waited for by a message nor the reverse.
        while event::poll(Duration::ZERO)? {
            is_news = true;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && !press(key, &mut choice, &model) => {
                    return Ok(());
                }
                _ => {}
            }
        }
        if std::mem::take(&mut is_news) {
            terminal.draw(|frame| screen::draw(frame, &model, &choice))?;
        }
        let Ok(heard) = timeout(LOOK, link.hear()).await else { continue };
        is_news = true;
        match heard {
            Ok(message) => {
                choice.lost = None;
                model.learn(message);
            }
            Err(why) => choice.lost = Some(why),
        }
    }
}

/// The feed, found again where it was lost.
struct Link<'a> {
    window: &'a Window,
    state: State<'a>,
}

enum State<'a> {
    /// Since when there was a message, or the feed.
    Heard(Feed, Instant),
    Lost(Instant),
    Sought(Pin<Box<dyn Future<Output = Result<Feed, Error>> + 'a>>),
}

impl Link<'_> {
    /// The next message, or why there is none. May be dropped and called again: where it is with its search is kept.
    async fn hear(&mut self) -> Result<Message, String> {
        loop {
            match &mut self.state {
                State::Heard(feed, since) => {
                    let heard = match timeout_at(*since + SILENCE, feed.next()).await {
                        Ok(heard) => heard.map_err(|error| error.to_string()),
                        Err(_) => Err("silence".to_owned()),
                    };
                    match heard {
                        Ok(_) => *since = Instant::now(),
                        Err(_) => self.state = State::Lost(Instant::now()),
                    }
                    return heard;
                }
                State::Lost(since) => {
                    sleep_until(*since + AGAIN).await;
                    self.state = State::Sought(Box::pin(Feed::open(self.window)));
                }
                State::Sought(search) => match search.await {
                    Ok(feed) => self.state = State::Heard(feed, Instant::now()),
                    Err(error) => {
                        self.state = State::Lost(Instant::now());
                        return Err(error.to_string());
                    }
                },
            }
        }
    }
}

/// Does what a key is for; false to leave.
fn press(key: KeyEvent, choice: &mut Choice, model: &Model) -> bool {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return key.code != KeyCode::Char('c');
    }
    match (choice.is_typing, key.code) {
        (true, KeyCode::Enter) => choice.is_typing = false,
        (true, KeyCode::Backspace) => drop(choice.search.pop()),
        (true, KeyCode::Char(letter)) => choice.search.push(letter),
        (_, KeyCode::Esc) => {
            choice.is_typing = false;
            choice.search.clear();
        }
        (false, KeyCode::Char('q')) => return false,
        (false, KeyCode::Char('/')) => choice.is_typing = true,
        (false, KeyCode::Char('s')) => choice.order = choice.order.next(),
        (_, KeyCode::Down) | (false, KeyCode::Char('j')) => choice.step(model, 1),
        (_, KeyCode::Up) | (false, KeyCode::Char('k')) => choice.step(model, -1),
        (_, KeyCode::PageDown) => choice.step(model, 10),
        (_, KeyCode::PageUp) => choice.step(model, -10),
        (_, KeyCode::Home) => choice.step(model, isize::MIN),
        (_, KeyCode::End) => choice.step(model, isize::MAX),
        _ => {}
    }
    true
}
