//! The chain under test: a Postfix before linkgate, linkgate itself, a Postfix behind it, set up from the very files of
//! `contrib/postfix`.

use std::net::Ipv4Addr;

use super::place::{Linkgate, Place, eventually, skip};
use super::postfix::Postfix;
use super::session::Session;

/// Where the outside reaches the Postfix in front.
const PUBLIC_PORT: u16 = 2525;
/// `[[listener]] listen` of the recipes that speak SMTP.
const LINKGATE_PORT: u16 = 10025;
/// The listener of `master-return.cf`.
const RETURN_PORT: u16 = 10026;

/// A recipe of `contrib/postfix`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// `content_filter`
    AfterQueue,
    /// `smtpd_proxy_filter`
    BeforeQueue,
    /// `virtual_transport`
    Lmtp,
    /// `smtpd_milters`
    Milter,
}

impl Recipe {
    fn folder(self) -> &'static str {
        match self {
            Self::AfterQueue => "postfix/after-queue",
            Self::BeforeQueue => "postfix/before-queue",
            Self::Lmtp => "postfix/lmtp",
            Self::Milter => "postfix/milter",
        }
    }

    /// A place for it; `None`, with a line that says why, where no Postfix can run; a failure where `CI` is set.
    pub(crate) fn place(self) -> Option<Place> {
        if let Some(why) = super::postfix::missing() {
            skip(why);
            return None;
        }
        Some(Place::new(self.folder()))
    }

    /// Where Postfix listens.
    fn postfix_ports(self) -> &'static [u16] {
        match self {
            Self::Milter => &[PUBLIC_PORT],
            _ => &[PUBLIC_PORT, RETURN_PORT],
        }
    }
}

/// A running chain.
pub(crate) struct Chain {
    linkgate: Linkgate,
    edge: Option<Postfix>,
    inner: Postfix,
    // Last, so that it goes when all processes are gone.
    place: Place,
}

impl Chain {
    /// Two instances: one takes mail from the outside, the other delivers it. `None`, with a line that says why, where
    /// that cannot be; a failure where `CI` is set.
    pub(crate) fn two(recipe: Recipe) -> Option<Self> {
        Self::two_with(recipe, |_, behind| behind, "")
    }

    /// As [`Chain::two`], with what the test makes of `master.cf` behind linkgate, and lines of its own behind the recipe's
    /// `linkgate.toml`.
    pub(crate) fn two_with(recipe: Recipe, change: impl Fn(&Place, String) -> String, more: &str) -> Option<Self> {
        let place = recipe.place()?;
        let behind = change(&place, behind(&place, recipe));
        let (main, master) = before(&place, recipe);
        let main = format!(
            "relay_domains = example.com example.net sender.example\nrelayhost = [{}]:{RETURN_PORT}\n{main}",
            place.address
        );
        // At the same time: starting one takes two seconds.
        let (inner, edge) = std::thread::scope(|scope| {
            let inner = scope.spawn(|| Postfix::start(&place.path("inner"), "inner.example.org", DELIVERS, &behind));
            let edge = Postfix::start(&place.path("edge"), "edge.example.org", &main, &master);
            (inner.join().expect("the inner instance starts"), edge)
        });
        Some(Self::complete(recipe, place, Some(edge), inner, more))
    }

    /// One instance on both sides, as on most hosts.
    pub(crate) fn one(recipe: Recipe) -> Option<Self> {
        Self::one_with(recipe, "")
    }

    /// As [`Chain::one`], with lines of the test's own in `main.cf`, behind the recipe's.
    pub(crate) fn one_with(recipe: Recipe, more: &str) -> Option<Self> {
        let place = recipe.place()?;
        let (main, master) = before(&place, recipe);
        let main = format!("{DELIVERS}{main}{more}");
        let both = Postfix::start(
            &place.path("both"),
            "mx.example.org",
            &main,
            &(master + &behind(&place, recipe)),
        );
        Some(Self::complete(recipe, place, None, both, ""))
    }

    fn complete(recipe: Recipe, place: Place, edge: Option<Postfix>, inner: Postfix, more: &str) -> Self {
        let chain = Self {
            linkgate: Linkgate::start(&place, &(place.recipe_file("linkgate.toml") + more)),
            edge,
            inner,
            place,
        };
        for port in recipe.postfix_ports() {
            chain.place.wait_for(*port);
        }
        chain
    }

    /// The Postfix that takes mail from the outside.
    pub(crate) fn edge(&self) -> &Postfix {
        self.edge.as_ref().unwrap_or(&self.inner)
    }

    /// The Postfix that delivers.
    pub(crate) fn inner(&self) -> &Postfix {
        &self.inner
    }

    /// A session with the Postfix in front, from a client at `from`.
    pub(crate) fn client(&self, from: Ipv4Addr) -> Session {
        Session::connect(from, self.place.at(PUBLIC_PORT))
    }

    /// A session with the listener behind linkgate, past linkgate.
    pub(crate) fn return_client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(RETURN_PORT))
    }

    /// A session with linkgate, past the Postfix in front.
    pub(crate) fn linkgate_client(&self) -> Session {
        Session::connect(Ipv4Addr::LOCALHOST, self.place.at(LINKGATE_PORT))
    }

    /// Hands `message` to the Postfix in front, which must take it.
    pub(crate) fn send(&self, sender: &str, recipients: &[&str], message: &[u8]) {
        let reply = self.client(Ipv4Addr::LOCALHOST).send(sender, recipients, message);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// Waits until `address` has `count` messages in its mailbox, and no more than that; gives them back.
    pub(crate) fn mailbox(&self, address: &str, count: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{count} message(s) for {address}"), || {
            let messages = self.inner.mailbox(address);
            assert!(
                messages.len() <= count,
                "{} messages for {address}, not {count}",
                messages.len()
            );
            (messages.len() == count).then_some(messages)
        })
    }

    /// Where all of it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What linkgate has logged so far.
    pub(crate) fn linkgate_log(&self) -> String {
        self.linkgate.log()
    }

    /// Ends linkgate at once.
    pub(crate) fn stop_linkgate(&mut self) {
        self.linkgate.stop();
    }

    /// Starts linkgate again, and waits until it listens.
    pub(crate) fn start_linkgate(&mut self) {
        self.linkgate.start_again();
    }
}

/// The instance that delivers into mailboxes.
const DELIVERS: &str = "virtual_mailbox_domains = example.com example.net sender.example\n";

/// What the recipe adds to `main.cf` and `master.cf` of the Postfix before linkgate, and its public listener.
pub(crate) fn before(place: &Place, recipe: Recipe) -> (String, String) {
    let public = format!("{}:{PUBLIC_PORT} inet", place.address);
    let listener = format!("{public} n - n - - smtpd\n");
    match recipe {
        Recipe::AfterQueue => (
            place.recipe_file("main.cf"),
            listener + &place.recipe_file("master-feed.cf"),
        ),
        Recipe::BeforeQueue => {
            // This recipe brings the public listener, which here has another address.
            let feed = place.recipe_file("master-feed.cf");
            assert!(
                feed.contains("\nsmtp      inet"),
                "the recipe's public listener is gone"
            );
            (String::new(), feed.replace("\nsmtp      inet", &format!("\n{public}")))
        }
        Recipe::Lmtp => (place.recipe_file("main.cf"), listener + &place.recipe_file("master.cf")),
        Recipe::Milter => (place.recipe_file("main.cf"), listener),
    }
}

/// What the recipe adds to `master.cf` of the Postfix behind linkgate.
fn behind(place: &Place, recipe: Recipe) -> String {
    match recipe {
        // The Postfix in front goes on with the mail itself.
        Recipe::Milter => String::new(),
        _ => place.recipe_file("master-return.cf"),
    }
}
