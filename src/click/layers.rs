//! Taking a link apart: what is wrapped in it, whether it belongs where it is, and whether a rule of the operator lets it
//! pass. Other hosts are not asked.

mod stored;

use std::borrow::Cow;

use link::{
    Category, Circumstances, Evidence, Finding, Listing, MessageClaims, Opened, Provenance, Scope, Smuggled, Target,
    Unwrapped, Weight, signs, signs_of_smuggling,
};
use store::Reader;

use crate::config::{DomainRules, Settings};

/// A link, taken apart.
#[derive(Debug)]
pub(super) struct Layers {
    unwrapped: Unwrapped,
    /// Evidence against the link by itself.
    pub(super) evidence: Vec<Evidence>,
    /// Signs that the link turned up where it does not belong.
    pub(super) smuggled: Vec<Smuggled>,
}

impl Layers {
    /// Takes the link of a click apart.
    pub(super) async fn of_click(
        settings: &Settings,
        reader: &Reader,
        opened: &Opened,
        target: &Target,
        strange: &[Smuggled],
    ) -> Self {
        let mut layers = Self::of_url(settings, reader, target, Some(opened.message())).await;
        layers.add_smuggled(strange);
        if opened.blocked_at_delivery() {
            let listing = Listing {
                category: Category::Unspecified,
                scope: Scope::Url,
                weight: Weight::Block,
            };
            layers.evidence.push(Evidence {
                source: Cow::Borrowed("delivery"),
                about: target.as_str().to_owned(),
                finding: Finding::Listed(listing),
            });
        }
        layers
    }

    /// Takes a URL apart; `message` says of which mail it is, if of any.
    pub(super) async fn of_url(
        settings: &Settings,
        reader: &Reader,
        target: &Target,
        message: Option<&MessageClaims>,
    ) -> Self {
        let unwrapped = stored::unwrapped(settings, reader, target).await;
        let mut layers = Self {
            evidence: unwrapped.evidence(),
            smuggled: Vec::new(),
            unwrapped,
        };
        // Nothing is inside a link of its own, so it cannot be out of place by what is.
        if let Some(message) = message
            && !(layers.unwrapped.layers.is_empty() && layers.unwrapped.opaque.is_none())
        {
            let around = Provenance {
                sender: &message.sender,
                recipient: message.recipient.as_deref(),
                is_ours: &|domain| settings.domains.is_ours(domain),
                own_wrappers: &settings.click_rules.own_wrappers,
                sender_uses: &|sender, vendor| settings.click_rules.sender_uses(sender, vendor),
            };
            let smuggled = signs_of_smuggling(&layers.unwrapped, &around);
            layers.add_smuggled(&smuggled);
        }
        layers
    }

    fn add_smuggled(&mut self, signs: &[Smuggled]) {
        for sign in signs {
            self.smuggled.push(*sign);
            self.evidence.push(Evidence {
                source: Cow::Borrowed("link"),
                about: self.unwrapped.outer().as_str().to_owned(),
                finding: Finding::Smuggled(*sign),
            });
        }
    }

    /// Whether it looks as if it worked only once. Reads the whole link, so only to be called before a target is asked.
    pub(super) fn is_one_time(&self) -> bool {
        self.unwrapped.looks_one_time(None).is_some()
    }

    /// Where it leads for certain.
    pub(super) fn certain(&self) -> &Target {
        self.unwrapped.certain()
    }

    /// Every URL that has to be checked.
    pub(super) fn urls(&self) -> Vec<&Target> {
        self.unwrapped.to_check()
    }

    /// URLs on the way that were read from the link, without the link itself.
    pub(super) fn chain(&self) -> Vec<String> {
        if self.unwrapped.layers.is_empty() {
            return Vec::new();
        }
        let layers = self.unwrapped.layers.iter().skip(1).map(|layer| &layer.url);
        let urls = layers.chain(std::iter::once(&self.unwrapped.target));
        urls.map(|url| url.as_str().to_owned()).collect()
    }

    /// The rule that lets it pass: one for every URL that a reader may end at, and nothing that speaks against it by itself.
    pub(super) fn bypassed<'r>(&self, rules: &'r DomainRules) -> Option<&'r str> {
        if rules.bypass_urls.texts().is_empty() || !self.evidence.is_empty() {
            return None;
        }
        let mut first = None;
        for url in self.urls() {
            let rule = rules.bypass_urls.find(url)?;
            first = first.or(Some(rule));
        }
        rules.bypass_urls.texts().get(first?).map(String::as_str)
    }
}

/// The signs of a URL by itself, and of its domain if that is new.
pub(super) fn signs_of(settings: &Settings, domain: &str, url: &Target, is_new: bool) -> Vec<Evidence> {
    let policy = settings.domains.of(domain);
    let circumstances = Circumstances {
        names: policy.map(|policy| &policy.delivery.names),
        newly_seen: is_new,
        ..Circumstances::default()
    };
    let found = signs(url, &circumstances);
    found.into_iter().map(|sign| sign.evidence(url.as_str())).collect()
}
