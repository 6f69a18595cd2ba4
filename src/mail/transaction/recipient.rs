//! A recipient, and the settings that hold for mail to it.

use std::sync::Arc;

use link::{Policy, Rewrite};
use wire::PathLine;

use crate::config::Settings;

/// A recipient, and the policy for mail to it.
#[derive(Clone)]
pub(in crate::mail) struct Recipient {
    pub(super) address: String,
    /// The RCPT line as it came.
    pub(in crate::mail) line: Vec<u8>,
    /// `None` when its domain is off.
    pub(super) policy: Option<Arc<Policy>>,
}

impl Recipient {
    pub(in crate::mail) fn new(path: &PathLine<'_>, settings: &Settings) -> Self {
        let address = path.address().into_owned();
        let line = path.line.to_vec();
        let on = |address: &str| {
            settings
                .domains
                .policy(address)
                .filter(|p| p.rewrite != Rewrite::Off)
                .cloned()
        };
        let mut found = path.domains().filter_map(|domain| {
            let policy = on(&format!("@{domain}"))?;
            Some((policy, domain))
        });
        match found.next() {
            // Named so that a second look finds the same policy.
            Some((policy, domain)) if on(&address).is_none() => Self {
                address: format!("{address}@{domain}"),
                line,
                policy: Some(policy),
            },
            Some((policy, _)) => Self {
                address,
                line,
                policy: Some(policy),
            },
            None => Self {
                address,
                line,
                policy: None,
            },
        }
    }

    /// Whether links are to be looked at in mail to this recipient.
    pub(in crate::mail) fn wants_rewriting(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether one copy of a message is right for both.
    pub(in crate::mail) fn shares_copy_with(&self, other: &Self) -> bool {
        match (&self.policy, &other.policy) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || link::same_policy(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}
