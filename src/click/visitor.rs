//! Labelling visitors as persons or machines, by what the request said and what happened around it.
//!
//! The rules are pure: a row in, a label with its reasons out. Raw facts are stored beside the label, so that it can be
//! computed again when the rules get better ([`RULES`]), or when more has happened around the click ([`Neighbours`]).

mod agents;
mod history;
mod neighbours;
pub mod relabel;

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Version};
use ipnet::IpNet;
use store::{ClickRow, Facts, Label, LabelRow, Method};

pub use crate::click::visitor::history::VisitorHistory;
pub use crate::click::visitor::neighbours::{Neighbours, RecentClicks};
use crate::config::{Machines, NeutralPage};

/// The version of the rules: to be raised whenever the same facts may get another label.
pub const RULES: u32 = 1;

/// Octets of a header value that are recorded.
const MAX_VALUE: usize = 256;

/// A label and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorLabel {
    /// Person or machine.
    pub label: Label,
    /// Why, as stable words, what speaks for a machine among what speaks for a person.
    pub reasons: Vec<&'static str>,
}

impl VisitorLabel {
    /// Puts the label, its reasons and the version of the rules into a row.
    pub fn write_into(&self, row: &mut ClickRow) {
        row.label = self.label;
        row.label_reasons = self.reasons.iter().map(|&r| r.to_owned()).collect();
        row.rules = RULES;
    }

    /// The same for a click that is stored already; `None` when its row says this already.
    #[must_use]
    pub fn relabel(&self, row: &ClickRow) -> Option<LabelRow> {
        let same = row.label == self.label && row.rules == RULES && row.label_reasons == self.reasons;
        (!same).then(|| LabelRow {
            event_id: row.event_id,
            label: self.label,
            reasons: self.reasons.iter().map(|&r| r.to_owned()).collect(),
            rules: RULES,
        })
    }
}

/// The facts in the head of a request that the rules, of today or later, may go by. Network, link and time of the link are
/// left for the caller to fill in.
#[must_use]
pub fn facts(headers: &HeaderMap, version: Version) -> Facts {
    let mut facts = Facts {
        http: http_version(version).map(str::to_owned),
        ..Facts::default()
    };
    // The purpose has several names, the first of which counts.
    let mut purposes = [const { None }; 4];
    // One pass: most requests have fewer fields than there are names to look for. Of a field that is repeated the first counts.
    for name in headers.keys() {
        let Some(value) = headers.get(name) else { continue };
        let is_one = || value.as_bytes().trim_ascii() == b"1";
        match name.as_str() {
            "sec-purpose" => purposes[0] = Some(clip(value, MAX_VALUE)),
            "purpose" => purposes[1] = Some(clip(value, MAX_VALUE)),
            "x-moz" => purposes[2] = Some(clip(value, MAX_VALUE)),
            "x-purpose" => purposes[3] = Some(clip(value, MAX_VALUE)),
            "sec-fetch-mode" => facts.fetch_mode = Some(clip(value, MAX_VALUE)),
            "sec-fetch-dest" => facts.fetch_dest = Some(clip(value, MAX_VALUE)),
            "sec-fetch-user" => facts.fetch_user = Some(clip(value, MAX_VALUE)),
            "sec-fetch-site" => facts.fetch_site = Some(clip(value, MAX_VALUE)),
            "sec-ch-ua" => facts.client_hints = Some(clip(value, MAX_VALUE)),
            "accept" => facts.accept = Some(clip(value, MAX_VALUE)),
            "accept-language" => facts.accept_language = Some(clip(value, MAX_VALUE)),
            "referer" => facts.referer_host = host_of(value),
            "dnt" => facts.dnt = is_one(),
            "sec-gpc" => facts.gpc = is_one(),
            _ => {}
        }
    }
    facts.purpose = purposes.into_iter().flatten().next();
    facts
}

fn host_of(value: &HeaderValue) -> Option<String> {
    let target = link::Target::parse(value.to_str().ok()?).ok()?;
    Some(target.host().to_owned())
}

/// The network of machines that an address is in, as the operator wrote it: a fact to be recorded where the address is not.
#[must_use]
pub fn machine_network(client: IpAddr, machines: &Machines) -> Option<String> {
    let network = machines.networks.iter().find(|network| network.contains(&client));
    network.map(ToString::to_string)
}

/// The label of the click of this row, by its raw facts alone: label and verdict of the row are not looked at.
#[must_use]
pub fn label(row: &ClickRow, neighbours: Neighbours, machines: &Machines) -> VisitorLabel {
    label_by(row, &RequestSigns::of(row), neighbours, machines)
}

/// As [`label`], with the signs of the row.
fn label_by(row: &ClickRow, signs: &RequestSigns, neighbours: Neighbours, machines: &Machines) -> VisitorLabel {
    let mut reasons = Vec::new();
    let certain = certain_machine(row, machines);
    reasons.extend(certain);
    // The page was asked for, shown, and its button pressed: on the neutral page that is how a person goes on.
    if pressed_button(row) {
        reasons.insert(0, "button");
        return VisitorLabel {
            label: Label::Person,
            reasons,
        };
    }
    if certain.is_some() {
        return VisitorLabel {
            label: Label::Machine,
            reasons,
        };
    }
    let points = signs.points() + neighbours.points();
    reasons.extend(signs.0.iter().map(|(reason, _)| *reason));
    reasons.extend(neighbours.reasons());
    let tool = reasons.iter().any(|r| matches!(*r, "tool" | "no-agent"));
    let label = match points {
        _ if tool => Label::LikelyMachine,
        ..0 => Label::LikelyMachine,
        0..LIKELY_PERSON => Label::Unknown,
        _ => Label::LikelyPerson,
    };
    VisitorLabel { label, reasons }
}

/// Whether a visitor of this label gets the neutral page in place of the target, of which nothing is asked then.
#[must_use]
pub fn gets_neutral_page(label: Label, machines: &Machines) -> bool {
    match machines.neutral_page {
        NeutralPage::Certain => label == Label::Machine,
        NeutralPage::Likely => label.is_machine(),
    }
}

/// Points from which on a request counts as a person's: a current browser that says that someone navigates has 5.
const LIKELY_PERSON: i32 = 3;

/// Whether the button of a page of ours was pressed.
fn pressed_button(row: &ClickRow) -> bool {
    row.method == Method::Post && row.page_event.is_some()
}

/// Why this is a machine for certain: it says so, or the operator does.
fn certain_machine(row: &ClickRow, machines: &Machines) -> Option<&'static str> {
    let facts = &row.facts;
    let speculative = |p: &str| {
        ["prefetch", "prerender", "preview"]
            .iter()
            .any(|w| p.to_ascii_lowercase().contains(w))
    };
    if matches!(row.method, Method::Head | Method::Options) {
        Some("method")
    } else if facts.purpose.as_deref().is_some_and(speculative) {
        Some("prefetch")
    } else if agents::is_named(&row.user_agent, facts.client_hints.as_deref(), &machines.agents) {
        Some("agent")
    } else if facts.machine_network.is_some() || in_machine_network(row.client_ip.as_deref(), machines) {
        Some("network")
    } else {
        None
    }
}

/// Whether the recorded address, or all of the recorded network, is in one of the operator's networks of machines.
fn in_machine_network(client: Option<&str>, machines: &Machines) -> bool {
    let parse = |text: &str| {
        text.parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    };
    if machines.networks.is_empty() {
        return false;
    }
    client
        .and_then(parse)
        .is_some_and(|client| machines.networks.iter().any(|network| network.contains(&client)))
}

/// The signs of the request itself, each with its points, for a person above zero.
struct RequestSigns(Vec<(&'static str, i32)>);

impl RequestSigns {
    fn of(row: &ClickRow) -> Self {
        let facts = &row.facts;
        let agent = row.user_agent.trim();
        let mut signs = Vec::new();
        if agent.is_empty() {
            signs.push(("no-agent", -4));
        } else if agents::is_tool(agent) {
            signs.push(("tool", -4));
        }
        let says = |value: &Option<String>, wanted: &str| value.as_deref() == Some(wanted);
        if says(&facts.fetch_mode, "navigate") && says(&facts.fetch_dest, "document") {
            signs.push(("navigation", 2));
            if says(&facts.fetch_user, "?1") {
                signs.push(("user-activation", 1));
            }
        } else if facts.fetch_mode.is_some() {
            signs.push(("no-navigation", -2));
        }
        if agents::is_browser(agent) {
            match facts.accept.as_deref() {
                Some(accept) if accept.contains("text/html") => signs.push(("browser", 1)),
                _ => signs.push(("no-html", -1)),
            }
            match facts.accept_language {
                Some(_) => signs.push(("language", 1)),
                None => signs.push(("no-language", -1)),
            }
            if agents::is_stale(agent, row.at_us) {
                signs.push(("old-browser", -1));
            }
            if agents::hints_differ(agent, facts.client_hints.as_deref()) {
                signs.push(("hints-differ", -2));
            }
        }
        // Mail is scanned as it comes; few people are that quick.
        let age_s = facts
            .issued_at_s
            .map(|issued| row.at_us.div_euclid(1_000_000).saturating_sub(issued));
        if age_s.is_some_and(|age| (0..=10).contains(&age)) {
            signs.push(("just-delivered", -2));
        }
        Self(signs)
    }

    fn points(&self) -> i32 {
        self.0.iter().map(|(_, points)| points).sum()
    }
}

/// A header value as text, cut between characters to `most` octets.
pub(super) fn clip(value: &HeaderValue, most: usize) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}

fn http_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
