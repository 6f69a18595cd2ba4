//! Signs of path, query and scheme.

use super::{Code, Found};
use crate::redirectors::{is_shortener, known_redirector};
use crate::target::Target;

pub(super) fn signs(target: &Target, found: &mut Found) {
    let url = target.url();
    let path = url.path();
    if target.scheme() != "https"
        && let Some(word) = words(target.host())
            .chain(words(path))
            .find(|w| LOGIN.iter().any(|l| w.eq_ignore_ascii_case(l)))
    {
        found.add(Code::PlainLogin, word);
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    if let Some((code, detail)) = kind_of_file(file) {
        found.add(code, detail);
    }
    if is_shortener(target.host()) {
        found.add(Code::Shortener, target.host());
    }
    // Redirectors of mailers lead to targets of the mailer; these to any.
    if let Some(redirected) = known_redirector(target) {
        found.add(Code::OpenRedirector, redirected.to.host());
    }
    if is_needlessly_encoded(target.as_str()) {
        found.add(Code::NeedlessEncoding, "");
    }
    if target.as_str().len() > LONG {
        found.add(Code::LongAddress, &target.as_str().len().to_string());
    }
}

/// Length from which on a URL is very long, in characters.
const LONG: usize = 1000;

/// Words in the paths of pages that ask for secrets.
const LOGIN: [&str; 12] = [
    "account", "auth", "banking", "invoice", "login", "logon", "password", "payment", "signin", "verify", "wallet",
    "webmail",
];

/// Extensions of programs. `com` is left out: paths end in domains far more often.
const PROGRAMS: [&str; 27] = [
    "apk", "appx", "bat", "cmd", "cpl", "exe", "hta", "img", "iso", "jar", "jse", "lnk", "msi", "msix", "msp", "pif",
    "ps1", "reg", "scf", "scr", "vb", "vbe", "vbs", "vhd", "vhdx", "wsf", "wsh",
];

const ARCHIVES: [&str; 13] = [
    "7z", "ace", "arj", "bz2", "cab", "gz", "lzh", "rar", "tar", "tgz", "xz", "z", "zip",
];

const DOCUMENTS: [&str; 19] = [
    "csv", "doc", "docm", "docx", "gif", "htm", "html", "jpeg", "jpg", "pdf", "png", "pps", "ppt", "pptx", "rtf",
    "txt", "xls", "xlsm", "xlsx",
];

fn kind_of_file(file: &str) -> Option<(Code, &str)> {
    let (front, last) = file.rsplit_once('.')?;
    let is_in = |list: &[&str], extension: &str| list.iter().any(|e| e.eq_ignore_ascii_case(extension));
    if is_in(&PROGRAMS, last) {
        // White space before the second extension pushes it out of sight.
        let front = front.trim_end_matches("%20").trim_end_matches(['_', '+']);
        let document = front.rsplit_once('.').is_some_and(|(_, e)| is_in(&DOCUMENTS, e));
        return Some((if document { Code::DoubleExtension } else { Code::Program }, file));
    }
    is_in(&ARCHIVES, last).then_some((Code::Archive, last))
}

/// Whether several characters are percent-encoded that never need it (RFC 3986 section 2.3, letters and digits), or a
/// percent sign has been encoded three times over.
fn is_needlessly_encoded(url: &str) -> bool {
    const MANY: usize = 3;
    let mut rest = url;
    let mut needless = 0;
    while let Some((_, behind)) = rest.split_once('%') {
        if behind.starts_with("252525") {
            return true;
        }
        let octet = behind.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        needless += usize::from(octet.is_some_and(|b| b.is_ascii_alphanumeric()));
        rest = behind;
    }
    needless >= MANY
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphabetic())
}
