//! How pages look and read: `page_...` of `[default]` and `[domain]`, and `[click] languages_dir`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::Target;
use toml::Spanned;

use super::click::public_url_of;
use super::fault::{ConfigError, place};
use super::option::{Fallback, Key, Opt, section, text};
use super::walk::{Walk, folder, path};
use crate::pages::{Brand, Colours, Contact, Languages, Logo, MAX_LOGO, ReviewTo, USUAL_COLOUR, is_mailbox};

section! {
    for Brand {
        name: Option<String> = page("page_name", "a line of at most 80 characters", "", |_, t| words(t, MAX_NAME)),
        logo: Option<Arc<Logo>> = page("page_logo", "the path of a PNG or SVG file of at most 256 KiB", "", logo),
        colour: Colours = text("page_colour", "a colour such as \"#2457a6\"", Colours::parse).or(USUAL_COLOUR),
        contact: Option<Contact> = page("page_contact", WHOM, "", |_, t| {
            words(t, MAX_CONTACT).map(|t| Contact::new(&t))
        }),
        text: Option<String> = page("page_text", "plain text of at most 2000 characters", "", |_, t| plain(t)),
        back_to: Option<Target> = page("page_back_to", WEB, "", |_, t| web(t)),
        redirect_to: Option<Target> = page("page_redirect_to", WEB, "", |_, t| web(t)),
        language: Option<String> = page("page_language", LANGUAGE, "en", language),
        review_to: ReviewTo = page("page_review_to", REVIEW, "button", |_, t| review_to(t))
            .map(Option::unwrap_or_default),
    }
}

const WHOM: &str = "a mail address, a web address, or a line of at most 200 characters";
const WEB: &str = "an http or https URL";
const LANGUAGE: &str = "the tag of a language that is offered, such as \"de\"";
const REVIEW: &str = "\"button\", \"none\", or a mail address";

/// Octets of the largest language file.
const MAX_LANGUAGE: u64 = 256 * 1024;

/// Characters of the longest name, contact and text.
const MAX_NAME: usize = 80;
const MAX_CONTACT: usize = 200;
const MAX_TEXT: usize = 2_000;

/// An option of pages: an empty string is nothing, and so is `default`, which is what pages do by themselves.
fn page<T: 'static>(
    name: &'static str,
    allowed: &'static str,
    default: &'static str,
    parse: impl for<'t> Fn(&Walk<'t>, &str) -> Result<T, String> + 'static,
) -> Opt<Option<T>> {
    let key = Key::text(name, allowed).or(Fallback::Text(default));
    Opt::new(key, move |w, s, key| {
        if !w.says(s, key) {
            return (!s.inherits()).then_some(None);
        }
        if w.text(s, key)?.value.trim().is_empty() {
            return Some(None);
        }
        w.parsed_or_why(s, key, |text| parse(w, text)).map(Some)
    })
}

fn logo(w: &Walk<'_>, file: &str) -> Result<Arc<Logo>, String> {
    let path = path(file).ok_or("it is no path")?;
    let octets = read(&path, MAX_LOGO)?;
    let base = public_url_of(w);
    let after_scheme = base.as_ref().and_then(|base| base.as_str().split_once("://"));
    let prefix = after_scheme.and_then(|(_, rest)| rest.get(rest.find('/')?..));
    Ok(Arc::new(Logo::new(octets, prefix.unwrap_or_default())?))
}

fn language(w: &Walk<'_>, tag: &str) -> Result<String, String> {
    let languages = languages(w);
    let found = languages.get(tag).map(|l| l.tag().to_owned());
    found.ok_or_else(|| {
        let offered: Vec<_> = languages.iter().map(|l| l.tag()).collect();
        format!("there are {}", offered.join(", "))
    })
}

/// `[click] languages_dir`
pub(super) fn languages_dir() -> Key {
    Key::text("languages_dir", "the path of a folder that exists").or(Fallback::Text(""))
}

/// The languages that pages are offered in.
pub(super) fn languages<'w>(w: &'w Walk<'_>) -> &'w Arc<Languages> {
    w.languages.get_or_init(|| Arc::new(read_languages(w)))
}

/// The built-in languages, and those of `languages_dir`: a file for each, named by its tag.
fn read_languages(w: &Walk<'_>) -> Languages {
    let (click, key) = (w.section("click", false), languages_dir());
    let mut all = Languages::default();
    if !w.says(&click, &key) {
        return all;
    }
    let Some(given) = w.text(&click, &key).filter(|i| !i.value.is_empty()) else {
        return all;
    };
    let Some(folder) = w.parsed(&click, &key, folder) else {
        return all;
    };
    match files(&folder.value) {
        Ok(files) => {
            for file in files {
                for fault in add(&mut all, &file) {
                    w.other_file(&given, fault);
                }
            }
        }
        Err(e) => w.other_file(
            &given,
            ConfigError {
                key: String::new(),
                ..ConfigError::whole(&folder.value, format!("the folder cannot be read: {e}"))
            },
        ),
    }
    all
}

/// The language files of a folder, in the order of their names.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the language of one file; its faults, each with its line.
fn add(languages: &mut Languages, file: &Path) -> Vec<ConfigError> {
    let whole = |what: String| vec![ConfigError::whole(file, what)];
    let text = match read(file, MAX_LANGUAGE).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return whole("found a byte that is not UTF-8, allowed: TOML, which is UTF-8 throughout".into()),
        Err(why) => {
            return whole(format!(
                "found a file that cannot be used ({why}), allowed: a language file"
            ));
        }
    };
    let given: BTreeMap<String, Spanned<String>> = match toml::from_str(&text) {
        Ok(given) => given,
        Err(e) => {
            let what = e.message().replace(char::is_control, " ");
            return vec![ConfigError {
                place: e.span().map(|s| place(&text, s.start)),
                ..ConfigError::whole(file, format!("not valid TOML: {what}"))
            }];
        }
    };
    let at = |key: &str| given.get(key).map(|v| place(&text, v.span().start));
    let texts = given
        .iter()
        .map(|(k, v)| (k.clone(), v.get_ref().clone()))
        .collect::<BTreeMap<_, _>>();
    let tag = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let faults = languages.add(tag, &texts).err().unwrap_or_default();
    let mut faults: Vec<_> = faults
        .into_iter()
        .map(|f| ConfigError {
            place: at(&f.key),
            key: f.key.escape_debug().to_string(),
            ..ConfigError::whole(file, f.what)
        })
        .collect();
    faults.sort_by_key(|f| f.place);
    faults
}

/// The octets of a file that has at most `max`.
fn read(file: &Path, max: u64) -> Result<Vec<u8>, String> {
    let meta = fs::metadata(file).map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is not a file".to_owned());
    }
    if meta.len() > max {
        return Err(format!("it is larger than {} KiB", max / 1024));
    }
    fs::read(file).map_err(|e| e.to_string())
}

/// One line of words.
fn words(given: &str, max: usize) -> Result<String, String> {
    if given.contains(char::is_control) {
        return Err("it has control characters".to_owned());
    }
    let given = given.trim();
    if given.chars().count() > max {
        return Err(format!("it has more than {max} characters"));
    }
    Ok(given.to_owned())
}

/// Lines of words.
fn plain(given: &str) -> Result<String, String> {
    if given.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return Err("it has control characters".to_owned());
    }
    if given.chars().count() > MAX_TEXT {
        return Err(format!("it has more than {MAX_TEXT} characters"));
    }
    Ok(given.trim().to_owned())
}

fn web(given: &str) -> Result<Target, String> {
    let target = Target::parse(given).map_err(|e| e.to_string())?;
    if target.scheme().starts_with("http") {
        Ok(target)
    } else {
        Err("its scheme is neither http nor https".to_owned())
    }
}

fn review_to(given: &str) -> Result<ReviewTo, String> {
    match given {
        "button" => Ok(ReviewTo::Button),
        "none" => Ok(ReviewTo::Nobody),
        address if is_mailbox(address) => Ok(ReviewTo::Mailbox(address.to_owned())),
        _ => Err("it is no mail address".to_owned()),
    }
}
