//! Evidence in a reader's words.

use std::borrow::Cow;

use link::{Category, Evidence, Finding, Listing, Weight, Word};

use super::texts::{Piece, Texts, fill};
use super::{GoogleService, PageKind, View, target};

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason<'a> {
    pub(super) text: Vec<Piece<'a>>,
    /// The detail that was found; a stranger's text.
    pub(super) detail: Option<String>,
    /// That it is about a URL on the way; empty when it is about the target.
    pub(super) way: Vec<Piece<'a>>,
}

/// All that a page says about the evidence.
#[derive(Debug, Default)]
pub(super) struct Reasons<'a> {
    /// The reasons against the target, the gravest first.
    pub(super) against: Vec<Reason<'a>>,
    /// The checks that could not be made.
    pub(super) unchecked: Vec<Reason<'a>>,
    /// Google's services that gave a reason.
    pub(super) google: Vec<GoogleService>,
    /// How to recognise such links.
    pub(super) teach: &'a str,
    category: Option<Category>,
    /// Whether Google alone says that it is harmful.
    only_google: bool,
}

/// Most reasons shown of each sort.
const MAX_REASONS: usize = 6;

/// Characters of a detail.
const MAX_DETAIL: usize = 80;

/// The word for the gravest reason, for the operator's own page: the category of a listing; `unspecified` without one.
pub(super) fn code(evidence: &[Evidence]) -> &'static str {
    gravest(evidence).map_or("unspecified", |(_, listing)| listing.category.as_str())
}

impl<'a> Reasons<'a> {
    pub(super) fn new(view: &View<'a>, t: &'a Texts) -> Self {
        let gravest = gravest(view.evidence);
        let google = |source: &str| view.google_sources.iter().find(|(name, _)| *name == source);
        let mut ranked: Vec<&Evidence> = view.evidence.iter().collect();
        ranked.sort_by_key(|e| std::cmp::Reverse(rank(&e.finding)));
        let unknown_is_the_reason = view.kind == PageKind::Unknown;
        let mut all = Self {
            category: gravest.map(|(_, l)| l.category),
            only_google: gravest.is_some_and(|(grave, _)| {
                view.evidence
                    .iter()
                    .filter(|e| rank(&e.finding) == rank(&grave.finding))
                    .all(|e| google(&e.source).is_some())
            }),
            teach: teach(view, t, gravest.map(|(_, l)| l.category)),
            ..Self::default()
        };
        for evidence in ranked {
            let google = google(&evidence.source).map(|(_, service)| *service);
            let Some((text, detail)) = sentence(evidence, t, google.is_some()) else {
                continue;
            };
            let reason = Reason {
                text,
                detail: detail.filter(|_| view.target.is_some()),
                way: on_the_way(view, evidence, t),
            };
            let is_open = match evidence.finding {
                Finding::CouldNotAsk(_) => true,
                Finding::TargetUnknown(_) | Finding::CouldNotInspect(_) => !unknown_is_the_reason,
                _ => false,
            };
            let list = if is_open { &mut all.unchecked } else { &mut all.against };
            if list.len() < MAX_REASONS && !list.contains(&reason) {
                list.push(reason);
                let named = google.filter(|_| matches!(evidence.finding, Finding::Listed(_)));
                all.google.extend(named.filter(|service| !all.google.contains(service)));
            }
        }
        all
    }

    /// The sentence of a page that blocks.
    pub(super) fn blocked(&self, t: &'a Texts) -> &'a String {
        match self.category {
            _ if self.only_google => &t.blocked_hedged,
            Some(Category::Phishing) => &t.blocked_phishing,
            Some(Category::Malware | Category::Botnet) => &t.blocked_malware,
            Some(Category::Revoked) => &t.blocked_revoked,
            _ => &t.blocked_what,
        }
    }
}

/// The gravest listing: by what it is worth, then by what the operator said, then in the order of categories.
fn gravest(evidence: &[Evidence]) -> Option<(&Evidence, Listing)> {
    let listings = evidence.iter().filter_map(|e| match e.finding {
        Finding::Listed(listing) => Some((e, listing)),
        _ => None,
    });
    listings.min_by_key(|(_, l)| (std::cmp::Reverse(l.weight), l.category != Category::Revoked, l.category))
}

/// The order of reasons; a sign counts by its points.
fn rank(finding: &Finding) -> u16 {
    match finding {
        Finding::Listed(Listing {
            weight: Weight::Block, ..
        }) => 600,
        Finding::Listed(_) => 500,
        Finding::Smuggled(_) => 400,
        Finding::TargetUnknown(_) => 301,
        Finding::CouldNotInspect(_) => 300,
        Finding::Sign { points, .. } => u16::from(*points),
        Finding::CouldNotAsk(_) | Finding::NotListed | Finding::Bypassed(_) => 0,
    }
}

/// A finding in words, and its detail; `None` for what a reader need not know.
fn sentence<'a>(evidence: &'a Evidence, t: &'a Texts, is_google: bool) -> Option<(Vec<Piece<'a>>, Option<String>)> {
    let general = || -> &'a str { &t.reasons_general };
    let source = || [("source", Cow::Owned(target::plain(&evidence.source, MAX_DETAIL)))];
    let words = match &evidence.finding {
        Finding::NotListed | Finding::Bypassed(_) | Finding::Sign { points: 0, .. } => return None,
        Finding::Listed(listing) if is_google => fill(google(t, listing.category), &[]),
        Finding::Listed(listing) => fill(
            t.word("listed", listing.category.as_str()).unwrap_or_else(general),
            &source(),
        ),
        Finding::CouldNotAsk(_) => fill(&t.source_silent, &source()),
        Finding::Sign { code, detail, .. } => {
            let text = t.word("sign", code).unwrap_or_else(general);
            let detail = target::plain(detail, MAX_DETAIL);
            return Some((fill(text, &[]), Some(detail).filter(|d| !d.is_empty())));
        }
        Finding::TargetUnknown(vendor) => fill(
            &t.target_unknown,
            &[("vendor", target::plain(vendor, MAX_DETAIL).into())],
        ),
        Finding::CouldNotInspect(obstacle) => {
            fill(t.word("obstacle", obstacle.as_str()).unwrap_or(&t.source_busy), &[])
        }
        Finding::Smuggled(how) => fill(t.word("smuggled", how.as_str()).unwrap_or_else(general), &[]),
    };
    Some((words, None))
}

fn google(t: &Texts, category: Category) -> &str {
    match category {
        Category::Phishing => &t.google_phishing,
        Category::Malware | Category::Botnet => &t.google_malware,
        _ => &t.google_other,
    }
}

/// Says which URL is meant, where it is not the target. What could not be asked is no matter of one URL.
fn on_the_way<'a>(view: &View<'a>, evidence: &Evidence, t: &'a Texts) -> Vec<Piece<'a>> {
    let Some(target) = view.target else {
        return Vec::new();
    };
    let host = target::host_of(&evidence.about);
    if matches!(evidence.finding, Finding::CouldNotAsk(_)) || host.is_empty() || host == target.host() {
        return Vec::new();
    }
    fill(&t.on_the_way, &[("host", host.into())])
}

fn teach<'a>(view: &View<'_>, t: &'a Texts, category: Option<Category>) -> &'a str {
    let has = |is: fn(&Finding) -> bool| view.evidence.iter().any(|e| is(&e.finding));
    match category {
        Some(Category::Phishing) => &t.teach_phishing,
        Some(Category::Malware | Category::Botnet) => &t.teach_malware,
        Some(Category::NewDomain) => &t.teach_new_domain,
        Some(Category::Abuse | Category::Revoked | Category::Unspecified) => &t.teach_general,
        None if has(|f| matches!(f, Finding::Smuggled(_))) => &t.teach_smuggled,
        None if has(|f| matches!(f, Finding::Sign { code, .. } if LOOK_ALIKE.contains(code))) => &t.teach_look_alike,
        None if has(|f| matches!(f, Finding::TargetUnknown(_) | Finding::CouldNotInspect(_))) => &t.teach_hidden,
        None => &t.teach_general,
    }
}

/// Signs of a name that imitates another.
const LOOK_ALIKE: [&str; 11] = [
    "look-alike",
    "digits-for-letters",
    "near-name",
    "whole-script",
    "mixed-scripts",
    "other-ending",
    "name-in-subdomain",
    "name-part",
    "embedded-domain",
    "other-text",
    "user-info",
];
