//! Following one chain of redirects, from the link to where it ends.

use std::collections::HashSet;
use std::time::Instant;

use link::{Contact, Finding, Layer, LayerKind, Obstacle, Smuggled, Target};
use reqwest::{Method, StatusCode};
use tracing::debug;
use url::Url;

use super::cookies::Jar;
use super::file::FileScan;
use super::guard::{AskRefusal, bare};
use super::page::{FetchedPage, refresh_target};
use super::{
    BAD_CERTIFICATE, ChainReport, EMPTY, FollowSetup, LEAVES_THE_WEB, OPEN_REDIRECTOR, UNENCRYPTED_LOGIN, USER_INFO,
    evidence,
};
use crate::config::Settings;
use crate::intel::follow::request::{BodyEnd, TargetAnswer};
use crate::metrics::{ContactCounts, ContactResult};

/// Octets of a page, unpacked.
const MAX_PAGE: usize = 1 << 20;
/// Octets of a file that is looked at for a password.
const MAX_FILE: usize = 20 << 20;
/// Hosts of one chain.
const MAX_HOSTS: usize = 8;
/// URLs of one chain, those included that are only noted.
const MAX_NOTED: usize = 40;

/// Where one signs in before anything is shown, so that asking shows nothing.
const LOGIN_HOSTS: &[&str] = &[
    "accounts.google.com",
    "appleid.apple.com",
    "auth.services.adobe.com",
    "id.atlassian.com",
    "login.live.com",
    "login.microsoft.com",
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.salesforce.com",
    "login.windows.net",
    "login.yahoo.com",
    "signin.aws.amazon.com",
    "signin.ebay.com",
];

/// A chain that is being followed.
pub(super) struct Chain<'a> {
    base: &'a FollowSetup,
    settings: &'a Settings,
    counts: &'a ContactCounts,
    level: Contact,
    until: Instant,
    jar: Jar,
    /// URLs that were asked, with the state of the cookies.
    seen: HashSet<(String, u32)>,
    hosts: HashSet<String>,
    report: ChainReport,
}

/// Where an answer leads.
#[derive(Default)]
struct Onward {
    /// The URL that a browser goes on to.
    next: Option<Url>,
    /// URLs that it may go on to as well.
    also: Vec<Url>,
    obstacle: Option<Obstacle>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(
        base: &'a FollowSetup,
        settings: &'a Settings,
        counts: &'a ContactCounts,
        level: Contact,
        until: Instant,
    ) -> Self {
        Self {
            base,
            settings,
            counts,
            level,
            until,
            jar: Jar::default(),
            seen: HashSet::new(),
            hosts: HashSet::new(),
            report: ChainReport::default(),
        }
    }

    pub(super) async fn follow(mut self, link: Target) -> ChainReport {
        let mut at = link;
        let mut hops = 0;
        loop {
            let onward = match self.visit(&at, hops).await {
                Ok(Some(onward)) => onward,
                Ok(None) => break,
                Err(obstacle) => Onward {
                    obstacle: Some(obstacle),
                    ..Onward::default()
                },
            };
            if let Some(obstacle) = onward.obstacle {
                self.obstacle(&at, obstacle);
            }
            for url in onward.also {
                self.note(&at, url);
            }
            let Some(url) = onward.next else { break };
            let Some(next) = self.note(&at, url) else { break };
            hops += 1;
            at = next;
            if hops > self.settings.contact.max_hops {
                self.obstacle(&at, Obstacle::TooManyHops);
                break;
            }
        }
        self.report
    }

    /// Asks one target, unless there is a reason not to.
    async fn visit(&mut self, at: &Target, hops: usize) -> Result<Option<Onward>, Obstacle> {
        if at.url().username() != "" || at.url().password().is_some() {
            self.sign(at, USER_INFO, 40, at.url().username());
        }
        let place = match self.base.guard.place(at) {
            Ok(place) => place,
            Err(AskRefusal::Own) => {
                self.report.skipped = Some("own-name");
                // The link itself was opened by the caller; other pages may stand on the host as well.
                if hops > 0 && self.settings.click.base.parse(at.as_str()).is_some() {
                    let finding = Finding::Smuggled(Smuggled::OwnLinkInside);
                    self.report.evidence.push(evidence(at, finding));
                }
                return Ok(None);
            }
            Err(refusal) => return Err(refusal.obstacle()),
        };
        if hops > 0
            && let Some(next) = inside(at)
        {
            return Ok(Some(Onward::to(next)));
        }
        if self.level == Contact::Full && LOGIN_HOSTS.contains(&bare(at.host())) {
            return Err(Obstacle::Login);
        }
        if hops > 0
            && let Some(why) = self.unasked(at)
        {
            self.report.skipped = Some(why);
            if let Some(opaque) = link::unwrap(at, &|_| None).opaque {
                let vendor = Finding::TargetUnknown(opaque.vendor.name().into());
                self.report.evidence.push(evidence(at, vendor));
            }
            return Ok(None);
        }
        let mut without_fragment = at.url().clone();
        without_fragment.set_fragment(None);
        if !self.seen.insert((without_fragment.into(), self.jar.changes())) {
            return Err(Obstacle::Loop);
        }
        self.hosts.insert(at.host().to_owned());
        if self.hosts.len() > MAX_HOSTS {
            return Err(Obstacle::TooManyHops);
        }
        let base = self.base;
        let Some(_leave) = base.gate.host(at.host(), self.until).await else {
            return Err(Obstacle::Busy);
        };
        let until = self.until.min(Instant::now() + self.settings.contact.hop_timeout);
        let addresses = base.asker.addresses(&place, &base.guard, until).await?;
        if self.level == Contact::Shorteners {
            // A shortener's answer to HEAD is as good, and costs it nothing; not all give one.
            match self.ask(Method::HEAD, at, &addresses, until).await {
                Ok(mut answer) => {
                    let onward = self.read(at, &mut answer, true, until).await;
                    if onward.next.is_some() || onward.obstacle.is_some() {
                        return Ok(Some(onward));
                    }
                }
                Err(Obstacle::NoAnswer) => {}
                Err(obstacle) => return Err(obstacle),
            }
        }
        let mut answer = self.ask(Method::GET, at, &addresses, until).await?;
        let onward = self.read(at, &mut answer, false, until).await;
        if self.level == Contact::Shorteners && onward.next.is_none() && answer.status.is_success() {
            let vendor = Finding::TargetUnknown(at.host().to_owned().into());
            self.report.evidence.push(evidence(at, vendor));
        }
        Ok(Some(onward))
    }

    /// Why a target that a chain leads to is not asked.
    fn unasked(&self, at: &Target) -> Option<&'static str> {
        if self.settings.contact.never.find(at).is_some() {
            Some("never")
        } else if self.level == Contact::Shorteners && !link::is_shortener(at.host()) {
            Some("not-a-shortener")
        } else if link::looks_one_time(at, None).is_some() {
            Some("looks-one-time")
        } else {
            None
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        at: &Target,
        addresses: &[std::net::SocketAddr],
        until: Instant,
    ) -> Result<TargetAnswer, Obstacle> {
        let cookies = self.jar.field(at);
        self.report.fetched += 1;
        let asked = self.base.asker.ask(method, at, addresses, cookies.as_deref(), until);
        let started = Instant::now();
        let answer = asked.await;
        let took = started.elapsed();
        self.counts.seconds.observe(took);
        let status = answer.as_ref().map(|a| a.status.as_u16());
        // No more than the host: paths and queries are between reader and target.
        debug!(target: "linkgate::intel::follow", host = at.host(), ?status, took_ms = took.as_millis(), "asked a target");
        match &answer {
            Ok(answer) => {
                for field in answer.headers.get_all("set-cookie") {
                    self.jar.set(&String::from_utf8_lossy(field.as_bytes()), at);
                }
                let status = answer.status;
                self.counts.requests.inc(match status {
                    _ if status.is_redirection() => ContactResult::Redirect,
                    _ if status.is_success() => ContactResult::Content,
                    _ => ContactResult::Refused,
                });
            }
            Err(obstacle) => {
                self.counts.requests.inc(ContactResult::Failed);
                if *obstacle == Obstacle::Certificate {
                    self.sign(at, BAD_CERTIFICATE, 20, at.host());
                }
            }
        }
        answer
    }

    /// Reads from an answer where it goes on. `head_only`: it has no body, and says little if it is no redirect.
    async fn read(&mut self, at: &Target, answer: &mut TargetAnswer, head_only: bool, until: Instant) -> Onward {
        let challenged = answer
            .field("cf-mitigated")
            .is_some_and(|v| v.eq_ignore_ascii_case("challenge"))
            || answer
                .field("x-amzn-waf-action")
                .is_some_and(|v| matches!(v.as_str(), "captcha" | "challenge"));
        if challenged {
            return Onward::obstructed(Obstacle::Captcha);
        }
        let status = answer.status;
        if status.is_redirection()
            && status != StatusCode::NOT_MODIFIED
            && let Some(location) = answer.field("location")
        {
            let Ok(mut to) = at.url().join(location.trim()) else {
                return Onward::obstructed(Obstacle::NoAnswer);
            };
            self.look_for_open_redirector(at, &to);
            // As browsers do (HTML, "location URL").
            if to.fragment().is_none() {
                to.set_fragment(at.url().fragment());
            }
            return Onward::to(to);
        }
        let refresh = answer.field("refresh");
        if let Some(to) = refresh.as_deref().and_then(refresh_target)
            && let Some(to) = leads_on(at, at.url(), to)
        {
            return Onward::to(to);
        }
        if head_only {
            return Onward::default();
        }
        let mut onward = if is_page(answer) {
            self.read_page(at, answer, until).await
        } else {
            read_file(answer, until).await
        };
        if onward.next.is_none() && onward.obstacle.is_none() {
            onward.obstacle = match status.as_u16() {
                401 | 407 => Some(Obstacle::Login),
                // There is nothing, for a reader as for us.
                404 | 410 => None,
                _ if status.is_success() => None,
                // What a reader would be shown we do not know.
                _ => Some(Obstacle::NoAnswer),
            };
        }
        onward
    }

    async fn read_page(&mut self, at: &Target, answer: &mut TargetAnswer, until: Instant) -> Onward {
        let mut octets = Vec::new();
        let take = |more: &[u8]| {
            octets.extend_from_slice(more);
            true
        };
        let end = answer.read(MAX_PAGE, until, take).await;
        if is_untyped(answer)
            && let Some(obstacle) = file_obstacle(&octets, end)
        {
            return Onward {
                obstacle,
                ..Onward::default()
            };
        }
        let status = answer.status.as_u16();
        // Off the threads that answer clicks: a page may take its time.
        let read = tokio::task::spawn_blocking(move || {
            let page = FetchedPage::read(&decoded(octets));
            let exits = page.exits(status);
            (page, exits)
        });
        let Ok((page, exits)) = read.await else {
            return Onward::obstructed(Obstacle::NoAnswer);
        };
        if page.password && at.scheme() == "http" {
            self.sign(at, UNENCRYPTED_LOGIN, 40, at.host());
        }
        if exits.empty_without_script {
            self.sign(at, EMPTY, 10, "");
        }
        let base = page.base.as_deref().and_then(|base| at.url().join(base).ok());
        let base = base.as_ref().unwrap_or(at.url());
        let next = exits.next.and_then(|to| leads_on(at, base, &to));
        let also = exits.also.iter().filter_map(|to| leads_on(at, base, to)).collect();
        let obstacle = exits.obstacle.or(match end {
            _ if next.is_some() => None,
            BodyEnd::Whole if page.whole => None,
            BodyEnd::Whole | BodyEnd::TooLarge => Some(Obstacle::TooLarge),
            BodyEnd::Broken => Some(Obstacle::NoAnswer),
        });
        Onward { next, also, obstacle }
    }

    /// Adds a URL that a target leads to. `None` when the chain ends there: the URL is none of the web, or one too many.
    fn note(&mut self, at: &Target, url: Url) -> Option<Target> {
        let Ok(target) = Target::parse(url.as_str()) else {
            if !matches!(url.scheme(), "about" | "mailto" | "tel" | "sms" | "javascript") {
                self.sign(at, LEAVES_THE_WEB, 40, url.scheme());
                self.obstacle(at, Obstacle::Forbidden);
            }
            return None;
        };
        if !self.report.hops.contains(&target) {
            if self.report.hops.len() >= MAX_NOTED {
                return None;
            }
            self.report.hops.push(target.clone());
        }
        Some(target)
    }

    /// A redirect to what stands in the link itself can be had by anybody.
    fn look_for_open_redirector(&mut self, at: &Target, to: &Url) {
        let elsewhere = to.host_str().is_some_and(|host| host != at.host());
        let named = |t: &Target| Some(t.host()) == to.host_str() && t.url().path() == to.path();
        if elsewhere && link::embedded(at).iter().any(named) {
            self.sign(at, OPEN_REDIRECTOR, 20, at.host());
        }
    }

    fn obstacle(&mut self, at: &Target, obstacle: Obstacle) {
        self.counts.obstacles.inc(obstacle);
        self.report
            .evidence
            .push(evidence(at, Finding::CouldNotInspect(obstacle)));
    }

    fn sign(&mut self, at: &Target, code: &'static str, points: u8, detail: &str) {
        let detail = detail.to_owned();
        let sign = Finding::Sign { code, points, detail };
        self.report.evidence.push(evidence(at, sign));
    }
}

impl Onward {
    fn to(next: Url) -> Self {
        Self {
            next: Some(next),
            ..Self::default()
        }
    }

    fn obstructed(obstacle: Obstacle) -> Self {
        Self {
            obstacle: Some(obstacle),
            ..Self::default()
        }
    }
}

/// Where a redirector or another vendor's wrapper leads, as far as that can be read from its link.
fn inside(at: &Target) -> Option<Url> {
    let unwrapped = link::unwrap(at, &|_| None);
    match unwrapped.layers.as_slice() {
        [
            Layer {
                kind: LayerKind::Vendor(_) | LayerKind::Redirector(_),
                ..
            },
            rest @ ..,
        ] => {
            let next = rest.first().map_or(&unwrapped.target, |layer| &layer.url);
            (next != at).then(|| next.url().clone())
        }
        _ => None,
    }
}

/// Where a page leads, unless it is only loaded again or goes to another place of itself.
fn leads_on(at: &Target, base: &Url, to: &str) -> Option<Url> {
    let to = base.join(to.trim()).ok()?;
    let (mut here, mut there) = (at.url().clone(), to.clone());
    here.set_fragment(None);
    there.set_fragment(None);
    (here != there).then_some(to)
}

/// Whether a browser shows it as a page, which may lead on.
fn is_page(answer: &TargetAnswer) -> bool {
    let disposition = answer.field("content-disposition").unwrap_or_default();
    if disposition.trim_start().to_ascii_lowercase().starts_with("attachment") {
        return false;
    }
    let kind = media_type(answer);
    is_untyped(answer) || matches!(&*kind, "text/html" | "text/xml" | "application/xml") || kind.ends_with("+xml")
}

/// Whether browsers guess what it is (WHATWG MIME Sniffing, 7).
fn is_untyped(answer: &TargetAnswer) -> bool {
    matches!(
        &*media_type(answer),
        "" | "*/*" | "unknown/unknown" | "application/unknown"
    )
}

fn media_type(answer: &TargetAnswer) -> String {
    let kind = answer.field("content-type").unwrap_or_default().to_ascii_lowercase();
    kind.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The obstacle of a file sent without a type; `None` when it is no file of a known kind.
fn file_obstacle(octets: &[u8], end: BodyEnd) -> Option<Option<Obstacle>> {
    let mut scan = FileScan::new();
    FileScan::knows(octets).then(|| {
        scan.take(octets);
        scan.obstacle(end)
    })
}

async fn read_file(answer: &mut TargetAnswer, until: Instant) -> Onward {
    let mut scan = FileScan::new();
    let end = answer.read(MAX_FILE, until, |octets| scan.take(octets)).await;
    Onward {
        obstacle: scan.obstacle(end),
        ..Onward::default()
    }
}

/// A page's text, as far as it matters for addresses: all charsets of the web but UTF-16 write ASCII as ASCII.
fn decoded(octets: Vec<u8>) -> String {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = octets.chunks_exact(2).map(|pair| match pair {
            [a, b] => read([*a, *b]),
            _ => 0,
        });
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match octets.get(..2) {
        Some([0xff, 0xfe]) => wide(u16::from_le_bytes),
        Some([0xfe, 0xff]) => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(&octets).into_owned(),
    }
}
