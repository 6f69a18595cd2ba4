//! Decides about every link of one message.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use link::{
    AtDelivery, Circumstances, ClickBase, Decision, DisarmReason, Glance, KeepReason, KeyRing, LayerKind, LeaveReason,
    MessageClaims, Opened, Opener, Policy, Resolve, Resolved, Rewrite, Sealer, SenderFacts, Sign, Smuggled, Target,
    Unwrapped, WrapReason, registrable_domain, resolve, unwrap, wrap_link,
};
use message::{Judge, Ruling, Seal, Site, Source, Use};
use store::ReferenceRow;

use super::suspicion::{Conclusion, Grade, OWN_LINK_SMUGGLED, Suspicion};
use super::{Job, LinkReport, sender};
use crate::config::Settings;
use crate::intel::smuggling::smuggled;
use crate::intel::sources::Sources;

/// Decides about every site of one message.
pub(super) struct LinkJudge<'a> {
    settings: &'a Settings,
    sources: &'a dyn Sources,
    policy: &'a Arc<Policy>,
    pub(super) sender_bypassed: bool,
    sender: &'a str,
    recipients: &'a [String],
    /// The claims of tokens of this copy, as they give them back.
    claims: MessageClaims,
    /// The facts about the sender in the header.
    facts: SenderFacts,
    /// The sender's domain is one of ours, and our own mail server does not say that this is a lie.
    from_inside: bool,
    conclusion: Conclusion,
    /// Registrable domains of the links, and whether they are new here as far as that was asked.
    domains: BTreeMap<String, Option<bool>>,
    base: &'a ClickBase,
    glance: Glance<'a>,
    keys: &'a KeyRing,
    opener: Opener<'a>,
    sealer: Sealer<'a>,
    /// The document's base as it was last seen, parsed.
    document_base: Option<(String, Option<Target>)>,
    /// The link that was wrapped last.
    last: Option<LastWrapped>,
    pub(super) links: Vec<LinkReport>,
    pub(super) references: Vec<ReferenceRow>,
    mail_id: &'a str,
    now_s: i64,
}

/// A wrapped link. Newsletters write the same one twice in a row: around a picture and its caption, for Outlook and for
/// everyone else. The second time it need not be read, decided on and sealed again.
struct LastWrapped {
    usage: Use,
    base: Option<String>,
    written: Vec<u8>,
    url: String,
    target: Target,
    click_url: String,
    decision: Decision,
    suspicion: Suspicion,
}

impl LastWrapped {
    fn is(&self, site: &Site<'_>) -> bool {
        self.written == site.written
            && self.url == site.url
            && self.usage == site.usage
            && self.base.as_deref() == site.base
            && !site.has_legacy_query()
    }
}

/// A decision, before anything is sealed, with what led to it.
struct LinkRuling {
    /// `None` for what is not reported: it leads to a place within the message, or nowhere.
    decision: Option<Decision>,
    target: Option<Target>,
    suspicion: Suspicion,
}

impl From<Option<Decision>> for LinkRuling {
    fn from(decision: Option<Decision>) -> Self {
        Self {
            decision,
            target: None,
            suspicion: Suspicion::default(),
        }
    }
}

impl<'a> LinkJudge<'a> {
    /// `None` when the recipients' domain did not opt in.
    pub(super) fn new(job: &Job<'a>, sources: &'a dyn Sources) -> Option<Self> {
        let policy = job.recipients.first().and_then(|r| job.settings.domains.policy(r));
        let policy = policy.filter(|p| p.rewrite != Rewrite::Off)?;
        let claims = MessageClaims {
            message_id: job.mail_id.to_owned(),
            recipient: if let [one] = job.recipients {
                Some(one.clone())
            } else {
                None
            },
            sender: job.sender.to_owned(),
            issued_at: job.now_s,
            domain: policy.domain.clone(),
        };
        Some(Self {
            settings: job.settings,
            sources,
            policy,
            sender_bypassed: policy.bypasses(job.sender),
            sender: job.sender,
            recipients: job.recipients,
            facts: SenderFacts::default(),
            from_inside: job.settings.domains.policy(job.sender).is_some(),
            conclusion: Conclusion::default(),
            domains: BTreeMap::new(),
            base: &job.settings.click.base,
            glance: Glance::new(&job.settings.click.base),
            keys: &job.settings.keys,
            opener: Opener::new(&job.settings.keys, &job.settings.click.base),
            sealer: job.settings.keys.sealer(&claims),
            document_base: None,
            last: None,
            links: Vec::new(),
            references: Vec::new(),
            mail_id: job.mail_id,
            now_s: job.now_s,
            claims: claims.as_sealed(),
        })
    }

    /// Reads what the header says of the sender, if that counts for anything.
    pub(super) fn read_header(&mut self, source: &dyn Source) {
        let believed = &self.settings.sender_checks.authserv_ids;
        let wants_signs = self.wants_signs();
        if self.sender_bypassed || !wants_signs && believed.is_empty() && !self.sources.remembers_domains() {
            return;
        }
        let sender::Sender { facts, from } = sender::read(source, believed);
        self.facts = facts;
        self.from_inside &= !(facts.spf_failed || facts.dmarc_failed);
        for sender in from {
            self.facts.poses |= wants_signs && self.policy.is_posed(&sender.shown, &sender.domain);
            let key = sender_key(&sender.domain);
            self.facts.first_contact |= wants_signs && !self.from_inside && self.is_new_domain(&key);
            self.domains.insert(key, None);
        }
    }

    /// Notes the domains of links and senders that were seen.
    pub(super) fn note_domains(&self) {
        self.sources
            .note(&mut self.domains.keys().map(String::as_str), self.now_s);
    }

    /// The header line for filters behind us, if one is due.
    pub(super) fn tag(&self) -> Option<Vec<u8>> {
        self.conclusion.tag(self.policy.delivery.at_delivery)
    }

    /// Why the message is to be refused for its links, if it is.
    pub(super) fn refusal(&mut self) -> Option<String> {
        self.conclusion.refusal.take()
    }

    fn wants_signs(&self) -> bool {
        self.policy.rewrite == Rewrite::Suspicious || self.policy.delivery.delivery_score > 0
    }

    fn wants_lists(&self) -> bool {
        self.policy.rewrite == Rewrite::Suspicious || self.policy.delivery.at_delivery != AtDelivery::Wrap
    }

    /// `whole`: with what lists say, and whether the link belongs here; without, only what decides whether it may stay.
    fn ruling(&mut self, site: &Site<'_>, whole: bool) -> LinkRuling {
        let in_text = matches!(
            site.usage,
            Use::HtmlText | Use::PlainText | Use::QuotedValue | Use::Folded { .. }
        );
        let decision = match self.resolve(site) {
            Resolved::Web(target) => return self.web(site, target, whole),
            Resolved::Leave(LeaveReason::Empty | LeaveReason::Fragment) => return None.into(),
            Resolved::Leave(reason) => Decision::Keep(KeepReason::NotWeb(reason)),
            Resolved::Relative if site.usage == Use::Ping => Decision::Disarm(DisarmReason::Ping),
            Resolved::Relative => Decision::Keep(KeepReason::Relative),
            // Text stays as it is: nothing here can keep a program from making something of it.
            Resolved::Inert(_) if in_text => Decision::Keep(KeepReason::InvalidUrl),
            Resolved::Inert(scheme) if scheme == "invalid" => Decision::Disarm(DisarmReason::InvalidUrl),
            Resolved::Inert(_) => Decision::Disarm(DisarmReason::Scheme),
        };
        Some(decision).into()
    }

    fn web(&mut self, site: &Site<'_>, target: Target, whole: bool) -> LinkRuling {
        let own = self.own(site.url.trim(), &target);
        if own.as_ref().is_some_and(|opened| self.belongs(opened)) {
            return Some(Decision::Keep(KeepReason::OwnLink)).into();
        }
        let policy = self.policy;
        let mut weighed = None;
        let decision = if own.is_some() && !self.sender_bypassed {
            // Not even a rule for our own click host lets it pass.
            Decision::Wrap(WrapReason::OwnLinkSmuggled)
        } else {
            policy.decide_known(self.sender_bypassed, &target, || {
                let suspicion = weighed.insert(self.weigh(site, &target, whole));
                if suspicion.listed.is_empty() && suspicion.misplaced.is_empty() {
                    suspicion.score()
                } else {
                    u32::MAX
                }
            })
        };
        let mut suspicion = match decision {
            Decision::Wrap(_) | Decision::Keep(KeepReason::NotSuspicious) => {
                weighed.unwrap_or_else(|| self.weigh(site, &target, whole))
            }
            _ => Suspicion::default(),
        };
        if own.is_some() && !self.sender_bypassed {
            suspicion.misplaced.insert(0, OWN_LINK_SMUGGLED);
        }
        suspicion.grade(&policy.delivery);
        let decision = match (decision, site.usage) {
            // These do not wait for a click, or carry more than one: no click page can stand in for them.
            (Decision::Wrap(_), Use::Submit) => Decision::Disarm(DisarmReason::Form),
            (Decision::Wrap(_), Use::Load) => Decision::Disarm(DisarmReason::Frame),
            (Decision::Wrap(_), Use::Ping) => Decision::Disarm(DisarmReason::Ping),
            (Decision::Wrap(_), _)
                if policy.delivery.at_delivery == AtDelivery::BlockLink && suspicion.grade == Grade::Bad =>
            {
                Decision::Wrap(WrapReason::Blocked)
            }
            (decision, _) => decision,
        };
        LinkRuling {
            decision: Some(decision),
            target: Some(target),
            suspicion,
        }
    }

    /// The click link of ours that a URL is, as it is written and as a browser reads it: dot segments behind a genuine one
    /// lead away from it.
    fn own(&self, url: &str, target: &Target) -> Option<Opened> {
        self.base.parse(url)?;
        let opened = self.opener.recognise(url)?;
        (url == target.as_str() || self.opener.recognise(target.as_str()).is_some()).then_some(opened)
    }

    /// Whether a genuine click link of ours may stand in this mail: it was made for it, or for one of its recipients, or for
    /// this domain and this sender where it names no recipient; or the mail comes from one of our own domains.
    fn belongs(&self, opened: &Opened) -> bool {
        let made = opened.message();
        made.message_id == self.mail_id
            || match &made.recipient {
                Some(recipient) => self.recipients.iter().any(|r| r.eq_ignore_ascii_case(recipient)),
                None => made.domain == self.claims.domain && made.sender.eq_ignore_ascii_case(&self.claims.sender),
            }
            || self.from_inside
    }

    /// Collects the signs against a link.
    fn weigh(&mut self, site: &Site<'_>, target: &Target, whole: bool) -> Suspicion {
        let mut suspicion = Suspicion::default();
        // Nearly all links have nothing inside.
        let inside = (!self.glance.is_plain(target)).then(|| unwrap(target, &|url| self.opener.recognise(url)));
        let inside = inside.as_ref();
        if self.wants_signs() {
            let text = site.link_text();
            suspicion.signs = self.signs(target, text.as_deref());
            if let Some(inside) = inside.filter(|i| !i.layers.is_empty()) {
                let inner = self.signs(&inside.target, text.as_deref());
                if link::points(&inner) > suspicion.score() {
                    suspicion.signs = inner;
                }
            }
        }
        if !whole {
            return suspicion;
        }
        if self.wants_lists() {
            let urls = inside.map_or_else(|| vec![target], Unwrapped::to_check);
            suspicion.take_listings(urls.into_iter().flat_map(|t| self.sources.local(t)).collect());
        }
        if let Some(inside) = inside.filter(|_| !self.from_inside) {
            let strangers = inside.layers.iter().any(|layer| match &layer.kind {
                LayerKind::Own(opened) => !self.belongs(opened),
                _ => false,
            });
            let recipient = self.claims.recipient.as_deref();
            let smuggled = smuggled(self.settings, inside, self.sender, recipient);
            let own = [Smuggled::OwnLinkInside, Smuggled::OtherRecipient];
            let smuggled: Vec<_> = smuggled.into_iter().filter(|s| strangers || !own.contains(s)).collect();
            suspicion.take_smuggled(&smuggled);
        }
        self.remember_domain(target);
        inside
            .into_iter()
            .flat_map(Unwrapped::to_check)
            .for_each(|url| self.remember_domain(url));
        suspicion
    }

    /// Remembers that a link leads to this domain, if domains are remembered.
    fn remember_domain(&mut self, target: &Target) {
        if self.sources.remembers_domains()
            && let Some(domain) = registrable_domain(target)
            && !self.domains.contains_key(domain)
        {
            self.domains.insert(domain.to_owned(), None);
        }
    }

    fn signs(&mut self, target: &Target, link_text: Option<&str>) -> Vec<Sign> {
        let newly_seen = self.is_new(target);
        self.policy.signs(
            target,
            &Circumstances {
                names: None,
                link_text,
                newly_seen,
                sender: self.facts,
            },
        )
    }

    fn is_new(&mut self, target: &Target) -> bool {
        let Some(domain) = registrable_domain(target) else {
            return false;
        };
        if let Some(Some(known)) = self.domains.get(domain) {
            return *known;
        }
        let is_new = self.is_new_domain(domain);
        self.domains.insert(domain.to_owned(), Some(is_new));
        is_new
    }

    /// Whether a domain, or a sender's with an `@` in front, is new here. Reads a row where that is not in memory: mail is
    /// rewritten where that may be done.
    fn is_new_domain(&self, domain: &str) -> bool {
        self.sources.recall(&[domain], self.now_s);
        self.sources.is_new(domain, self.now_s)
    }

    fn resolve(&mut self, site: &Site<'_>) -> Resolved {
        if let Some(base) = site.base
            && self.document_base.as_ref().is_none_or(|(text, _)| text != base)
        {
            let target = match resolve(
                base,
                &Resolve {
                    base: None,
                    query_encoding: None,
                    bare_hosts: false,
                },
            ) {
                Resolved::Web(t) => Some(t),
                _ => None,
            };
            self.document_base = Some((base.to_owned(), target));
        }
        let base = site.base.and(self.document_base.as_ref()).and_then(|(_, t)| t.as_ref());
        let how = Resolve {
            base,
            query_encoding: None,
            bare_hosts: matches!(site.usage, Use::Link | Use::WordField),
        };
        if site.has_legacy_query() {
            let encode = query_encoding(|query| site.encode_query(query));
            return resolve(
                &site.url,
                &Resolve {
                    query_encoding: Some(&encode),
                    ..how
                },
            );
        }
        resolve(&site.url, &how)
    }

    fn report(&mut self, site: &Site<'_>, url: &str, decision: Decision, suspicion: Suspicion) {
        let delivery = &self.policy.delivery;
        self.conclusion.take(url, &suspicion, delivery.at_delivery);
        self.links.push(LinkReport {
            url: url.to_owned(),
            decision,
            // Nearly all of them are this one.
            place: match &*site.place {
                "a[href]" => Cow::Borrowed("a[href]"),
                other => Cow::Owned(other.to_owned()),
            },
            part: site.part.to_owned(),
            suspicion: (!suspicion.is_empty()).then(|| Box::new(suspicion)),
        });
    }

    /// `blocked`: readers are only ever to see why.
    fn wrap(&mut self, site: &Site<'_>, target: &Target, blocked: bool) -> String {
        // A link put around a text leaves that text; every other takes the place of what was written.
        let written =
            (site.usage != Use::HtmlText && site.written != target.as_str().as_bytes()).then_some(site.written);
        let blocking = blocked.then(|| self.sealer.blocking());
        let sealer = blocking.as_ref().unwrap_or(&self.sealer);
        let wrapped = wrap_link(sealer, self.base, target, written, site.form());
        if let Some(r) = wrapped.reference
            && !self.references.iter().any(|known| known.id == r.id)
        {
            self.references.push(ReferenceRow {
                id: r.id,
                target: r.target,
                written: r.written,
                mail_id: self.mail_id.to_owned(),
                created_at_us: self.now_s.saturating_mul(1_000_000),
            });
        }
        wrapped.click_url
    }
}

/// Says that the answer borrows from the query alone, which a bare closure cannot.
fn query_encoding<F: Fn(&str) -> Cow<'_, [u8]>>(f: F) -> F {
    f
}

impl Judge for LinkJudge<'_> {
    fn rule(&mut self, site: &Site<'_>) -> Ruling {
        let left = site.left.map(KeepReason::Structure);
        let left = left.or(self.sender_bypassed.then_some(KeepReason::BypassSender));
        if left.is_none()
            && let Some(last) = self.last.take_if(|l| l.is(site))
        {
            self.report(site, last.target.as_str(), last.decision, last.suspicion.clone());
            let with = last.click_url.clone();
            self.last = Some(last);
            return Ruling::Replace(with);
        }
        let LinkRuling {
            decision,
            target,
            suspicion,
        } = self.ruling(site, true);
        let Some(decision) = decision else {
            return Ruling::Keep;
        };
        let decision = left.map_or(decision, Decision::Keep);
        let Some((Decision::Wrap(reason), target)) = target.as_ref().map(|target| (decision, target)) else {
            let url = target.as_ref().map_or(&*site.url, Target::as_str);
            self.report(site, url, decision, suspicion);
            return match decision {
                Decision::Disarm(_) => Ruling::Disarm,
                _ => Ruling::Keep,
            };
        };
        let click_url = self.wrap(site, target, reason == WrapReason::Blocked);
        // The text of the next one may say something else.
        if !site.has_legacy_query() && !self.wants_signs() {
            self.last = Some(LastWrapped {
                usage: site.usage,
                base: site.base.map(str::to_owned),
                written: site.written.to_vec(),
                url: site.url.clone().into_owned(),
                target: target.clone(),
                click_url: click_url.clone(),
                decision,
                suspicion: suspicion.clone(),
            });
        }
        self.report(site, target.as_str(), decision, suspicion);
        Ruling::Replace(click_url)
    }

    fn is_safe(&mut self, site: &Site<'_>) -> bool {
        matches!(self.ruling(site, false).decision, None | Some(Decision::Keep(_))) || self.sender_bypassed
    }

    fn seal_mark(&self, kept: &[u8]) -> Seal {
        self.keys.seal_mark(kept)
    }
}

/// The key of a domain that a sender wrote from, beside those that links lead to: no domain has this sign.
fn sender_key(domain: &str) -> String {
    format!("@{domain}")
}
