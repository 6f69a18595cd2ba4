//! How pages look and read: `page_...` of `[default]` and `[domain]`, and `[click] languages_dir`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use link::Target;
use toml::Spanned;

use super::build::{Root, path};
use super::fault::{ConfigError, place};
use super::walk::{Section, Walk};
use crate::config::ascii_domain;
use crate::pages::{Brand, Colours, Contact, Languages, Logo, MAX_LOGO, Pages, ReviewTo, is_mailbox};

/// Octets of the largest language file.
const MAX_LANGUAGE: u64 = 256 * 1024;

/// Characters of the longest name, contact and text.
const MAX_NAME: usize = 80;
const MAX_CONTACT: usize = 200;
const MAX_TEXT: usize = 2_000;

/// All that the file says about pages. `click` is its section of that name; `public_url` says under which path logos stand.
pub(super) fn pages<'t>(w: &Walk<'t>, root: &'t Root<'t>, click: &Section<'t>, public_url: &str) -> Pages {
    let languages = languages(w, click);
    let after_scheme = public_url.split_once("://").map_or("", |(_, rest)| rest);
    let prefix = after_scheme.find('/').and_then(|at| after_scheme.get(at..));
    let reader = Reader {
        w,
        languages: &languages,
        prefix: prefix.unwrap_or_default(),
    };
    let common = reader.brand(&w.section(root, "default", false), &Brand::default());
    let mut by_name = HashMap::new();
    for (name, s) in w.named_sections(root, "domain") {
        let own = reader.brand(&s, &common);
        if let Some(domain) = ascii_domain(name.value)
            && own != common
        {
            by_name.insert(domain, Arc::new(own));
        }
    }
    Pages {
        common: Arc::new(common),
        by_name,
        languages: Arc::new(languages),
    }
}

struct Reader<'w, 't> {
    w: &'w Walk<'t>,
    languages: &'w Languages,
    prefix: &'w str,
}

impl<'t> Reader<'_, 't> {
    /// The look that a section describes; what it does not say is as in `inherited`, and what it says with an empty string is
    /// nothing.
    fn brand(&self, s: &Section<'t>, inherited: &Brand) -> Brand {
        Brand {
            name: self.value(s, "page_name", &inherited.name, |t| words(t, MAX_NAME)),
            logo: self.value(s, "page_logo", &inherited.logo, |t| self.logo(t)),
            colour: if self.w.says(s, "page_colour") {
                let parsed = self.w.parsed(s, "page_colour", Colours::parse);
                parsed.map_or_else(|| inherited.colour.clone(), |c| c.value)
            } else {
                inherited.colour.clone()
            },
            contact: self.value(s, "page_contact", &inherited.contact, |t| {
                words(t, MAX_CONTACT).map(|t| Contact::new(&t))
            }),
            text: self.value(s, "page_text", &inherited.text, text),
            back_to: self.value(s, "page_back_to", &inherited.back_to, web),
            redirect_to: self.value(s, "page_redirect_to", &inherited.redirect_to, web),
            language: self.value(s, "page_language", &inherited.language, |t| self.language(t)),
            review_to: self
                .value(s, "page_review_to", &Some(inherited.review_to.clone()), review_to)
                .unwrap_or_default(),
        }
    }

    fn value<T: Clone>(
        &self,
        s: &Section<'t>,
        name: &str,
        inherited: &Option<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.w.says(s, name) {
            return inherited.clone();
        }
        let given = self.w.text(s, name)?;
        if given.value.trim().is_empty() {
            return None;
        }
        self.w.parsed_or_why(s, name, parse)
    }

    fn logo(&self, file: &str) -> Result<Arc<Logo>, String> {
        let path = path(file).ok_or("it is no path")?;
        let octets = read(&path, MAX_LOGO)?;
        Ok(Arc::new(Logo::new(octets, self.prefix)?))
    }

    fn language(&self, tag: &str) -> Result<String, String> {
        let found = self.languages.get(tag).map(|l| l.tag().to_owned());
        found.ok_or_else(|| {
            let offered: Vec<_> = self.languages.iter().map(|l| l.tag()).collect();
            format!("there are {}", offered.join(", "))
        })
    }
}

/// The built-in languages, and those of `languages_dir`: a file for each, named by its tag.
fn languages<'t>(w: &Walk<'t>, click: &Section<'t>) -> Languages {
    let mut all = Languages::default();
    if !w.says(click, "languages_dir") {
        return all;
    }
    let Some(given) = w.text(click, "languages_dir").filter(|i| !i.value.is_empty()) else {
        return all;
    };
    let Some(folder) = w.parsed(click, "languages_dir", |dir| path(dir).filter(|d| d.is_dir())) else {
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

fn text(given: &str) -> Result<String, String> {
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
