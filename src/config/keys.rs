//! Every key of the configuration file: where it stands, what it takes, and what holds when it is absent.
//!
//! The parser reads its defaults and limits from here, refuses what is not listed, and a test holds the list against
//! `docs/configuration.md` and `contrib/linkgate.toml`.

use link::{AtDelivery, Contact, Flow, OnFailure, OnThreat, OnUnknown, Rewrite, Style, Weight};
use strum::VariantNames;
use wire::BareLineEnds;

use super::settings::{ClientIp, LogFormat};
use super::{Direction, NeutralPage, NextHopOrder, OnError, Protocol, Usage};
use crate::net::tls::NextHopTls;
use crate::pages::USUAL_COLOUR;
use Fallback::{Flag as Switch, Integer as Number, List as Items, Machine, Required, Text as Word};
use Kind::{Choice, Flag, Integer, List, OneOrMore, Text};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The section it belongs to: `click`, `listener`, `domain` ...
    pub section: &'static str,
    /// Its name; it ends in the unit where it has one.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when the file does not say.
    pub fallback: Fallback,
}

/// What values a key takes.
#[derive(Debug)]
pub enum Kind {
    /// A string that holds this.
    Text(&'static str),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number within these limits.
    Integer {
        /// The least.
        min: u64,
        /// The largest.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// `true` or `false`.
    Flag,
    /// An array of strings, each of which holds this.
    List(&'static str),
    /// A string that holds this, or an array of at least one such string.
    OneOrMore(&'static str),
}

/// What holds when the file does not say.
#[derive(Debug)]
pub enum Fallback {
    /// The file must say.
    Required,
    /// This string.
    Text(&'static str),
    /// This number.
    Integer(u64),
    /// This.
    Flag(bool),
    /// This array.
    List(&'static [&'static str]),
    /// Something the machine knows, in words.
    Machine(&'static str),
}

/// The words of a choice.
const fn words<T: VariantNames>() -> &'static [&'static str] {
    T::VARIANTS
}

const fn key(section: &'static str, name: &'static str, kind: Kind, fallback: Fallback) -> Key {
    Key {
        section,
        name,
        kind,
        fallback,
    }
}

const PUBLIC_URL: &str = "an http or https address without query and fragment, such as \"https://click.example.com\"";
const ADDRESS: &str = "an address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
const SOCKET: &str = "an address and port such as \"127.0.0.1:10025\", or \"unix:\" and the path of a socket such as \"unix:/run/linkgate/lmtp.sock\"";
const NEXT_HOP: &str = "\"smtp://HOST:PORT\", \"smtps://HOST:PORT\", \"lmtp://HOST:PORT\", or \"unix:\" and the path of a LMTP server's socket";
pub(super) const CERTIFICATE: &str = "the path of a PEM file with the certificate, and behind it those of its issuers";
pub(super) const PRIVATE_KEY: &str = "the path of a PEM file with the private key of tls_certificate, not encrypted";
pub(super) const ROOTS: &str = "the path of a PEM file with the certificates of authorities";
pub(super) const SOURCE_KEY_FILE: &str =
    "the path of a file with the source's key in it and nothing else, which others cannot read";
const SOURCE_NAME: &str =
    "up to 64 lower-case letters, digits, \"-\", \"_\" and \".\"; not score, contact, wrapper, link";
const FROM: &str = "the path of a file, an http or https URL, or a DNS zone, as the type has it";
const STORE: &str = "\"sqlite:\" and the path of a file, such as \"sqlite:/var/lib/linkgate/linkgate.db\"";
const NETWORK: &str = "an address or network such as \"10.0.0.0/8\" or \"::1\"";
const SENDERS: &str = "an address, \"@domain\" or \"*.domain\"";
const URLS: &str = "a host, \"*.host\", a host and path, or \"re:\" and a regular expression";
const FOLDER: &str = "the path of a folder that exists";
const NAME: &str = "a line of at most 80 characters";
const LOGO: &str = "the path of a PNG or SVG file of at most 256 KiB";
const COLOUR: &str = "a colour such as \"#2457a6\"";
const WHOM: &str = "a mail address, a web address, or a line of at most 200 characters";
const WORDS: &str = "plain text of at most 2000 characters";
const WEB: &str = "an http or https URL";
const LANGUAGE: &str = "the tag of a language that is offered, such as \"de\"";
const REVIEW: &str = "\"button\", \"none\", or a mail address";
const AGENT: &str = "a word of a User-Agent, at least three characters of printable ASCII";
const SECONDS: &str = "seconds";
const MILLISECONDS: &str = "milliseconds";
const VENDOR: &str =
    "the word of a vendor of wrapped links, as `linkgate reveal` shows it, such as \"microsoft\" or \"proofpoint\"";
const SENDER_VENDOR: &str = "the word of a vendor and, behind a space, an address, \"@domain\" or \"*.domain\", such as \"proofpoint @partner.example\"";
const POINTS: &str = "points";
const NAMES: &str = link::NameTable::ALLOWED;
const AUTHSERV: &str = "the name that a mail server of yours signs its checks of senders with";

const PLACE: &str = "an address and port such as \"10.0.0.5:8080\", an address, or a network such as \"10.0.0.0/8\"";

/// All keys, section by section.
pub const KEYS: &[Key] = &[
    key("click", "public_url", Text(PUBLIC_URL), Required),
    key("click", "listen", Text(ADDRESS), Required),
    key("click", "link_style", Choice(words::<Style>()), Word("readable")),
    key("click", "client_ip", Choice(words::<ClientIp>()), Word("truncated")),
    key("click", "trusted_proxies", List(NETWORK), Items(&[])),
    key("click", "languages_dir", Text(FOLDER), Word("")),
    key(
        "click",
        "per_link_per_minute",
        range(0, 1_000_000, "requests"),
        Number(60),
    ),
    key(
        "click",
        "per_network_per_minute",
        range(0, 1_000_000, "requests"),
        Number(600),
    ),
    key("admin", "listen", Text(ADDRESS), Required),
    key("store", "url", Text(STORE), Required),
    key("keys", "file", Text("the path of a file"), Required),
    key("listener", "protocol", Choice(words::<Protocol>()), Required),
    key("listener", "listen", Text(SOCKET), Required),
    key(
        "listener",
        "socket_mode",
        Text("permission bits in octal such as \"0660\""),
        Word("0660"),
    ),
    key("listener", "next_hop", OneOrMore(NEXT_HOP), Required),
    key(
        "listener",
        "next_hop_order",
        Choice(words::<NextHopOrder>()),
        Word("in-order"),
    ),
    key(
        "listener",
        "next_hop_tls",
        Choice(words::<NextHopTls>()),
        Machine(
            "`\"off\"` for loopback and unix sockets, `\"verify\"` for `smtps://`, `\"opportunistic\"` for all others",
        ),
    ),
    key(
        "listener",
        "next_hop_ca",
        Text(ROOTS),
        Machine("those that the system trusts"),
    ),
    key("listener", "direction", Choice(words::<Direction>()), Word("inbound")),
    key(
        "listener",
        "bare_line_ends",
        Choice(words::<BareLineEnds>()),
        Word("refuse"),
    ),
    key("listener", "on_error", Choice(words::<OnError>()), Word("tempfail")),
    key("listener", "tls", Choice(&["off", "starttls", "implicit"]), Word("off")),
    key("listener", "tls_certificate", Text(CERTIFICATE), Machine("none")),
    key("listener", "tls_key", Text(PRIVATE_KEY), Machine("none")),
    key("listener", "proxy_from", List(NETWORK), Items(&[])),
    key(
        "listener",
        "xforward_from",
        List(NETWORK),
        Items(&["127.0.0.0/8", "::1/128"]),
    ),
    // It changes who a client is taken for: nobody by default.
    key("listener", "xclient_from", List(NETWORK), Items(&[])),
    key(
        "listener",
        "max_connections",
        range(1, 65_536, "connections"),
        Number(200),
    ),
    key(
        "listener",
        "max_connections_per_client",
        range(0, 65_536, "connections"),
        Number(0),
    ),
    // RFC 5321, 4.5.3.1.8, asks for at least 100; Postfix takes 1000.
    key(
        "listener",
        "max_recipients",
        range(1, 100_000, "recipients"),
        Number(1_000),
    ),
    key("listener", "max_message_mib", range(1, 4_096, "MiB"), Number(100)),
    key("listener", "max_passes", range(1, 50, "passes"), Number(5)),
    key(
        "listener",
        "hostname",
        Text("a host name such as \"mail.example.com\""),
        Machine("the machine's host name"),
    ),
    key(
        "rewriting",
        "ambiguous",
        Choice(&["normalise", "refuse", "pass"]),
        Word("normalise"),
    ),
    key("rewriting", "bare_domains", Flag, Switch(true)),
    key("rewriting", "amp", Choice(&["rewrite", "strip"]), Word("rewrite")),
    key(
        "rewriting",
        "markup_files",
        Choice(&["leave", "typed", "named"]),
        Word("typed"),
    ),
    key(
        "contact",
        "user_agent",
        Text("printable ASCII that is not blank"),
        Machine("`linkgate/VERSION (checks a link for its reader; +PUBLIC_URL)`"),
    ),
    key("contact", "ports", List("a port such as \"8443\""), Items(&[])),
    key("contact", "allow", List(PLACE), Items(&[])),
    key("contact", "never", List(URLS), Items(&[])),
    key(
        "contact",
        "ca_file",
        Text(ROOTS),
        Machine("those that the system trusts"),
    ),
    key("contact", "max_hops", range(1, 50, "redirects"), Number(10)),
    key(
        "contact",
        "hop_timeout_ms",
        range(100, 60_000, "milliseconds"),
        Number(4_000),
    ),
    key("contact", "max_concurrent", range(1, 10_000, "chains"), Number(32)),
    key("checks", "use", Choice(words::<Usage>()), Word("unstated")),
    key("checks", "dns_servers", List(ADDRESS), Items(&[])),
    key(
        "checks",
        "lists_dir",
        Text("the path of a folder"),
        Machine("`lists` beside the store's file"),
    ),
    key(
        "checks",
        "list_contact",
        Text("an address or URL, printable ASCII"),
        Word(""),
    ),
    key(
        "checks",
        "protected",
        List("a domain name such as \"example.com\""),
        Items(&[]),
    ),
    key("checks", "authserv_ids", List(AUTHSERV), Items(&[])),
    key("source", "name", Text(SOURCE_NAME), Required),
    key(
        "source",
        "type",
        Choice(&[
            "hosts",
            "domains",
            "urls",
            "csv",
            "urlhaus-csv",
            "urlhaus-json",
            "openphish",
            "adblock",
            "regex",
            "misp",
            "rpz",
            "dnset",
            "spamhaus-dbl",
            "spamhaus-zrd",
            "surbl",
            "uribl",
            "dns",
            "safe-browsing",
            "web-risk",
        ]),
        Required,
    ),
    key(
        "source",
        "from",
        Text(FROM),
        Machine("by `type`, where it has one of its own"),
    ),
    key("source", "enabled", Flag, Switch(true)),
    key("source", "refresh_s", range(60, 604_800, SECONDS), Number(3_600)),
    key("source", "key_file", Text(SOURCE_KEY_FILE), Machine("none")),
    key(
        "source",
        "category",
        Choice(&["phishing", "malware", "botnet", "abuse", "new-domain"]),
        Machine("what the list says"),
    ),
    key("source", "weight", Choice(words::<Weight>()), Word("block")),
    key("source", "licensed", Flag, Switch(false)),
    key("source", "max_size_mib", range(1, 1_024, "MiB"), Number(128)),
    key(
        "source",
        "ca_file",
        Text(ROOTS),
        Machine("those that the system trusts"),
    ),
    key(
        "log",
        "level",
        Choice(&["error", "warn", "info", "debug", "trace"]),
        Word("info"),
    ),
    key("log", "format", Choice(words::<LogFormat>()), Word("text")),
    key("limits", "spool_memory_kib", range(0, 1_048_576, "KiB"), Number(256)),
    key("limits", "spool_memory_total_mib", range(0, 65_536, "MiB"), Number(16)),
    key("limits", "rewrite_memory_mib", range(16, 65_536, "MiB"), Number(512)),
    key(
        "limits",
        "spool_dir",
        Text("the path of a folder that exists"),
        Machine("the folder for temporary files: `$TMPDIR`, else `/tmp`"),
    ),
    key(
        "limits",
        "max_transactions",
        range(1, 1_000_000, "messages"),
        Number(1_000),
    ),
    // RFC 5321, 4.5.3.1.4, asks for 512; extensions add to it.
    key(
        "limits",
        "command_line_octets",
        range(512, 65_536, "octets"),
        Number(4_096),
    ),
    key("limits", "text_line_kib", range(0, 4_194_304, "KiB"), Number(16_384)),
    // RFC 5321, 4.5.3.2: a server waits five minutes for a command.
    key("limits", "command_timeout_s", range(1, 3_600, SECONDS), Number(300)),
    // Three of them find time within `next_hop_timeout_s`.
    key(
        "limits",
        "next_hop_connect_timeout_s",
        range(1, 3_600, SECONDS),
        Number(10),
    ),
    // RFC 5321, 4.5.3.2.5.
    key("limits", "data_timeout_s", range(1, 3_600, SECONDS), Number(180)),
    key("limits", "message_timeout_s", range(1, 86_400, SECONDS), Number(1_800)),
    // Shorter than the 100 s that Postfix gives a before-queue filter for any step.
    key("limits", "next_hop_timeout_s", range(1, 3_600, SECONDS), Number(60)),
    // Shorter than the 600 s that a client waits after the final dot (RFC 5321, 4.5.3.2.6).
    key("limits", "final_reply_timeout_s", range(1, 3_600, SECONDS), Number(480)),
    // Shorter than the 90 s after which systemd kills what it stopped.
    key("limits", "drain_s", range(0, 3_600, SECONDS), Number(30)),
    key("default", "rewrite", Choice(words::<Rewrite>()), Word("all")),
    key("default", "bypass_senders", List(SENDERS), Items(&[])),
    key("default", "bypass_urls", List(URLS), Items(&[])),
    key("default", "suspicious_score", range(1, 1_000, POINTS), Number(30)),
    key("default", "protected_names", List(NAMES), Items(&[])),
    key("default", "at_delivery", Choice(words::<AtDelivery>()), Word("wrap")),
    key("default", "delivery_score", range(0, 1_000, POINTS), Number(0)),
    key("default", "flow", Choice(words::<Flow>()), Word("redirect")),
    key("default", "on_threat", Choice(words::<OnThreat>()), Word("block")),
    key("default", "click_through", Flag, Switch(true)),
    key("default", "show_target", Flag, Switch(true)),
    key("default", "on_unknown", Choice(words::<OnUnknown>()), Word("warn")),
    key("default", "on_failure", Choice(words::<OnFailure>()), Word("open")),
    key("default", "track_clicks", Flag, Switch(true)),
    key("default", "contact", Choice(words::<Contact>()), Word("lists")),
    key("default", "warn_score", range(0, 1_000, POINTS), Number(60)),
    key("default", "page_name", Text(NAME), Word("")),
    key("default", "page_logo", Text(LOGO), Word("")),
    key("default", "page_colour", Text(COLOUR), Word(USUAL_COLOUR)),
    key("default", "page_contact", Text(WHOM), Word("")),
    key("default", "page_text", Text(WORDS), Word("")),
    key("default", "page_back_to", Text(WEB), Word("")),
    key("default", "page_redirect_to", Text(WEB), Word("")),
    key("default", "page_language", Text(LANGUAGE), Word("en")),
    key("default", "page_review_to", Text(REVIEW), Word("button")),
    key(
        "domain",
        "rewrite",
        Choice(words::<Rewrite>()),
        Machine("`[default] rewrite`"),
    ),
    key("domain", "bypass_senders", List(SENDERS), Items(&[])),
    key("domain", "bypass_urls", List(URLS), Items(&[])),
    key(
        "domain",
        "suspicious_score",
        range(1, 1_000, POINTS),
        Machine("`[default] suspicious_score`"),
    ),
    key("domain", "protected_names", List(NAMES), Items(&[])),
    key(
        "domain",
        "at_delivery",
        Choice(words::<AtDelivery>()),
        Machine("`[default] at_delivery`"),
    ),
    key(
        "domain",
        "delivery_score",
        range(0, 1_000, POINTS),
        Machine("`[default] delivery_score`"),
    ),
    key("domain", "flow", Choice(words::<Flow>()), Machine("`[default] flow`")),
    key(
        "domain",
        "on_threat",
        Choice(words::<OnThreat>()),
        Machine("`[default] on_threat`"),
    ),
    key("domain", "click_through", Flag, Machine("`[default] click_through`")),
    key("domain", "show_target", Flag, Machine("`[default] show_target`")),
    key(
        "domain",
        "on_unknown",
        Choice(words::<OnUnknown>()),
        Machine("`[default] on_unknown`"),
    ),
    key(
        "domain",
        "on_failure",
        Choice(words::<OnFailure>()),
        Machine("`[default] on_failure`"),
    ),
    key("domain", "track_clicks", Flag, Machine("`[default] track_clicks`")),
    key(
        "domain",
        "contact",
        Choice(words::<Contact>()),
        Machine("`[default] contact`"),
    ),
    key(
        "domain",
        "warn_score",
        range(0, 1_000, POINTS),
        Machine("`[default] warn_score`"),
    ),
    key("domain", "page_name", Text(NAME), Machine("`[default] page_name`")),
    key("domain", "page_logo", Text(LOGO), Machine("`[default] page_logo`")),
    key(
        "domain",
        "page_colour",
        Text(COLOUR),
        Machine("`[default] page_colour`"),
    ),
    key(
        "domain",
        "page_contact",
        Text(WHOM),
        Machine("`[default] page_contact`"),
    ),
    key("domain", "page_text", Text(WORDS), Machine("`[default] page_text`")),
    key("domain", "page_back_to", Text(WEB), Machine("`[default] page_back_to`")),
    key(
        "domain",
        "page_redirect_to",
        Text(WEB),
        Machine("`[default] page_redirect_to`"),
    ),
    key(
        "domain",
        "page_language",
        Text(LANGUAGE),
        Machine("`[default] page_language`"),
    ),
    key(
        "domain",
        "page_review_to",
        Text(REVIEW),
        Machine("`[default] page_review_to`"),
    ),
    key("checks", "silent_ms", range(0, 10_000, MILLISECONDS), Number(2_000)),
    key("checks", "hard_ms", range(100, 60_000, MILLISECONDS), Number(10_000)),
    key("checks", "cache_s", range(0, 3_600, SECONDS), Number(300)),
    key(
        "checks",
        "cache_entries",
        range(0, 10_000_000, "targets"),
        Number(20_000),
    ),
    key("checks", "own_wrappers", List(VENDOR), Items(&[])),
    key("checks", "sender_wrappers", List(SENDER_VENDOR), Items(&[])),
    key("checks", "max_running", range(1, 65_536, "checks"), Number(256)),
    key("checks", "hindsight_h", range(0, 720, "hours"), Number(72)),
    key("checks", "many_networks", range(0, 1_000, "networks"), Number(8)),
    key("checks", "long_after_days", range(0, 36_500, "days"), Number(180)),
    key("machines", "agents", List(AGENT), Items(&[])),
    key("machines", "networks", List(NETWORK), Items(&[])),
    key(
        "machines",
        "neutral_page",
        Choice(words::<NeutralPage>()),
        Word("certain"),
    ),
];

const fn range(min: u64, max: u64, unit: &'static str) -> Kind {
    Integer { min, max, unit }
}

/// The sections in the order in which the documentation shows them.
pub const SECTIONS: &[&str] = &[
    "click",
    "admin",
    "store",
    "keys",
    "listener",
    "default",
    "domain",
    "checks",
    "source",
    "contact",
    "machines",
    "rewriting",
    "log",
    "limits",
];

/// Values that are planned but not built, with what they would be: refused with a word on that.
pub(super) const NOT_YET: &[(&str, &str)] = &[("listener.direction", "outbound")];

/// The entry for a key.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.section == section && k.name == name)
}
