//! SIGHUP: new settings as a whole, or the old ones and the reason.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use link::KeyRing;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::config::keyfile::Absent;
use crate::config::{CheckLimits, Click, ClickRules, Listener, Log, Settings};
use crate::log::Telemetry;

/// Reads the configuration again and swaps the settings, unless there is a reason not to. Says what has changed; `None`, with
/// lines in the log, when the settings of before stay in force.
pub(super) async fn reload(
    current: &watch::Sender<Arc<Settings>>,
    config: &Path,
    telemetry: &Telemetry,
) -> Option<String> {
    let path = config.to_owned();
    // Compiling the rules of many domains takes a while; sessions must not feel it.
    let loaded = tokio::task::spawn_blocking(move || Settings::load_with(&path, Absent::Refuse)).await;
    let new = match loaded {
        Ok(Ok(new)) => new,
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
    let Changes { sections, fixed } = changes(&old, &new);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        warn!(
            target: "linkgate::server", keys,
            "not reloaded: a changed key needs restart; the settings of before stay in force"
        );
        return None;
    }
    let changed = match sections.as_slice() {
        [] => "nothing".to_owned(),
        sections => sections.join(", "),
    };
    telemetry.reload(&new.log);
    current.send_replace(Arc::new(new));
    Some(changed)
}

/// What a reload would change.
#[derive(Debug, Default)]
struct Changes {
    /// The sections that differ, or keys of theirs.
    sections: Vec<String>,
    /// The keys that differ and that a running server cannot take up.
    fixed: Vec<String>,
}

/// Compares settings. Every field is named, so that the compiler asks about a new one.
fn changes(old: &Settings, new: &Settings) -> Changes {
    let Settings {
        click:
            Click {
                base,
                listen,
                client_ip,
                trusted_proxies,
            },
        admin_listen,
        store,
        keys_file,
        keys,
        listeners,
        domains,
        click_rules:
            ClickRules {
                own_wrappers,
                sender_wrappers,
                common,
                by_name: _,
            },
        check_limits:
            CheckLimits {
                silent,
                hard,
                cache,
                cache_entries,
                max_running,
                per_link,
                per_network,
            },
        log: Log { level, format },
        limits,
        rewriting,
        sender_checks,
        pages,
        contact,
        checks,
        machines,
        hindsight,
    } = old;
    let mut changes = Changes::default();
    let fixed = &mut changes.fixed;
    note(fixed, *listen == new.click.listen, "click.listen");
    note(fixed, *admin_listen == new.admin_listen, "admin.listen");
    note(fixed, *store == new.store, "store.url");
    note(fixed, *format == new.log.format, "log.format");

    let sections = &mut changes.sections;
    let same_click = (base, client_ip, trusted_proxies)
        == (&new.click.base, &new.click.client_ip, &new.click.trusted_proxies)
        && (*per_link, *per_network) == (new.check_limits.per_link, new.check_limits.per_network);
    note(sections, same_click, "click");
    let states = |ring: &KeyRing| ring.keys().map(|k| (k.id, k.state)).collect::<Vec<_>>();
    note(
        sections,
        *keys_file == new.keys_file && states(keys) == states(&new.keys),
        "keys",
    );
    note(sections, *level == new.log.level, "log");
    note(sections, *limits == new.limits, "limits");
    let same_checks = *checks == new.checks
        && *sender_checks == new.sender_checks
        && *hindsight == new.hindsight
        && (own_wrappers, sender_wrappers) == (&new.click_rules.own_wrappers, &new.click_rules.sender_wrappers)
        && (silent, hard, cache)
            == (
                &new.check_limits.silent,
                &new.check_limits.hard,
                &new.check_limits.cache,
            )
        && (*cache_entries, *max_running) == (new.check_limits.cache_entries, new.check_limits.max_running);
    note(sections, same_checks, "checks");
    note(sections, *contact == new.contact, "contact");
    note(sections, *machines == new.machines, "machines");
    note(sections, *rewriting == new.rewriting, "rewriting");
    note(sections, *pages == new.pages, "pages");
    note(sections, *common == new.click_rules.common, "default");

    compare_listeners(listeners, &new.listeners, &mut changes);
    let names: BTreeSet<_> = domains.iter().chain(new.domains.iter()).map(|(name, _)| name).collect();
    for name in names {
        let same_policy = match (domains.of(name), new.domains.of(name)) {
            (Some(old), Some(new)) => link::same_policy(old, new),
            _ => false,
        };
        let same = same_policy && old.click_rules.of(name) == new.click_rules.of(name);
        note(&mut changes.sections, same, format!("domain {name}"));
    }
    changes
}

fn compare_listeners(old: &[Listener], new: &[Listener], changes: &mut Changes) {
    for i in 0..old.len().max(new.len()) {
        let n = i + 1;
        let (Some(old), Some(new)) = (old.get(i), new.get(i)) else {
            changes.fixed.push(format!("listener[{n}]"));
            continue;
        };
        note(
            &mut changes.fixed,
            old.protocol == new.protocol,
            format!("listener[{n}].protocol"),
        );
        note(
            &mut changes.fixed,
            old.listen == new.listen,
            format!("listener[{n}].listen"),
        );
        note(
            &mut changes.fixed,
            old.socket_mode == new.socket_mode,
            format!("listener[{n}].socket_mode"),
        );
        if let (Some(old), Some(new)) = (old.tls.identity(), new.tls.identity()) {
            note(
                &mut changes.sections,
                old.shows_same(new),
                format!("listener[{n}].tls_certificate"),
            );
        }
        note(&mut changes.sections, old == new, format!("listener[{n}]"));
    }
}

fn note(names: &mut Vec<String>, same: bool, name: impl Into<String>) {
    if !same {
        names.push(name.into());
    }
}
