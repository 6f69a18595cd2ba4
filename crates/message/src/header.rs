//! Header fields as mail programs read them: raw fields by offset, and lenient readings of the MIME ones.
//!
//! Nothing is decoded needlessly. Of a field with several readings all are given, so that each can be made safe.

use crate::slice::Slice;
use std::borrow::Cow;
use std::ops::Range;

/// One header field (RFC 5322 2.2), by offsets into its header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderField {
    /// The name, without the blanks that may precede the colon.
    pub(crate) name: Range<usize>,
    /// The value after the colon, folding included, without the final line end.
    pub(crate) value: Range<usize>,
    /// The whole field with its final line end.
    pub(crate) whole: Range<usize>,
}

/// A header block cut into fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderFields {
    pub(crate) list: Vec<HeaderField>,
    /// A line that is no field and continues none, or a first line that begins with a blank: parsers differ there.
    pub(crate) stray_line: bool,
    /// A blank before a colon, a NUL or a bare CR: some parsers do not see the field.
    pub(crate) odd_field: bool,
    /// Content-Type and Content-Transfer-Encoding fields that only some programs see: within a line that continues
    /// another field, or behind a bare CR.
    pub(crate) hidden: Vec<HiddenField>,
}

/// A field that stands within another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HiddenField {
    /// Its name in lower case.
    pub(crate) name: &'static str,
    /// The value after its colon.
    pub(crate) value: Range<usize>,
}

impl HeaderFields {
    /// Cuts `block`, which ends before the blank line, into fields.
    pub(crate) fn parse(block: &[u8]) -> Self {
        let mut out = Self::default();
        let mut at = 0;
        while at < block.len() {
            let end = memchr::memchr(b'\n', block.slice(at..)).map_or(block.len(), |n| at + n + 1);
            let line = block.slice(at..end);
            let text = trim_line_end(line);
            if matches!(line.first(), Some(b' ' | b'\t')) {
                out.note_hidden(at, text);
                match out.list.last_mut() {
                    Some(f) if f.whole.end == at => {
                        f.whole.end = end;
                        f.value.end = at + text.len();
                    }
                    _ => out.stray_line = true,
                }
            } else if let Some(colon) = memchr::memchr(b':', text)
                && let name = text.slice(..colon)
                && let kept = name.trim_ascii_end()
                && !kept.is_empty()
                && kept.iter().all(|b| *b > 32 && *b != 127 || *b == 0)
            {
                out.odd_field |= kept.len() != name.len() || kept.contains(&0);
                out.list.push(HeaderField {
                    name: at..at + kept.len(),
                    value: at + colon + 1..at + text.len(),
                    whole: at..end,
                });
            } else if !text.is_empty() {
                out.stray_line = true;
            }
            if text.contains(&b'\r') {
                out.odd_field = true;
                for cr in memchr::memchr_iter(b'\r', text) {
                    let piece = text.slice(cr + 1..);
                    let len = memchr::memchr(b'\r', piece).unwrap_or(piece.len());
                    out.note_hidden(at + cr + 1, piece.slice(..len));
                }
            }
            out.odd_field |= text.contains(&0);
            at = end;
        }
        out
    }

    /// Notes the field that a piece of a line would be as a line of its own. A DKIM signature lists such names too (RFC
    /// 6376 3.5): only one with a value that means something counts.
    fn note_hidden(&mut self, at: usize, piece: &[u8]) {
        let blanks = piece.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let field = piece.slice(blanks..);
        for name in ["content-type", "content-transfer-encoding"] {
            if field.get(name.len()) != Some(&b':')
                || !field
                    .get(..name.len())
                    .is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
            {
                continue;
            }
            let value = field.slice(name.len() + 1..);
            if name != "content-type" || TypedField::parse(value).is_sound() {
                let start = at + blanks + name.len() + 1;
                self.hidden.push(HiddenField {
                    name,
                    value: start..at + piece.len(),
                });
            }
        }
    }

    /// All fields of that name, in order; NULs within the name are looked over, as lenient parsers do.
    pub(crate) fn named<'a>(&'a self, block: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a HeaderField> + 'a {
        self.list.iter().filter(move |f| {
            let raw = block.slice(f.name.clone());
            raw.eq_ignore_ascii_case(name.as_bytes())
                || raw.contains(&0)
                    && raw
                        .iter()
                        .filter(|b| **b != 0)
                        .map(u8::to_ascii_lowercase)
                        .eq(name.bytes().map(|b| b.to_ascii_lowercase()))
        })
    }
}

/// `line` without its CRLF, LF or final CR.
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A reading of a Content-Type or Content-Disposition field (RFC 2045 5.1, RFC 2183, RFC 2231).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TypedField {
    /// Media type or disposition, lower case, comments and blanks removed: `text/html`.
    pub(crate) value: String,
    /// Parameters in order, names in lower case, values unquoted.
    pub(crate) params: Vec<Param>,
    /// The field could not be read to its end without guessing.
    pub(crate) malformed: bool,
}

/// The top-level media types whose contents matter here, with what follows them.
const TOP_LEVEL: &[&str] = &["text/", "multipart/", "message/", "application/", "image/"];

/// One parameter of a structured field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl TypedField {
    /// Reads a field's value leniently: comments anywhere, open quotes, missing semicolons, stray junk.
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let mut malformed = false;
        let text = without_comments(raw, &mut malformed);
        let text = text.as_ref();
        let mut rest = text;
        let head = take_until(&mut rest, b";");
        // Some programs decode encoded words everywhere.
        let decoded = head
            .windows(2)
            .any(|w| w == b"=?")
            .then(|| encoded_words(lossy(head).trim()))
            .flatten()
            .filter(|d| TOP_LEVEL.iter().any(|t| d.to_ascii_lowercase().starts_with(t)));
        malformed |= decoded.is_some();
        let head = decoded.as_ref().map_or(head, |d| d.as_bytes());
        let mut value: String = head
            .iter()
            .filter(|b| !b.is_ascii_whitespace() && **b != 0 && **b != b'"')
            .map(|b| b.to_ascii_lowercase() as char)
            .collect();
        if let Some((first, _)) = value.split_once(',') {
            value = first.to_owned();
            malformed = true;
        }
        let mut out = Self {
            value,
            params: Vec::new(),
            malformed,
        };
        while !rest.is_empty() {
            out.param(&mut rest);
        }
        out.join_continuations();
        out
    }

    fn param(&mut self, rest: &mut &[u8]) {
        let skip = rest
            .iter()
            .take_while(|b| b.is_ascii_whitespace() || **b == b';')
            .count();
        *rest = rest.slice(skip..);
        let len = rest.iter().take_while(|b| !b"=;".contains(b)).count();
        let name: String = lossy(rest.slice(..len)).trim().to_ascii_lowercase().replace('\0', "");
        *rest = rest.slice(len..);
        if rest.first() != Some(&b'=') {
            self.malformed |= !name.is_empty();
            return;
        }
        *rest = rest.slice(1..);
        let skip = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        *rest = rest.slice(skip..);
        let value = if rest.first() == Some(&b'"') {
            *rest = rest.slice(1..);
            let mut out = Vec::new();
            let mut bytes = rest.iter().enumerate();
            let mut used = None;
            while let Some((i, b)) = bytes.next() {
                match b {
                    b'"' => {
                        used = Some(i + 1);
                        break;
                    }
                    b'\\' => out.extend(bytes.next().map(|(_, b)| *b)),
                    b'\r' | b'\n' => {}
                    b => out.push(*b),
                }
            }
            match used {
                Some(n) => *rest = rest.slice(n..),
                None => {
                    // An open quote: clients end the value at the semicolon or take all of it; the first word counts.
                    self.malformed = true;
                    *rest = &[];
                    if let Some(i) = out.iter().position(|b| *b == b';') {
                        out.truncate(i);
                    }
                }
            }
            lossy(&out).into_owned()
        } else {
            let len = rest
                .iter()
                .take_while(|b| **b != b';' && !b.is_ascii_whitespace())
                .count();
            let v = lossy(rest.slice(..len)).into_owned();
            *rest = rest.slice(len..);
            v
        };
        self.params.push(Param {
            name,
            value: value.replace('\0', ""),
        });
    }

    /// Joins RFC 2231 pieces (`boundary*0`, `name*0*`) and decodes percent signs of extended values.
    fn join_continuations(&mut self) {
        if !self.params.iter().any(|p| p.name.contains('*')) {
            return;
        }
        let mut joined: Vec<(String, Vec<(u32, String)>)> = Vec::new();
        for p in &self.params {
            let Some((base, tail)) = p.name.split_once('*') else {
                continue;
            };
            let extended = tail.is_empty() || tail.ends_with('*');
            let index = tail.trim_end_matches('*').parse().unwrap_or(0);
            let value = if extended {
                percent_decode(strip_charset(&p.value, index))
            } else {
                p.value.clone()
            };
            match joined.iter_mut().find(|(n, _)| n == base) {
                Some((_, pieces)) => pieces.push((index, value)),
                None => joined.push((base.to_owned(), vec![(index, value)])),
            }
        }
        for (name, mut pieces) in joined {
            pieces.sort_by_key(|(i, _)| *i);
            self.params.push(Param {
                name,
                value: pieces.into_iter().map(|(_, v)| v).collect(),
            });
        }
    }

    /// Every value given to a parameter, in order of reading.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.params
            .iter()
            .filter(move |p| p.name == name)
            .map(|p| p.value.as_str())
    }

    /// The first value given to a parameter.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|p| p.name == name).map(|p| p.value.as_str())
    }

    /// Whether the value is a media type as RFC 2045 5.1 writes it, a token on both sides of the slash.
    pub(crate) fn is_sound(&self) -> bool {
        let token = |t: &str| {
            !t.is_empty()
                && t.bytes()
                    .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
        };
        self.value.split_once('/').is_some_and(|(a, b)| token(a) && token(b))
    }

    /// The top-level media type: `text`.
    pub(crate) fn top(&self) -> &str {
        self.value.split('/').next().unwrap_or_default()
    }
}

/// Most spellings of a boundary that are looked for.
const MAX_SPELLINGS: usize = 100;

/// The ways in which the octets of a boundary parameter are read by programs that parse it by hand: backslashes and
/// comments kept, up to a semicolon, a comma or a blank, without single quotes. `raw` is the value of a Content-Type field.
pub(crate) fn boundary_spellings(raw: &[u8]) -> Vec<Vec<u8>> {
    let line: Vec<u8> = raw
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'\r' | b'\n' | 0))
        .collect();
    let lower = line.to_ascii_lowercase();
    let mut out: Vec<Vec<u8>> = Vec::new();
    for at in memchr::memmem::find_iter(&lower, b"boundary") {
        let begins = at.checked_sub(1).and_then(|n| lower.get(n));
        if begins.is_some_and(|b| !b.is_ascii_whitespace() && *b != b';') {
            continue;
        }
        let Some(value) = line.slice(at + 8..).trim_ascii_start().strip_prefix(b"=") else {
            continue;
        };
        let value = value.trim_ascii_start();
        let up_to = |text: &'_ [u8], stop: &dyn Fn(u8) -> bool| -> Vec<u8> {
            let len = text.iter().position(|b| stop(*b)).unwrap_or(text.len());
            text.slice(..len).trim_ascii().to_vec()
        };
        let mut found = Vec::new();
        if let Some(quoted) = value.strip_prefix(b"\"") {
            let mut escaped = false;
            let end = quoted.iter().position(|b| {
                let ends = *b == b'"' && !escaped;
                escaped = *b == b'\\' && !escaped;
                ends
            });
            let inner = quoted.slice(..end.unwrap_or(quoted.len()));
            found.push(inner.trim_ascii_end().to_vec());
        } else {
            let whole = up_to(value, &|b| b == b';');
            for v in [
                up_to(&whole, &|b| b == b','),
                up_to(&whole, &|b| b.is_ascii_whitespace()),
                up_to(&whole, &|b| b == b',' || b.is_ascii_whitespace()),
                up_to(&whole, &|b| b == b'('),
                whole,
            ] {
                if let Some(bare) = v.strip_prefix(b"'").and_then(|v| v.strip_suffix(b"'")) {
                    found.push(bare.to_vec());
                }
                found.push(v);
            }
        }
        for v in found {
            if !v.is_empty() && !out.contains(&v) {
                out.push(v);
            }
        }
        if out.len() > MAX_SPELLINGS {
            break;
        }
    }
    out
}

/// Decodes RFC 2047 encoded words where a client might do so in a parameter; `None` when there is none.
pub(crate) fn encoded_words(text: &str) -> Option<String> {
    let start = text.find("=?")?;
    let (charset_on, after) = text.slice(start + 2..).split_once('?')?;
    let _ = charset_on;
    let (coding, after) = after.split_once('?')?;
    let (word, tail) = after.split_once("?=")?;
    let decoded = match coding {
        "Q" | "q" => percent_like(word.replace('_', " ").as_bytes(), b'='),
        "B" | "b" => data_encoding::BASE64_NOPAD
            .decode(word.trim_end_matches('=').as_bytes())
            .ok()?,
        _ => return None,
    };
    Some(format!("{}{}{}", text.slice(..start), lossy(&decoded), tail))
}

fn strip_charset(value: &str, index: u32) -> &str {
    if index == 0 && value.matches('\'').count() >= 2 {
        value.splitn(3, '\'').nth(2).unwrap_or(value)
    } else {
        value
    }
}

fn percent_decode(value: &str) -> String {
    lossy(&percent_like(value.as_bytes(), b'%')).into_owned()
}

/// Decodes `%41` or `=41`, depending on the mark; anything else stays.
fn percent_like(bytes: &[u8], mark: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((b, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(v) if *b == mark => {
                out.push(v);
                rest = tail.slice(2..);
            }
            _ => {
                out.push(*b);
                rest = tail;
            }
        }
    }
    out
}

/// Bytes as text: UTF-8 where it is, else each byte a character (ISO 8859-1).
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(s) => Cow::Borrowed(s),
        Err(_) => Cow::Owned(bytes.iter().map(|b| *b as char).collect()),
    }
}

/// Removes RFC 5322 comments outside quoted strings. An open comment runs to the end.
fn without_comments<'a>(raw: &'a [u8], malformed: &mut bool) -> Cow<'a, [u8]> {
    if !raw.contains(&b'(') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for b in raw {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => {
                depth += 1;
                continue;
            }
            b')' if depth > 0 => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            out.push(*b);
        }
    }
    *malformed |= depth > 0;
    Cow::Owned(out)
}

/// Takes bytes up to a stop byte outside quotes, and the stop byte with them.
fn take_until<'a>(rest: &mut &'a [u8], stop: &[u8]) -> &'a [u8] {
    let mut quoted = false;
    for (i, b) in rest.iter().enumerate() {
        match b {
            b'"' => quoted = !quoted,
            b if !quoted && stop.contains(b) => {
                let head = rest.slice(..i);
                *rest = rest.slice(i + 1..);
                return head;
            }
            _ => {}
        }
    }
    if quoted {
        // No closing quote: the stop byte counts after all.
        let n = rest.iter().position(|b| stop.contains(b)).unwrap_or(rest.len());
        let head = rest.slice(..n);
        *rest = rest.slice(rest.len().min(n + 1)..);
        return head;
    }
    std::mem::take(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(block: &[u8], name: &str) -> Vec<String> {
        let f = HeaderFields::parse(block);
        f.named(block, name)
            .map(|f| String::from_utf8_lossy(&block[f.value.clone()]).into_owned())
            .collect()
    }

    #[test]
    fn folded_fields_are_one() {
        let block = b"Subject: a\r\n b\r\nTo: x\r\n";
        assert_eq!(values(block, "subject"), [" a\r\n b"]);
        assert_eq!(values(block, "TO"), [" x"]);
    }

    #[test]
    fn stray_lines_and_odd_names_are_marked() {
        let f = HeaderFields::parse(b"A: 1\r\nno colon here\r\nB : 2\r\n");
        assert!(f.stray_line && f.odd_field);
        assert_eq!(f.list.len(), 2);
        assert!(HeaderFields::parse(b" starts with blank\r\nA: 1\r\n").stray_line);
    }

    #[test]
    fn media_types_are_read_leniently() {
        for (raw, value, charset) in [
            (" text/html; charset=utf-8", "text/html", Some("utf-8")),
            (
                " (hi (there)) TEXT/HTML (x) ; CharSet=utf-8 (y)",
                "text/html",
                Some("utf-8"),
            ),
            (" text/plain;\r\n\tcharset=\"us-ascii\"", "text/plain", Some("us-ascii")),
            (" \"text/html\" ; charset=\"utf-8", "text/html", Some("utf-8")),
            (" text/html, text/plain", "text/html", None),
            (" =?utf-8?Q?text/html?=; charset=x", "text/html", Some("x")),
            (" =?utf-8?B?dGV4dC9odG1s?=", "text/html", None),
            ("", "", None),
        ] {
            let t = TypedField::parse(raw.as_bytes());
            assert_eq!((t.value.as_str(), t.first("charset")), (value, charset), "{raw}");
        }
    }

    #[test]
    fn fields_within_other_lines_are_seen() {
        for (block, hidden) in [
            ("X-A: 1\r\n\tContent-Type: text/html\r\n", &["content-type"][..]),
            (
                "X-A: 1\rContent-Type: text/html\rContent-Transfer-Encoding: base64\r\n",
                &["content-type", "content-transfer-encoding"],
            ),
            (
                "DKIM-Signature: h=From:\r\n\tContent-Type:To:\r\n Content-Type; b=ab/cd\r\n",
                &[],
            ),
            ("Content-Type: text/html;\r\n charset=x\r\n", &[]),
        ] {
            let names: Vec<_> = HeaderFields::parse(block.as_bytes())
                .hidden
                .iter()
                .map(|h| h.name)
                .collect();
            assert_eq!(names, hidden, "{block}");
        }
    }

    #[test]
    fn boundaries_are_spelt_in_several_ways() {
        for (raw, spellings) in [
            (" multipart/mixed; boundary=\"a b\"; x=y", &["a b"][..]),
            (" multipart/mixed; boundary=ab; x=y", &["ab"]),
            (" multipart/mixed; BOUNDARY = \"a\\b\\\"c\" (x)", &["a\\b\\\"c"]),
            (" multipart/mixed; boundary=a b", &["a b", "a"]),
            (" multipart/mixed; boundary=a(b)c", &["a(b)c", "a"]),
            (
                " multipart/mixed; boundary='ab', x",
                &["ab", "'ab'", "'ab',", "'ab', x"],
            ),
            (" multipart/mixed; x-boundary=ab", &[]),
        ] {
            let found = boundary_spellings(raw.as_bytes());
            let found: Vec<_> = found.iter().map(|b| String::from_utf8_lossy(b)).collect();
            assert_eq!(found, spellings, "{raw}");
        }
    }

    #[test]
    fn continuations_are_joined() {
        let t = TypedField::parse(b" multipart/mixed;\r\n boundary*0=\"ab\";\r\n boundary*1=\"cd\"");
        assert_eq!(t.first("boundary"), Some("abcd"));
        let t = TypedField::parse(b" text/plain; name*=utf-8''a%20b.htm");
        assert_eq!(t.first("name"), Some("a b.htm"));
    }

    #[test]
    fn encoded_words_in_parameters() {
        assert_eq!(encoded_words("=?utf-8?Q?b?=").as_deref(), Some("b"));
        assert_eq!(encoded_words("=?utf-8?B?YWI=?=x").as_deref(), Some("abx"));
        assert_eq!(encoded_words("plain"), None);
    }
}
