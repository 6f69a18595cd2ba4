//! Remembering clicks: those just before, and from how many networks each link was opened. One reader has few networks, a link
//! that was passed on or smuggled has many.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use data_encoding::HEXLOWER;
use link::Smuggled;
use parking_lot::Mutex;
use quick_cache::unsync::Cache;
use ring::{digest, hmac};
use store::{ClickRow, Reader};
use tracing::warn;

use super::super::client;
use super::{RecentClicks, RequestSigns, label_by, machine_network};
use crate::config::{ClientIp, Settings};
use crate::ledger::Ledger;

/// Links and readers that are remembered at most; the least used are forgotten first.
const MAX_SEEN: usize = 50_000;

/// Networks that are remembered of each at most: more than any threshold worth setting.
const MAX_NETWORKS: usize = 64;

/// How long an opening counts, in microseconds.
const MEMORY: i64 = 30 * 86_400_000_000;

/// Mails of which the clicks of the last seconds are remembered.
const MAX_MAILS: usize = 4_096;

/// Pause between two pages of rows that are read at the start: a server has better things to do.
const PAUSE: Duration = Duration::from_millis(5);

/// The clicks of the last 30 days, as far as labels and signs of smuggling need them.
#[derive(Debug)]
pub struct VisitorHistory {
    secret: hmac::Key,
    recent: Mutex<RecentClicks>,
    /// Networks that opened a link, and networks that a reader uses; by a hash of either.
    networks: Mutex<Cache<u64, Vec<NetworkSeen>>>,
    /// Readers are told apart by hashes that mean nothing outside.
    hasher: RandomState,
}

/// A network, and when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NetworkSeen {
    network: u64,
    at_us: i64,
}

impl VisitorHistory {
    /// Reads the store's secret, and starts a thread that takes in the openings of the last 30 days.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start(ledger: &Ledger, now_us: i64) -> Result<Arc<Self>, store::StoreError> {
        let reader = ledger.store().reader().clone();
        let visitors = Arc::new(Self::new(&reader.network_secret()?));
        let weak = Arc::downgrade(&visitors);
        let from = now_us.saturating_sub(MEMORY);
        let started = thread::Builder::new()
            .name("openings".to_owned())
            .spawn(move || remember(&weak, &reader, from));
        if let Err(e) = started {
            warn!(target: "linkgate::click", error = %e, "links that were opened before the start are not remembered");
        }
        Ok(visitors)
    }

    /// Knows nothing yet.
    fn new(secret: &[u8; 32]) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            recent: Mutex::new(RecentClicks::new(MAX_MAILS)),
            networks: Mutex::new(Cache::new(MAX_SEEN)),
            hasher: RandomState::new(),
        }
    }

    /// Labels a click that has just come in, and remembers it. Its row must say when, by what method and agent, for which link of which mail
    /// to whom, behind which page, and have the facts of its head ([`super::facts`]) and the time of the link. The facts
    /// that are missing and the label are filled in.
    ///
    /// Says when the link is opened in a way that its recipient would not.
    pub fn label(&self, row: &mut ClickRow, client: Option<IpAddr>, settings: &Settings) -> Option<Smuggled> {
        let network = client.map(|ip| self.network(ip));
        row.facts.link = link(row);
        row.facts.machine_network = client.and_then(|ip| machine_network(ip, &settings.machines));
        if settings.click.client_ip != ClientIp::None {
            row.facts.network.clone_from(&network);
        }
        let signs = RequestSigns::of(row);
        let neighbours = self.recent.lock().add_and_compare(row, &signs);
        let label = label_by(row, &signs, neighbours, &settings.machines);
        label.write_into(row);
        if label.label.is_machine() {
            return None;
        }
        let (link, user, network) = (row.facts.link.as_deref()?, row.user.as_deref()?, network?);
        let (networks, _) = self.opened(number(link)?, number(&network)?, row.at_us);
        let (_, usual) = self.opened(self.reader_id(user), number(&network)?, row.at_us);
        let limits = &settings.hindsight;
        let at_s = row.at_us.div_euclid(1_000_000);
        let age_s = row.facts.issued_at_s.map_or(0, |issued| at_s.saturating_sub(issued));
        let long_after = limits.long_after.as_secs();
        if limits.many_networks > 0 && networks >= limits.many_networks {
            Some(Smuggled::ManyNetworks)
        } else if long_after > 0 && u64::try_from(age_s).is_ok_and(|age| age > long_after) && !usual {
            Some(Smuggled::LongAfter)
        } else {
            None
        }
    }

    /// Notes that a link was opened from a network, or that a reader used it. How many networks that makes, and whether this
    /// one was known.
    fn opened(&self, what: u64, network: u64, at_us: i64) -> (u32, bool) {
        let mut seen = self.networks.lock();
        let note = |networks: &mut Vec<NetworkSeen>| {
            networks.retain(|o| o.at_us.saturating_add(MEMORY) >= at_us);
            let room = networks.len() < MAX_NETWORKS;
            let known = networks.iter_mut().find(|o| o.network == network);
            let is_known = known.is_some();
            match known {
                Some(known) => known.at_us = known.at_us.max(at_us),
                None if room => networks.push(NetworkSeen { network, at_us }),
                None => {}
            }
            (u32::try_from(networks.len()).unwrap_or(u32::MAX), is_known)
        };
        if let Some(mut networks) = seen.get_mut(&what) {
            return note(&mut networks);
        }
        let mut networks = Vec::new();
        let noted = note(&mut networks);
        seen.insert(what, networks);
        noted
    }

    /// Tells networks apart and names none: a keyed hash of the /24 or /48.
    fn network(&self, client: IpAddr) -> String {
        let hash = match client::network(client.to_canonical()).addr() {
            IpAddr::V4(ip) => hmac::sign(&self.secret, &ip.octets()),
            IpAddr::V6(ip) => hmac::sign(&self.secret, &ip.octets()),
        };
        short(hash.as_ref())
    }

    /// A reader among what is remembered.
    fn reader_id(&self, user: &str) -> u64 {
        self.hasher.hash_one(user.to_ascii_lowercase())
    }
}

/// The same for the same link of the same mail to the same recipient. `None` for a link without a recipient: many open it.
fn link(row: &ClickRow) -> Option<String> {
    let user = row.user.as_deref()?.to_ascii_lowercase();
    let text = format!("{}\0{user}\0{}", row.mail_id, row.url);
    Some(short(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()))
}

/// The first 64 bits in hexadecimal digits.
fn short(hash: &[u8]) -> String {
    HEXLOWER.encode(hash.get(..8).unwrap_or(hash))
}

/// The number that a hash of [`short`] is.
fn number(hash: &str) -> Option<u64> {
    u64::from_str_radix(hash, 16).ok()
}

/// Takes in the openings since `from`, page by page.
fn remember(visitors: &Weak<VisitorHistory>, reader: &Reader, from: i64) {
    let mut last = (from, i64::MIN);
    loop {
        let page = match reader.openings(last) {
            Ok(page) => page,
            Err(e) => {
                warn!(target: "linkgate::click", error = %e, "links that were opened before the start are not remembered");
                return;
            }
        };
        let (Some(visitors), Some(end)) = (visitors.upgrade(), page.last()) else {
            return;
        };
        last = (end.at_us, end.id);
        for opening in page {
            let (Some(link), Some(network)) = (number(&opening.link), number(&opening.network)) else {
                continue;
            };
            let _ = visitors.opened(link, network, opening.at_us);
            let _ = visitors.opened(visitors.reader_id(&opening.user), network, opening.at_us);
        }
        drop(visitors);
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hindsight;

    const DAY: i64 = 86_400_000_000;
    const NOW: i64 = 20_000 * DAY;

    /// From how many networks a link was opened.
    fn networks_of(history: &VisitorHistory, link: &str) -> usize {
        let seen = history.networks.lock();
        number(link).and_then(|link| seen.get(&link)).map_or(0, Vec::len)
    }

    fn click(n: u128, at_us: i64) -> ClickRow {
        let mut row = ClickRow {
            user: Some("anna@example.com".to_owned()),
            url: "https://a.example/".to_owned(),
            mail_id: "m1".to_owned(),
            user_agent: "Mozilla/5.0 Firefox/150.0".to_owned(),
            ..ClickRow::new(store::EventId(n.to_be_bytes()), at_us)
        };
        row.facts.issued_at_s = Some(NOW / 1_000_000 - 3_600);
        row.facts.accept = Some("text/html".to_owned());
        row.facts.accept_language = Some("de".to_owned());
        row
    }

    fn settings() -> Settings {
        let text = "[click]\npublic_url = \"https://c.example\"\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\n\
                    [store]\nurl = \"sqlite:/nowhere/s.db\"\n[keys]\nfile = \"/nowhere/k.toml\"\n\
                    [[listener]]\nprotocol = \"smtp\"\nlisten = \"127.0.0.1:3\"\nnext_hop = \"smtp://127.0.0.1:4\"\n";
        let read = Settings::from_toml(
            text,
            std::path::Path::new("test"),
            crate::config::keyfile::Absent::Pretend,
        );
        read.unwrap()
    }

    fn from(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, n, 7]))
    }

    #[test]
    fn a_link_from_many_networks_is_smuggled_and_machines_do_not_count() {
        let (visitors, settings) = (VisitorHistory::new(&[1; 32]), settings());
        let look = |n: u8, agent: &str| {
            let mut row = click(n.into(), NOW + i64::from(n) * 60_000_000);
            row.user_agent = agent.to_owned();
            (visitors.label(&mut row, from(n), &settings), row)
        };
        let browser = click(0, NOW).user_agent;
        for n in 0..7 {
            assert_eq!(look(n, &browser).0, None, "{n}");
            assert_eq!(look(100 + n, "curl/8").0, None);
        }
        let (smuggled, row) = look(7, &browser);
        assert_eq!(smuggled, Some(Smuggled::ManyNetworks));
        let link = row.facts.link.unwrap();
        assert_eq!(networks_of(&visitors, &link), 8);
        assert_eq!(networks_of(&visitors, "no link"), 0);
        // Again from a known one; a month later they are forgotten.
        assert_eq!(look(7, &browser).0, Some(Smuggled::ManyNetworks));
        let mut later = click(200, NOW + 40 * DAY);
        assert_eq!(visitors.label(&mut later, from(200), &settings), None);
        assert_eq!(networks_of(&visitors, &link), 1);
    }

    #[test]
    fn a_link_to_nobody_in_particular_is_opened_from_anywhere() {
        let (visitors, settings) = (VisitorHistory::new(&[1; 32]), settings());
        for n in 0..40 {
            let mut row = ClickRow {
                user: None,
                ..click(n.into(), NOW)
            };
            assert_eq!(visitors.label(&mut row, from(n), &settings), None);
            assert_eq!(row.facts.link, None);
        }
    }

    #[test]
    fn an_old_link_is_strange_from_a_network_that_its_recipient_does_not_use() {
        let visitors = VisitorHistory::new(&[1; 32]);
        let settings = settings();
        let look = |at: i64, n: u8| visitors.label(&mut click(0, at), from(n), &settings);
        let mut other = click(1, NOW + 179 * DAY);
        other.mail_id = "m2".to_owned();
        visitors.label(&mut other, from(1), &settings);
        assert_eq!(look(NOW + 181 * DAY, 1), None, "a network of this reader");
        assert_eq!(look(NOW + 182 * DAY, 2), Some(Smuggled::LongAfter));
        // The young link is opened from anywhere.
        assert_eq!(look(NOW + 179 * DAY, 3), None);
        let never = Settings {
            hindsight: Hindsight {
                long_after: Duration::ZERO,
                many_networks: 0,
                ..Hindsight::default()
            },
            ..settings
        };
        assert_eq!(visitors.label(&mut click(0, NOW + 183 * DAY), from(4), &never), None);
    }

    #[test]
    fn what_is_recorded_of_a_network_names_none_and_is_left_out_where_no_address_may_be_kept() {
        let (visitors, mut settings) = (VisitorHistory::new(&[1; 32]), settings());
        let hash = |client: &str, visitors: &VisitorHistory| visitors.network(client.parse().unwrap());
        assert_eq!(hash("192.0.2.1", &visitors), hash("::ffff:192.0.2.200", &visitors));
        assert_ne!(hash("192.0.2.1", &visitors), hash("192.0.3.1", &visitors));
        assert_eq!(hash("2001:db8:1:2::3", &visitors), hash("2001:db8:1:ffff::", &visitors));
        assert_ne!(
            hash("192.0.2.1", &visitors),
            hash("192.0.2.1", &VisitorHistory::new(&[2; 32]))
        );
        let mut row = click(1, NOW);
        visitors.label(&mut row, from(1), &settings);
        assert_eq!(row.facts.network.as_deref().map(str::len), Some(16));
        settings.click.client_ip = ClientIp::None;
        let mut row = click(2, NOW);
        visitors.label(&mut row, from(1), &settings);
        assert_eq!(row.facts.network, None);
        assert_eq!(row.label, store::Label::Unknown);
    }

    #[test]
    fn what_was_opened_before_the_start_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("s.db")).unwrap();
        let settings = settings();
        let first = VisitorHistory::start(&ledger, NOW).unwrap();
        let mut link = String::new();
        for n in 0..5 {
            let mut row = click(n.into(), NOW + i64::from(n) * 60_000_000);
            first.label(&mut row, from(n), &settings);
            link = row.facts.link.clone().unwrap();
            ledger.store().record_click(row).wait().unwrap();
        }
        let second = VisitorHistory::start(&ledger, NOW + DAY).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while networks_of(&second, &link) < 5 {
            assert!(std::time::Instant::now() < end, "{}", networks_of(&second, &link));
            thread::sleep(Duration::from_millis(5));
        }
        let mut old = click(9, NOW + 200 * DAY);
        assert_eq!(second.label(&mut old, from(9), &settings), Some(Smuggled::LongAfter));
    }
}
