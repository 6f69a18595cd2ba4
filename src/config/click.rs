//! `[click]`: the address that click links start with, and the pages behind it.

use std::net::SocketAddr;

use ipnet::IpNet;
use link::{ClickBase, Style};
use strum::{IntoStaticStr, VariantArray};

use super::addresses::listen;
use super::option::{Key, Opt, choice, networks, one_of, section};
use super::walk::Walk;

section! {
    /// `[click]`: the address that click links start with, and the pages behind it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Click {
        /// The writer and reader of click links, made of `public_url` and `link_style`.
        pub base: ClickBase = public_url(),
        /// The address that click links are served at.
        pub listen: SocketAddr = listen().with(link_style().key),
        /// How much of a reader's address is recorded.
        pub client_ip: ClientIp = choice("client_ip").or("truncated"),
        /// Peers whose `X-Forwarded-For` or `Forwarded` is believed.
        pub trusted_proxies: Vec<IpNet> = networks("trusted_proxies"),
    }
}

/// How much of a reader's network address is recorded with a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ClientIp {
    /// Nothing.
    None,
    /// The network only: /24 of IPv4, /48 of IPv6.
    #[default]
    Truncated,
    /// The whole address.
    Full,
}

fn public_url() -> Opt<ClickBase> {
    const ALLOWED: &str = "an http or https address without query and fragment, such as \"https://click.example.com\"";
    Opt::new(Key::text("public_url", ALLOWED), |w, s, key| {
        let style = link_style().read(w, s).unwrap_or_default();
        w.parsed_or_why(s, key, |url| ClickBase::new(url, style))
    })
}

fn link_style() -> Opt<Style> {
    one_of("link_style", [("readable", Style::Readable), ("short", Style::Short)]).or("readable")
}

/// The `public_url` of the file, for sections that show it or stand below it.
pub(super) fn public_url_of(w: &Walk<'_>) -> Option<ClickBase> {
    public_url().read(w, &w.section("click", false))
}
