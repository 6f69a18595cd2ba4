//! Answering one request for a genuine link: label the visitor, check the target, choose the page, record the click.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, header};
use link::{Answer, Contact, Evidence, Finding, Opened, Page, PageUse, Smuggled, Target, Verdict, Word};
use store::{AlertKind, AlertRow, ClickRow, EventId, Method, Outcome, Reason};
use tracing::{error, info};

use super::check::{Checked, LinkCheck};
use super::form::{self, Sent};
use super::layers::Layers;
use super::{ClickPages, ClickRequest, redirect, visitor};
use crate::click::visitor::relabel::Tally;
use crate::clock::now_us;
use crate::config::{DomainRules, SourceKind};
use crate::metrics::FormResult;
use crate::pages::{self, GoogleService, PageForm, PageKind, View};

/// Octets of `User-Agent` that are recorded.
const MAX_USER_AGENT: usize = 512;

/// Reasons that are recorded of a click.
const MAX_REASONS: usize = 32;

/// URLs on the way that are recorded of a click.
const MAX_CHAIN: usize = 32;

/// When the page of a check that goes on asks again, in seconds.
const REFRESH_S: u32 = 2;

/// A request for a genuine link, while it is answered.
pub(super) struct Visit<'a> {
    pages: &'a ClickPages,
    request: &'a ClickRequest,
    opened: &'a Opened,
    target: &'a Target,
    rules: &'a DomainRules,
    row: ClickRow,
    /// Whether the row has an id; without random numbers for one it cannot be stored.
    has_id: bool,
}

impl<'a> Visit<'a> {
    /// Begins to answer; `None` when the target of the link is not known.
    pub(super) fn new(pages: &'a ClickPages, request: &'a ClickRequest, opened: &'a Opened) -> Option<Self> {
        let target = opened.target()?;
        let at_us = now_us();
        let message = opened.message();
        let id = pages.ids.at(at_us);
        if id.is_err() {
            // Without random numbers no row can be told from another. The reader must not suffer for it.
            error!(target: "linkgate::click", mail_id = message.message_id, "no random numbers: click not stored");
        }
        let mut facts = visitor::facts(&request.headers, request.version);
        facts.issued_at_s = Some(message.issued_at);
        let agent = request.headers.get(header::USER_AGENT);
        let row = ClickRow {
            user: message.recipient.clone(),
            url: target.as_str().to_owned(),
            host: target.host().to_owned(),
            mail_id: message.message_id.clone(),
            sender: message.sender.clone(),
            policy_domain: message.domain.clone(),
            user_agent: agent.map_or_else(String::new, |agent| visitor::clip(agent, MAX_USER_AGENT)),
            client_ip: request
                .client
                .and_then(|ip| super::client::shorten(ip, request.settings.click.client_ip)),
            method: request.method,
            facts,
            ..ClickRow::new(id.unwrap_or(EventId([0; 16])), at_us)
        };
        Some(Self {
            pages,
            request,
            opened,
            target,
            rules: request.settings.click_rules.of(&message.domain),
            row,
            has_id: id.is_ok(),
        })
    }

    /// The mail, recipient and URL that tell the link from others.
    pub(super) fn link(&self) -> (&str, Option<&str>, &str) {
        (&self.row.mail_id, self.row.user.as_deref(), &self.row.url)
    }

    /// Records that there were too many requests.
    pub(super) async fn record_refusal(mut self) {
        let _ = self.label();
        self.row.outcome = Outcome::RefusedRate;
        self.record().await;
    }

    /// Answers the request; the click is recorded when this returns.
    pub(super) async fn answer(mut self, sent: Option<Sent>) -> Response<Body> {
        let button = sent.and_then(|sent| Some((sent.usage, self.shown_page(&sent)?)));
        self.row.page_event = button.map(|(_, page)| EventId(page.event_id));
        let strange = self.label();
        let pressed = match button {
            Some((PageUse::Review, page)) => return self.review(&page).await,
            Some((PageUse::Continue, page)) => Some(page),
            None => None,
        };
        if pressed.is_none() && visitor::gets_neutral_page(self.row.label, &self.request.settings.machines) {
            return self.neutral().await;
        }
        let reader = self.pages.ledger.store().reader();
        let strange = strange.as_slice();
        let layers = Layers::of_click(&self.request.settings, reader, self.opened, self.target, strange).await;
        self.row.chain = layers.chain();
        let Some(checked) = self.check(&layers).await else {
            return self.checking(&layers).await;
        };
        let answer = self.decide(&checked, pressed.as_ref());
        self.add_check(&checked);
        self.row.outcome = match (answer, &pressed) {
            (Answer::Go, None) => Outcome::Redirected,
            (Answer::Go, Some(page)) => self.button_outcome(checked.verdict, page.verdict),
            (Answer::Confirm, _) => Outcome::Confirmed,
            (Answer::Warning { .. }, _) => Outcome::Warned,
            (Answer::Blocked, _) => Outcome::Blocked,
            (Answer::Unknown { .. }, _) => Outcome::UnknownTarget,
            (Answer::CouldNotCheck { .. }, _) => Outcome::CouldNotCheck,
        };
        self.alert(&layers.smuggled);
        let response = match (answer, &pressed) {
            (Answer::Go, None) => redirect(self.opened),
            (Answer::Go, Some(_)) => Some(self.show(PageKind::Onward { to: self.target }, None, None)),
            _ => None,
        };
        let response = response.unwrap_or_else(|| self.page(answer, &layers, &checked));
        self.pages.counts.verdicts.inc(checked.verdict);
        self.record().await;
        response
    }

    /// Labels the visitor, and says whether the link is opened in a way that its recipient would not.
    fn label(&mut self) -> Option<Smuggled> {
        let strange = self
            .pages
            .visitors
            .label(&mut self.row, self.request.client, &self.request.settings);
        self.pages.counts.labels.inc(self.row.label);
        strange
    }

    /// The page whose button was pressed, when its form counts.
    fn shown_page(&self, sent: &Sent) -> Option<Page> {
        let forms = &self.pages.counts.forms;
        let keys = &self.request.settings.keys;
        match self.pages.used.take(keys, &self.request.path, sent, self.now_s()) {
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
    async fn check(&self, layers: &Layers) -> Option<Checked> {
        let settings = &self.request.settings;
        let limits = &settings.check_limits;
        let link = LinkCheck {
            settings,
            domain: &self.opened.message().domain,
            rules: self.rules,
            target: self.target,
            layers,
            // A target is asked for people only.
            contact: match self.row.label.is_machine() {
                true => Contact::Lists,
                false => self.rules.policy.contact,
            },
            // Only a page that was asked for can ask again by itself.
            patience: match self.request.method {
                Method::Post => limits.hard,
                _ => limits.silent,
            },
        };
        self.pages.checker.check(&link).await
    }

    fn decide(&self, checked: &Checked, pressed: Option<&Page>) -> Answer {
        let policy = &self.rules.policy;
        let answer = match pressed {
            Some(page) => policy.answer_to_button(checked.verdict, &checked.evidence, page.verdict),
            None => policy.answer(checked.verdict, &checked.evidence),
        };
        // A form that does not count gets its page anew, and no redirect: browsers would follow it with the form's rules.
        match answer {
            Answer::Go if self.request.method == Method::Post && pressed.is_none() => Answer::Confirm,
            other => other,
        }
    }

    /// The outcome of a button that leads on: that of a warning, or another.
    fn button_outcome(&self, verdict: Verdict, seen: Verdict) -> Outcome {
        let calm = |v| matches!(self.rules.policy.answer(v, &[]), Answer::Go | Answer::Confirm);
        if calm(verdict) && calm(seen) {
            Outcome::Continued
        } else {
            Outcome::ClickedThrough
        }
    }

    /// Puts the outcome of the check into the row.
    fn add_check(&mut self, checked: &Checked) {
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

    /// Answers a machine: nothing is checked.
    async fn neutral(mut self) -> Response<Body> {
        self.row.outcome = Outcome::Neutral;
        let response = self.show(PageKind::Neutral, None, Some(Verdict::Allow));
        self.record().await;
        response
    }

    /// Answers that the check goes on.
    async fn checking(mut self, layers: &Layers) -> Response<Body> {
        self.row.outcome = Outcome::Checking;
        let attempt = self.request.path.clone();
        let kind = PageKind::Checking {
            refresh_s: REFRESH_S,
            attempt: &attempt,
        };
        let view = View {
            target: self.shown(layers),
            ..self.view(kind)
        };
        let response = pages::answer(&view);
        self.record().await;
        response
    }

    /// Answers the button that asks for a review, and raises an alert.
    async fn review(mut self, page: &Page) -> Response<Body> {
        self.row.outcome = Outcome::Review;
        self.row.verdict = Some(page.verdict);
        let detail = format!("a reader asks for a review of the verdict {}", page.verdict.as_str());
        self.raise(AlertKind::ReviewAsked, detail);
        let response = self.show(PageKind::ReviewSent, None, None);
        self.record().await;
        response
    }

    /// The page for an answer that is no redirect.
    fn page(&self, answer: Answer, layers: &Layers, checked: &Checked) -> Response<Body> {
        let (kind, may_continue) = match answer {
            Answer::Go | Answer::Confirm => (PageKind::Confirm, true),
            Answer::Warning { may_continue } => (PageKind::Warning, may_continue),
            Answer::Blocked => (PageKind::Blocked, false),
            Answer::Unknown { may_continue } => (PageKind::Unknown, may_continue),
            Answer::CouldNotCheck { may_continue } => (PageKind::CouldNotCheck, may_continue),
        };
        self.show(kind, Some((layers, checked)), may_continue.then_some(checked.verdict))
    }

    /// A page; `go_on` when its button may lead on, with the verdict it is shown for.
    fn show(&self, kind: PageKind<'_>, seen: Option<(&Layers, &Checked)>, go_on: Option<Verdict>) -> Response<Body> {
        let verdict = seen.map_or(Verdict::Allow, |(_, checked)| checked.verdict);
        let seal = |usage, verdict| {
            let facts = Page {
                at_s: self.now_s(),
                verdict,
                event_id: self.row.event_id.0,
            };
            self.request.settings.keys.seal_page(usage, &self.request.path, &facts)
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
        let shown = seen.and_then(|(layers, _)| self.shown(layers));
        let view = View {
            target: shown,
            evidence: seen.map_or(&[], |(_, checked)| &checked.evidence),
            google_sources: &google,
            chain: if shown.is_some() { &self.row.chain } else { &[] },
            form: form(&go_on).then_some(PageForm {
                action: &self.request.path,
                fields: &go_on,
            }),
            review: form(&review).then_some(PageForm {
                action: &self.request.path,
                fields: &review,
            }),
            reference: seen.filter(|_| self.has_id).map(|_| &*reference),
            checked_at_s: seen.map(|_| i64::from(self.now_s())),
            ..self.view(kind)
        };
        pages::answer(&view)
    }

    fn view<'v>(&'v self, kind: PageKind<'v>) -> View<'v> {
        let pages = &self.request.settings.pages;
        let brand = pages.brand(&self.opened.message().domain);
        let wanted = self.row.facts.accept_language.as_deref().unwrap_or_default();
        let lang = pages::language(wanted, &pages.languages, brand.language.as_deref());
        View {
            is_recorded: self.rules.policy.track_clicks,
            ..View::plain(kind, brand, lang)
        }
    }

    /// The target as pages name it, where they may.
    fn shown<'w>(&self, layers: &'w Layers) -> Option<&'w Target> {
        self.rules.policy.show_target.then(|| layers.certain())
    }

    fn google_sources(&self) -> Vec<(&'a str, GoogleService)> {
        let sources = self.request.settings.checks.sources.iter();
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

    /// Counts the answer, and records it where the domain wants that.
    async fn record(self) {
        let row = self.row;
        self.pages.counts.outcomes.inc(row.outcome);
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
            ms = self.request.began.elapsed().as_millis() as u64,
            "click"
        );
    }
}

/// A finding as a row has it; `None` for a source that does not list the URL.
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
