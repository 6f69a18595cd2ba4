//! One request for a genuine link: who asks, what the check says, the row, the answer.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use link::{Answer, Contact, Evidence, Finding, Opened, Page, PageUse, Smuggled, Target, Verdict, Word};
use store::{AlertKind, AlertRow, ClickRow, EventId, Method, Outcome, Reason};
use tracing::{error, info};

use super::check::{Checked, Question};
use super::form::{self, Sent};
use super::{Asked, ClickPages, redirect, visitor};
use crate::click::layers::{self, Way};
use crate::click::visitor::relabel::Tally;
use crate::clock::now_us;
use crate::config::{DomainRules, SourceKind};
use crate::metrics::{ClickResult, FormResult};
use crate::pages::{self, Form, GoogleService, Kind, View};

/// Octets of `User-Agent` that are recorded.
const MAX_USER_AGENT: usize = 512;

/// Reasons that are recorded of a click.
const MAX_REASONS: usize = 32;

/// URLs on the way that are recorded of a click.
const MAX_CHAIN: usize = 32;

/// When the page of a check that goes on asks again, in seconds.
const REFRESH_S: u32 = 2;

/// A request that is being answered.
pub(super) struct Visit<'a> {
    pages: &'a ClickPages,
    asked: &'a Asked,
    opened: &'a Opened,
    target: &'a Target,
    rules: &'a DomainRules,
    row: ClickRow,
    /// There were random numbers for an id; without one the row cannot be stored.
    has_id: bool,
}

impl<'a> Visit<'a> {
    /// `None` when the target is not known.
    pub(super) fn new(pages: &'a ClickPages, asked: &'a Asked, opened: &'a Opened) -> Option<Self> {
        let target = opened.target()?;
        let at_us = now_us();
        let message = opened.message();
        let id = pages.ids.at(at_us);
        if id.is_err() {
            // Without random numbers no row can be told from another. The reader must not suffer for it.
            error!(target: "linkgate::click", mail_id = message.message_id, "no random numbers: click not stored");
        }
        let mut facts = visitor::facts(&asked.headers, asked.version);
        facts.issued_at_s = Some(message.issued_at);
        let told = asked.client;
        let row = ClickRow {
            user: message.recipient.clone(),
            url: target.as_str().to_owned(),
            host: target.host().to_owned(),
            mail_id: message.message_id.clone(),
            sender: message.sender.clone(),
            policy_domain: message.domain.clone(),
            user_agent: user_agent(asked.headers.get(header::USER_AGENT)),
            client_ip: told.and_then(|ip| super::client::shorten(ip, asked.settings.click.client_ip)),
            method: asked.method,
            facts,
            ..ClickRow::new(id.unwrap_or(EventId([0; 16])), at_us)
        };
        Some(Self {
            pages,
            asked,
            opened,
            target,
            rules: asked.settings.click_rules.of(&message.domain),
            row,
            has_id: id.is_ok(),
        })
    }

    /// What tells the link from others.
    pub(super) fn link(&self) -> (&str, Option<&str>, &str) {
        (&self.row.mail_id, self.row.user.as_deref(), &self.row.url)
    }

    /// Records that there were too many requests.
    pub(super) async fn record_refusal(mut self) {
        let _ = self.look();
        self.row.outcome = Outcome::RefusedRate;
        self.record().await;
    }

    /// The answer, which is recorded when this returns.
    pub(super) async fn answer(mut self, sent: Option<Sent>) -> Response<Body> {
        let button = sent.and_then(|sent| Some((sent.usage, self.take(&sent)?)));
        self.row.page_event = button.map(|(_, page)| EventId(page.event_id));
        let strange = self.look();
        let pressed = match button {
            Some((PageUse::Review, page)) => return self.review(&page).await,
            Some((PageUse::Continue, page)) => Some(page),
            None => None,
        };
        if pressed.is_none() && visitor::gets_neutral_page(self.row.label, &self.asked.settings.machines) {
            return self.neutral().await;
        }
        let reader = self.pages.ledger.store().reader();
        let strange = strange.as_slice();
        let way = Way::of_click(&self.asked.settings, reader, self.opened, self.target, strange).await;
        self.row.chain = way.chain();
        let Some(checked) = self.check(&way).await else {
            return self.checking(&way).await;
        };
        let answer = self.decide(checked.verdict, pressed.as_ref());
        self.note(&checked);
        self.row.outcome = match (answer, &pressed) {
            (Answer::Go, None) => Outcome::Redirected,
            (Answer::Go, Some(page)) => self.passed(checked.verdict, page.verdict),
            (Answer::Confirm, _) => Outcome::Confirmed,
            (Answer::Warning { .. }, _) => Outcome::Warned,
            (Answer::Blocked, _) => Outcome::Blocked,
            (Answer::Unknown { .. }, _) => Outcome::UnknownTarget,
            (Answer::CouldNotCheck { .. }, _) => Outcome::CouldNotCheck,
        };
        self.alert(&way.smuggled);
        let response = match (answer, &pressed) {
            (Answer::Go, None) => redirect(self.opened),
            (Answer::Go, Some(_)) => Some(self.show(Kind::Onward { to: self.target }, None, None)),
            _ => None,
        };
        let response = response.unwrap_or_else(|| self.page(answer, &way, &checked));
        self.pages.counts.verdicts.inc(checked.verdict);
        self.record().await;
        response
    }

    /// Finds out who asks, and whether the link is opened in a way that its recipient would not.
    fn look(&mut self) -> Option<Smuggled> {
        let strange = self
            .pages
            .askers
            .look(&mut self.row, self.asked.client, &self.asked.settings);
        self.pages.counts.labels.inc(self.row.label);
        strange
    }

    /// What the page was shown for whose button was pressed, when that counts.
    fn take(&self, sent: &Sent) -> Option<Page> {
        let forms = &self.pages.counts.forms;
        let keys = &self.asked.settings.keys;
        match self.pages.used.take(keys, &self.asked.path, sent, self.now_s()) {
            Ok(page) => {
                forms.inc(FormResult::Taken);
                Some(page)
            }
            Err(why) => {
                forms.inc(why);
                None
            }
        }
    }

    /// Checks the target; `None` when that goes on.
    async fn check(&self, way: &Way) -> Option<Checked> {
        let urls = way.urls();
        let checker = &self.pages.checker;
        if let Some(rule) = way.bypassed(self.rules)
            && !checker.is_revoked(&urls)
        {
            return Some(Checked::bypassed(self.target, rule));
        }
        let settings = &self.asked.settings;
        let domain = &self.opened.message().domain;
        // A target is asked for people only.
        let contact = match self.row.label.is_machine() {
            true => Contact::Lists,
            false => self.rules.policy.contact,
        };
        let question = Question {
            target: self.target,
            urls: &urls,
            start: way.certain(),
            contact,
            one_time: contact > Contact::Lists && way.is_one_time(),
            known: &way.evidence,
            warn_score: self.rules.policy.warn_score,
            domain,
            signs: &|url, is_new| layers::signs_of(settings, domain, url, is_new),
        };
        let limits = &settings.check_limits;
        checker.recall(&urls).await;
        let begun = checker.begin(settings, &question);
        // Only a page that was asked for can ask again by itself.
        let patience = match self.asked.method {
            Method::Post => limits.hard,
            _ => limits.silent,
        };
        checker.finish(&question, begun, patience, limits).await
    }

    fn decide(&self, verdict: Verdict, pressed: Option<&Page>) -> Answer {
        let policy = &self.rules.policy;
        let answer = match pressed {
            Some(page) => policy.answer_to_button(verdict, page.verdict),
            None => policy.answer(verdict),
        };
        // A form that does not count gets its page anew, and no redirect: browsers would follow it with the form's rules.
        match answer {
            Answer::Go if self.asked.method == Method::Post && pressed.is_none() => Answer::Confirm,
            other => other,
        }
    }

    /// By which button the reader went on.
    fn passed(&self, verdict: Verdict, seen: Verdict) -> Outcome {
        let calm = |v| matches!(self.rules.policy.answer(v), Answer::Go | Answer::Confirm);
        if calm(verdict) && calm(seen) {
            Outcome::Continued
        } else {
            Outcome::ClickedThrough
        }
    }

    /// Puts into the row what the check says.
    fn note(&mut self, checked: &Checked) {
        self.row.verdict = Some(checked.verdict);
        self.row.chain.extend(checked.hops.iter().cloned());
        self.row.chain.truncate(MAX_CHAIN);
        let mut reasons: Vec<Reason> = checked.evidence.iter().filter_map(reason).take(MAX_REASONS).collect();
        if let Some(skipped) = checked.skipped {
            reasons.push(Reason {
                source: "contact".to_owned(),
                code: "not-asked".to_owned(),
                detail: skipped.to_owned(),
                about: self.row.url.clone(),
            });
        }
        self.row.reasons = reasons;
    }

    async fn neutral(mut self) -> Response<Body> {
        self.row.outcome = Outcome::Neutral;
        let response = self.show(Kind::Neutral, None, Some(Verdict::Allow));
        self.record().await;
        response
    }

    async fn checking(mut self, way: &Way) -> Response<Body> {
        self.row.outcome = Outcome::Checking;
        let attempt = self.asked.path.clone();
        let kind = Kind::Checking {
            refresh_s: REFRESH_S,
            attempt: &attempt,
        };
        let view = View {
            target: self.shown(way),
            ..self.view(kind)
        };
        let response = pages::answer(&view);
        self.record().await;
        response
    }

    /// A review was asked for.
    async fn review(mut self, page: &Page) -> Response<Body> {
        self.row.outcome = Outcome::Review;
        self.row.verdict = Some(page.verdict);
        let detail = format!("a reader asks for a review of the verdict {}", page.verdict.as_str());
        self.raise(AlertKind::ReviewAsked, detail);
        let response = self.show(Kind::ReviewSent, None, None);
        self.record().await;
        response
    }

    /// The page for an answer that is no redirect.
    fn page(&self, answer: Answer, way: &Way, checked: &Checked) -> Response<Body> {
        let (kind, may_continue) = match answer {
            Answer::Go | Answer::Confirm => (Kind::Confirm, true),
            Answer::Warning { may_continue } => (Kind::Warning, may_continue),
            Answer::Blocked => (Kind::Blocked, false),
            Answer::Unknown { may_continue } => (Kind::Unknown, may_continue),
            Answer::CouldNotCheck { may_continue } => (Kind::CouldNotCheck, may_continue),
        };
        self.show(kind, Some((way, checked)), may_continue.then_some(checked.verdict))
    }

    /// A page; `go_on` when its button may lead on, with the verdict it is shown for.
    fn show(&self, kind: Kind<'_>, seen: Option<(&Way, &Checked)>, go_on: Option<Verdict>) -> Response<Body> {
        let verdict = seen.map_or(Verdict::Allow, |(_, checked)| checked.verdict);
        let seal = |usage, verdict| {
            let facts = Page {
                at_s: self.now_s(),
                verdict,
                event_id: self.row.event_id.0,
            };
            self.asked.settings.keys.seal_page(usage, &self.asked.path, &facts)
        };
        let go_on = go_on
            .map(|verdict| seal(PageUse::Continue, verdict))
            .unwrap_or_default();
        let review = seen.map(|_| seal(PageUse::Review, verdict)).unwrap_or_default();
        let go_on = [(form::USE, form::word(PageUse::Continue)), (form::SEAL, &*go_on)];
        let review = [(form::USE, form::word(PageUse::Review)), (form::SEAL, &*review)];
        let form = |fields: &'_ [(&'static str, &'_ str); 2]| !fields[1].1.is_empty();
        let google = self.google_sources();
        let reference = self.row.event_id.to_string();
        let shown = seen.and_then(|(way, _)| self.shown(way));
        let view = View {
            target: shown,
            evidence: seen.map_or(&[], |(_, checked)| &checked.evidence),
            google_sources: &google,
            chain: if shown.is_some() { &self.row.chain } else { &[] },
            form: form(&go_on).then_some(Form {
                action: &self.asked.path,
                fields: &go_on,
            }),
            review: form(&review).then_some(Form {
                action: &self.asked.path,
                fields: &review,
            }),
            reference: seen.filter(|_| self.has_id).map(|_| &*reference),
            checked_at_s: seen.map(|_| i64::from(self.now_s())),
            ..self.view(kind)
        };
        pages::answer(&view)
    }

    fn view<'v>(&'v self, kind: Kind<'v>) -> View<'v> {
        let pages = &self.asked.settings.pages;
        let brand = pages.brand(&self.opened.message().domain);
        let wanted = self.row.facts.accept_language.as_deref().unwrap_or_default();
        let lang = pages::language(wanted, &pages.languages, brand.language.as_deref());
        View {
            is_recorded: self.rules.policy.track_clicks,
            ..View::plain(kind, brand, lang)
        }
    }

    /// The target as pages name it, where they may.
    fn shown<'w>(&self, way: &'w Way) -> Option<&'w Target> {
        self.rules.policy.show_target.then(|| way.certain())
    }

    fn google_sources(&self) -> Vec<(&'a str, GoogleService)> {
        let sources = self.asked.settings.checks.sources.iter();
        sources
            .filter_map(|source| match source.kind {
                SourceKind::SafeBrowsing => Some((&*source.name, GoogleService::SafeBrowsing)),
                SourceKind::WebRisk => Some((&*source.name, GoogleService::WebRisk)),
                _ => None,
            })
            .collect()
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.row.at_us.div_euclid(1_000_000)).unwrap_or_default()
    }

    /// Raises an alert for each way in which the link does not belong, once a day.
    fn alert(&self, smuggled: &[Smuggled]) {
        if smuggled.is_empty() || self.row.label.is_machine() {
            return;
        }
        let (mail_id, user, url) = self.link();
        let link = format!("{mail_id}\0{}\0{url}", user.unwrap_or_default());
        let new: Vec<&str> = smuggled
            .iter()
            .map(|sign| sign.as_str())
            .filter(|sign| self.pages.alerted.first((link.clone(), sign)))
            .collect();
        if !new.is_empty() {
            self.raise(AlertKind::Smuggled, format!("{} (mail {mail_id})", new.join(", ")));
        }
    }

    fn raise(&self, kind: AlertKind, detail: String) {
        let row = &self.row;
        let mut tally = Tally::default();
        tally.add(row.label);
        let alert = AlertRow {
            kind,
            url: row.url.clone(),
            source: "link".to_owned(),
            detail,
            at_us: row.at_us,
            first_click_us: row.at_us,
            last_click_us: row.at_us,
            people: tally.people,
            machines: tally.machines,
            unknown: tally.unknown,
            events: if self.has_id { vec![row.event_id] } else { Vec::new() },
        };
        self.pages.ledger.alert(alert);
    }

    /// Counts the answer and puts it on record, where the domain wants that.
    async fn record(self) {
        let row = self.row;
        self.pages.counts.results.inc(result(row.outcome));
        if !self.rules.policy.track_clicks || !self.has_id {
            return;
        }
        let row = Arc::new(row);
        let kept = self.pages.ledger.click(Arc::clone(&row)).await;
        info!(
            target: "linkgate::click",
            event_id = %row.event_id,
            outcome = row.outcome.as_str(),
            kept = kept.as_str(),
            verdict = row.verdict.map_or("-", Verdict::as_str),
            label = row.label.as_str(),
            mail_id = row.mail_id,
            user = row.user.as_deref().unwrap_or("-"),
            host = row.host,
            client = row.client_ip.as_deref().unwrap_or("-"),
            method = row.method.as_str(),
            ms = self.asked.began.elapsed().as_millis() as u64,
            "click"
        );
    }
}

/// A finding as a row has it; nothing for what says nothing.
pub(super) fn reason(evidence: &Evidence) -> Option<Reason> {
    let (code, detail) = match &evidence.finding {
        Finding::NotListed => return None,
        Finding::Listed(listing) => (listing.category.as_str(), listing.scope.as_str().to_owned()),
        Finding::CouldNotAsk(why) => ("could-not-ask", why.clone()),
        Finding::Sign { code, detail, .. } => (*code, detail.clone()),
        Finding::TargetUnknown(vendor) => ("target-unknown", vendor.clone().into_owned()),
        Finding::CouldNotInspect(obstacle) => (obstacle.as_str(), String::new()),
        Finding::Smuggled(sign) => (sign.as_str(), String::new()),
        Finding::Bypassed(rule) => ("bypassed", rule.clone()),
    };
    Some(Reason {
        source: evidence.source.clone().into_owned(),
        code: code.to_owned(),
        detail,
        about: evidence.about.clone(),
    })
}

fn result(outcome: Outcome) -> ClickResult {
    match outcome {
        Outcome::Confirmed => ClickResult::Confirmed,
        Outcome::Continued => ClickResult::Continued,
        Outcome::Warned => ClickResult::Warned,
        Outcome::ClickedThrough => ClickResult::ClickedThrough,
        Outcome::Blocked => ClickResult::Blocked,
        Outcome::UnknownTarget => ClickResult::UnknownTarget,
        Outcome::CouldNotCheck => ClickResult::CouldNotCheck,
        Outcome::Neutral => ClickResult::Neutral,
        Outcome::Checking => ClickResult::Checking,
        Outcome::RefusedRate => ClickResult::RefusedRate,
        Outcome::Review => ClickResult::Review,
        _ => ClickResult::Redirected,
    }
}

fn user_agent(field: Option<&HeaderValue>) -> String {
    let bytes = field.map_or(&b""[..], HeaderValue::as_bytes);
    let text = String::from_utf8_lossy(bytes);
    let end = text.floor_char_boundary(MAX_USER_AGENT);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_are_cut_between_characters() {
        let long = "\u{e9}".repeat(400);
        let agent = |octets: &[u8]| user_agent(Some(&HeaderValue::from_bytes(octets).unwrap()));
        assert_eq!(agent(long.as_bytes()), "\u{e9}".repeat(256));
        // Octets that are no UTF-8 grow threefold as they are replaced; the limit counts what is kept.
        assert_eq!(agent(&[0xff; 400]).len(), 510);
        assert_eq!(user_agent(None), "");
    }
}
