//! Reading an HTML page for where it leads by itself, and for obstacles to looking into it.
//!
//! The page is cut into tags with html5ever, and nothing of it is run.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::script::Moves;

/// Facts read from a page.
#[derive(Debug, Default)]
pub(super) struct FetchedPage {
    /// The first `<base href>`.
    pub(super) base: Option<String>,
    /// Where a meta refresh leads.
    refresh: Option<String>,
    /// Where it leads a browser without scripts.
    refresh_without_script: Option<String>,
    moves: Moves,
    has_script: bool,
    frames: Vec<String>,
    forms: Vec<FetchedForm>,
    /// Fields for a password.
    pub(super) password: bool,
    /// Characters that a reader sees, roughly.
    letters: usize,
    /// A mark of a service that asks for proof of a person.
    asks_for_person: bool,
    /// Whether all of it was read.
    pub(super) whole: bool,
}

#[derive(Debug, Default)]
struct FetchedForm {
    action: String,
    visible: bool,
}

/// Where a page leads, and what keeps us from seeing it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageExits {
    /// The URL that a browser goes on to, as written.
    pub(super) next: Option<String>,
    /// URLs that it may go on to as well, as written.
    pub(super) also: Vec<String>,
    /// The obstacle that keeps us from looking into it.
    pub(super) obstacle: Option<link::Obstacle>,
    /// It shows nothing unless its scripts run.
    pub(super) empty_without_script: bool,
}

/// A page with fewer letters has nothing to say of its own.
const BARE: usize = 600;
/// A page with a password field and fewer letters is there for that field.
const LOGIN: usize = 3_000;
/// A page with fewer letters shows nothing.
const EMPTY: usize = 40;
/// More of them are not looked at.
const MAX_FRAMES: usize = 16;
const MAX_FORMS: usize = 32;
/// Longest time for reading: thousands of attributes of one tag take time that grows with their square.
const TIME: Duration = Duration::from_millis(500);
/// Octets between two looks at the clock.
const CHUNK: usize = 4096;

/// Marks that services which ask for proof of a person put into pages.
const PERSON_MARKS: &[&str] = &[
    "challenges.cloudflare.com",
    "cf-turnstile",
    "/cdn-cgi/challenge-platform/",
    "g-recaptcha",
    "google.com/recaptcha",
    "recaptcha.net/recaptcha",
    "gstatic.com/recaptcha",
    "hcaptcha.com",
    "h-captcha",
    "captcha-delivery.com",
    "px-captcha",
    "arkoselabs.com",
    "awswaf.com",
    "geetest.com",
];

impl FetchedPage {
    /// Reads a page.
    pub(super) fn read(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        Self {
            asks_for_person: PERSON_MARKS.iter().any(|mark| lower.contains(mark)),
            ..Self::cut(text, Instant::now(), false)
        }
    }

    /// Reads a page, or what stands in its `<noscript>`.
    fn cut(text: &str, started: Instant, without_script: bool) -> Self {
        let state = TagState {
            page: Self::default(),
            raw: None,
            started,
            without_script,
            in_form: false,
        };
        let tokenizer = Tokenizer::new(TagSink(RefCell::new(state)), TokenizerOpts::default());
        let input = BufferQueue::default();
        let mut rest = text;
        let mut whole = true;
        while !rest.is_empty() {
            if started.elapsed() > TIME {
                whole = false;
                break;
            }
            let (chunk, behind) = rest.split_at(rest.floor_char_boundary(CHUNK));
            rest = behind;
            input.push_back(StrTendril::from_slice(chunk));
            let _ = tokenizer.feed(&input);
        }
        if whole {
            tokenizer.end();
        }
        let state = tokenizer.sink.0.into_inner();
        Self { whole, ..state.page }
    }

    /// Where a page leads that was sent with this status.
    pub(super) fn exits(&self, status: u16) -> PageExits {
        let bare = self.letters < BARE;
        let refused = matches!(status, 403 | 405 | 429 | 503);
        let mut exits = PageExits::default();
        let mut found: Vec<&str> = Vec::new();
        found.extend(self.refresh.as_deref());
        let sure = found.len();
        // What only a function of a page with a content of its own does is hardly how it begins.
        let (at_once, later): (Vec<_>, Vec<_>) = self.moves.to.iter().partition(|(_, at_once)| *at_once || bare);
        found.extend(at_once.iter().map(|(to, _)| to.as_str()));
        let form = self.forms.iter().find(|form| !form.visible);
        let sent = form.filter(|_| self.moves.submits && bare);
        if let [frame] = &*self.frames
            && bare
            && !self.password
        {
            found.push(frame);
        }
        if bare && found.is_empty() {
            found.extend(self.refresh_without_script.as_deref());
        }
        if self.asks_for_person && (refused || bare) {
            exits.obstacle = Some(link::Obstacle::Captcha);
            found.extend(sent.map(|form| form.action.as_str()));
        } else if let Some(form) = sent.filter(|_| sure == 0) {
            // What is there comes only to who sends the form.
            exits.obstacle = Some(link::Obstacle::NeedsScript);
            found.push(&form.action);
        } else if let Some((next, also)) = found.split_first() {
            exits.next = Some((*next).to_owned());
            found = also.to_vec();
        } else if self.password && self.letters < LOGIN {
            exits.obstacle = Some(link::Obstacle::Login);
        } else if bare && (self.moves.built || self.moves.obscured) {
            exits.obstacle = Some(link::Obstacle::NeedsScript);
        } else {
            exits.empty_without_script = self.has_script && self.letters < EMPTY && self.forms.is_empty();
        }
        found.extend(later.iter().map(|(to, _)| to.as_str()));
        if !bare && self.frames.len() == 1 {
            found.extend(self.frames.iter().map(String::as_str));
        }
        exits.also = found
            .into_iter()
            .filter(|to| !to.is_empty())
            .map(str::to_owned)
            .collect();
        exits
    }
}

/// Where a refresh leads: the value of a `Refresh` field or of `<meta http-equiv=refresh content>`, by the WHATWG rules
/// (HTML, "shared declarative refresh steps"). `None` when the page is only loaded again.
pub(super) fn refresh_target(value: &str) -> Option<&str> {
    let value = value.trim_start();
    let behind = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if behind.len() == value.len() {
        return None;
    }
    let url = behind.trim_start().trim_start_matches([';', ',']).trim_start();
    let named = url.get(..3).filter(|name| name.eq_ignore_ascii_case("url"));
    let named = named.and_then(|_| url.get(3..)?.trim_start().strip_prefix('='));
    let url = named.map_or(url, str::trim_start);
    let quoted = |quote| Some(url.strip_prefix(quote)?.split(quote).next().unwrap_or_default());
    let url = quoted('"').or_else(|| quoted('\'')).unwrap_or(url).trim();
    (!url.is_empty()).then_some(url)
}

#[derive(Debug)]
struct TagSink(RefCell<TagState>);

#[derive(Debug)]
struct TagState {
    page: FetchedPage,
    /// The element whose text is no text of the page.
    raw: Option<Raw>,
    started: Instant,
    /// Whether this is what stands in a `<noscript>`: text to a browser that runs scripts.
    without_script: bool,
    in_form: bool,
}

#[derive(Debug)]
struct Raw {
    name: String,
    kept: bool,
    text: String,
}

impl TokenSink for TagSink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => state.opened(&tag),
            Token::TagToken(tag) => {
                state.closed(&tag.name);
                TokenSinkResult::Continue
            }
            Token::CharacterTokens(text) => {
                state.text(&text);
                TokenSinkResult::Continue
            }
            Token::EOFToken => {
                if let Some(raw) = state.raw.take() {
                    state.end_of(&raw);
                }
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl TagState {
    fn opened(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let value = |name: &str| {
            let found = tag.attrs.iter().find(|a| &*a.name.local == name);
            found.map(|a| a.value.trim().to_owned())
        };
        for handler in tag
            .attrs
            .iter()
            .filter(|a| matches!(&*a.name.local, "onload" | "onerror" | "onpageshow"))
        {
            self.page.moves.read(&handler.value);
        }
        let raw = |state: &mut Self, kept, kind| {
            let (name, text) = (tag.name.to_string(), String::new());
            state.raw = Some(Raw { name, kept, text });
            TokenSinkResult::RawData(kind)
        };
        match &*tag.name {
            "base" if self.page.base.is_none() => self.page.base = value("href"),
            "meta" => {
                let refresh = value("http-equiv").is_some_and(|v| v.eq_ignore_ascii_case("refresh"));
                let to = value("content").filter(|_| refresh);
                let to = to.as_deref().and_then(refresh_target);
                if let (None, Some(to)) = (&self.page.refresh, to) {
                    self.page.refresh = Some(to.to_owned());
                }
            }
            "script" => {
                let kind = value("type").unwrap_or_default().to_ascii_lowercase();
                let runs = matches!(kind.as_str(), "" | "module") || kind.contains("script");
                self.page.has_script |= runs;
                return raw(self, runs, RawKind::ScriptData);
            }
            "style" | "xmp" | "noembed" | "noframes" => return raw(self, false, RawKind::Rawtext),
            "title" => return raw(self, false, RawKind::Rcdata),
            "textarea" => {
                self.field(true);
                return raw(self, false, RawKind::Rcdata);
            }
            "plaintext" => return TokenSinkResult::Plaintext,
            "noscript" if !self.without_script => return raw(self, true, RawKind::Rawtext),
            "iframe" | "frame" => {
                let shown = !is_tiny(value("width")) && !is_tiny(value("height")) && !is_hidden(value("style"));
                if shown
                    && self.page.frames.len() < MAX_FRAMES
                    && let Some(src) = value("src").filter(|src| !src.is_empty())
                {
                    self.page.frames.push(src);
                }
                if &*tag.name == "iframe" {
                    return raw(self, false, RawKind::Rawtext);
                }
            }
            "form" if self.page.forms.len() < MAX_FORMS => {
                let action = value("action").unwrap_or_default();
                self.page.forms.push(FetchedForm { action, visible: false });
                self.in_form = true;
            }
            "input" => {
                let kind = value("type").unwrap_or_default().to_ascii_lowercase();
                self.page.password |= kind == "password";
                // Buttons are for who has no scripts.
                self.field(!matches!(kind.as_str(), "hidden" | "submit" | "button" | "image"));
            }
            "select" => self.field(true),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn closed(&mut self, name: &str) {
        if let Some(raw) = self.raw.take_if(|raw| raw.name == name) {
            self.end_of(&raw);
        }
        if name == "form" {
            self.in_form = false;
        }
    }

    fn text(&mut self, text: &str) {
        match &mut self.raw {
            Some(raw) if raw.kept => raw.text.push_str(text),
            Some(_) => {}
            None => self.page.letters += text.chars().filter(|c| c.is_alphanumeric()).count(),
        }
    }

    fn end_of(&mut self, raw: &Raw) {
        if raw.kept && raw.name == "noscript" {
            let inner = FetchedPage::cut(&raw.text, self.started, true);
            let to = &mut self.page.refresh_without_script;
            *to = to.take().or(inner.refresh);
        } else if raw.kept {
            self.page.moves.read(&raw.text);
        }
    }

    fn field(&mut self, visible: bool) {
        if self.in_form
            && let Some(form) = self.page.forms.last_mut()
        {
            form.visible |= visible;
        }
    }
}

/// A frame for counting visitors, not for reading.
fn is_tiny(length: Option<String>) -> bool {
    let length = length.unwrap_or_default();
    let number = length.strip_suffix("px").unwrap_or(&length);
    number.parse::<u32>().is_ok_and(|n| n < 50)
}

fn is_hidden(style: Option<String>) -> bool {
    let style: String = style.unwrap_or_default().split_whitespace().collect();
    let style = style.to_ascii_lowercase();
    style.contains("display:none") || style.contains("visibility:hidden")
}

#[cfg(test)]
mod tests {
    use link::Obstacle;
    use proptest::prelude::*;

    use super::*;

    fn exits(page: &str) -> PageExits {
        FetchedPage::read(page).exits(200)
    }

    fn words(n: usize) -> String {
        "word ".repeat(n)
    }

    #[test]
    fn pages_that_lead_on() {
        let to = "https://a.example/x";
        for page in [
            format!("<meta http-equiv=refresh content='0;url={to}'>"),
            format!("<META HTTP-EQUIV=\"Refresh\" CONTENT=\"5; URL='{to}'\">{}", words(2000)),
            format!("<meta content=\"0, {to}\" http-equiv=refresh>"),
            format!("<meta http-equiv=refresh content='9999.5 url = {to}'>"),
            format!("<script>location.href='{to}'</script>"),
            format!("<script type=text/javascript>setTimeout(function() {{ location.href='{to}' }}, 9)</script>"),
            format!("{}<script>location = '{to}'</script>", words(2000)),
            format!("<body onload=\"location.replace('{to}')\">"),
            format!("<img src=x onerror=\"location.replace('{to}')\">"),
            format!("<script>location.href='{to}'"),
            format!("<iframe src='{to}' style='width:100%;height:100%'></iframe>"),
            format!("<frameset rows='100%'><frame src='{to}'></frameset>"),
            format!("<noscript><meta http-equiv=refresh content='0;url={to}'></noscript>"),
            format!(
                "<title><meta http-equiv=refresh content='0;url=https://no.example/'></title><script>location='{to}'</script>"
            ),
            format!("<noscript><!--</noscript><script>location='{to}'</script>-->"),
            format!("<!-- <script>location='https://no.example/'</script> --><script>location='{to}'</script>"),
        ] {
            assert_eq!(exits(&page).next.as_deref(), Some(to), "{page}");
            assert_eq!(exits(&page).obstacle, None, "{page}");
        }
    }

    #[test]
    fn pages_that_stay() {
        for page in [
            words(500),
            "<meta http-equiv=refresh content=300>".to_owned(),
            "<meta http-equiv=refresh content='url=https://a.example/'>".to_owned(),
            "<meta name=refresh content='0;url=https://a.example/'>".to_owned(),
            "<script type=application/ld+json>location='https://a.example/'</script>".to_owned(),
            format!("{}<iframe src='https://a.example/'></iframe>", words(500)),
            format!(
                "<noscript><iframe src='https://a.example/' height=0 width=0></iframe></noscript>{}",
                words(50)
            ),
            "<iframe src='https://a.example/' width=1 height=1></iframe>".to_owned(),
        ] {
            assert_eq!((exits(&page).next, exits(&page).obstacle), (None, None), "{page}");
        }
    }

    #[test]
    fn what_a_page_may_do_is_noted_beside() {
        let page = format!(
            "{}<script>function out() {{ location.href = '/logout' }}</script><iframe src='https://video.example/'></iframe>",
            words(500)
        );
        assert_eq!(exits(&page).also, ["/logout", "https://video.example/"]);
    }

    #[test]
    fn what_keeps_us_out() {
        let turnstile = "<div class=cf-turnstile></div><script src=https://challenges.cloudflare.com/t.js></script>";
        let login = "<form action=/login><input name=u><input type=password></form>";
        let auto = "<form action=https://b.example/in method=post><input type=hidden name=a></form>\
                    <script>document.forms[0].submit()</script>";
        for (page, wanted) in [
            (turnstile.to_owned(), Some(Obstacle::Captcha)),
            (
                format!("{turnstile}<script>location='/next'</script>"),
                Some(Obstacle::Captcha),
            ),
            (format!("{turnstile}{}", words(500)), None),
            (login.to_owned(), Some(Obstacle::Login)),
            (format!("{login}{}", words(2000)), None),
            (auto.to_owned(), Some(Obstacle::NeedsScript)),
            (
                "<script>location=atob('aHR0')</script>".to_owned(),
                Some(Obstacle::NeedsScript),
            ),
            ("<script>eval(x)</script>".to_owned(), Some(Obstacle::NeedsScript)),
            (format!("<script>location=next()</script>{}", words(500)), None),
        ] {
            assert_eq!(exits(&page).obstacle, wanted, "{page}");
        }
        assert_eq!(
            FetchedPage::read(turnstile).exits(403).obstacle,
            Some(Obstacle::Captcha)
        );
        assert_eq!(exits(auto).also, ["https://b.example/in"]);
        assert_eq!(
            exits(&format!("{turnstile}<script>location='/next'</script>")).also,
            ["/next"]
        );
        assert!(exits("<div id=root></div><script src=app.js></script>").empty_without_script);
    }

    #[test]
    fn a_tag_with_a_hundred_thousand_attributes_takes_no_longer_than_it_may() {
        let mut page = "<a ".to_owned();
        for n in 0..100_000 {
            page += &format!("a{n} ");
        }
        page += ">";
        let started = Instant::now();
        let _ = FetchedPage::read(&page);
        assert!(started.elapsed() < TIME * 8, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn any_page_is_read_to_its_end(page in r#"(<|</|>|<!--|-->|script|noscript|title|iframe src=|form|input type=password|meta http-equiv=refresh content='0;url=|[a-z ='"é]){0,60}"#) {
            prop_assert!(FetchedPage::read(&page).whole);
        }
    }

    #[test]
    fn raw_text_kinds_are_those_of_the_standard() {
        // Data of a script ends at its end tag, not at one within its comment.
        let page = "<script><!-- </script><script>location='https://a.example/'</script>";
        assert_eq!(exits(page).next.as_deref(), Some("https://a.example/"));
    }
}
