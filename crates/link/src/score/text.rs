//! The text that a reader sees in place of a URL.

use url::Host;

use super::host::Place;
use super::{Code, Found};
use crate::escapes::clip;

/// Most of a text read, in octets; a name stands at its front.
const MAX_TEXT: usize = 2048;

pub(super) fn signs(text: &str, place: &Place<'_>, found: &mut Found) {
    if TRACKERS.iter().any(|t| is_at_or_below(place.name, t)) {
        return;
    }
    let Some(named) = named_host(clip(text, MAX_TEXT)) else {
        return;
    };
    let domain = Place::of_name(&named).domain;
    if !domain.is_empty() && domain != place.domain {
        found.add(Code::OtherText, &named);
    }
}

/// The words of a text, in lower case.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The host that a text names, if it reads as one URL or host name, or holds one that begins with a scheme or `www.`.
fn named_host(text: &str) -> Option<String> {
    let signs = |c: char| !c.is_alphanumeric() && !matches!(c, '/' | '-');
    let trimmed = text.trim_matches(signs);
    let whole = !trimmed.contains(char::is_whitespace);
    let mut words = trimmed.split_whitespace().map(|w| w.trim_matches(signs));
    words.find_map(|word| {
        let lower = word.get(..8).unwrap_or(word).to_ascii_lowercase();
        let behind = ["https://", "http://"].iter().find(|s| lower.starts_with(**s));
        let rest = behind.and_then(|s| word.get(s.len()..)).unwrap_or(word);
        if behind.is_none() && !whole && !lower.starts_with("www.") {
            return None;
        }
        host_of(rest)
    })
}

/// The host at the front of a URL without its scheme; only a name under a known suffix counts, so that `readme.txt` and
/// `3.5` do not.
pub(super) fn host_of(rest: &str) -> Option<String> {
    let authority = rest.split(['/', '\\', '?', '#']).next()?;
    // An address of mail.
    if authority.contains('@') || !authority.contains('.') {
        return None;
    }
    let name = authority.split(':').next()?;
    let Ok(Host::Domain(name)) = Host::parse(name) else {
        return None;
    };
    let known = suffix::domain(name.as_bytes()).is_some_and(|d| d.suffix().is_known());
    known.then_some(name)
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Hosts of click counters and of other gateways' wrappers: the text of such a link names the target behind it.
const TRACKERS: [&str; 92] = [
    "acemlna.com",
    "acemlnb.com",
    "acemlnc.com",
    "actionkit.com",
    "activehosted.com",
    "awstrack.me",
    "bluehornet.com",
    "bmsend.com",
    "bounceexchange.com",
    "brevosend.com",
    "bsd.net",
    "campaign-archive.com",
    "cisco.com",
    "click.aweber.com",
    "cmail19.com",
    "cmail20.com",
    "convertkit-mail.com",
    "convertkit-mail2.com",
    "createsend.com",
    "createsend1.com",
    "cudasvc.com",
    "customeriomail.com",
    "dotdigital-pages.com",
    "dotmailer.com",
    "e2ma.net",
    "emlnk.com",
    "emlnk9.com",
    "en25.com",
    "everyaction.com",
    "exacttarget.com",
    "exct.net",
    "feedblitz.com",
    "feedburner.com",
    "fireeye.com",
    "getresponse.com",
    "getresponse360.com",
    "go2cloud.org",
    "hubspotemail.net",
    "hubspotlinks.com",
    "icptrack.com",
    "infusionsoft.com",
    "intercom-clicks.com",
    "intercom-mail.com",
    "kajabimail.net",
    "keap-link.com",
    "klclick.com",
    "klclick1.com",
    "klclick2.com",
    "klclick3.com",
    "list-manage.com",
    "list-manage1.com",
    "list-manage2.com",
    "lnks.gd",
    "mailanyone.net",
    "mailchimp.com",
    "mailgun.org",
    "maileon.com",
    "mailgun.net",
    "mailjet.com",
    "mandrillapp.com",
    "marketo.com",
    "messagelabs.com",
    "mimecast.com",
    "mimecastprotect.com",
    "mjt.lu",
    "mktoweb.com",
    "mlsend.com",
    "mlsend2.com",
    "mxsspr.com",
    "myngp.com",
    "nationbuilder.com",
    "ngpvan.com",
    "omnisend.com",
    "pardot.com",
    "pphosted.com",
    "proofpoint.com",
    "protection.outlook.com",
    "protection.sophos.com",
    "rs6.net",
    "rsgsv.net",
    "sendgrid.net",
    "sendibm1.com",
    "sendinblue.com",
    "sibautomation.com",
    "smartfocus.com",
    "sparkpostmail.com",
    "substack.com",
    "sendpul.se",
    "trendmicro.com",
    "urldefense.com",
    "urldefense.us",
    "vrtrack.net",
];
