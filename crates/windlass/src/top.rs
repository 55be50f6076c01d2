//! `windlass top`: every model as it is now, in a terminal.
//!
//! R1. What is drawn is a function of what is known, what was chosen and the size of the screen (`view`, `draw`).
//! R2. Nothing is said by colour alone, and without colour where the user wants none (`NO_COLOR`).
//! R3. A server that is away is said to be, with since when what is shown is old, and is asked again.

mod draw;
mod listen;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use wire::api::overview::OverviewRecord;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use draw::Palette;
use view::{Key, View};

const OVERVIEW: &str = "/api/v1/overview";
/// How often it is seen whether somebody still listens to keys.
const POLL: Duration = Duration::from_millis(200);
/// Keys and news that wait to be looked at.
const WAITING_MAX: usize = 64;

#[derive(Debug, Args)]
#[command(
    after_help = "Those models come first that need attention most: 3 now, 2 something to look after, 1 something to \
    know.\n\nKeys: up and down (or k and j) choose a model, enter shows it alone, s changes the order, q or escape goes \
    back and leaves.\n\nExamples:\n  windlass top\n  windlass top --once\n  windlass top --once --json"
)]
pub(crate) struct TopArgs {
    /// Prints what there is now as plain text and ends; so it does where nobody looks
    #[arg(long)]
    once: bool,
}

/// Runs `windlass top`.
pub(crate) async fn run(context: &Context, args: &TopArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let looks = io::stdout().is_terminal() && io::stdin().is_terminal();
    let result = if args.once || context.output.json || !looks {
        once(context, &client).await
    } else if client.address().is_none() {
        let message = "no server works on the data folder".to_owned();
        let hint = "start one with `windlass serve`, or name one with `--server URL`";
        Err(Failure::not_now(message, hint).into())
    } else {
        live(context, &client).await
    };
    client.close().await;
    result
}

async fn once(context: &Context, client: &Client) -> anyhow::Result<()> {
    let overview: OverviewRecord = client.get(OVERVIEW).await?;
    context.output.answer(&overview, draw::plain)
}

/// What the server is heard to say.
enum News {
    /// All of what there is.
    All(OverviewRecord),
    /// The same with the newest points only.
    More(OverviewRecord),
    /// It is away, and why.
    Away(String),
}

async fn live(context: &Context, client: &Client) -> anyhow::Result<()> {
    let palette = Palette {
        colour: context.environment.no_color.is_none(),
    };
    // Before the screen is taken: what is wrong with the first answer is an error like any other.
    let first: OverviewRecord = client.get(OVERVIEW).await?;
    let mut view = View::new(client.address().unwrap_or_default().to_owned(), first);
    let (tell, mut news) = mpsc::channel(WAITING_MAX);
    let (press, mut keys) = mpsc::channel(WAITING_MAX);
    let mut screen = ratatui::try_init().context("opening the screen")?;
    std::thread::spawn(move || read_keys(&press));
    let listening = listen::listen(client, tell);
    tokio::pin!(listening);
    let mut draw = |view: &View| {
        screen
            .draw(|frame| draw::draw(frame, view, palette))
            .map(drop)
    };
    let result = loop {
        if let Err(error) = draw(&view) {
            break Err(error).context("drawing");
        }
        let goes_on = tokio::select! {
            // It ends only when nobody listens.
            () = &mut listening => break Ok(()),
            Some(it) = news.recv() => view.hear(it),
            pressed = keys.recv() => match pressed {
                None => break Ok(()),
                Some(Pressed::Key(key)) => view.press(key),
                // The size has changed: it is drawn anew.
                Some(Pressed::Resized) => true,
            },
        };
        if !goes_on {
            break Ok(());
        }
    };
    ratatui::try_restore().context("giving the screen back")?;
    result
}

enum Pressed {
    Key(Key),
    Resized,
}

/// Reads keys on a thread of its own until nobody wants them.
fn read_keys(press: &mpsc::Sender<Pressed>) {
    while !press.is_closed() {
        match event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let pressed = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => key_of(key),
            Ok(Event::Resize(..)) => Some(Pressed::Resized),
            Ok(_) => None,
            Err(_) => return,
        };
        if let Some(pressed) = pressed
            && press.blocking_send(pressed).is_err()
        {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Pressed> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let key = match key.code {
        KeyCode::Char('c') if control => Key::Leave,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        KeyCode::Enter => Key::Enter,
        KeyCode::Char('s') => Key::Order,
        KeyCode::Char('q') | KeyCode::Esc => Key::Back,
        _ => return None,
    };
    Some(Pressed::Key(key))
}
