//! Logging: one line for each event, to standard error, whatever the logged values hold.
//!
//! Ids and names come from strangers. A line break in one would forge a log line, and an escape sequence would act on the terminal of
//! whoever reads the log, so every control character is written as `\u001b` is.

mod refusals;

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::{Log, LogFormat};

pub use refusals::{REFUSALS, Refusals};

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one; [`load`](crate::config::load::load) has refused it before.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else was here before.
    #[error("logging is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the whole process's log to standard error. Once per process.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    REFUSALS.set_limit(log.refusals_per_s_max);
    Ok(tracing::subscriber::set_global_default(subscriber(log, io::stderr)?)?)
}

/// A log in the configured form, written to `writer`.
pub fn subscriber<W>(log: &Log, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter)?;
    // Colours would be escaped like everything else, so there are none.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(OneLine(writer));
    Ok(match log.format {
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
        LogFormat::Text => Box::new(lines.finish()),
    })
}

/// Makes writers that keep each event on one line.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLineWriter(self.0.make_writer())
    }
}

/// Gets an event with each write, with the line break at its end.
struct OneLineWriter<W>(W);

impl<W: Write> Write for OneLineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        // A line that cannot be written is lost. The library would complain about it on standard error, which is where it failed, and
        // panic: a full disk under the log file would then drop webhooks.
        let _ = if line.chars().any(acts_on_the_reader) { writeln!(self.0, "{}", escape(line)) } else { self.0.write_all(event) };
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Control characters, and those that break lines or turn the direction of the text.
fn acts_on_the_reader(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As in JSON, so that a line of JSON stays one.
fn escape(line: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if acts_on_the_reader(c) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written when `user` is logged as a value, as a quoted value, in the message, and in an error.
    fn logged(format: LogFormat, user: &str) -> String {
        log_of(format, || {
            let error: &(dyn std::error::Error + 'static) = &io::Error::other(user.to_owned());
            tracing::info!(user = %user, quoted = ?user, plain = user, error, "hello {user}");
            tracing::debug!("not shown");
        })
    }

    /// What is written while `talk` runs.
    pub(super) fn log_of(format: LogFormat, talk: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = Log { filter: "info".to_owned(), format, refusals_per_s_max: 1 };
        let subscriber = subscriber(&log, Shared(Arc::clone(&written))).unwrap();
        tracing::subscriber::with_default(subscriber, talk);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Shared {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn whatever_is_logged_stays_one_line_without_control_characters() {
        let user = "acme:4\u{1b}[31m2\r\n{\"level\":\"ERROR\"}\0\u{7f}\u{9b}2J\u{202e}\u{2028}é";
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = logged(format, user);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.trim_end_matches('\n').chars().any(acts_on_the_reader), "{line:?}");
            assert!(line.contains('é'), "{line}");
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line["user"], user);
                assert_eq!(line["message"], format!("hello {user}"));
                assert_eq!(line["level"], "INFO");
            }
        }
    }
}
