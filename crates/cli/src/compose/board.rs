//! The board of events: one live line per object under a count on a terminal, plain lines or JSON in a pipe;
//! on standard error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;
use serde_json::json;

use super::args::ProjectFlags;
use super::container::Said;
use crate::client::stream::Output;
use crate::session::write_out;

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
    form: Form,
    /// What goes on, above the objects: `Running`.
    title: &'static str,
    /// Whether the lines of hooks are shown.
    hooks: bool,
    lines: RefCell<BTreeMap<String, Line>>,
}

enum Form {
    /// Nothing but notes.
    Quiet,
    Plain,
    Json,
    Live(Live),
}

struct Live {
    bars: MultiProgress,
    /// `[+] Pulling 2/3`, above the objects.
    head: ProgressBar,
}

/// One object's line.
struct Line {
    bar: Option<ProgressBar>,
    began: Instant,
    done: bool,
}

impl Board {
    /// As `--progress` and `--ansi` ask: live on a terminal, unless ANSI is refused.
    pub(super) fn new(flags: &ProjectFlags) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let never = flags.ansi == "never" || flags.no_ansi;
        let wanted = flags.ansi == "always" || (!never && terminal);
        let form = match flags.progress.as_str() {
            "quiet" => Form::Quiet,
            "json" => Form::Json,
            "tty" => Form::live(),
            "plain" => Form::Plain,
            _ if wanted => Form::live(),
            _ => Form::Plain,
        };
        Board { form, title: "Running", hooks: false, lines: RefCell::default() }
    }

    /// A board that says only notes.
    pub(super) fn quiet() -> Self {
        Board { form: Form::Quiet, title: "Running", hooks: false, lines: RefCell::default() }
    }

    /// The board of a word that does one thing: `Pulling`.
    pub(super) fn titled(mut self, title: &'static str) -> Self {
        self.title = title;
        self
    }

    /// With the lines of hooks: of containers whose logs are shown too.
    pub(super) fn with_hooks(mut self) -> Self {
        self.hooks = true;
        self
    }

    /// Where goes what a hook in the container `label` prints.
    pub(super) fn hooks(&self, label: &str) -> Said<'_> {
        match self.hooks {
            true => Said::Lines(self, format!("{label} ->")),
            false => Said::Nowhere,
        }
    }

    /// One line of a hook, on standard output like those of containers.
    pub(super) fn line(&self, label: &str, line: &[u8]) -> std::io::Result<()> {
        let text = [label.as_bytes(), b"  | ", line].concat();
        match &self.form {
            Form::Live(live) => live.bars.suspend(|| write_out(Output::Stdout, &text)),
            _ => write_out(Output::Stdout, &text),
        }
    }

    /// Says that `object` (`Container plana-redis-1`) is in a state (`Started`).
    pub(super) fn say(&self, object: &str, state: &str, mark: Mark) {
        match &self.form {
            Form::Quiet => {}
            Form::Plain => tell(&format!(" {object}  {state}")),
            Form::Json => {
                let status = match mark {
                    Mark::Working => "Working",
                    Mark::Done => "Done",
                    Mark::Warning => "Warning",
                    Mark::Failed => "Error",
                };
                tell(&json!({ "id": object, "status": status, "text": state }).to_string());
            }
            Form::Live(live) => self.draw(live, object, state, mark),
        }
    }

    /// A part of a long step that is done: a line of its own in a pipe, nothing on a terminal.
    pub(super) fn step(&self, object: &str, state: &str) {
        if matches!(self.form, Form::Plain | Form::Json) {
            self.say(object, state, Mark::Done);
        }
    }

    /// How far a long step is (`12MB / 40MB`): shown on a live line only.
    pub(super) fn progress(&self, object: &str, state: &str) {
        if let Form::Live(live) = &self.form {
            self.draw(live, object, state, Mark::Working);
        }
    }

    fn draw(&self, live: &Live, object: &str, state: &str, mark: Mark) {
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(object.to_owned()).or_insert_with(|| {
            let bar =
                live.bars.add(ProgressBar::new_spinner().with_style(style(" {spinner} {msg}")));
            bar.enable_steady_tick(Duration::from_millis(100));
            Line { bar: Some(bar), began: Instant::now(), done: false }
        });
        let time = format!("{:.1}s", line.began.elapsed().as_secs_f64());
        let text = match mark {
            Mark::Working => format!("{object}  {state}  {}", time.blue()),
            Mark::Done => format!("{} {object}  {}  {}", "✔".green(), state.green(), time.blue()),
            Mark::Warning => {
                format!("{} {object}  {}  {}", "!".yellow(), state.yellow(), time.blue())
            }
            Mark::Failed => format!("{} {object}  {}  {}", "✘".red(), state.red(), time.blue()),
        };
        line.done = mark != Mark::Working;
        if let Some(bar) = &line.bar {
            let form = if line.done { " {msg}" } else { " {spinner} {msg}" };
            bar.set_style(style(form));
            bar.set_message(text);
            if line.done {
                bar.disable_steady_tick();
                bar.tick();
            }
        }
        let done = lines.values().filter(|line| line.done).count();
        live.head.set_message(format!("[+] {} {done}/{}", self.title, lines.len()));
    }

    /// A line beside the objects.
    pub(super) fn note(&self, text: &str) {
        match &self.form {
            Form::Live(live) => live.bars.suspend(|| tell(text)),
            _ => tell(text),
        }
    }
}

impl Form {
    fn live() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let head = bars.add(ProgressBar::new_spinner().with_style(style("{msg}")));
        Form::Live(Live { bars, head })
    }
}

impl Drop for Board {
    /// The lines stay as they stand.
    fn drop(&mut self) {
        if let Form::Live(live) = &self.form {
            live.head.abandon();
            for line in self.lines.borrow().values() {
                line.bar.iter().for_each(ProgressBar::abandon);
            }
        }
    }
}

/// A line on standard error. Whoever read it may be gone (`up | tee`, ended by the same Ctrl-C): the work goes on.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
