//! Who asks, click by click: what happened just before, and from how many networks a link was opened. One reader has few, a
//! link that was passed on or smuggled has many.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use data_encoding::HEXLOWER;
use link::Smuggled;
use quick_cache::unsync::Cache;
use ring::{digest, hmac};
use store::{ClickRow, Reader};
use tracing::warn;

use super::super::client;
use super::{Judgement, Signs, Surroundings, judge_by, machine_network};
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

/// Who asks, over many clicks: labels each new one, and tells which links are opened by too many.
#[derive(Debug)]
pub struct Askers {
    secret: hmac::Key,
    near: Mutex<Surroundings>,
    /// Networks that opened a link, and networks that a reader uses; by a hash of either.
    seen: Mutex<Cache<u64, Vec<Opened>>>,
    /// Readers are told apart by hashes that mean nothing outside.
    hasher: RandomState,
}

/// A network, and when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opened {
    network: u64,
    at_us: i64,
}

impl Askers {
    /// Reads the store's secret, and starts a thread that takes in the openings of the last 30 days.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start(ledger: &Ledger, now_us: i64) -> Result<Arc<Self>, store::StoreError> {
        let reader = ledger.store().reader().clone();
        let askers = Arc::new(Self::new(&reader.network_secret()?));
        let weak = Arc::downgrade(&askers);
        let from = now_us.saturating_sub(MEMORY);
        let started = thread::Builder::new()
            .name("openings".to_owned())
            .spawn(move || remember(&weak, &reader, from));
        if let Err(e) = started {
            warn!(target: "linkgate::click", error = %e, "links that were opened before the start are not remembered");
        }
        Ok(askers)
    }

    /// Knows nothing yet.
    fn new(secret: &[u8; 32]) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            near: Mutex::new(Surroundings::new(MAX_MAILS)),
            seen: Mutex::new(Cache::new(MAX_SEEN)),
            hasher: RandomState::new(),
        }
    }

    /// Looks at a click that has just come in. Its row must say when, by what method and agent, for which link of which mail
    /// to whom, behind which page, and have the facts of its head ([`super::facts`]) and the time of the link. The facts
    /// that are missing and the label are filled in.
    ///
    /// Says when the link is opened in a way that its recipient would not.
    pub fn look(&self, row: &mut ClickRow, client: Option<IpAddr>, settings: &Settings) -> Option<Smuggled> {
        let network = client.map(|ip| self.network(ip));
        row.facts.link = link(row);
        row.facts.machine_network = client.and_then(|ip| machine_network(ip, &settings.machines));
        if settings.click.client_ip != ClientIp::None {
            row.facts.network.clone_from(&network);
        }
        let judged = self.judge(row, settings);
        judged.write_into(row);
        if judged.label.is_machine() {
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

    /// From how many networks a link was opened within 30 days, hits of machines not counted. `link` as in
    /// [`store::Facts::link`].
    #[must_use]
    pub fn many_networks(&self, link: &str) -> u32 {
        let seen = lock(&self.seen);
        let networks = number(link).and_then(|link| seen.get(&link));
        networks.map_or(0, |networks| u32::try_from(networks.len()).unwrap_or(u32::MAX))
    }

    /// Label of a click by its facts and its neighbours so far.
    fn judge(&self, row: &ClickRow, settings: &Settings) -> Judgement {
        let signs = Signs::of(row);
        let around = lock(&self.near).add_and_look(row, &signs);
        judge_by(row, &signs, around, &settings.machines)
    }

    /// Notes that a link was opened from a network, or that a reader used it. How many networks that makes, and whether this
    /// one was known.
    fn opened(&self, what: u64, network: u64, at_us: i64) -> (u32, bool) {
        let mut seen = lock(&self.seen);
        let note = |networks: &mut Vec<Opened>| {
            networks.retain(|o| o.at_us.saturating_add(MEMORY) >= at_us);
            let room = networks.len() < MAX_NETWORKS;
            let known = networks.iter_mut().find(|o| o.network == network);
            let is_known = known.is_some();
            match known {
                Some(known) => known.at_us = known.at_us.max(at_us),
                None if room => networks.push(Opened { network, at_us }),
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
fn remember(askers: &Weak<Askers>, reader: &Reader, from: i64) {
    let mut last = (from, i64::MIN);
    loop {
        let page = match reader.openings(last) {
            Ok(page) => page,
            Err(e) => {
                warn!(target: "linkgate::click", error = %e, "links that were opened before the start are not remembered");
                return;
            }
        };
        let (Some(askers), Some(end)) = (askers.upgrade(), page.last()) else {
            return;
        };
        last = (end.at_us, end.id);
        for opening in page {
            let (Some(link), Some(network)) = (number(&opening.link), number(&opening.network)) else {
                continue;
            };
            let _ = askers.opened(link, network, opening.at_us);
            let _ = askers.opened(askers.reader_id(&opening.user), network, opening.at_us);
        }
        drop(askers);
        thread::sleep(PAUSE);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hindsight;

    const DAY: i64 = 86_400_000_000;
    const NOW: i64 = 20_000 * DAY;

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
        let (askers, settings) = (Askers::new(&[1; 32]), settings());
        let look = |n: u8, agent: &str| {
            let mut row = click(n.into(), NOW + i64::from(n) * 60_000_000);
            row.user_agent = agent.to_owned();
            (askers.look(&mut row, from(n), &settings), row)
        };
        let browser = click(0, NOW).user_agent;
        for n in 0..7 {
            assert_eq!(look(n, &browser).0, None, "{n}");
            assert_eq!(look(100 + n, "curl/8").0, None);
        }
        let (smuggled, row) = look(7, &browser);
        assert_eq!(smuggled, Some(Smuggled::ManyNetworks));
        let link = row.facts.link.unwrap();
        assert_eq!(askers.many_networks(&link), 8);
        assert_eq!(askers.many_networks("no link"), 0);
        // Again from a known one; a month later they are forgotten.
        assert_eq!(look(7, &browser).0, Some(Smuggled::ManyNetworks));
        let mut later = click(200, NOW + 40 * DAY);
        assert_eq!(askers.look(&mut later, from(200), &settings), None);
        assert_eq!(askers.many_networks(&link), 1);
    }

    #[test]
    fn a_link_to_nobody_in_particular_is_opened_from_anywhere() {
        let (askers, settings) = (Askers::new(&[1; 32]), settings());
        for n in 0..40 {
            let mut row = ClickRow {
                user: None,
                ..click(n.into(), NOW)
            };
            assert_eq!(askers.look(&mut row, from(n), &settings), None);
            assert_eq!(row.facts.link, None);
        }
    }

    #[test]
    fn an_old_link_is_strange_from_a_network_that_its_recipient_does_not_use() {
        let askers = Askers::new(&[1; 32]);
        let settings = settings();
        let look = |at: i64, n: u8| askers.look(&mut click(0, at), from(n), &settings);
        let mut other = click(1, NOW + 179 * DAY);
        other.mail_id = "m2".to_owned();
        askers.look(&mut other, from(1), &settings);
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
        assert_eq!(askers.look(&mut click(0, NOW + 183 * DAY), from(4), &never), None);
    }

    #[test]
    fn what_is_recorded_of_a_network_names_none_and_is_left_out_where_no_address_may_be_kept() {
        let (askers, mut settings) = (Askers::new(&[1; 32]), settings());
        let hash = |client: &str, askers: &Askers| askers.network(client.parse().unwrap());
        assert_eq!(hash("192.0.2.1", &askers), hash("::ffff:192.0.2.200", &askers));
        assert_ne!(hash("192.0.2.1", &askers), hash("192.0.3.1", &askers));
        assert_eq!(hash("2001:db8:1:2::3", &askers), hash("2001:db8:1:ffff::", &askers));
        assert_ne!(hash("192.0.2.1", &askers), hash("192.0.2.1", &Askers::new(&[2; 32])));
        let mut row = click(1, NOW);
        askers.look(&mut row, from(1), &settings);
        assert_eq!(row.facts.network.as_deref().map(str::len), Some(16));
        settings.click.client_ip = ClientIp::None;
        let mut row = click(2, NOW);
        askers.look(&mut row, from(1), &settings);
        assert_eq!(row.facts.network, None);
        assert_eq!(row.label, store::Label::Unknown);
    }

    #[test]
    fn what_was_opened_before_the_start_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("s.db")).unwrap();
        let settings = settings();
        let first = Askers::start(&ledger, NOW).unwrap();
        let mut link = String::new();
        for n in 0..5 {
            let mut row = click(n.into(), NOW + i64::from(n) * 60_000_000);
            first.look(&mut row, from(n), &settings);
            link = row.facts.link.clone().unwrap();
            ledger.store().record_click(row).wait().unwrap();
        }
        let second = Askers::start(&ledger, NOW + DAY).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while second.many_networks(&link) < 5 {
            assert!(std::time::Instant::now() < end, "{}", second.many_networks(&link));
            thread::sleep(Duration::from_millis(5));
        }
        let mut old = click(9, NOW + 200 * DAY);
        assert_eq!(second.look(&mut old, from(9), &settings), Some(Smuggled::LongAfter));
    }
}
