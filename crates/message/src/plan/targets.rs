//! The targets of a text in one reading, to be compared with other readings.

use encoding_rs::Encoding;

use crate::autolink;
use crate::charset::TextTarget;
use crate::html::{self, TextWork};
use crate::quirk::{Quirk, Quirks};
use crate::site::{Judge, MARK_SEAL, Ruling, Seal, Site};
use crate::text::{self, Lines};

/// Whether a text holds a URL, or tags.
pub(super) fn may_lead_somewhere(text: &[u8]) -> bool {
    autolink::may_hold_url(text) || text.contains(&b'<')
}

/// Finds the targets of an HTML text; `None` when its tags overlap too often.
pub(super) fn of_html(text: &[u8], encoding: &'static Encoding, links: autolink::UrlForms) -> Option<Vec<TextTarget>> {
    let mut notes = TargetList::default();
    let edits = html::report(text, &work(encoding, links), &mut notes)?;
    // Taken out without the judge: bases, refreshes, documents in attributes, the rest of a tag that is cut off.
    notes.found.extend(edits.into_iter().map(|e| TextTarget {
        usage: None,
        at: Some(e.at),
        what: String::from_utf8_lossy(&e.with).into_owned(),
    }));
    Some(notes.found)
}

/// Finds the targets of a text that is no HTML; its tags count as well. `None` when there are too many.
pub(super) fn of_text(
    text: &[u8],
    lines: Lines,
    encoding: &'static Encoding,
    links: autolink::UrlForms,
) -> Option<Vec<TextTarget>> {
    let mut notes = TargetList::default();
    let mut quirks = Quirks::default();
    text::rewrite(text, lines, true, &work(encoding, links), &mut notes, &mut quirks);
    (!quirks.any(&[Quirk::TooManyLinks, Quirk::TangledMarkup])).then_some(notes.found)
}

fn work(encoding: &'static Encoding, links: autolink::UrlForms) -> TextWork<'static> {
    TextWork {
        part: "",
        encoding,
        queries: encoding_rs::UTF_8,
        base: None,
        links,
        left: None,
        mapped: None,
    }
}

/// Collects every site, and changes none.
#[derive(Default)]
struct TargetList {
    found: Vec<TextTarget>,
}

impl Judge for TargetList {
    fn rule(&mut self, site: &Site<'_>) -> Ruling {
        let mut what = site.url.as_ref().to_owned();
        if let Some(base) = site.base {
            what.extend([" at ", base]);
        }
        self.found.push(TextTarget {
            usage: Some(site.usage),
            at: site.at.clone(),
            what,
        });
        Ruling::Keep
    }

    fn is_safe(&mut self, _: &Site<'_>) -> bool {
        true
    }

    fn seal_mark(&self, _: &[u8]) -> Seal {
        // Nothing is written into a text that is only searched.
        [0; MARK_SEAL]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset::{self, Charset};

    /// Whether a text stays in the bytes that it came in.
    fn stays(bytes: &[u8], labels: &[&str], html: bool) -> bool {
        let leads = |t: &[u8], e| match html {
            true => of_html(t, e, autolink::UrlForms::ALL),
            false => of_text(t, Lines::Plain, e, autolink::UrlForms::ALL),
        };
        let charset = charset::read(bytes, labels, html, &leads, &mut Quirks::default());
        matches!(charset, Charset::Bytes { .. })
    }

    #[test]
    fn japanese_text_stays_where_its_links_are_ascii_to_all() {
        for text in [
            &b"\x1b$B$\"\x1b(B http://x.example/ \x1b$B$$\x1b(B"[..],
            b"http://x.example/a\x1b$B$r8+$F\x1b(B",
            b"http://x.example/a.\x1b$B$r8+$F\x1b(B",
            b"(http://www.example.co.jp/)\x1b$B$r8+$F\x1b(B www.example.co.jp\x1b$B$r\x1b(B",
        ] {
            let shown = String::from_utf8_lossy(text);
            assert!(stays(text, &["iso-2022-jp"], false), "{shown}");
            assert!(stays(text, &["iso-2022-jp"], true), "{shown}");
            assert!(stays(text, &[], false), "{shown}");
        }
    }

    #[test]
    fn japanese_markup_stays_where_every_link_is_ascii_to_all() {
        for html in [
            &b"<p>\x1b$B$\"\x1b(B <a href=x>\x1b$B%<\x1b(B</a>"[..],
            b"<img alt=\"\x1b$B$\"\x1b(B\"><a href='x' title='\x1b$B$\"\x1b(B'>x</a>",
        ] {
            let shown = String::from_utf8_lossy(html);
            assert!(stays(html, &["iso-2022-jp"], true), "{shown}");
            assert!(stays(html, &["utf-8", "iso-2022-jp"], true), "{shown}");
        }
    }

    #[test]
    fn needless_escapes_in_a_link_hide_nothing() {
        for html in [
            &b"<a href=\"ht\x1b(Btps://x.example/\">"[..],
            b"<\x1b(Ba href=\"https://x.example/\">",
            b"<a h\x1b(Bref=\"https://x.example/\">",
            b"<a href=\"ht\x1b(Jtps://x.example/\">",
            b"<a href=\"&#10\x1b(B4;ttps://x.example/\">",
            b"<a href=\"java\x1b(Bscript:alert(1)\">",
            b"<\x1b(Bbase href=//x.example/>",
            b"<p>\x1b$B$\"\x1b(B</p> htt\x1b(Bps://x.example/",
            b"\x1b$B<a href=x>\x1b(B<\x1b(Ba href=x>",
            b"<a y='<a \x1b$Bx\x1b(B href=x>' \x1b$B$y='\x1b(B href=x z=''>",
            b"\x1b$B%<a href=x>\x1b(B",
            b"http://\x1b$B#x\x1b(B.example/",
        ] {
            let shown = String::from_utf8_lossy(html);
            assert!(!stays(html, &["iso-2022-jp"], true), "{shown}");
            assert!(!stays(html, &["cp50221"], true), "{shown}");
            assert!(!stays(html, &["utf-8", "iso-2022-jp"], true), "{shown}");
        }
    }
}
