//! Messages, their links, and targets too long for a token.

use link::{LinkDecision, Word};
use rusqlite::{Connection, OptionalExtension, params};

/// One message that passed through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Our own id, the one tokens name. Unique; a row whose id is there already is not stored again.
    pub mail_id: String,
    /// The mail's `Message-ID`, if it has one.
    pub message_id: Option<String>,
    /// Envelope sender, empty for bounces.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// When it came in, microseconds since 1970 in UTC.
    pub received_at_us: i64,
    /// The listener it came in through.
    pub listener: String,
    /// The recipient domain whose policy was applied; `None` when no domain opted in.
    pub policy_domain: Option<String>,
    /// Links found in all.
    pub links_found: u32,
    /// Links that became click links.
    pub links_wrapped: u32,
    /// Links left as they were. What is neither wrapped nor kept was disarmed.
    pub links_kept: u32,
    /// The links themselves in reading order; may be fewer than `links_found` when the caller sets a limit.
    pub links: Vec<LinkRow>,
}

/// One link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// The link's URL.
    pub url: String,
    /// Its outcome.
    pub decision: LinkDecision,
    /// Why, as one stable word.
    pub reason: String,
}

/// A target too long to travel in its click link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRow {
    /// The id the token carries.
    pub id: [u8; 16],
    /// The target.
    pub target: String,
    /// The bytes as they stood in the mail, where they differ from the target.
    pub written: Option<Vec<u8>>,
    /// Our id of the mail that held the link.
    pub mail_id: String,
    /// When it was made, microseconds since 1970 in UTC.
    pub created_at_us: i64,
}

impl MessageRow {
    /// About what it takes in memory, in octets.
    pub(crate) fn octets(&self) -> usize {
        let links = self.links.iter().map(|l| 96 + l.url.len());
        512 + links.chain(self.recipients.iter().map(|r| 32 + r.len())).sum::<usize>()
    }
}

/// Adds a message with its recipients and links, unless one with its id is there.
pub(crate) fn insert(conn: &Connection, m: &MessageRow) -> rusqlite::Result<()> {
    let new = conn
        .prepare_cached(
            "INSERT INTO message (mail_id, message_id, sender, received_at, listener, policy_domain, \
             links_found, links_wrapped, links_kept) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (mail_id) DO NOTHING",
        )?
        .execute(params![
            m.mail_id,
            m.message_id,
            m.sender,
            m.received_at_us,
            m.listener,
            m.policy_domain,
            m.links_found,
            m.links_wrapped,
            m.links_kept,
        ])?;
    if new == 0 {
        return Ok(());
    }
    let mut recipient =
        conn.prepare_cached("INSERT INTO recipient (mail_id, address) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for address in &m.recipients {
        recipient.execute(params![m.mail_id, address])?;
    }
    let mut link =
        conn.prepare_cached("INSERT INTO link (mail_id, position, url, decision, reason) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (position, l) in m.links.iter().enumerate() {
        link.execute(params![
            m.mail_id,
            position as i64,
            l.url,
            l.decision.as_str(),
            l.reason
        ])?;
    }
    Ok(())
}

/// Adds a stored target, unless one with its id is there.
pub(crate) fn insert_reference(conn: &Connection, r: &ReferenceRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO reference (id, target, written, mail_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![r.id, r.target, r.written, r.mail_id, r.created_at_us])?;
    Ok(())
}

/// The stored target with this id.
pub(crate) fn reference(conn: &Connection, id: &[u8; 16]) -> rusqlite::Result<Option<ReferenceRow>> {
    conn.prepare_cached("SELECT target, written, mail_id, created_at FROM reference WHERE id = ?1")?
        .query_row([id.as_slice()], |r| {
            Ok(ReferenceRow {
                id: *id,
                target: r.get(0)?,
                written: r.get(1)?,
                mail_id: r.get(2)?,
                created_at_us: r.get(3)?,
            })
        })
        .optional()
}
