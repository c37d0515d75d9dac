//! The terminal: keys in, the screen out, until somebody leaves. Whatever happens, it is left as it was.

use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::Order;
use super::feed::Feed;
use super::model::Model;
use super::screen::{self, Choice};
use crate::cli::Error;
use crate::cli::window::Window;

/// Between two looks at the keyboard: nobody notices that.
const LOOK: Duration = Duration::from_millis(40);
/// Between two attempts to find a feed again.
const AGAIN: Duration = Duration::from_secs(1);
/// A feed that is silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// Bars of the past.
const PAST: usize = 40;

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
    let (mut feed, mut heard) = (Some(feed), Instant::now());
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
        match &mut feed {
            Some(reader) => match timeout(LOOK, reader.next()).await {
                Ok(Ok(message)) => {
                    is_news = true;
                    heard = Instant::now();
                    choice.lost = None;
                    choice.past.push(message.totals.rate.unwrap_or_default());
                    choice.past.drain(..choice.past.len().saturating_sub(PAST));
                    model.learn(message);
                }
                Ok(Err(error)) => (choice.lost, feed, is_news) = (Some(error.to_string()), None, true),
                Err(_) if heard.elapsed() > SILENCE => {
                    (choice.lost, feed, is_news) = (Some("silence".to_owned()), None, true);
                }
                Err(_) => {}
            },
            None if heard.elapsed() > AGAIN => {
                heard = Instant::now();
                feed = Feed::open(window).await.ok();
            }
            None => sleep(LOOK).await,
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
