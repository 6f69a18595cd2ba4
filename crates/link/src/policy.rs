//! Policies of recipient domains: rules for links by sender and URL.

mod delivery;
mod rules;

pub use delivery::{AtDelivery, Delivery};
pub use rules::{SenderRules, UrlRules};

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::decision::{Decision, KeepReason, WrapReason};
use crate::score::{self, Circumstances, Sign};
use crate::target::Target;

/// The policy of a recipient domain for links.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The recipient domain, in lower case.
    pub domain: String,
    /// Which links are wrapped.
    pub rewrite: Rewrite,
    /// Senders whose links stay.
    pub bypass_senders: SenderRules,
    /// URLs that stay.
    pub bypass_urls: UrlRules,
    /// The treatment of suspicious links at delivery.
    pub delivery: Delivery,
}

impl Policy {
    /// Decides about a link to `target` in a mail from `sender` (envelope sender, without angle brackets).
    ///
    /// In this order: the domain is off, a rule for the sender, a rule for the URL, the points of the signs under
    /// [`Rewrite::Suspicious`].
    #[must_use]
    pub fn decide(&self, sender: &str, target: &Target, circumstances: &Circumstances<'_>) -> Decision {
        self.decide_known(self.bypasses(sender), target, || {
            score::points(&self.signs(target, circumstances))
        })
    }

    /// The signs of a link, with the names that this domain protects.
    #[must_use]
    pub fn signs(&self, target: &Target, circumstances: &Circumstances<'_>) -> Vec<Sign> {
        let circumstances = Circumstances {
            names: Some(&self.delivery.names),
            ..*circumstances
        };
        score::signs(target, &circumstances)
    }

    /// Whether a sender poses as another: `shown`, the name that readers see in place of the address, holds a protected name,
    /// or an address, of another registrable domain than `domain`, that of the sender.
    #[must_use]
    pub fn is_posed(&self, shown: &str, domain: &str) -> bool {
        score::is_posed(shown, domain, &self.delivery.names)
    }

    /// Whether a rule lets every link of this sender stay.
    #[must_use]
    pub fn bypasses(&self, sender: &str) -> bool {
        self.bypass_senders.find(sender).is_some()
    }

    /// Decides like [`Policy::decide`] for a sender that [`Policy::bypasses`] has been looked up for, which is once a mail.
    /// `score` computes the points of the link's signs; it is called only where they count.
    #[must_use]
    pub fn decide_known(&self, bypassed: bool, target: &Target, score: impl FnOnce() -> u32) -> Decision {
        self.judge(bypassed.then_some(0), target, score).0
    }

    /// Decides, and gives the rule or the signs behind it.
    #[must_use]
    pub fn explain(&self, sender: &str, target: &Target, circumstances: &Circumstances<'_>) -> Explanation {
        let signs = self.signs(target, circumstances);
        let (decision, matched) = self.judge(self.bypass_senders.find(sender), target, || score::points(&signs));
        let matched = matched.map(|(list, index)| {
            let texts = match list {
                RuleList::BypassSenders => self.bypass_senders.texts(),
                RuleList::BypassUrls => self.bypass_urls.texts(),
            };
            Matched {
                list,
                index,
                rule: texts.get(index).cloned().unwrap_or_default(),
            }
        });
        Explanation {
            decision,
            matched,
            score: score::points(&signs),
            signs,
        }
    }

    /// The decision and the rule; `sender`: place of the rule that matches the sender.
    fn judge(
        &self,
        sender: Option<usize>,
        target: &Target,
        score: impl FnOnce() -> u32,
    ) -> (Decision, Option<(RuleList, usize)>) {
        let keep = |reason, matched| (Decision::Keep(reason), matched);
        if self.rewrite == Rewrite::Off {
            keep(KeepReason::DomainOff, None)
        } else if let Some(i) = sender {
            keep(KeepReason::BypassSender, Some((RuleList::BypassSenders, i)))
        } else if let Some(i) = self.bypass_urls.find(target) {
            keep(KeepReason::BypassUrl, Some((RuleList::BypassUrls, i)))
        } else if self.rewrite == Rewrite::Suspicious && score() < self.delivery.suspicious_score {
            keep(KeepReason::NotSuspicious, None)
        } else {
            (Decision::Wrap(WrapReason::Policy), None)
        }
    }
}

/// Whether two recipients' copies of a mail would be the same: the same domain (tokens name it), the same rules in the
/// same order.
#[must_use]
pub fn same_policy(a: &Policy, b: &Policy) -> bool {
    std::ptr::eq(a, b)
        || (a.domain == b.domain
            && a.rewrite == b.rewrite
            && a.bypass_senders == b.bypass_senders
            && a.bypass_urls == b.bypass_urls
            && a.delivery == b.delivery)
}

/// Which links are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, VariantArray, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Rewrite {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those that look suspicious.
    Suspicious,
}

/// A decision with its grounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The rule that decided, if one did.
    pub matched: Option<Matched>,
    /// The suspicious signs of the target; they decide under [`Rewrite::Suspicious`], and at `delivery_score`.
    pub signs: Vec<Sign>,
    /// Their points in all.
    pub score: u32,
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The list it stands in.
    pub list: RuleList,
    /// Its place in the list, from 0.
    pub index: usize,
    /// As written in the configuration.
    pub rule: String,
}

/// A list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RuleList {
    /// `bypass_senders`
    BypassSenders,
    /// `bypass_urls`
    BypassUrls,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word::Word;

    const NOTHING: Circumstances<'static> = Circumstances {
        names: None,
        link_text: None,
        newly_seen: false,
        sender: crate::score::SenderFacts {
            reply_to_elsewhere: false,
            poses: false,
            first_contact: false,
            dmarc_failed: false,
            spf_failed: false,
        },
    };

    fn policy(rewrite: Rewrite) -> Policy {
        Policy {
            domain: "example.com".into(),
            rewrite,
            bypass_senders: SenderRules::parse(&["@partner.example"]).unwrap(),
            bypass_urls: UrlRules::parse(&["intranet.example.com", "*.example.com"]).unwrap(),
            delivery: Delivery::default(),
        }
    }

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn the_first_reason_in_order_decides() {
        let (inside, outside) = (target("https://www.example.com/"), target("https://a.example/"));
        let all = policy(Rewrite::All);
        assert_eq!(
            policy(Rewrite::Off).decide("a@b.example", &outside, &NOTHING),
            Decision::Keep(KeepReason::DomainOff)
        );
        assert_eq!(
            all.decide("a@partner.example", &inside, &NOTHING),
            Decision::Keep(KeepReason::BypassSender)
        );
        assert_eq!(
            all.decide("a@b.example", &inside, &NOTHING),
            Decision::Keep(KeepReason::BypassUrl)
        );
        assert_eq!(all.decide("", &outside, &NOTHING), Decision::Wrap(WrapReason::Policy));
    }

    #[test]
    fn an_explanation_names_the_rule() {
        let e = policy(Rewrite::All).explain("a@b.example", &target("https://x.example.com:8443/"), &NOTHING);
        let rule = Matched {
            list: RuleList::BypassUrls,
            index: 1,
            rule: "*.example.com".into(),
        };
        assert_eq!(e.matched, Some(rule));
        let codes: Vec<_> = e.signs.iter().map(|s| s.code).collect();
        assert_eq!((codes.as_slice(), e.score), (&["odd-port"][..], 20));
    }

    #[test]
    fn only_suspicious_links_are_wrapped_on_demand() {
        let p = policy(Rewrite::Suspicious);
        assert_eq!(
            p.decide("", &target("https://a.example/"), &NOTHING),
            Decision::Keep(KeepReason::NotSuspicious)
        );
        assert_eq!(
            p.decide("", &target("https://192.0.2.1/"), &NOTHING),
            Decision::Wrap(WrapReason::Policy)
        );
    }

    #[test]
    fn policies_are_the_same_when_copies_would_be() {
        let a = policy(Rewrite::All);
        assert!(same_policy(&a, &policy(Rewrite::All)));
        assert!(!same_policy(&a, &policy(Rewrite::Suspicious)));
        assert!(!same_policy(
            &a,
            &Policy {
                domain: "example.net".into(),
                ..a.clone()
            }
        ));
        let rules = UrlRules::parse(&["*.example.com", "intranet.example.com"]).unwrap();
        assert!(!same_policy(
            &a,
            &Policy {
                bypass_urls: rules,
                ..a.clone()
            }
        ));
    }

    #[test]
    fn words_of_the_configuration() {
        for (rewrite, word) in Rewrite::VARIANTS.iter().zip(["off", "all", "suspicious"]) {
            assert_eq!((word.parse(), rewrite.as_str()), (Ok(*rewrite), word));
        }
        assert!("All".parse::<Rewrite>().is_err());
    }
}
