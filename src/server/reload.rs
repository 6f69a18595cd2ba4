//! SIGHUP: new settings as a whole, or the old ones and the reason.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use link::KeyRing;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::config::keyfile::Absent;
use crate::config::{CheckLimits, Click, ClickRules, Listener, Log, Settings};
use crate::log::Logging;

/// Reads the configuration again and swaps the settings, unless there is a reason not to. Says what has changed; `None`, with
/// lines in the log, when the settings of before stay in force.
pub(super) async fn reload(current: &watch::Sender<Arc<Settings>>, config: &Path, logging: &Logging) -> Option<String> {
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
    logging.reload(&new.log);
    current.send_replace(Arc::new(new));
    Some(changed)
}

/// The changes a reload would make.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Fallback, KEYS, Key, Kind};

    /// A file as sections of lines, each a key and its value.
    type File = Vec<(&'static str, Vec<(&'static str, String)>)>;

    const PLAIN: &[(&str, &[(&str, &str)])] = &[
        (
            "click",
            &[
                ("public_url", "\"https://click.example.com\""),
                ("listen", "\"127.0.0.1:8080\""),
            ],
        ),
        ("admin", &[("listen", "\"127.0.0.1:8081\"")]),
        ("store", &[("url", "\"sqlite:/nowhere/linkgate.db\"")]),
        ("keys", &[("file", "\"/nowhere/keys.toml\"")]),
        (
            "listener",
            &[
                ("protocol", "\"smtp\""),
                ("listen", "\"127.0.0.1:10025\""),
                ("next_hop", "\"smtp://192.0.2.1:25\""),
            ],
        ),
        ("default", &[]),
        ("domain", &[]),
        ("checks", &[("use", "\"private\"")]),
        (
            "source",
            &[
                ("name", "\"one\""),
                ("type", "\"urls\""),
                ("from", "\"https://lists.example/x\""),
            ],
        ),
        ("contact", &[]),
        ("machines", &[]),
        ("rewriting", &[]),
        ("log", &[]),
        ("limits", &[]),
    ];

    fn plain() -> File {
        let owned = |lines: &[(&'static str, &str)]| lines.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        PLAIN.iter().map(|(section, lines)| (*section, owned(lines))).collect()
    }

    fn load(file: &File) -> Settings {
        let mut text = String::new();
        for (section, lines) in file {
            text += &match *section {
                "listener" | "source" => format!("[[{section}]]\n"),
                "domain" => "[domain.\"example.com\"]\n".to_owned(),
                _ => format!("[{section}]\n"),
            };
            for (key, value) in lines {
                text += &format!("{key} = {value}\n");
            }
        }
        let loaded = Settings::from_toml(&text, Path::new("test"), Absent::Pretend);
        loaded.unwrap_or_else(|faults| panic!("{faults:?} in\n{text}"))
    }

    fn changes_between(old: &File, new: &File) -> Changes {
        let (old, mut new) = (load(old), load(new));
        // Both were made up.
        new.keys = Arc::clone(&old.keys);
        changes(&old, &new)
    }

    fn set(file: &mut File, section: &str, key: &'static str, value: String) {
        let (_, lines) = file.iter_mut().find(|(name, _)| *name == section).unwrap();
        lines.retain(|(name, _)| *name != key);
        lines.push((key, value));
    }

    /// Another value than the one in force, and what has to stand in the file beside it.
    fn other_value(key: &Key, folder: &Path) -> (String, Vec<(&'static str, String)>) {
        let file = |name: &str| format!("{:?}", folder.join(name));
        let text = |text: &str| (format!("{text:?}"), Vec::new());
        let list = |text: &str| (format!("[{text:?}]"), Vec::new());
        let tls = || {
            vec![
                ("tls", "\"starttls\"".to_owned()),
                ("tls_certificate", file("a.pem")),
                ("tls_key", file("a.key")),
            ]
        };
        match &key.kind {
            Kind::Flag => return (matches!(key.fallback, Fallback::Flag(false)).to_string(), Vec::new()),
            Kind::Integer { min, max, .. } => {
                let is_largest = matches!(key.fallback, Fallback::Integer(n) if n == *max);
                return (if is_largest { min } else { max }.to_string(), Vec::new());
            }
            Kind::Choice(_) if key.name == "tls" => return ("\"implicit\"".to_owned(), tls()),
            Kind::Choice(words) => {
                let plain = PLAIN.iter().find(|(section, _)| *section == key.section).unwrap().1;
                let said = plain
                    .iter()
                    .find(|(name, _)| *name == key.name)
                    .map(|(_, value)| value.trim_matches('"'));
                let now = match (said, &key.fallback) {
                    (Some(said), _) => said,
                    (None, Fallback::Text(word)) => word,
                    (None, _) => KEYS
                        .iter()
                        .find(|k| k.section == "default" && k.name == key.name)
                        .map_or("", |k| {
                            if let Fallback::Text(word) = k.fallback {
                                word
                            } else {
                                ""
                            }
                        }),
                };
                return text(words.iter().find(|word| **word != now).unwrap());
            }
            _ => {}
        }
        match (key.section, key.name) {
            (_, "public_url" | "page_back_to" | "page_redirect_to") => text("https://other.example.com/"),
            (_, "listen") => text("127.0.0.1:9999"),
            (_, "trusted_proxies" | "proxy_from" | "xforward_from" | "xclient_from" | "networks" | "allow") => {
                list("10.0.0.0/8")
            }
            (_, "languages_dir") => (format!("{folder:?}"), Vec::new()),
            ("store", "url") => text("sqlite:/nowhere/other.db"),
            ("keys", "file") => text("/nowhere/other.toml"),
            (_, "socket_mode") => text("0600"),
            (_, "next_hop") => text("smtp://192.0.2.2:25"),
            (_, "next_hop_ca") => (file("b.pem"), vec![("next_hop_tls", "\"verify\"".to_owned())]),
            (_, "tls_certificate") => (file("b.pem"), tls()),
            (_, "tls_key") => (file("b.key"), tls()),
            (_, "ca_file") => (file("b.pem"), Vec::new()),
            (_, "hostname") => text("other.example.com"),
            (_, "user_agent" | "list_contact" | "page_name" | "page_text") => text("other"),
            (_, "ports") => list("8443"),
            (_, "never" | "bypass_urls" | "protected") => list("other.example"),
            (_, "bypass_senders") => list("@partner.example"),
            (_, "protected_names") => list("contoso"),
            (_, "authserv_ids") => list("mx.example.com"),
            (_, "own_wrappers") => list("microsoft"),
            (_, "sender_wrappers") => list("proofpoint @partner.example"),
            (_, "dns_servers") => list("127.0.0.1:53"),
            (_, "lists_dir") => text("/nowhere/other"),
            ("source", "name") => text("two"),
            ("source", "from") => text("https://lists.example/y"),
            ("source", "key_file") => (file("key"), Vec::new()),
            (_, "agents") => list("scanner"),
            (_, "spool_dir") => text("/"),
            (_, "page_logo") => (file("logo.svg"), Vec::new()),
            (_, "page_colour") => text("#ff0000"),
            (_, "page_contact" | "page_review_to") => text("help@example.com"),
            (_, "page_language") => text("de"),
            _ => panic!("a new key {}.{}: give it another value here", key.section, key.name),
        }
    }

    /// After `[domain] flow = "confirm"` the log said `changed=nothing`.
    #[test]
    fn a_reload_names_what_changed_whichever_key_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let made = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
        for name in ["a", "b"] {
            fs::write(folder.join(name).with_extension("pem"), made.cert.pem()).unwrap();
            fs::write(
                folder.join(name).with_extension("key"),
                made.signing_key.serialize_pem(),
            )
            .unwrap();
        }
        fs::write(folder.join("it.toml"), "back_button = \"Torna al sicuro\"\n").unwrap();
        fs::write(folder.join("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
        fs::write(folder.join("key"), "s3cret").unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();

        let mut missed = Vec::new();
        for key in KEYS.iter() {
            if matches!(&key.kind, Kind::Choice(words) if words.len() == 1) {
                continue;
            }
            let mut before = plain();
            // Those of the system take long to load.
            set(&mut before, "source", "ca_file", format!("{:?}", folder.join("a.pem")));
            let (value, beside) = other_value(key, folder);
            for (name, value) in beside {
                set(&mut before, key.section, name, value);
            }
            let mut after = before.clone();
            set(&mut after, key.section, key.name, value.clone());
            let Changes { sections, fixed } = changes_between(&before, &after);
            let section = match key.section {
                _ if key.name.starts_with("page_") || key.name == "languages_dir" => "pages",
                "source" => "checks",
                "default" | "domain" => "domain example.com",
                other => other,
            };
            if !sections.iter().chain(&fixed).any(|name| name.starts_with(section)) {
                missed.push(format!(
                    "{}.{} = {value}: {sections:?} {fixed:?}",
                    key.section, key.name
                ));
            }
        }
        assert!(missed.is_empty(), "{missed:#?}");
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let file = plain();
        let Changes { sections, fixed } = changes_between(&file, &file);
        assert_eq!((sections, fixed), (vec![], vec![]));
    }
}
