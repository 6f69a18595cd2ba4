//! Where a script sends its page, as far as that can be read without running it: assignments of literals to `location`
//! and the calls that do the same. That a URL is put together at run time is only noticed.

use std::collections::HashMap;

/// The effects that scripts of a page have on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Addresses as written, in order, with whether that happens as soon as the script runs.
    pub(super) to: Vec<(String, bool)>,
    /// It goes somewhere, and where is worked out as it runs.
    pub(super) built: bool,
    /// It makes text or code out of what is not readable as such.
    pub(super) obscured: bool,
    /// It sends a form.
    pub(super) submits: bool,
}

/// Octets of a literal, and of what names stand for: a name may stand for itself twice, time and again.
const MAX_LITERAL: usize = 16 * 1024;
/// More addresses than this are not looked at.
const MAX_MOVES: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    /// A template with something to fill in, or a regular expression.
    Opaque,
    Sign(&'a str),
}

use Token::{Opaque, Sign, Text, Word};

impl Moves {
    /// Reads one more script.
    pub(super) fn read(&mut self, script: &str) {
        let tokens = tokens(script);
        let mut known: HashMap<&str, Option<String>> = HashMap::new();
        let mut depth = 0_usize;
        for (i, token) in tokens.iter().enumerate() {
            let before = i.checked_sub(1).and_then(|b| tokens.get(b));
            let rest = tokens.get(i + 1..).unwrap_or_default();
            match token {
                Sign("{") => depth += 1,
                Sign("}") => depth = depth.saturating_sub(1),
                Word("atob" | "eval" | "unescape" | "fromCharCode") => self.obscured = true,
                Word("submit" | "requestSubmit") if matches!(rest, [Sign("("), ..]) => self.submits = true,
                Word(name) => {
                    if let Some(value) = moved(&tokens, i, &known) {
                        self.note(value, depth == 0);
                    } else if before != Some(&Sign("."))
                        && let [Sign("="), value @ ..] = rest
                    {
                        // A name with two values has none that is known.
                        let value = literal(value, &known).filter(|_| !known.contains_key(name));
                        known.insert(name, value);
                    }
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, value: Option<String>, at_once: bool) {
        match value {
            Some(to) if self.to.len() < MAX_MOVES => {
                let at = self.to.iter().position(|(known, _)| *known == to);
                match at.and_then(|at| self.to.get_mut(at)) {
                    Some((_, once)) => *once |= at_once,
                    None => self.to.push((to, at_once)),
                }
            }
            Some(_) => {}
            None => self.built = true,
        }
    }
}

/// Where the page goes if the word at `i` begins something that sends it on: `Some(None)` is somewhere.
fn moved(tokens: &[Token<'_>], i: usize, known: &HashMap<&str, Option<String>>) -> Option<Option<String>> {
    let word = tokens.get(i)?;
    let rest = tokens.get(i + 1..)?;
    let of = i.checked_sub(1).and_then(|b| tokens.get(b));
    let receiver = || i.checked_sub(2).and_then(|b| tokens.get(b));
    let of_window = match of {
        Some(Sign("." | "?.")) => matches!(receiver(), Some(Word(name)) if is_window(name)),
        // A name of its own, or a key.
        Some(Word("var" | "let" | "const" | "function")) => return None,
        _ => true,
    };
    let rest = match (word, rest) {
        (Word("location"), rest) if of_window => rest,
        (Word(name), [Sign("["), Text(key), Sign("]"), rest @ ..]) if is_window(name) && key == "location" => rest,
        (Word("open"), [Sign("("), value @ ..]) if of == Some(&Sign(".")) && of_window => {
            // A window beside this one is opened with a known address, or it is none of our business.
            return literal(value, known).map(Some);
        }
        // jQuery's `$(location).attr("href", x)` is met below, where `location` is the word.
        _ => return None,
    };
    let value = match rest {
        [Sign("="), value @ ..]
        | [Sign("."), Word("href"), Sign("="), value @ ..]
        | [Sign("."), Word("assign" | "replace"), Sign("("), value @ ..] => value,
        [Sign("["), Text(key), Sign("]"), Sign("="), value @ ..] if key == "href" => value,
        [Sign("["), Text(key), Sign("]"), Sign("("), value @ ..] if key == "assign" || key == "replace" => value,
        [
            Sign(")"),
            Sign("."),
            Word("attr" | "prop"),
            Sign("("),
            Text(key),
            Sign(","),
            value @ ..,
        ] if key == "href" => value,
        _ => return None,
    };
    Some(literal(value, known))
}

fn is_window(name: &str) -> bool {
    matches!(
        name,
        "window" | "document" | "self" | "top" | "parent" | "globalThis" | "this" | "frames"
    )
}

/// The value of an expression that is a literal, a name for one, or a sum of such.
fn literal(tokens: &[Token<'_>], known: &HashMap<&str, Option<String>>) -> Option<String> {
    let mut value = String::new();
    let mut rest = tokens;
    loop {
        let (term, behind) = rest.split_first()?;
        match term {
            Text(text) => value.push_str(text),
            Word(name) => value.push_str(known.get(name)?.as_ref()?),
            _ => return None,
        }
        if value.len() > MAX_LITERAL {
            return None;
        }
        match behind.first() {
            Some(Sign("+")) => rest = behind.get(1..)?,
            // What follows belongs to the expression, and changes it.
            Some(Sign("." | "?." | "[" | "(" | "?" | "-" | "*" | "||" | "&&" | "??")) | Some(Opaque) => return None,
            _ => return Some(value),
        }
    }
}

fn tokens(script: &str) -> Vec<Token<'_>> {
    let mut all = Vec::new();
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let (token, length) = if c.is_whitespace() {
            (None, c.len_utf8())
        } else if rest.starts_with("//") || rest.starts_with("<!--") || rest.starts_with("-->") {
            (
                None,
                rest.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(rest.len()),
            )
        } else if rest.starts_with("/*") {
            let behind = rest.get(2..).unwrap_or_default();
            (None, behind.find("*/").map_or(rest.len(), |at| at + 4))
        } else if matches!(c, '"' | '\'' | '`') {
            let (text, length) = text(rest, c);
            (Some(text.map_or(Opaque, Text)), length)
        } else if is_name(c) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            (rest.get(..length).map(Word), length)
        } else if c == '/' && begins_pattern(all.last()) {
            (Some(Opaque), pattern(rest))
        } else {
            const LONG: [&str; 9] = ["===", "!==", "==", "!=", "=>", "?.", "||", "&&", "??"];
            let long = LONG.iter().find(|sign| rest.starts_with(**sign)).map(|sign| sign.len());
            let length = long.unwrap_or(c.len_utf8());
            (rest.get(..length).map(Sign), length)
        };
        all.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    all
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// A slash after these begins a regular expression; after a value it divides.
fn begins_pattern(before: Option<&Token<'_>>) -> bool {
    match before {
        None | Some(Word("return" | "typeof" | "case")) => true,
        Some(Sign(sign)) => !matches!(*sign, ")" | "]" | "}"),
        Some(_) => false,
    }
}

/// Octets of the regular expression that `rest` begins with; it ends on its line.
fn pattern(rest: &str) -> usize {
    let (mut escaped, mut class) = (false, false);
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' | '\r' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '/' if !class => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

type Chars<'a> = std::iter::Peekable<std::iter::Skip<std::str::CharIndices<'a>>>;

/// The character that up to `count` hexadecimal digits stand for.
fn digits(chars: &mut Chars<'_>, count: usize) -> Option<char> {
    let mut hex = String::new();
    for _ in 0..count {
        hex.extend(chars.next_if(|(_, c)| c.is_ascii_hexdigit()).map(|(_, c)| c));
    }
    u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32)
}

/// The text that `rest` begins with, and its octets as written; no text when something is filled in.
fn text(rest: &str, quote: char) -> (Option<String>, usize) {
    let mut value = String::new();
    let mut whole = true;
    let mut chars: Chars<'_> = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return (whole.then_some(value), at + 1),
            // Not closed on its line: no text, and what follows is read as what it is.
            '\n' | '\r' if quote != '`' => return (None, at),
            '$' if quote == '`' && matches!(chars.peek(), Some((_, '{'))) => whole = false,
            '\\' => {
                let Some((_, escaped)) = chars.next() else { break };
                match escaped {
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    'x' => value.extend(digits(&mut chars, 2)),
                    'u' => {
                        if matches!(chars.peek(), Some((_, '{'))) {
                            let hex: String = chars
                                .by_ref()
                                .skip(1)
                                .map(|(_, c)| c)
                                .take_while(|c| *c != '}')
                                .collect();
                            value.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
                        } else {
                            value.extend(digits(&mut chars, 4));
                        }
                    }
                    '\n' | '\r' => {}
                    other => value.push(other),
                }
            }
            _ => value.push(c),
        }
    }
    (None, rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(script: &str) -> Moves {
        let mut moves = Moves::default();
        moves.read(script);
        moves
    }

    #[test]
    fn literals_that_a_page_is_sent_to() {
        for script in [
            r#"location = "https://a.example/x""#,
            r#"location='https://a.example/x';"#,
            r#"window.location = `https://a.example/x`;"#,
            r#"location.href = "https://a.example/x";"#,
            r#"document.location.href="https://a.example/x""#,
            r#"top.location.replace("https://a.example/x")"#,
            r#"self.location.assign('https://a.example/x');"#,
            r#"window.open("https://a.example/x", "_self")"#,
            r#"window['location'] = "https://a.example/x""#,
            r#"window["location"]["href"] = "https://a.example/x""#,
            r#"location["replace"]("https://a.example/x")"#,
            r#"location = "https:\/\/a.example\/x""#,
            r#"location = "\x68ttps://a.ex\u0061mple/\u{78}""#,
            r#"location = "https://" + "a.example" + '/x'"#,
            r#"var u = "https://a.example/x"; location.href = u"#,
            r#"const host = 'a.example'; location = "https://" + host + "/x";"#,
            "// location = 'https://no.example/'\nlocation = 'https://a.example/x'",
            "/* location = 'https://no.example/' */ location = 'https://a.example/x'",
            "<!-- \nlocation = 'https://a.example/x'\n// -->",
            r#"if (x.match(/["']/)) { } location = "https://a.example/x""#,
            r#"$(location).attr('href', 'https://a.example/x')"#,
            r#"a = 6 / 2; location = "https://a.example/x"; b = 4 / 2"#,
        ] {
            let moves = read(script);
            assert_eq!(moves.to, [("https://a.example/x".to_owned(), true)], "{script}");
            assert!(!moves.built, "{script}");
        }
    }

    #[test]
    fn what_is_worked_out_at_run_time_is_noticed() {
        for script in [
            r#"location = "https://a.example/" + user"#,
            r#"location.href = decode("aHR0cHM6")"#,
            r#"location.replace(atob("aHR0cHM6Ly9hLmV4YW1wbGUv"))"#,
            r#"location = `https://${host}/`"#,
            r#"location = "https://a".replace("a", "b")"#,
            r#"var u = "https://a.example/"; u = other; location = u"#,
            r#"location = ok ? "https://a.example/" : "https://b.example/""#,
        ] {
            let moves = read(script);
            assert_eq!((moves.to.len(), moves.built), (0, true), "{script}");
        }
        assert!(read(r#"location.replace(atob("aHR0"))"#).obscured);
        assert!(read("document.forms[0].submit()").submits);
    }

    #[test]
    fn what_sends_a_page_nowhere() {
        for script in [
            r#"if (location == "https://a.example/") {}"#,
            r#"if (location.href === "https://a.example/") {}"#,
            r#"user.location = "Berlin""#,
            r#"let location = "Berlin""#,
            r#"x = { location: "https://a.example/" }"#,
            r#"s = "location = 'https://a.example/'""#,
            r#"open("https://a.example/")"#,
            r#"location.reload(); location.hash"#,
            r#"window.open(u)"#,
            r#"f(location => "https://a.example/")"#,
        ] {
            assert_eq!(read(script), Moves::default(), "{script}");
        }
    }

    #[test]
    fn what_only_a_function_does_may_never_happen() {
        let moves = read(r#"function go() { location = "https://a.example/" } location = "https://b.example/""#);
        let to = |url: &str, at_once| (url.to_owned(), at_once);
        assert_eq!(
            moves.to,
            [to("https://a.example/", false), to("https://b.example/", true)]
        );
    }

    #[test]
    fn a_name_that_doubles_itself_a_hundred_times_costs_nothing() {
        let mut script = "a0 = 'xxxxxxxxxxxxxxxx';".to_owned();
        for n in 1..100 {
            script += &format!("a{n} = a{} + a{};", n - 1, n - 1);
        }
        assert!(read(&(script + "location = a99")).built);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(script in r#"(location|=|"|'|`|/|\\|\*|u\{|\$\{|[a-z+.;{}()\n\[\]é]){0,60}"#) {
            read(&script);
        }
    }
}
