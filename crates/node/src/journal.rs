//! Lines for the journal, which keeps standard error; also what the join service logs.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes a line. Where nobody listens, nobody misses it.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Says what kcl's own crates log: the level, the message, and the fields in their order.
///
/// It knows no spans, which none of them has; it is a thousandth of what a library for this brings.
pub(crate) struct Journal;

impl Subscriber for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("kcl_") && *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let text = format!("{level}: {}{}", line.message, line.fields);
        // What a stranger sent may be part of it: it becomes no line of its own.
        say(&text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_and_matters_is_said() {
        tracing::subscriber::with_default(Journal, || {
            assert!(tracing::enabled!(target: "kcl_join::server", Level::WARN));
            assert!(!tracing::enabled!(target: "kcl_join::server", Level::DEBUG));
            assert!(!tracing::enabled!(target: "hyper", Level::WARN));
        });
    }
}
