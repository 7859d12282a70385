//! One task: a small HTTP server that ends as servers should, and its health check.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// A client that says nothing does not keep the server from ending.
const SILENCE: Duration = Duration::from_secs(10);

/// Answers until SIGTERM; then no connection is taken any more, and those that were are answered.
pub(super) fn serve(port: u16) -> Result<()> {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().context("signals")?;
    let listener = TcpListener::bind(("0.0.0.0", port)).context("the port")?;
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                // A client that went away is no failure of the server.
                let _ = answer(stream);
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    end.wait().context("signals")?;
    while open.load(Ordering::SeqCst) > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(()) // what was not accepted is reset: nobody should have come
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&part[..count]),
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
}

/// Fails unless the server answers.
pub(super) fn check(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: task\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    anyhow::ensure!(said.starts_with("HTTP/1.1 200"), "{said:?}");
    Ok(())
}
