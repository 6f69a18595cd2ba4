//! The encodings of Proofpoint URL Defense.

use crate::escapes::{base64_decoded, percent_decoded};

/// Version 2: `-` stands for `%`, `_` for `/`.
pub(super) fn version_2(value: &str) -> String {
    let plain: String = value
        .chars()
        .map(|c| match c {
            '-' => '%',
            '_' => '/',
            c => c,
        })
        .collect();
    unescaped(&percent_decoded(&plain))
}

/// Version 1: percent escapes, then character references.
pub(super) fn version_1(value: &str) -> String {
    unescaped(&percent_decoded(value))
}

/// Version 3: `__<text>__;<removed>!...`. In the text `*` stands for the next removed character, `**` and a letter for a run
/// of them; the removed characters follow in Base64. `None` when the two do not fit together.
pub(super) fn version_3(text: &str) -> Option<String> {
    let (text, rest) = text.split_once("__;")?;
    let (removed, _) = rest.split_once('!')?;
    let removed = String::from_utf8(base64_decoded(removed)?).ok()?;
    let mut removed = removed.chars();
    let text = percent_decoded(text);
    let mut original = String::with_capacity(text.len());
    let mut text = text.chars().peekable();
    while let Some(c) = text.next() {
        if c != '*' {
            original.push(c);
            continue;
        }
        let run = if text.next_if_eq(&'*').is_some() {
            run_length(text.next()?)?
        } else {
            1
        };
        for _ in 0..run {
            original.push(removed.next()?);
        }
    }
    Some(original)
}

/// The length of a run in characters: `A` 2 to `Z` 27, `a` 28 to `z` 53, `0` 54 to `9` 63, `-` 64, `_` 65.
fn run_length(letter: char) -> Option<u32> {
    let from = |first: char, length: u32| u32::from(letter) - u32::from(first) + length;
    match letter {
        'A'..='Z' => Some(from('A', 2)),
        'a'..='z' => Some(from('a', 28)),
        '0'..='9' => Some(from('0', 54)),
        '-' => Some(64),
        '_' => Some(65),
        _ => None,
    }
}

/// Decodes the character references that occur in URLs.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after
            .split_once(';')
            .and_then(|(name, tail)| Some((character(name)?, tail)));
        match reference {
            Some((c, tail)) => {
                plain.push(c);
                rest = tail;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) if hex.len() <= 6 => u32::from_str_radix(hex, 16).ok()?,
                Some(_) => return None,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escapes::base64;

    fn sealed(text: &str, removed: &str) -> String {
        format!("{text}__;{}!!Ab1!cdef$", base64(removed.as_bytes()))
    }

    #[test]
    fn runs_take_as_many_as_their_letter_says() {
        for (letter, length) in [
            ('A', 2),
            ('Z', 27),
            ('a', 28),
            ('z', 53),
            ('0', 54),
            ('9', 63),
            ('-', 64),
            ('_', 65),
        ] {
            let removed = "\u{fc}".repeat(length);
            let found = version_3(&sealed(&format!("https://a.example/x**{letter}y"), &removed));
            assert_eq!(found.unwrap(), format!("https://a.example/x{removed}y"), "{letter}");
            let short = "\u{fc}".repeat(length - 1);
            assert_eq!(version_3(&sealed(&format!("x**{letter}"), &short)), None, "{letter}");
        }
        assert_eq!(version_3(&sealed("x**.", "abc")), None);
        assert_eq!(version_3(&sealed("x**", "abc")), None);
    }

    #[test]
    fn characters_are_counted_and_not_octets() {
        let text = sealed("https://a.example/*?q=***Cz", "\u{1F600}\u{e9}#%&=");
        assert_eq!(
            version_3(&text),
            None,
            "a run behind a single one needs a text that says so"
        );
        let text = sealed("https://a.example/*?q=**Cz", "\u{1F600}\u{e9}#%&");
        assert_eq!(version_3(&text).unwrap(), "https://a.example/\u{1F600}?q=\u{e9}#%&z");
    }

    #[test]
    fn broken_ones_are_none() {
        for text in [
            "https://a.example/",
            "https://a.example/__;",
            "https://a.example/*__;!!x",
            "https://a.example/__;?!!x",
            "https://a.example/*__;_w!!x",
        ] {
            assert_eq!(version_3(text), None, "{text}");
        }
        assert_eq!(version_3("https://a.example/__;!!x").unwrap(), "https://a.example/");
    }

    #[test]
    fn character_references_are_undone() {
        for (value, want) in [
            ("http-3A__a.example_-3Fx-3D1-26amp-3By-3D2", "http://a.example/?x=1&y=2"),
            ("http-3A__a.example_a-2Db-5Fc", "http://a.example/a-b_c"),
            ("a-26-2339-3Bb-26-23x41-3Bc-26zz-3Bd-26", "a'bAc&zz;d&"),
            ("-26-23x110000-3B", "&#x110000;"),
        ] {
            assert_eq!(version_2(value), want, "{value}");
        }
        assert_eq!(
            version_1("http%3A%2F%2Fa.example%2F%3Fx%26amp%3By"),
            "http://a.example/?x&y"
        );
    }
}
