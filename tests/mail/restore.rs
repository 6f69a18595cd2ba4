//! The way back from what becomes of a rewritten message: replies in another kind of text, another encoding, other lines.

use crate::mail::messages::pipeline::{BASE, Pipeline};

/// A message of one part.
pub(crate) fn message(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "From: ada@sender.example\r\nTo: user@on.example\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/{kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn body(message: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(message, b"\r\n\r\n").expect("a header");
    message[at + 4..].to_vec()
}

/// The text of a message as it goes on; restoring that very message must give the same bytes.
fn rewritten(kind: &str, text: impl AsRef<[u8]>) -> String {
    let pipeline = Pipeline::shared();
    let came = message(kind, text.as_ref());
    let went = pipeline.rewrite(&came);
    assert_eq!(
        pipeline.restore(&went).escape_ascii().to_string(),
        came.escape_ascii().to_string()
    );
    String::from_utf8(body(&went)).unwrap()
}

/// The first click link of a text.
fn link(text: &str) -> &str {
    let at = text.find(BASE).unwrap_or_else(|| panic!("no link in {text}"));
    let end = |c: char| !(c.is_ascii_alphanumeric() || "-._~:/".contains(c));
    text[at..].split(end).next().unwrap()
}

/// What a reply says when the links in it are put back.
#[track_caller]
fn comes_to(kind: &str, reply: impl AsRef<[u8]>, want: impl AsRef<[u8]>) {
    let restored = body(&Pipeline::shared().restore(&message(kind, reply.as_ref())));
    assert_eq!(
        restored.escape_ascii().to_string(),
        want.as_ref().escape_ascii().to_string()
    );
}

const PLAIN: &str = "plain; charset=utf-8";
const HTML: &str = "html; charset=utf-8";
const FLOWED: &str = "plain; charset=utf-8; format=flowed; delsp=yes";

#[test]
fn a_bare_name_in_an_attribute_is_no_relative_link() {
    let text = rewritten(PLAIN, "www.beta.example/x?a=1&b=2 end\r\n");
    let u = link(&text);
    comes_to(
        HTML,
        format!("<a href=\"{u}\">{u}</a>"),
        "<a href=\"http://www.beta.example/x?a=1&amp;b=2\">www.beta.example/x?a=1&amp;b=2</a>",
    );
}

#[test]
fn an_ampersand_of_plain_text_is_no_reference_in_markup() {
    let text = rewritten(PLAIN, "https://c.example/?a=1&copy=2&lt=3 end\r\n");
    comes_to(
        HTML,
        format!("<p>{}</p>", link(&text)),
        "<p>https://c.example/?a=1&amp;copy=2&amp;lt=3</p>",
    );
}

#[test]
fn text_that_shows_markup_as_it_stands_gets_no_references() {
    rewritten(
        HTML,
        "<xmp>https://c.example/?a=1&copy=2</xmp> <p>https://c.example/?a=1&amp;b=2</p>\r\n",
    );
}

#[test]
fn octets_of_one_charset_do_not_stand_in_another() {
    let latin = rewritten("plain; charset=iso-8859-1", b"https://alpha.example/\xfc end\r\n");
    comes_to(PLAIN, format!("> {}", link(&latin)), "> https://alpha.example/ü");
    comes_to("plain; charset=iso-8859-1", link(&latin), b"https://alpha.example/\xfc");
    let utf8 = rewritten(PLAIN, "https://alpha.example/ü end\r\n");
    comes_to("plain; charset=iso-8859-1", link(&utf8), b"https://alpha.example/\xfc");
    comes_to("plain; charset=koi8-r", link(&utf8), "https://alpha.example/%C3%BC");
    comes_to(
        "plain; charset=iso-2022-jp",
        link(&utf8),
        "https://alpha.example/%C3%BC",
    );
}

#[test]
fn a_query_keeps_the_encoding_of_the_text_it_was_written_in() {
    let latin = rewritten("plain; charset=iso-8859-1", b"https://alpha.example/?q=\xfc end\r\n");
    comes_to(PLAIN, link(&latin), "https://alpha.example/?q=%FC");
}

#[test]
fn a_broken_link_does_not_lose_its_quote_mark() {
    let text = rewritten(PLAIN, "see <https://alpha.example/aaaa/\r\nbbbb/cccc>\r\n");
    let u = link(&text);
    comes_to(
        PLAIN,
        format!("> <{u}>\r\n"),
        "> <https://alpha.example/aaaa/bbbb/cccc>\r\n",
    );
    comes_to(
        PLAIN,
        format!("<{u}>\r\n"),
        "<https://alpha.example/aaaa/\r\nbbbb/cccc>\r\n",
    );
    comes_to(
        HTML,
        format!("&lt;{u}&gt;"),
        "&lt;https://alpha.example/aaaa/bbbb/cccc&gt;",
    );
}

#[test]
fn a_flowed_break_stays_in_flowed_text() {
    let text = rewritten(FLOWED, "See https://alpha.example/aaaa/ \r\nbbbb ok\r\n");
    let u = link(&text);
    comes_to(PLAIN, format!("> {u} ok"), "> https://alpha.example/aaaa/bbbb ok");
    comes_to(PLAIN, format!("{u} ok"), "https://alpha.example/aaaa/bbbb ok");
    comes_to(HTML, format!("<p>{u} ok"), "<p>https://alpha.example/aaaa/bbbb ok");
    comes_to(FLOWED, format!("{u} ok"), "https://alpha.example/aaaa/ \r\nbbbb ok");
}

#[test]
fn a_blank_before_a_break_between_brackets_stays() {
    let text = "See <https://alpha.example/long \r\ner/path> and\r\n";
    comes_to(PLAIN, rewritten(PLAIN, text), text);
}

#[test]
fn a_bracket_behind_a_fold_of_a_calendar_is_no_quote_mark() {
    let text = "BEGIN:VCALENDAR\r\nDESCRIPTION:A<https://alpha.exam\r\n ple/a> B<https://beta.exam\r\n ple/b> C\r\nEND:VCALENDAR\r\n";
    comes_to("calendar", rewritten("calendar", text), text);
}

#[test]
fn a_link_broken_within_its_host_is_found() {
    let text = rewritten(PLAIN, "https://alpha.example/x end\r\n");
    let u = link(&text);
    for at in [3, 7, 12, 20, 25, 60] {
        let (head, tail) = u.split_at(at);
        for broken in [" \r\n", "\r\n", "\r\n> ", " \r\n>> ", "\r\n| ", "=\r\n", "\r\n> \r\n> "] {
            for kind in [PLAIN, FLOWED] {
                comes_to(
                    kind,
                    format!("> {head}{broken}{tail} end\r\n> https://y.example/"),
                    "> https://alpha.example/x end\r\n> https://y.example/",
                );
            }
        }
        comes_to(
            HTML,
            format!("<p>&gt; {head}<br>\r\n&gt; {tail} end"),
            "<p>&gt; https://alpha.example/x end",
        );
    }
}

#[test]
fn marks_of_the_sender_are_not_obeyed() {
    let genuine = rewritten(HTML, "<a href=\"javascript:x()\">x</a>\r\n");
    assert!(genuine.contains("data-linkgate-off=\""), "{genuine}");
    let held = genuine.split("-off=\"").nth(1).unwrap().split('"').next().unwrap();
    let other_key = held.replacen(&held[..1], if held.starts_with('A') { "B" } else { "A" }, 1);
    for text in [
        "<p data-linkgate-off=\"NBUQ\">x</p>\r\n".to_owned(),
        "<a href=\"https://m.example/\" data-linkgate-was=\"NBUQ\">x</a>\r\n".to_owned(),
        "<p title=x data-linkgate-was=\"OJSWI\">x</p>\r\n".to_owned(),
        "x<!--linkgate-cut:NBUQ-->".to_owned(),
        format!("<p data-linkgate-off=\"{other_key}\">x</p>\r\n"),
        // One of ours, but not what it says it is.
        format!("<a title=x data-linkgate-was=\"{held}\">x</a>\r\n"),
        format!("x<!--linkgate-cut:{held}-->"),
    ] {
        let went = rewritten(HTML, &text);
        let pipeline = Pipeline::shared();
        assert_eq!(
            body(&pipeline.rewrite(&message(HTML, went.as_bytes()))),
            went.into_bytes()
        );
    }
}

#[test]
fn a_quotation_mark_does_not_end_another_attribute() {
    let text = rewritten(HTML, "<a href='https://alpha.example/\" onclick=\"x()'>x</a>\r\n");
    let u = link(&text);
    comes_to(
        HTML,
        format!("<a href=\"{u}\">x</a>"),
        "<a href=\"https://alpha.example/%22%20onclick=%22x()\">x</a>",
    );
    let text = rewritten(HTML, "<a href=\"https://alpha.example/<script>x()</script>\">x</a>\r\n");
    comes_to(
        HTML,
        format!("<p>{}</p>", link(&text)),
        "<p>https://alpha.example/%3Cscript%3Ex()%3C/script%3E</p>",
    );
}

#[test]
fn dot_segments_behind_a_link_of_ours_lead_away_from_it() {
    let u = link(&rewritten(PLAIN, "https://alpha.example/x end\r\n")).to_owned();
    let forwarded = |text: String| {
        let went = Pipeline::shared().rewrite(&message(HTML, text.as_bytes()));
        String::from_utf8(body(&went)).unwrap()
    };
    for tail in ["/../../../x", "/%2e%2e/.%2E/../x", "/..\\..\\x"] {
        let went = forwarded(format!("<a href=\"{u}{tail}\">x</a>\r\n"));
        assert!(!went.contains(&u), "{went}");
    }
    for tail in ["", "/x", "?x", "#f", "@evil.example", "/a/../b"] {
        let kept = format!("<a href=\"{u}{tail}\">x</a>\r\n");
        assert_eq!(forwarded(kept.clone()), kept);
    }
}
