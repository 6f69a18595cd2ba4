//! Writes every page that a reader may see, in every language, into a folder: `cargo run --example pages -- FOLDER`.
//!
//! `pages.json` beside them names each with its status and headers, as the click address answers it. The browser tests look
//! at these; so may you, after a change of words or style.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use link::{Category, Evidence, Finding, Listing, Obstacle, Scope, Smuggled, Target, Weight, Word};
use linkgate::pages::{
    self, Brand, Colours, Contact, GoogleService, Languages, Logo, PageForm, PageKind, View, language,
};
use serde_json::json;

/// A drawing such as an operator may have.
const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><rect width="40" height="40" rx="9" fill="#0b6b53"/><path d="M9 27V13l11 9 11-9v14" fill="none" stroke="#fff" stroke-width="3.5"/></svg>"##;

const HOSTILE: &str = "https://paypal.com@www.p\u{430}ypal.com.sign-in.example:8443/a/very/long/path/\"><script>alert(1)</script>/that/goes/on/and/on?with=%E2%80%AE&a=query%20that%20does%20so%20too#x";

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "target/pages".to_owned());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut languages = Languages::default();
    let sample: BTreeMap<String, String> = toml::from_str(&std::fs::read_to_string("fixtures/languages/ar.toml")?)?;
    if let Err(faults) = languages.add("ar", &sample) {
        anyhow::bail!("{faults:?}");
    }
    let logo = Logo::new(LOGO.as_bytes().to_vec(), "").map_err(anyhow::Error::msg)?;
    std::fs::write(folder.join("logo.svg"), LOGO)?;
    let mut index = Vec::new();
    for tag in languages.iter().map(|l| l.tag().to_owned()).collect::<Vec<_>>() {
        let lang = language(&tag, &languages, None);
        for sample in samples(&logo) {
            let view = sample.view(lang);
            let answer = pages::answer(&view);
            let headers: BTreeMap<_, _> = answer
                .headers()
                .iter()
                .map(|(k, v)| (k.as_str().to_owned(), v.to_str().unwrap_or_default().to_owned()))
                .collect();
            let file = format!("{}.{tag}.html", sample.name);
            std::fs::write(folder.join(&file), pages::html(&view))?;
            index.push(json!({
                "file": file, "name": sample.name, "lang": tag, "dir": lang.direction().as_str(),
                "status": answer.status().as_u16(), "headers": headers,
                "continues": view.form.is_some() && sample.name != "blocked", "logo": logo.href,
            }));
        }
    }
    std::fs::write(folder.join("pages.json"), serde_json::to_string_pretty(&index)?)?;
    println!("{} pages in {}", index.len(), folder.display());
    Ok(())
}

struct Sample {
    name: &'static str,
    kind: fn(&Sample) -> PageKind<'_>,
    brand: Brand,
    target: Option<Target>,
    evidence: Vec<Evidence>,
    google: &'static [(&'static str, GoogleService)],
    chain: Vec<String>,
    may_continue: bool,
}

impl Sample {
    fn new(name: &'static str, kind: fn(&Self) -> PageKind<'_>) -> Self {
        Self {
            name,
            kind,
            brand: Brand::default(),
            target: None,
            evidence: Vec::new(),
            google: &[],
            chain: Vec::new(),
            may_continue: false,
        }
    }

    fn target(mut self, url: &str) -> Self {
        self.target = Target::parse(url).ok();
        self
    }

    fn chain(mut self, urls: &[&str]) -> Self {
        self.chain = urls.iter().map(|u| (*u).to_owned()).collect();
        self
    }

    fn continues(mut self) -> Self {
        self.may_continue = true;
        self
    }

    fn found(mut self, source: &'static str, about: &str, finding: Finding) -> Self {
        self.evidence.push(Evidence {
            source: source.into(),
            about: about.to_owned(),
            finding,
        });
        self
    }

    fn brand(mut self, logo: &Logo) -> Self {
        self.brand = Brand {
            name: Some("Hafenkontor Nord".to_owned()),
            logo: Some(Arc::new(logo.clone())),
            colour: Colours::parse("#0b6b53").unwrap_or_default(),
            contact: Some(Contact::new("helpdesk@example.com")),
            text: Some("Our bank never sends links. If in doubt, call extension 4711.".to_owned()),
            back_to: Target::parse("https://intranet.example.com/").ok(),
            ..Brand::default()
        };
        self
    }

    fn view<'a>(&'a self, lang: &'a pages::Language) -> View<'a> {
        const ACTION: &str = "/c/sign-in.example/AAAA";
        let judges = !self.evidence.is_empty();
        let kind = (self.kind)(self);
        let form = |fields| PageForm { action: ACTION, fields };
        View {
            target: self
                .target
                .as_ref()
                .filter(|_| !matches!(kind, PageKind::Onward { .. })),
            evidence: &self.evidence,
            google_sources: self.google,
            chain: &self.chain,
            form: self.may_continue.then_some(form(&[("go", "c2VhbA")])),
            review: judges.then_some(form(&[("review", "c2VhbA")])),
            reference: judges.then_some("01J9-7Q4M-XK2T"),
            checked_at_s: judges.then_some(1_795_324_500),
            ..View::plain(kind, &self.brand, lang)
        }
    }
}

fn listed(category: Category, weight: Weight) -> Finding {
    Finding::Listed(Listing {
        category,
        scope: Scope::Host,
        weight,
    })
}

fn sign(code: &'static str, points: u8, detail: &str) -> Finding {
    let detail = detail.to_owned();
    Finding::Sign { code, points, detail }
}

fn samples(logo: &Logo) -> Vec<Sample> {
    const SHOP: &str = "https://www.shop.example/offers/autumn";
    const BAD: &str = "https://login.secure-update.example/account/verify?id=2211";
    let hostile = Target::parse(HOSTILE).map_or_else(|_| String::new(), |t| t.as_str().to_owned());
    let warning = || {
        Sample::new("warning", |_| PageKind::Warning)
            .target(HOSTILE)
            .continues()
            .found("score", &hostile, sign("mixed-scripts", 40, "p\u{430}ypal"))
            .found("score", &hostile, sign("user-info", 40, "paypal.com"))
            .found("score", "https://bit.example/x1", sign("shortener", 20, ""))
            .found("Spamhaus DBL", &hostile, Finding::CouldNotAsk("timed out".to_owned()))
            .chain(&["https://bit.example/x1", &hostile])
    };
    let blocked = || {
        Sample::new("blocked", |_| PageKind::Blocked)
            .target(BAD)
            .found("URLhaus", BAD, listed(Category::Phishing, Weight::Block))
            .found("score", BAD, sign("plain-login", 15, ""))
            .chain(&["https://t.example/2h", "https://track.example/r?u=1", BAD])
    };
    let named = |name, sample: Sample| Sample { name, ..sample };
    let hidden = |name, sample: Sample| Sample {
        name,
        target: None,
        ..sample
    };
    let google = Sample {
        google: &[("Safe Browsing", GoogleService::SafeBrowsing)],
        ..Sample::new("warning-google", |_| PageKind::Warning)
            .target(BAD)
            .continues()
            .found("Safe Browsing", BAD, listed(Category::Phishing, Weight::Block))
    };
    vec![
        Sample::new("confirm", |_| PageKind::Confirm).target(SHOP).continues(),
        named(
            "confirm-brand",
            Sample::new("", |_| PageKind::Confirm)
                .target(SHOP)
                .continues()
                .brand(logo),
        ),
        Sample::new("confirm-hidden", |_| PageKind::Confirm).continues(),
        Sample::new("neutral", |_| PageKind::Neutral).target(SHOP).continues(),
        Sample::new("checking", |_| PageKind::Checking {
            refresh_s: 2,
            attempt: "/c/shop.example/AAAA",
        })
        .target(SHOP),
        warning(),
        named("warning-brand", warning().brand(logo)),
        hidden("warning-hidden", warning()),
        Sample {
            name: "warning-final",
            may_continue: false,
            ..warning()
        },
        google,
        blocked(),
        named("blocked-brand", blocked().brand(logo)),
        hidden("blocked-hidden", blocked()),
        Sample::new("unknown", |_| PageKind::Unknown)
            .target("https://links.mail.example/v2/aG9zdA")
            .continues()
            .found("wrapper", SHOP, Finding::TargetUnknown("Mimecast".into()))
            .found("contact", SHOP, Finding::CouldNotInspect(Obstacle::Captcha))
            .found("link", SHOP, Finding::Smuggled(Smuggled::ForeignWrapper)),
        Sample::new("could-not-check", |_| PageKind::CouldNotCheck)
            .target(SHOP)
            .continues()
            .found("Spamhaus DBL", SHOP, Finding::CouldNotAsk("refused".to_owned()))
            .found("URLhaus", SHOP, Finding::CouldNotAsk("stale".to_owned())),
        Sample::new("not-ours", |_| PageKind::NotOurs),
        Sample::new("expired", |_| PageKind::Expired),
        Sample::new("revoked", |_| PageKind::Revoked),
        Sample::new("try-later", |_| PageKind::TryLater { retry_after_s: 60 }),
        Sample::new("too-many", |_| PageKind::TooMany { retry_after_s: 60 }),
        Sample::new("onward", |s| {
            s.target
                .as_ref()
                .map_or(PageKind::NotOurs, |to| PageKind::Onward { to })
        })
        .target(SHOP),
        Sample::new("review-sent", |_| PageKind::ReviewSent),
        Sample::new("wrong-method", |_| PageKind::WrongMethod),
    ]
}
