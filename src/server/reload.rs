//! SIGHUP: new settings as a whole, or the old ones and the reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, warn};

use crate::config::Settings;
use crate::config::keyfile::Absent;
use crate::log::Logging;

/// Reads the configuration again and swaps the settings, unless there is a reason not to. Says what has changed; `None`, with
/// lines in the log, when the settings of before stay in force.
pub(super) async fn reload(current: &watch::Sender<Arc<Settings>>, config: &Path, logging: &Logging) -> Option<String> {
    let path = config.to_owned();
    // Compiling the rules of many domains takes a while; sessions must not feel it.
    let loaded = tokio::task::spawn_blocking(move || Settings::load_with(&path, Absent::Refuse)).await;
    let new = match loaded {
        Ok(Ok(mut new)) => {
            keep_budgets(&current.borrow(), &mut new);
            new
        }
        Ok(Err(faults)) => {
            for fault in &faults {
                error!(target: "linkgate::server", %fault, "bad configuration");
            }
            let faults = faults.len();
            warn!(target: "linkgate::server", faults, "not reloaded: the settings of before stay in force");
            return None;
        }
        Err(e) => {
            error!(target: "linkgate::server", cause = %e, "not reloaded: the settings of before stay in force");
            return None;
        }
    };
    let old = Arc::clone(&current.borrow());
    let fixed = needs_restart(&old, &new);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        warn!(
            target: "linkgate::server", keys,
            "not reloaded: a changed key needs restart; the settings of before stay in force"
        );
        return None;
    }
    let changed = match changes(&old, &new) {
        none if none.is_empty() => "nothing".to_owned(),
        sections => sections.join(", "),
    };
    logging.reload(&new.log);
    current.send_replace(Arc::new(new));
    Some(changed)
}

/// Budgets of the same size stay the ones that messages under way have taken their share of.
fn keep_budgets(old: &Settings, new: &mut Settings) {
    let (old, new) = (&old.limits, &mut new.limits);
    if old.spool_budget.octets() == new.spool_budget.octets() {
        new.spool_budget = Arc::clone(&old.spool_budget);
    }
    if old.rewrite_budget.mib() == new.rewrite_budget.mib() {
        new.rewrite_budget = Arc::clone(&old.rewrite_budget);
    }
}

/// The changed keys that a running server cannot take up.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let mut keys = Vec::new();
    let mut compare = |same: bool, key: String| {
        if !same {
            keys.push(key);
        }
    };
    compare(old.click.listen == new.click.listen, "click.listen".to_owned());
    compare(old.admin_listen == new.admin_listen, "admin.listen".to_owned());
    compare(old.store == new.store, "store.url".to_owned());
    compare(old.log.format == new.log.format, "log.format".to_owned());
    for i in 0..old.listeners.len().max(new.listeners.len()) {
        let n = i + 1;
        let (Some(old), Some(new)) = (old.listeners.get(i), new.listeners.get(i)) else {
            compare(false, format!("listener[{n}]"));
            continue;
        };
        compare(old.protocol == new.protocol, format!("listener[{n}].protocol"));
        compare(old.listen == new.listen, format!("listener[{n}].listen"));
        compare(old.socket_mode == new.socket_mode, format!("listener[{n}].socket_mode"));
    }
    keys
}

/// What is different, section by section.
fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut changed = Vec::new();
    let click = |s: &Settings| (s.click.base.clone(), s.click.client_ip, s.click.trusted_proxies.clone());
    if click(old) != click(new) {
        changed.push("click".to_owned());
    }
    let keys = |s: &Settings| s.keys.keys().map(|k| (k.id, k.state)).collect::<Vec<_>>();
    if keys(old) != keys(new) {
        changed.push("keys".to_owned());
    }
    if old.log != new.log {
        changed.push("log".to_owned());
    }
    if old.limits != new.limits {
        changed.push("limits".to_owned());
    }
    for (i, (old, new)) in old.listeners.iter().zip(&new.listeners).enumerate() {
        if let (Some(old), Some(new)) = (old.tls.identity(), new.tls.identity())
            && !old.shows_same(new)
        {
            changed.push(format!("listener[{}].tls_certificate", i + 1));
        }
    }
    if old.checks != new.checks {
        changed.push("checks".to_owned());
    }
    if old.rewriting != new.rewriting {
        changed.push("rewriting".to_owned());
    }
    if old.pages != new.pages {
        changed.push("pages".to_owned());
    }
    for (i, (old, new)) in old.listeners.iter().zip(&new.listeners).enumerate() {
        if old != new {
            changed.push(format!("listener[{}]", i + 1));
        }
    }
    let mut domains: BTreeMap<&str, _> = old.domains.iter().map(|(name, p)| (name, (Some(p), None))).collect();
    for (name, p) in new.domains.iter() {
        domains.entry(name).or_insert((None, None)).1 = Some(p);
    }
    for (name, both) in domains {
        let same = matches!(both, (Some(old), Some(new)) if link::same_policy(old, new));
        if !same {
            changed.push(format!("domain {name}"));
        }
    }
    changed
}
