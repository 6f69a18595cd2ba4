//! Untrusted text, made fit for a log line.

use std::fmt;

/// Most octets shown; the rest is cut with a mark.
const MAX_SHOWN: usize = 512;

/// Shows untrusted octets: control, invisible and direction-changing characters and octets that are not UTF-8 are escaped.
///
/// ```
/// assert_eq!(wire::Printable(b"a\x1b[2J\r\n\xff\\").to_string(), r"a\x1b[2J\r\n\xff\\");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = match self.0.get(..MAX_SHOWN) {
            Some(head) if self.0.len() > MAX_SHOWN => (head, true),
            _ => (self.0, false),
        };
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() || is_deceptive(c) => write!(f, "{}", Escape(c))?,
                    c => fmt::Write::write_char(f, c)?,
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        if cut { f.write_str("[...]") } else { Ok(()) }
    }
}

/// Whether a character separates lines, or reorders or hides text.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

struct Escape(char);

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\r' => f.write_str("\\r"),
            '\n' => f.write_str("\\n"),
            '\t' => f.write_str("\\t"),
            c if (c as u32) < 0x100 => write!(f, "\\x{:02x}", c as u32),
            c => write!(f, "\\u{{{:x}}}", c as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bidirectional_override_is_escaped() {
        assert_eq!(Printable("a\u{202e}b\u{85}".as_bytes()).to_string(), r"a\u{202e}b\x85");
    }

    #[test]
    fn long_text_is_cut() {
        let shown = Printable(&[b'x'; 5000]).to_string();
        assert!(shown.ends_with("x[...]") && shown.len() < 600, "{}", shown.len());
    }

    proptest! {
        #[test]
        fn nothing_shown_can_control_a_terminal(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!Printable(&bytes).to_string().chars().any(|c| c.is_control()));
        }
    }
}
