//! Configuration files, good and bad, and the pages that explain them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkgate::config::keyfile::Absent;
use linkgate::config::{BareLineEnds, OnError, Settings};
use linkgate::config::{Fallback, KEYS, Key, Kind, SECTIONS};

const DOC: &str = include_str!("../docs/configuration.md");
const SAMPLE: &str = include_str!("../contrib/linkgate.toml");

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config").join(kind);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Faults as they are printed, with the file's name instead of its path.
fn faults(path: &Path) -> String {
    let folder = format!("{}/", path.parent().unwrap().display());
    match Settings::load_with(path, Absent::Pretend) {
        Ok(_) => String::new(),
        Err(faults) => faults
            .iter()
            .map(|f| f.to_string().replace(&folder, "") + "\n")
            .collect(),
    }
}

/// `fixtures/config/bad/NAME.want` holds the very lines that `NAME.toml` must be answered with; `LINKGATE_BLESS=1` writes
/// them, for you to read.
#[test]
fn each_bad_file_is_answered_with_all_its_faults() {
    let mut wrong = String::new();
    for path in fixtures("bad") {
        let want = fs::read_to_string(path.with_extension("want")).unwrap_or_default();
        let got = faults(&path);
        assert!(!got.is_empty(), "{}: nothing was found", path.display());
        if got != want && std::env::var_os("LINKGATE_BLESS").is_some() {
            fs::write(path.with_extension("want"), &got).unwrap();
        } else if got != want {
            wrong += &format!("--- {}\nwanted:\n{want}got:\n{got}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn good_files_have_no_faults() {
    for path in fixtures("good") {
        assert_eq!(faults(&path), "", "{}", path.display());
    }
}

#[test]
fn every_fault_has_its_line_and_says_what_is_allowed() {
    for path in fixtures("bad") {
        for fault in Settings::load_with(&path, Absent::Pretend).unwrap_err() {
            assert!(fault.place.is_some(), "{fault}");
            let told = fault.what.contains("allowed: ") || fault.what.starts_with("not valid TOML: ");
            assert!(told, "{fault}");
            assert!(!fault.to_string().contains(char::is_control), "{fault:?}");
        }
    }
}

#[test]
fn a_configuration_with_a_fault_leaves_no_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("linkgate.toml");
    let keys = dir.path().join("keys.toml");
    let good = fs::read_to_string(&fixtures("good")[0])
        .unwrap()
        .replace("/var/lib/linkgate/keys.toml", keys.to_str().unwrap());
    fs::write(&path, good.replace("127.0.0.1:8081", "nowhere")).unwrap();
    Settings::load(&path).unwrap_err();
    assert!(!keys.exists());
    fs::write(&path, good).unwrap();
    Settings::load(&path).unwrap();
    assert!(keys.exists());
}

#[test]
fn a_domain_adds_its_rules_to_those_of_default() {
    let text = fs::read_to_string(&fixtures("good")[0]).unwrap()
        + "[domain.\"bücher.example\"]\nrewrite = \"suspicious\"\n[default]\nbypass_urls = [\"everywhere.example\"]\n";
    let settings = Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap();
    let decide = |to: &str, url: &str| {
        let policy = settings.domains.policy(to).unwrap();
        policy.decide(
            "a@b.example",
            &link::Target::parse(url).unwrap(),
            &link::Circumstances::default(),
        )
    };
    let bypassed = link::Decision::Keep(link::KeepReason::BypassUrl);
    assert_eq!(decide("u@example.com", "https://everywhere.example/"), bypassed);
    assert_eq!(decide("u@EXAMPLE.com.", "https://intranet.example.com/x"), bypassed);
    assert_eq!(
        decide("u@example.com", "https://shop.example/"),
        link::Decision::Wrap(link::WrapReason::Policy)
    );
    assert_eq!(decide("u@bücher.example", "https://everywhere.example/"), bypassed);
    assert_ne!(
        decide("u@xn--bcher-kva.example", "https://intranet.example.com/x"),
        bypassed
    );
    assert!(settings.domains.policy("u@sub.example.com").is_none());
}

#[test]
fn values_reach_the_settings_in_their_units() {
    let text = fs::read_to_string(&fixtures("good")[0]).unwrap().replace(
        "direction  = \"inbound\"",
        "max_message_mib = 3\nbare_line_ends = \"normalise\"\non_error = \"pass\"\n\
         xclient_from = [\"192.0.2.0/24\"]\nmax_connections_per_client = 7\nmax_recipients = 8\nmax_passes = 9",
    ) + "[rewriting]\nambiguous = \"refuse\"\nbare_domains = false\namp = \"strip\"\nmarkup_files = \"named\"\n\
           [limits]\nspool_memory_kib = 64\nmax_transactions = 10\ncommand_line_octets = 512\ntext_line_kib = 2\n\
           data_timeout_s = 11\nmessage_timeout_s = 12\ndrain_s = 7\nspool_dir = \"/\"\n";
    let settings = Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap();
    let listener = &settings.listeners[0];
    assert_eq!(listener.max_message, 3 << 20);
    assert_eq!(listener.bare_line_ends, BareLineEnds::Normalise);
    assert_eq!(listener.on_error, OnError::Pass);
    assert_eq!(listener.xclient_from, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(listener.max_connections_per_client, 7);
    assert_eq!((listener.max_recipients, listener.max_passes), (8, 9));
    assert_eq!(settings.rewriting.ambiguous, message::Ambiguous::Refuse);
    assert!(!settings.rewriting.bare_domains);
    assert_eq!(settings.rewriting.amp, message::Amp::Strip);
    assert_eq!(settings.rewriting.markup_files, message::MarkupFiles::Named);
    assert_eq!(settings.limits.spool_memory, 64 << 10);
    assert_eq!(settings.limits.drain, Duration::from_secs(7));
    assert_eq!(
        (settings.limits.max_transactions, settings.limits.command_line),
        (10, 512)
    );
    assert_eq!(settings.limits.text_line, 2048);
    assert_eq!(settings.limits.data_timeout, Duration::from_secs(11));
    assert_eq!(settings.limits.message_timeout, Duration::from_secs(12));
    let endless = text.replace("text_line_kib = 2", "text_line_kib = 0");
    let endless = Settings::from_toml(&endless, Path::new("x"), Absent::Pretend).unwrap();
    assert_eq!(endless.limits.text_line, u64::MAX);
    assert_eq!(settings.limits.spool_dir, Path::new("/"));
    assert_eq!(settings.limits.command_timeout, Duration::from_secs(300));
}

#[test]
fn a_key_of_a_source_is_read_from_a_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "s3cret\n").unwrap();
    let text = fs::read_to_string(&fixtures("good")[0]).unwrap()
        + &format!(
            "[checks]\nuse = \"private\"\n[[source]]\nname = \"dbl\"\ntype = \"spamhaus-dbl\"\nkey_file = {key:?}\n"
        );
    let load = |mode| {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        Settings::from_toml(&text, Path::new("x"), Absent::Pretend)
    };
    for mode in [0o644, 0o660, 0o604] {
        let faults = load(mode).unwrap_err();
        assert!(faults[0].what.contains("chmod 600"), "{faults:?}");
        assert!(!format!("{faults:?}").contains("s3cret"));
    }
    for mode in [0o600, 0o640, 0o400] {
        let settings = load(mode).unwrap();
        let source = &settings.checks.sources[0];
        assert_eq!(source.key.as_ref().unwrap().reveal(), "s3cret");
        assert_eq!(source.from.to_string(), "{key}.dbl.dq.spamhaus.net");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
    assert_eq!(
        load(0o600).unwrap().checks.lists_dir,
        Path::new("/var/lib/linkgate/lists")
    );
    fs::write(&key, "two words").unwrap();
    assert!(load(0o600).is_err());
}

/// The default as the documentation and the sample write it.
fn shown(key: &Key) -> Option<String> {
    match &key.fallback {
        Fallback::Required => None,
        Fallback::Text(t) => Some(format!("{t:?}")),
        Fallback::Integer(n) => Some(n.to_string()),
        Fallback::Flag(on) => Some(on.to_string()),
        Fallback::List(l) => Some(format!("{l:?}")),
        Fallback::Machine(words) => Some((*words).to_owned()),
        Fallback::Inherited => Some(format!("`[default] {}`", key.name)),
    }
}

/// The part of a page under the heading or header of a section.
fn part<'a>(text: &'a str, starts: &[String], ends: &str) -> &'a str {
    let at = starts
        .iter()
        .find_map(|s| text.find(s))
        .unwrap_or_else(|| panic!("no {starts:?}"));
    let rest = &text[at + 1..];
    rest.find(ends).map_or(rest, |end| &rest[..end])
}

#[test]
fn the_documentation_explains_every_key_with_its_default() {
    for key in KEYS.iter() {
        let heading = format!("\n## `[{}]`", key.section);
        let double = format!("\n## `[[{}]]`", key.section);
        let named = format!("\n## `[{}.", key.section);
        let part = part(DOC, &[heading, double, named], "\n## ");
        let start = format!("\n| `{}` | ", key.name);
        let row = part
            .split_once(&start)
            .unwrap_or_else(|| panic!("docs/configuration.md lacks {}.{}", key.section, key.name))
            .1
            .lines()
            .next()
            .unwrap();
        let default = match &key.fallback {
            Fallback::Machine(words) => (*words).to_owned(),
            Fallback::Inherited => shown(key).unwrap(),
            _ => shown(key).map_or("required".to_owned(), |d| format!("`{d}`")),
        };
        assert!(
            row.starts_with(&format!("{default} | ")),
            "{}.{}: {row:?}",
            key.section,
            key.name
        );
        match &key.kind {
            Kind::Choice(words) if key.section != "default" => {
                for word in words {
                    assert!(
                        row.contains(&format!("`\"{word}\"`")),
                        "{}.{}: {word}",
                        key.section,
                        key.name
                    );
                }
            }
            Kind::Integer { min, max, .. } => {
                assert!(
                    row.contains(&format!(" {min} to {max}.")),
                    "{}.{}",
                    key.section,
                    key.name
                );
            }
            _ => {}
        }
    }
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    for key in KEYS.iter() {
        let header = format!("\n[{}]", key.section);
        let double = format!("\n[[{}]]", key.section);
        let named = format!("\n[{}.", key.section);
        let part = part(SAMPLE, &[header, double, named], "\n[");
        let default = match &key.fallback {
            // Only an example can stand there.
            Fallback::Machine(_) | Fallback::Inherited => None,
            _ => shown(key),
        };
        let line = match (&key.fallback, default) {
            (Fallback::Required, _) => format!("\n{} = ", key.name),
            (_, Some(default)) => format!("\n# {} = {default} ", key.name),
            (_, None) => format!("\n# {} = ", key.name),
        };
        let found = part.contains(&line) || part.contains(&line.replace("] ", "]\n"));
        assert!(found, "contrib/linkgate.toml lacks {line:?} in [{}]", key.section);
    }
}

#[test]
fn the_sample_is_sound_as_it_is_and_with_every_key_switched_on() {
    let all: String = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if KEYS.iter().any(|k| rest.starts_with(&format!("{} = ", k.name))) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(all, SAMPLE);
    for text in [SAMPLE, &all] {
        let loaded = Settings::from_toml(text, Path::new("linkgate.toml"), Absent::Pretend);
        assert!(loaded.is_ok(), "{loaded:#?}");
    }
}

#[test]
fn every_key_stands_in_a_known_section() {
    for key in KEYS.iter() {
        assert!(SECTIONS.iter().any(|(section, _)| *section == key.section), "{key:?}");
    }
}

#[test]
fn every_quirk_is_documented() {
    let page = include_str!("../docs/quirks.md");
    for quirk in message::Quirk::ALL {
        assert!(
            page.contains(&format!("\n| `{quirk}` | ")),
            "docs/quirks.md lacks {quirk}"
        );
    }
    assert_eq!(page.matches("\n| `").count(), message::Quirk::ALL.len());
}

#[test]
fn pages_look_as_the_domain_says_and_inherit_the_rest() {
    use linkgate::pages::{Contact, ReviewTo};
    let folder = tempfile::tempdir().unwrap();
    let logo = folder.path().join("logo.svg");
    fs::write(&logo, "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
    fs::write(
        folder.path().join("it.toml"),
        "back_button = \"Torna al sicuro\"\nconfirm_button = \"Apri\"\n",
    )
    .unwrap();
    let dir = folder.path().display();
    let text = fs::read_to_string(fixtures("good").iter().find(|p| p.ends_with("least.toml")).unwrap()).unwrap();
    let text = text
        .replace("https://click.example.com\"", "https://click.example.com/mail/\"")
        .replace("[admin]", &format!("languages_dir = \"{dir}\"\n[admin]"))
        + &format!(
            "[default]\npage_name = \"Everybody\"\npage_logo = \"{}\"\npage_language = \"IT\"\n\
             page_text = \"\"\"One\nTwo\"\"\"\npage_review_to = \"none\"\n\
             [domain.\"bücher.example\"]\npage_name = \"Bücher\"\npage_logo = \"\"\npage_contact = \"a@b.example\"\n\
             page_review_to = \"button\"\npage_redirect_to = \"https://help.example/\"\n",
            logo.display()
        );
    let settings = Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap();
    let pages = &settings.pages;
    let common = pages.brand("example.com");
    assert_eq!(common, pages.brand("gone.example"), "a section without a word on it");
    assert_eq!(common.name.as_deref(), Some("Everybody"));
    assert_eq!(common.language.as_deref(), Some("it"));
    assert_eq!(common.text.as_deref(), Some("One\nTwo"));
    assert_eq!(common.review_to, ReviewTo::Nobody);
    assert!(common.logo.as_ref().unwrap().href.starts_with("/mail/logo/"));
    let own = pages.brand("xn--bcher-kva.example");
    assert_eq!(own, pages.brand("bücher.example"));
    assert_eq!(own.name.as_deref(), Some("Bücher"));
    assert_eq!(own.logo, None);
    assert_eq!(own.language.as_deref(), Some("it"));
    assert_eq!(own.contact, Some(Contact::Mailbox("a@b.example".into())));
    assert_eq!(own.review_to, ReviewTo::Button);
    assert_eq!(own.redirect_to.as_ref().unwrap().as_str(), "https://help.example/");
    assert_eq!(pages.languages.iter().count(), 6);
}

#[test]
fn faults_of_a_language_file_have_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&fixtures("good")[0]).unwrap();
    let text = text.replace("[admin]", &format!("languages_dir = {:?}\n[admin]", folder.path()));
    let faults = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let faults = Settings::from_toml(&text, Path::new("x"), Absent::Pretend).unwrap_err();
        fs::remove_file(&file).unwrap();
        let folder = format!("{}/", folder.path().display());
        let told: Vec<_> = faults.iter().map(|f| f.to_string().replace(&folder, "")).collect();
        told.join("\n")
    };
    assert_eq!(
        faults(
            "xx.toml",
            b"dir = \"up\"\nclose_hint = \"\"\nsource_silent = \"{sender}\"\nbak_button = \"x\"\n"
        ),
        "xx.toml:1:7: dir: found \"up\", allowed: \"ltr\", \"rtl\"\n\
         xx.toml:2:14: close_hint: found nothing, allowed: a text, or no such key\n\
         xx.toml:3:17: source_silent: found {sender}, allowed: {source}\n\
         xx.toml:4:14: bak_button: found an unknown key, allowed: the keys of the English file"
    );
    assert!(faults("xx.toml", b"close_hint = 1\n").starts_with("xx.toml:1:14: not valid TOML: "));
    assert!(faults("xx.toml", b"close_hint = \"\xff\"\n").contains("UTF-8"));
    assert!(faults("klingon-.toml", b"").contains("no language tag"));
}
