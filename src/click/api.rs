//! Checking a URL for a program: the same check as at a click, without a click.

use std::sync::Arc;

use link::{Answer, Opener, Target, Word, ascii_domain};
use serde::{Deserialize, Serialize};

use crate::click::check::{Checked, LinkCheck};
use crate::click::layers::Layers;
use crate::click::{ClickPages, request};
use crate::clock::now_us;

/// A URL that a program wants checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiQuestion {
    /// The URL; that of a click link of ours stands for its target.
    pub url: String,
    /// The recipient domain whose policy holds; else that of `recipient`, else `[default]`.
    pub domain: Option<String>,
    /// The recipient of the mail that the URL is in.
    pub recipient: Option<String>,
}

/// The answer to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiAnswer {
    /// The URL that was checked, as a browser writes it.
    pub url: String,
    /// The verdict that all evidence comes to.
    pub verdict: &'static str,
    /// The answer that a reader would get: `go`, `confirm`, `warning`, `blocked`, `unknown`, `could-not-check`.
    pub answer: &'static str,
    /// Whether a reader could go on from there.
    pub may_continue: bool,
    /// The reasons that the verdict rests on.
    pub reasons: Vec<store::Reason>,
    /// URLs that lead from it to its target, as far as they were seen.
    pub chain: Vec<String>,
    /// The time of the check, in RFC 3339.
    pub checked_at: String,
}

/// Why nothing was checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The URL has no form that could be checked.
    #[error("url: found {0:?}, allowed: an absolute http, https or ftp URL")]
    Url(String),
    /// The domain is no domain name.
    #[error("domain: found {0:?}, allowed: a domain name such as \"example.com\"")]
    Domain(String),
    /// The recipient is no address.
    #[error("recipient: found {0:?}, allowed: a mail address such as \"anna@example.com\"")]
    Recipient(String),
}

impl ClickPages {
    /// Checks a URL as at a click of a person, under the policy of the domain. Nothing is recorded.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn check(&self, question: &ApiQuestion) -> Result<ApiAnswer, ApiError> {
        let settings = Arc::clone(&self.settings.borrow());
        let opener = Opener::new(&settings.keys, &settings.click.base);
        let (target, opened) = match opener.recognise(&question.url) {
            Some(opened) => {
                let opened = self.with_target(&opener, opened).await.ok();
                (opened.as_ref().and_then(|o| o.target().cloned()), opened)
            }
            None => (Target::parse(&question.url).ok(), None),
        };
        let target = target.ok_or_else(|| ApiError::Url(question.url.clone()))?;
        let domain = domain(question)?;
        let domain = domain
            .or_else(|| Some(opened.as_ref()?.message().domain.clone()))
            .unwrap_or_default();
        let rules = settings.click_rules.of(&domain);
        let reader = self.ledger.store().reader();
        let layers = match &opened {
            Some(opened) => Layers::of_click(&settings, reader, opened, &target, &[]).await,
            None => Layers::of_url(&settings, reader, &target, None).await,
        };
        let link = LinkCheck {
            settings: &settings,
            domain: &domain,
            rules,
            target: &target,
            layers: &layers,
            contact: rules.policy.contact,
            patience: settings.check_limits.hard,
        };
        let checked = self.checker.check(&link).await;
        let checked = checked.unwrap_or_else(|| Checked::failed(&target));
        self.counts.api.inc(checked.verdict);
        let (answer, may_continue) = match rules.policy.answer(checked.verdict, &checked.evidence) {
            Answer::Go => ("go", true),
            Answer::Confirm => ("confirm", true),
            Answer::Warning { may_continue } => ("warning", may_continue),
            Answer::Blocked => ("blocked", false),
            Answer::Unknown { may_continue } => ("unknown", may_continue),
            Answer::CouldNotCheck { may_continue } => ("could-not-check", may_continue),
        };
        let mut chain = layers.chain();
        chain.extend(checked.hops);
        Ok(ApiAnswer {
            url: target.as_str().to_owned(),
            verdict: checked.verdict.as_str(),
            answer,
            may_continue,
            reasons: checked.evidence.iter().filter_map(request::reason).collect(),
            chain,
            checked_at: jiff::Timestamp::from_microsecond(now_us())
                .map_or_else(|_| String::new(), |t| format!("{t:.0}")),
        })
    }
}

/// The domain whose policy is asked for, in ASCII and lower case.
fn domain(question: &ApiQuestion) -> Result<Option<String>, ApiError> {
    if let Some(name) = &question.domain {
        let domain = ascii_domain(name).ok_or_else(|| ApiError::Domain(name.clone()))?;
        return Ok(Some(domain));
    }
    let Some(address) = &question.recipient else {
        return Ok(None);
    };
    let domain = address.rsplit_once('@').and_then(|(_, domain)| ascii_domain(domain));
    domain.map(Some).ok_or_else(|| ApiError::Recipient(address.clone()))
}
