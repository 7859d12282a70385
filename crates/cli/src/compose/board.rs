//! The board of events: one live line per object on a terminal, plain lines in a pipe, on standard error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;

/// How an event looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Working,
    Done,
    Warning,
    Failed,
}

/// What happens to the objects of a project.
pub(super) struct Board {
    live: Option<MultiProgress>,
    lines: RefCell<BTreeMap<String, (ProgressBar, Instant)>>,
}

impl Board {
    /// Live on a terminal, unless ANSI is refused.
    pub(super) fn new(ansi: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let live = ansi == "always" || (ansi != "never" && terminal);
        let target = ProgressDrawTarget::stderr();
        Board {
            live: live.then(|| MultiProgress::with_draw_target(target)),
            lines: RefCell::default(),
        }
    }

    /// Says that `object` (`Container plana-redis-1`) is in a state (`Started`).
    pub(super) fn say(&self, object: &str, state: &str, mark: Mark) {
        let Some(live) = &self.live else {
            eprintln!(" {object}  {state}");
            return;
        };
        let mut lines = self.lines.borrow_mut();
        let (bar, began) = lines.entry(object.to_owned()).or_insert_with(|| {
            let bar = live.add(ProgressBar::new_spinner().with_style(style()));
            bar.enable_steady_tick(Duration::from_millis(100));
            (bar, Instant::now())
        });
        let time = format!("{:.1}s", began.elapsed().as_secs_f64());
        let text = match mark {
            Mark::Working => return bar.set_message(format!("{object}  {state}")),
            Mark::Done => format!("{} {object}  {}  {}", "✔".green(), state.green(), time.blue()),
            Mark::Warning => {
                format!("{} {object}  {}  {}", "!".yellow(), state.yellow(), time.blue())
            }
            Mark::Failed => format!("{} {object}  {}  {}", "✘".red(), state.red(), time.blue()),
        };
        bar.set_style(finished());
        bar.finish_with_message(text);
    }

    /// A line beside the objects.
    pub(super) fn note(&self, text: &str) {
        match &self.live {
            Some(live) => live.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(" {spinner} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn finished() -> ProgressStyle {
    ProgressStyle::with_template(" {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}
