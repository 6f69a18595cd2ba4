//! Rows for people and programs: times, and strangers' texts that must not steer a terminal.

use std::fmt::{self, Display, Write as _};
use std::io;

use jiff::Timestamp;
use serde::Serialize;

/// RFC 3339 in UTC. A time no calendar has is shown as the number it is.
pub(crate) fn time(at_us: i64, digits: usize) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => format!("{at:.digits$}"),
        Err(_) => at_us.to_string(),
    }
}

/// A line of JSON. JSON only demands that C0 be escaped; a terminal obeys more than that.
pub(crate) fn json_line(value: &impl Serialize, line: &mut String) -> io::Result<()> {
    // Such characters stand in strings alone.
    for c in serde_json::to_string(value)?.chars() {
        match steers(c) {
            true => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            false => line.push(c),
        }
    }
    line.push('\n');
    Ok(())
}

/// A stranger's text for a terminal: whatever could steer one is written as an escape.
///
/// Those are control characters, line and paragraph separators, and what turns the direction of writing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match steers(c) {
                true => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character could steer a terminal or hide what stands next to it.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_nothing_else() {
        let nasty = "a\u{1b}[31m\r\n\u{9b}2J\u{202e}\u{2028}z";
        assert_eq!(
            Escaped(nasty).to_string(),
            r"a\u{1b}[31m\u{d}\u{a}\u{9b}2J\u{202e}\u{2028}z"
        );
        assert_eq!(
            Escaped("J\u{fc}rgen \u{65e5}\u{672c}").to_string(),
            "J\u{fc}rgen \u{65e5}\u{672c}"
        );
    }
}
