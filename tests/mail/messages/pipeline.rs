//! The pipeline under settings that never change: the same message always gives the same bytes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use link::{ClickBase, KeyRing, Opener, Policy, Rewrite, SenderRules, Style, UrlRules};
use linkgate::config::{Click, Domains, Settings};
use linkgate::intel::sources::NoSources;
use linkgate::mail::restore::restore;
use linkgate::mail::rewrite::{Job, RewriteOutcome, rewrite};
use message::Source;
use store::{ReferenceRow, Store};

/// What every click link begins with.
pub(crate) const BASE: &str = "https://click.example";
/// The longest line that mail may have, without its end (RFC 5322 2.1.1).
pub(crate) const MAX_LINE: usize = 998;

const NOW_S: i64 = 1_767_603_600; // 2026-01-05T09:00:00Z
const MAIL_ID: &str = "0fixedmailid000001";
const SENDER: &str = "ada@sender.example";

/// Settings and a store for targets that are too long for their links.
pub(crate) struct Pipeline {
    settings: Settings,
    store: Store,
    _dir: tempfile::TempDir,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            settings: settings(),
            store: Store::open(&dir.path().join("linkgate.db")).unwrap(),
            _dir: dir,
        }
    }

    /// One for all tests that need none of their own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Pipeline> = LazyLock::new(Pipeline::new);
        &SHARED
    }

    /// What becomes of a message to a recipient whose domain has opted in.
    pub(crate) fn plan(&self, message: &[u8]) -> RewriteOutcome {
        self.plan_for(message, SENDER, "user@on.example")
    }

    /// The same for a message that is elsewhere than in memory.
    pub(crate) fn plan_source(&self, message: &dyn Source) -> RewriteOutcome {
        self.plan_any(message, SENDER, "user@on.example")
    }

    pub(crate) fn plan_for(&self, message: &[u8], sender: &str, recipient: &str) -> RewriteOutcome {
        self.plan_any(&message, sender, recipient)
    }

    fn plan_any(&self, message: &dyn Source, sender: &str, recipient: &str) -> RewriteOutcome {
        let recipients = [recipient.to_owned()];
        let job = Job {
            settings: &self.settings,
            sender,
            recipients: &recipients,
            mail_id: MAIL_ID,
            now_s: NOW_S,
        };
        let outcome = rewrite(message, &job, &NoSources).unwrap();
        if !outcome.references.is_empty() {
            self.keep(&outcome.references);
        }
        outcome
    }

    /// Stores long targets, as is done before the next hop gets the message.
    fn keep(&self, rows: &[ReferenceRow]) {
        self.store.store_references(rows.to_vec()).wait().unwrap();
    }

    /// The message as it goes on.
    pub(crate) fn rewrite(&self, message: &[u8]) -> Vec<u8> {
        self.plan(message).patch.apply(message)
    }

    /// The message with its original links.
    pub(crate) fn restore(&self, message: &[u8]) -> Vec<u8> {
        restore(&message, &self.settings, Some(self.store.reader()))
            .unwrap()
            .patch
            .apply(message)
    }

    /// Where the click link leads that `text` begins with.
    pub(crate) fn target(&self, text: &str) -> Option<String> {
        let opener = Opener::new(&self.settings.keys, &self.settings.click.base);
        let opened = opener.recognise(text)?;
        if let Some(id) = opened.reference_id().filter(|_| opened.target().is_none()) {
            return Some(self.store.reader().reference(&id).unwrap()?.target);
        }
        Some(opened.target()?.as_str().to_owned())
    }

    /// Where all click links of a text lead, in order.
    pub(crate) fn targets(&self, text: &str) -> Vec<String> {
        text.match_indices(&format!("{BASE}/c/"))
            .filter_map(|(at, _)| self.target(&text[at..]))
            .collect()
    }
}

/// The length of the longest line, without its end.
pub(crate) fn longest_line(message: &[u8]) -> usize {
    let line = |l: &[u8]| l.strip_suffix(b"\r").unwrap_or(l).len();
    message.split(|b| *b == b'\n').map(line).max().unwrap_or(0)
}

fn settings() -> Settings {
    let policy = Policy {
        domain: "on.example".into(),
        rewrite: Rewrite::All,
        bypass_senders: SenderRules::parse(&["@trusted.example"]).unwrap(),
        bypass_urls: UrlRules::parse(&["intranet.example", "*.intranet.example"]).unwrap(),
        ..Policy::default()
    };
    let off = Policy {
        domain: "off.example".into(),
        rewrite: Rewrite::Off,
        ..policy.clone()
    };
    let domains = [policy, off].map(|p| (p.domain.clone(), Arc::new(p)));
    let plain = crate::rig::settings_of("");
    Settings {
        click: Click {
            base: ClickBase::new(BASE, Style::Readable).unwrap(),
            ..plain.click.clone()
        },
        keys: Arc::new(KeyRing::generate([0x4c; 32], NOW_S)),
        domains: Domains::new(HashMap::from(domains)),
        ..plain
    }
}
