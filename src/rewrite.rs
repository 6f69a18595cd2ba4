//! One message in, one patch out: finds the links of a message, decides on each, seals and splices.
//!
//! This is where the room of messages and the room of links meet; neither knows the other.

use std::borrow::Cow;
use std::sync::Arc;

use link::{
    ClickBase, Decision, DisarmReason, KeepReason, KeyRing, LeaveReason, MessageClaims, Opener, Policy, Resolve,
    Resolved, Rewrite, Sealer, Target, resolve, wrap_link,
};
use message::{Judge, Patch, Ruling, Seal, Site, Source, Use};
use store::ReferenceRow;

use crate::job::Sources;
use crate::settings::Settings;

/// One message, as far as it is not its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The snapshot that this transaction goes by.
    pub settings: &'a Settings,
    /// Envelope sender; empty for the null sender.
    pub sender: &'a str,
    /// Accepted envelope recipients. They share one copy, so their policies are the same; with exactly one, the claims
    /// may name it.
    pub recipients: &'a [String],
    /// Our name for the message.
    pub mail_id: &'a str,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// What is to become of a message.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Whether it goes on.
    pub action: Action,
    /// What changes in it.
    pub patch: Patch,
    /// What was found in it.
    pub report: Report,
    /// Long targets, to be stored before the next hop gets the message.
    pub references: Vec<ReferenceRow>,
}

/// Whether a message goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Action {
    /// To the next hop, with the patch.
    #[default]
    Forward,
    /// Refused for good with 550; the reason is for the log.
    Refuse(String),
}

/// What was found in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the patch changes anything.
    pub changed: bool,
    /// Every link that was found.
    pub links: Vec<LinkReport>,
    /// Doubtful structures, by name.
    pub quirks: Vec<String>,
    /// MIME parts.
    pub parts: usize,
    /// The Message-ID field.
    pub message_id: Option<String>,
}

/// One link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// The target, or the text of the link where it is no URL.
    pub url: String,
    /// `wrapped`, `kept` or `disarmed`.
    pub decision: &'static str,
    /// Why, as a stable word.
    pub reason: &'static str,
    /// Where in the part it stands.
    pub place: Cow<'static, str>,
    /// The part, by number.
    pub part: String,
}

/// Why a message could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Its bytes cannot be read, or its plan cannot be made.
    #[error(transparent)]
    Plan(#[from] message::PlanError),
}

/// Works out what becomes of one message.
///
/// The recipients share one policy: that of the first one counts. A message to a domain that did not opt in is not even
/// looked at.
///
/// # Errors
/// See [`RewriteError`].
pub fn rewrite(source: &dyn Source, job: &Job<'_>, _sources: &Sources) -> Result<Outcome, RewriteError> {
    let Some(mut verdicts) = Verdicts::new(job) else {
        return Ok(Outcome::default());
    };
    let sender_bypassed = verdicts.sender_bypassed;
    let planned = message::plan(source, &job.settings.rewriting, &mut verdicts)?;
    let mut patch = planned.patch;
    if sender_bypassed {
        // Trusted as a whole: nothing in it is touched, odd structures included.
        patch = message::Patch::default();
    }
    let action = match planned.refused.filter(|_| !sender_bypassed) {
        Some(quirk) => Action::Refuse(format!("cannot be made safe: {quirk}")),
        None => Action::Forward,
    };
    Ok(Outcome {
        action,
        report: Report {
            changed: !patch.is_empty(),
            links: verdicts.links,
            quirks: planned.quirks.iter().map(|q| q.to_string()).collect(),
            parts: planned.parts,
            message_id: planned.message_id,
        },
        patch,
        references: verdicts.references,
    })
}

/// Whoever decides about the links of a message, alone; for benches.
#[doc(hidden)]
#[must_use]
pub fn judge<'a>(job: &Job<'a>) -> Option<impl Judge + 'a> {
    Verdicts::new(job)
}

/// Decides about every site of one message.
struct Verdicts<'a> {
    policy: &'a Arc<Policy>,
    sender_bypassed: bool,
    base: &'a ClickBase,
    keys: &'a KeyRing,
    opener: Opener<'a>,
    sealer: Sealer<'a>,
    /// The document's base as it was last seen, parsed.
    document_base: Option<(String, Option<Target>)>,
    /// The link that was wrapped last.
    last: Option<Last>,
    links: Vec<LinkReport>,
    references: Vec<ReferenceRow>,
    mail_id: &'a str,
    now_s: i64,
}

/// A wrapped link. Newsletters write the same one twice in a row: around a picture and its caption, for Outlook and for
/// everyone else. The second time it need not be read, decided on and sealed again.
struct Last {
    usage: Use,
    base: Option<String>,
    written: Vec<u8>,
    url: String,
    target: Target,
    click_url: String,
}

impl Last {
    fn is(&self, site: &Site<'_>) -> bool {
        self.written == site.written
            && self.url == site.url
            && self.usage == site.usage
            && self.base.as_deref() == site.base
            && !site.has_legacy_query()
    }
}

/// What was decided, before anything is sealed.
enum Verdict {
    Keep(&'static str),
    /// Too dull to be reported: it leads to a place within the message, or nowhere.
    Ignore,
    Wrap(Target),
    Disarm(&'static str),
}

impl<'a> Verdicts<'a> {
    /// `None` when the recipients' domain did not opt in.
    fn new(job: &Job<'a>) -> Option<Self> {
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
            policy,
            sender_bypassed: policy.bypasses(job.sender),
            base: &job.settings.click.base,
            keys: &job.settings.keys,
            opener: Opener::new(&job.settings.keys, &job.settings.click.base),
            sealer: job.settings.keys.sealer(&claims),
            document_base: None,
            last: None,
            links: Vec::new(),
            references: Vec::new(),
            mail_id: job.mail_id,
            now_s: job.now_s,
        })
    }

    fn verdict(&mut self, site: &Site<'_>) -> (Verdict, Option<Target>) {
        let in_text = matches!(
            site.usage,
            Use::HtmlText | Use::PlainText | Use::QuotedValue | Use::Folded { .. }
        );
        match self.resolve(site) {
            Resolved::Web(target) if self.is_own(site.url.trim(), &target) => {
                (Verdict::Keep(KeepReason::OwnLink.as_str()), None)
            }
            Resolved::Web(target) => {
                let verdict = match (
                    self.policy.decide_known(self.sender_bypassed, &target, || 0),
                    site.usage,
                ) {
                    (Decision::Keep(reason), _) => Verdict::Keep(reason.as_str()),
                    (Decision::Disarm(reason), _) => Verdict::Disarm(reason.as_str()),
                    // These do not wait for a click, or carry more than one: no click page can stand in for them.
                    (Decision::Wrap, Use::Submit) => Verdict::Disarm("form"),
                    (Decision::Wrap, Use::Load) => Verdict::Disarm("frame"),
                    (Decision::Wrap, Use::Ping) => Verdict::Disarm("ping"),
                    (Decision::Wrap, _) => return (Verdict::Wrap(target), None),
                };
                (verdict, Some(target))
            }
            Resolved::Leave(LeaveReason::Empty | LeaveReason::Fragment) => (Verdict::Ignore, None),
            Resolved::Leave(reason) => (Verdict::Keep(reason.as_str()), None),
            Resolved::Relative if site.usage == Use::Ping => (Verdict::Disarm("ping"), None),
            Resolved::Relative => (Verdict::Keep(KeepReason::Relative.as_str()), None),
            // Text stays as it is: nothing here can keep a program from making something of it.
            Resolved::Inert(_) if in_text => (Verdict::Keep(DisarmReason::Invalid.as_str()), None),
            Resolved::Inert(scheme) if scheme == "invalid" => (Verdict::Disarm(DisarmReason::Invalid.as_str()), None),
            Resolved::Inert(_) => (Verdict::Disarm(DisarmReason::Scheme.as_str()), None),
        }
    }

    /// Whether a URL is a click link of ours, as it is written and as a browser reads it: dot segments behind a genuine
    /// one lead away from it.
    fn is_own(&self, url: &str, target: &Target) -> bool {
        self.base.parse(url).is_some()
            && self.opener.recognise(url).is_some()
            && (url == target.as_str() || self.opener.recognise(target.as_str()).is_some())
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

    fn report(&mut self, site: &Site<'_>, url: &str, decision: &'static str, reason: &'static str) {
        self.links.push(LinkReport {
            url: url.to_owned(),
            decision,
            reason,
            // Nearly all of them are this one.
            place: match &*site.place {
                "a[href]" => Cow::Borrowed("a[href]"),
                other => Cow::Owned(other.to_owned()),
            },
            part: site.part.to_owned(),
        });
    }

    fn wrap(&mut self, site: &Site<'_>, target: &Target) -> String {
        // A link put around a text leaves that text; every other takes the place of what was written.
        let written =
            (site.usage != Use::HtmlText && site.written != target.as_str().as_bytes()).then_some(site.written);
        let wrapped = wrap_link(&self.sealer, self.base, target, written, site.form());
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

impl Judge for Verdicts<'_> {
    fn rule(&mut self, site: &Site<'_>) -> Ruling {
        let left = site
            .left
            .or(self.sender_bypassed.then_some(KeepReason::BypassSender.as_str()));
        if left.is_none()
            && let Some(last) = self.last.take_if(|l| l.is(site))
        {
            self.report(site, last.target.as_str(), "wrapped", "policy");
            let with = last.click_url.clone();
            self.last = Some(last);
            return Ruling::Replace(with);
        }
        let (verdict, target) = self.verdict(site);
        match verdict {
            Verdict::Ignore => Ruling::Keep,
            Verdict::Keep(reason) => {
                let url = target.as_ref().map_or(&*site.url, Target::as_str);
                self.report(site, url, "kept", left.unwrap_or(reason));
                Ruling::Keep
            }
            Verdict::Wrap(target) => {
                if let Some(reason) = left {
                    self.report(site, target.as_str(), "kept", reason);
                    return Ruling::Keep;
                }
                self.report(site, target.as_str(), "wrapped", "policy");
                let click_url = self.wrap(site, &target);
                if !site.has_legacy_query() {
                    self.last = Some(Last {
                        usage: site.usage,
                        base: site.base.map(str::to_owned),
                        written: site.written.to_vec(),
                        url: site.url.clone().into_owned(),
                        target,
                        click_url: click_url.clone(),
                    });
                }
                Ruling::Replace(click_url)
            }
            Verdict::Disarm(reason) => {
                let url = target.as_ref().map_or(&*site.url, Target::as_str);
                match left {
                    Some(left) => {
                        self.report(site, url, "kept", left);
                        Ruling::Keep
                    }
                    None => {
                        self.report(site, url, "disarmed", reason);
                        Ruling::Disarm
                    }
                }
            }
        }
    }

    fn is_safe(&mut self, site: &Site<'_>) -> bool {
        matches!(self.verdict(site).0, Verdict::Keep(_) | Verdict::Ignore) || self.sender_bypassed
    }

    fn seal_mark(&self, kept: &[u8]) -> Seal {
        self.keys.seal_mark(kept)
    }
}
