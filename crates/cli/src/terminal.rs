//! The user's terminal: is there one, how large, and raw mode that is always undone.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};

/// The state to go back to, also from the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// True when standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// True when standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// True when colour is wanted: a terminal, and no NO_COLOR.
pub(crate) fn colour() -> bool {
    stdout_is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows and columns of the terminal, if any output is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let of = |fd: BorrowedFd<'_>| terminal_size::terminal_size_of(fd);
    let found = of(std::io::stdout().as_fd()).or_else(|| of(std::io::stdin().as_fd()));
    found.map(|(width, height)| (height.0, width.0))
}

/// Raw mode on standard input; the old mode comes back when this is dropped or the program panics.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Switches to raw mode; `None` when standard input is no terminal.
    pub(crate) fn enter() -> std::io::Result<Option<Self>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let saved = termios::tcgetattr(std::io::stdin())?;
        let mut raw = saved.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        if let Ok(mut slot) = SAVED.lock() {
            *slot = Some(saved);
        }
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
        Ok(Some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().ok().and_then(|mut slot| slot.take());
    if let Some(saved) = saved {
        // nothing can be done if the terminal has gone away
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &saved);
    }
}

/// Asks for a line; `secret` is typed without echo.
pub(crate) fn prompt(question: &str, secret: bool) -> std::io::Result<String> {
    let mut err = std::io::stderr();
    write!(err, "{question}")?;
    err.flush()?;
    let echo = if secret && stdin_is_terminal() { Some(hide_echo()?) } else { None };
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if let Some(saved) = echo {
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &saved)?;
        writeln!(err)?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks a yes/no question; anything but `y` is no.
pub(crate) fn confirm(question: &str) -> std::io::Result<bool> {
    let answer = prompt(&format!("{question} [y/N] "), false)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn hide_echo() -> std::io::Result<Termios> {
    let saved = termios::tcgetattr(std::io::stdin())?;
    let mut quiet = saved.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &quiet)?;
    Ok(saved)
}
