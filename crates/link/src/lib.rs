//! What a link is and what becomes of it: target, policy, decision, token, key ring.
//!
//! The way of a link through this room:
//!
//! 1. [`resolve`] says what an attribute value or a text URL means: a [`Target`], something to leave alone, something inert.
//! 2. [`Policy::decide`] says what becomes of a target: [`Decision::Keep`] or [`Decision::Wrap`].
//! 3. [`KeyRing::sealer`] takes the facts about the mail once, [`wrap_link`] seals each target into a click link.
//! 4. [`Opener`] opens click links again. [`Opened`] is the proof that a target came out of a genuine token.
//! 5. [`unwrap`] says what is inside a target: other vendors' wrappers, our own click links, redirects. [`signs_of_smuggling`]
//!    says whether they belong there.
//! 6. [`combine`] makes a [`Verdict`] of all [`Evidence`], and [`ClickPolicy::answer`] what the reader gets.
//!
//! No IO, no clock, no random source: texts, times and secrets are arguments.
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
