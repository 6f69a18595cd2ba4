//! Links: targets, policies, tokens and click links, layers, verdicts.
//!
//! No IO, no clock, no random source: texts, times and secrets are arguments.
//!
//! | module | what lies there |
//! | --- | --- |
//! | `target` | [`resolve`]: from an attribute value or text URL to a [`Target`] |
//! | `policy`, `decision` | [`Policy`] of a recipient domain; the [`Decision`] about a link, by which it is wrapped |
//! | `score` | the offline score: [`signs`] that a link is suspicious |
//! | `keyring`, `token`, `claims` | [`KeyRing`]; tokens sealed and opened; [`Opened`] is the proof of a genuine token |
//! | `click_link` | [`wrap_link`] seals a target into a click link, [`Opener`] opens click links |
//! | `seal` | seals of marks in mail and of forms on pages |
//! | `unwrap`, `redirectors`, `escapes` | [`unwrap`]: wrappers, own click links and redirects in a link |
//! | `glance`, `one_time`, `smuggling` | tests of a link: nothing inside, works once, does not belong into its mail |
//! | `verdict` | [`combine`]: from [`Evidence`] to a [`Verdict`]; [`ClickPolicy`]: the answer to a click |
//! | `domain_name`, `rule_error`, `word` | names in ASCII, faults of rules, stable words of enums |
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod claims;
mod click_link;
mod decision;
mod domain_name;
mod escapes;
mod glance;
mod keyring;
mod one_time;
mod policy;
mod redirectors;
mod rule_error;
mod score;
mod seal;
mod smuggling;
mod target;
mod token;
mod unwrap;
mod verdict;
mod word;

pub use claims::MessageClaims;
pub use click_link::{ClickBase, ClickBaseError, ClickLink, Opener, Reference, Style, Wrapped, wrap_link};
pub use decision::{Decision, DisarmReason, KeepReason, LinkDecision, WrapReason};
pub use domain_name::ascii_domain;
pub use glance::Glance;
pub use keyring::{AddError, KeyFault, KeyId, KeyInfo, KeyRing, KeyRingError, KeyState, OpenError, RetireError};
pub use one_time::{OneTime, looks_one_time};
pub use policy::{
    AtDelivery, Delivery, Explanation, Matched, Policy, Rewrite, RuleList, SenderRules, UrlRules, same_policy,
};
pub use redirectors::{Redirected, embedded, is_shortener, known_redirector};
pub use rule_error::RuleError;
pub use score::{Circumstances, NameTable, Names, SIGNS, SenderFacts, Sign, points, registrable_domain, signs};
pub use seal::{MARK_SEAL, Page, PageError, PageUse};
pub use smuggling::{Provenance, signs_of_smuggling};
pub use target::{LeaveReason, QueryEncoding, Resolve, Resolved, Target, TargetError, resolve};
pub use token::{Opened, Sealed, Sealer};
pub use unwrap::{Layer, LayerKind, MAX_LAYERS, Opaque, OpenOwn, Unfinished, Unwrapped, Vendor, Wrapper, unwrap};
pub use verdict::{
    Answer, Category, ClickPolicy, Contact, Evidence, Finding, Flow, Listing, Obstacle, OnFailure, OnThreat, OnUnknown,
    Scope, Smuggled, Verdict, Weight, combine, score,
};
pub use word::Word;
