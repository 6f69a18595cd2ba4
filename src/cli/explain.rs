//! The command `linkgate explain`: which rule decides about a link, and why.

use std::io::Write;
use std::path::Path;

use clap::Args;
use link::{Circumstances, Decision, Opener, Policy, Resolve, Resolved, Target, Weight, Word, resolve, unwrap};

use super::error::CommandError;
use crate::config::Settings;
use crate::config::keyfile::Absent;
use crate::intel::{OfflineAnswer, ask_offline};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Envelope sender (default: none, as for a bounce)
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    from: String,

    /// Envelope recipient
    #[arg(long, value_name = "ADDR")]
    to: String,

    /// What a reader sees in place of the URL
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,

    /// The link
    #[arg(value_name = "URL")]
    url: String,
}

/// Runs the command.
pub(super) fn command(config: &Path, args: &ExplainArgs, out: &mut impl Write) -> Result<(), CommandError> {
    run(&Settings::load_with(config, Absent::Pretend)?, args, out)
}

/// Writes what would become of a link in a mail from this sender to this recipient, and what revocations and lists say that
/// need no server.
fn run(settings: &Settings, asked: &ExplainArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let how = Resolve {
        bare_hosts: true,
        ..Resolve::default()
    };
    let Resolved::Web(target) = resolve(&asked.url, &how) else {
        return Err(CommandError::Usage(format!(
            "{:?} is no http, https or ftp URL",
            asked.url
        )));
    };
    writeln!(out, "url       {target}", target = target.as_str())?;
    match settings.domains.policy(&asked.to) {
        Some(policy) => explain(policy, asked, &target, out)?,
        None => {
            writeln!(out, "decision  kept: domain-off")?;
            writeln!(out, "rule      no section [domain] for {:?}", asked.to)?;
        }
    }
    lists(settings, &target, out)?;
    Ok(())
}

/// Writes what is revoked or listed of the link and of what is inside it.
fn lists(settings: &Settings, target: &Target, out: &mut impl Write) -> std::io::Result<()> {
    let opener = Opener::new(&settings.keys, &settings.click.base);
    let inside = unwrap(target, &|url| opener.recognise(url));
    for (name, said) in ask_offline(settings, &inside.to_check()) {
        match said {
            OfflineAnswer::Listings(listings) if listings.is_empty() => writeln!(out, "list      {name}: not listed")?,
            OfflineAnswer::Listings(listings) => {
                for listing in listings {
                    let worth = match listing.weight {
                        Weight::Warn => "a warning",
                        Weight::Block => "a block",
                    };
                    writeln!(
                        out,
                        "list      {name}: listed as {}, {worth}",
                        listing.category.as_str()
                    )?;
                }
            }
            OfflineAnswer::Unreadable(why) => writeln!(out, "list      {name}: cannot be read: {why}")?,
            OfflineAnswer::Off(why) => writeln!(out, "list      {name}: off: {why}")?,
            OfflineAnswer::NotAsked => writeln!(
                out,
                "list      {name}: not asked; POST /api/v1/check of a running server does"
            )?,
        }
    }
    Ok(())
}

fn explain(policy: &Policy, asked: &ExplainArgs, target: &Target, out: &mut impl Write) -> std::io::Result<()> {
    let circumstances = Circumstances {
        link_text: asked.text.as_deref(),
        ..Circumstances::default()
    };
    let explained = policy.explain(&asked.from, target, &circumstances);
    let delivery = &policy.delivery;
    match explained.decision {
        Decision::Wrap(_) => writeln!(out, "decision  wrapped")?,
        decision => writeln!(out, "decision  {}: {}", decision.kind().as_str(), decision.reason())?,
    }
    match &explained.matched {
        Some(rule) => writeln!(
            out,
            "rule      {}[{}] {:?}",
            rule.list.as_str(),
            rule.index + 1,
            rule.rule
        )?,
        None => writeln!(out, "rule      rewrite = {:?}", policy.rewrite.as_str())?,
    }
    writeln!(
        out,
        "score     {}; suspicious_score = {}, delivery_score = {}, at_delivery = {:?}",
        explained.score,
        delivery.suspicious_score,
        delivery.delivery_score,
        delivery.at_delivery.as_str(),
    )?;
    for sign in &explained.signs {
        // A stranger's text.
        let detail = sign.detail.escape_debug();
        let colon = if sign.detail.is_empty() { "" } else { ": " };
        writeln!(
            out,
            "{:>5}     {}: {}{colon}{detail}",
            sign.points,
            sign.code,
            sign.words()
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(url: &str, to: &str, text: Option<&str>) -> String {
        let config = include_str!("../../fixtures/config/good/least.toml").to_owned()
            + "[domain.\"some.test\"]\nrewrite = \"suspicious\"\nbypass_urls = [\"*.some.test\"]\n";
        let settings = Settings::from_toml(&config, Path::new("x"), Absent::Pretend).unwrap();
        let asked = ExplainArgs {
            from: "a@b.test".into(),
            to: to.into(),
            url: url.into(),
            text: text.map(str::to_owned),
        };
        let mut out = Vec::new();
        run(&settings, &asked, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_sign_is_shown_with_its_points_and_the_sum() {
        let said = explained(
            "https://paypal.com.evil.example:81/",
            "me@some.test",
            Some("www.paypal.com"),
        );
        for line in [
            "decision  wrapped\n",
            "rule      rewrite = \"suspicious\"\n",
            "score     110; suspicious_score = 30, delivery_score = 0, at_delivery = \"wrap\"\n",
            "   20     odd-port: the port is not the usual one: 81\n",
            "   30     name-in-subdomain: a protected name stands in front of a domain of someone else: paypal\n",
            "   30     other-text: the text of the link names another domain than its target: www.paypal.com\n",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
    }

    #[test]
    fn lists_that_need_no_server_are_asked_about_what_is_inside() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("own.txt");
        std::fs::write(&file, "evil.example\n").unwrap();
        let config = include_str!("../../fixtures/config/good/least.toml").to_owned()
            + &format!(
                "[checks]\nlists_dir = \"{dir}\"\n[[source]]\nname = \"own\"\ntype = \"domains\"\nfrom = \"{file}\"\n\
                 [[source]]\nname = \"feed\"\ntype = \"domains\"\nfrom = \"https://feed.example/list\"\n\
                 [[source]]\nname = \"zone\"\ntype = \"dns\"\nfrom = \"bl.example\"\n",
                dir = dir.path().display(),
                file = file.display()
            );
        let settings = Settings::from_toml(&config, Path::new("x"), Absent::Pretend)
            .unwrap_or_else(|f| panic!("{:?}", f.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let said = |url: &str| {
            let asked = ExplainArgs {
                from: "a@b.test".into(),
                to: "me@some.test".into(),
                url: url.into(),
                text: None,
            };
            let mut out = Vec::new();
            run(&settings, &asked, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let listed = said("https://www.google.com/url?q=https%3A%2F%2Fevil.example%2Fx");
        for line in [
            "list      own: listed as unspecified, a block\n",
            "list      feed: cannot be read: no copy of it was kept yet\n",
            "list      zone: not asked; POST /api/v1/check of a running server does\n",
        ] {
            assert!(listed.contains(line), "{line}\n{listed}");
        }
        assert!(said("https://good.example/").contains("list      own: not listed\n"));
    }

    #[test]
    fn a_revocation_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let config = include_str!("../../fixtures/config/good/least.toml").to_owned();
        let mut settings = Settings::from_toml(&config, Path::new("x"), Absent::Pretend).unwrap();
        settings.store.clone_from(&path);
        let store = store::Store::open(&path).unwrap();
        let mut out = Vec::new();
        let revocation = store::RevocationRow {
            scope: store::RevokedScope::Host,
            name: "www.evil.example".into(),
            note: String::new(),
            made_at_us: 0,
        };
        store.revoke(revocation).wait().unwrap();
        for url in [
            "https://good.example/",
            "https://www.google.com/url?q=https%3A%2F%2Fwww.evil.example%2Fx",
        ] {
            let asked = ExplainArgs {
                from: "a@b.test".into(),
                to: "me@some.test".into(),
                url: url.into(),
                text: None,
            };
            run(&settings, &asked, &mut out).unwrap();
        }
        let said = String::from_utf8(out).unwrap();
        assert_eq!(said.matches("list      revoked: ").count(), 1, "{said}");
        assert!(
            said.contains("list      revoked: listed as revoked, a block\n"),
            "{said}"
        );
    }

    #[test]
    fn the_rule_that_decides_is_named() {
        assert!(explained("https://a.example/", "me@some.test", None).contains("kept: not-suspicious"));
        let bypassed = explained("www.some.test", "me@some.test", None);
        assert!(
            bypassed.contains("kept: bypass-url\nrule      bypass_urls[1] \"*.some.test\""),
            "{bypassed}"
        );
        assert!(explained("https://a.example/", "me@off.test", None).contains("kept: domain-off"));
    }
}
