//! The end of a message: what is decided about it, as changes that the MTA is asked for.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use message::{Patch, Source};
use tokio::time::{Instant, interval_at};
use tracing::warn;
use wire::DataEnd;
use wire::milter::{MAX_BODY_PACKET, Reply};

use super::fields::{Edit, FieldMap};
use super::{Conversation, IncomingMessage, code};
use crate::config::BareLineEnds;
use crate::failure::{Cause, Failure, Phase};
use crate::mail::relay::{read_block, sound_line_ends};
use crate::mail::spool::Spool;
use crate::mail::transaction::{Disposition, LogNames, Summary};
use crate::metrics::MessageResult;

/// How often the MTA hears that its message is being worked on. Postfix waits 300 s for any word
/// (`milter_content_timeout`).
const PROGRESS: Duration = Duration::from_secs(10);

/// The changes that the MTA is asked for.
#[derive(Default)]
struct Changes {
    header: Vec<Edit>,
    /// The new body, if it is another one.
    body: Option<Vec<Stretch>>,
    /// Where the new octets of the body are.
    patch: Patch,
}

/// A piece of the new body.
enum Stretch {
    /// As it came: octets of the spool.
    Spool(Range<u64>),
    /// The octets that the change of that number puts in.
    New(usize),
}

impl Conversation {
    /// The message is there: decides about it, asks for its changes, and says what becomes of it.
    pub(super) async fn complete(&mut self, mut message: IncomingMessage) -> io::Result<()> {
        let max = self.mta.context.listener.max_message;
        let mut last = Vec::new();
        if message.fields.end() {
            last.extend_from_slice(b"\r\n");
        }
        message.body_lines.finish(&mut last);
        message.transaction.take_in(&last, max).await;
        let bare_cr = message.body_lines.bare_cr() || message.fields.any_altered();
        let bare_lf = message.body_lines.bare_lf();
        let end = DataEnd {
            bare_cr,
            bare_lf,
            refuse: (bare_cr || bare_lf) && self.mta.context.listener.bare_line_ends == BareLineEnds::Refuse,
        };
        let mut summary = Summary::new(&message.transaction, end);
        summary.count_received(&self.mta.context);
        let id = message.transaction.id().to_owned();
        let answered = self.answer(&mut message, &mut summary).await;
        let (taken, said) = match &answered {
            Ok(said) => (said.is_none(), said.as_deref().unwrap_or(b"continue")),
            Err(e) => {
                warn!(target: "linkgate::mail", id, client = %self.mta.peer, cause = %e, "the MTA went away before it had its answer");
                summary.set_result(MessageResult::Deferred);
                (false, &b""[..])
            }
        };
        summary.count(&self.mta.context, if taken { b'2' } else { b'4' });
        self.log(&message, &summary, said);
        self.client.message_over();
        if taken {
            let transaction = &message.transaction;
            transaction.record(transaction.recipients(), summary, &self.mta.context);
        }
        answered.map(|_| ())
    }

    /// The one line of a message that is not looked at.
    pub(super) fn log_passed_over(&self, message: &IncomingMessage) {
        let summary = Summary::new(&message.transaction, DataEnd::default());
        summary.count(&self.mta.context, b'2');
        self.log(message, &summary, b"accept");
    }

    fn log(&self, message: &IncomingMessage, summary: &Summary, said: &[u8]) {
        let xforward = self.client.as_xforward();
        let names = LogNames {
            client: self.mta.peer,
            helo: &self.client.helo,
            xforward: &xforward,
        };
        message.transaction.log(summary, &names, said);
    }

    /// Answers the end of a message; gives back the words of a refusal, or `None` when the message is taken.
    async fn answer(&mut self, message: &mut IncomingMessage, summary: &mut Summary) -> io::Result<Option<Vec<u8>>> {
        let id = message.transaction.id().to_owned();
        let disposition = self.decide(message, summary).await?;
        let (spool, patch) = match disposition {
            Err(failure) => return Ok(Some(self.fail(&failure, &id, summary))),
            Ok(Disposition::Refuse(answer)) => return Ok(Some(code(answer, None, &mut self.mta.out))),
            Ok(Disposition::RefuseContent(answer)) => return Ok(Some(code(answer, Some(&id), &mut self.mta.out))),
            Ok(Disposition::Forward { spool, patch }) => (spool, patch),
        };
        let changes = match self.changes(message, &spool, patch).await {
            Ok(changes) => changes,
            Err(failure) => match message.transaction.pass_or(failure, &self.mta.context) {
                Ok(_) => {
                    summary.set_unchanged();
                    Changes::default()
                }
                Err(failure) => return Ok(Some(self.fail(&failure, &id, summary))),
            },
        };
        for edit in &changes.header {
            edit.as_reply().write(&mut self.mta.out);
        }
        if let Some(body) = &changes.body {
            // Half a body has gone by then: the refusal keeps the MTA from using it, whatever `on_error` says.
            if let Err(failure) = self.replace_body(&spool, body, &changes.patch).await? {
                return Ok(Some(self.fail(&failure, &id, summary)));
            }
        }
        Reply::Continue.write(&mut self.mta.out);
        self.mta.flush().await?;
        Ok(None)
    }

    /// Has the message judged, and keeps the MTA waiting meanwhile.
    async fn decide(
        &mut self,
        message: &mut IncomingMessage,
        summary: &mut Summary,
    ) -> io::Result<Result<Disposition, Failure>> {
        let context = Arc::clone(&self.mta.context);
        let mut decided = std::pin::pin!(message.transaction.decide(summary, &context));
        let mut clock = interval_at(Instant::now() + PROGRESS, PROGRESS);
        loop {
            tokio::select! {
                disposition = &mut decided => return Ok(disposition),
                _ = clock.tick() => {
                    Reply::Progress.write(&mut self.mta.out);
                    self.mta.flush().await?;
                }
            }
        }
    }

    /// Says that the message must come again.
    fn fail(&mut self, failure: &Failure, id: &str, summary: &mut Summary) -> Vec<u8> {
        summary.set_failed(failure);
        self.log_failure(failure, id);
        code(failure.answer(), Some(id), &mut self.mta.out)
    }

    /// The patch as changes that the MTA knows.
    async fn changes(
        &self,
        message: &mut IncomingMessage,
        spool: &Arc<Spool>,
        patch: Patch,
    ) -> Result<Changes, Failure> {
        let fields = std::mem::take(&mut message.fields);
        let altered = message.body_lines.bare_cr() || message.body_lines.bare_lf();
        if patch.is_empty() && !altered && !fields.any_altered() {
            return Ok(Changes::default());
        }
        let leading_space = self.session.terms().leading_space();
        let work = move |spool: &Spool| {
            // A session that panics would leave it to the MTA's configuration what becomes of the message.
            Failure::catch(Phase::Rewrite, || {
                changes(&fields, altered, leading_space, spool, patch)
            })
        };
        if spool.as_slice().is_some() {
            return work(spool);
        }
        // The header is read from a file: elsewhere, so that other sessions do not wait.
        let spool = Arc::clone(spool);
        tokio::task::spawn_blocking(move || work(&spool))
            .await
            .map_err(|e| Failure::ours(Phase::Rewrite, Cause::Panic(e.to_string())))?
    }

    /// Sends the new body, in packets with nothing between them.
    async fn replace_body(
        &mut self,
        spool: &Arc<Spool>,
        body: &[Stretch],
        patch: &Patch,
    ) -> io::Result<Result<(), Failure>> {
        let mut packet = Vec::with_capacity(MAX_BODY_PACKET);
        let mut any = false;
        for stretch in body {
            let (new, mut from, end) = match stretch {
                Stretch::Spool(range) => (None, range.start, range.end),
                Stretch::New(number) => {
                    let Some(change) = patch.changes().get(*number) else {
                        return Ok(Err(cannot("a change of the body is missing")));
                    };
                    (Some(change.with.as_slice()), 0, change.with.len() as u64)
                }
            };
            while from < end {
                let to = end.min(from + (MAX_BODY_PACKET - packet.len()) as u64);
                match new {
                    Some(octets) => match octets.get(from as usize..to as usize) {
                        Some(octets) => packet.extend_from_slice(octets),
                        None => return Ok(Err(cannot("a change lies outside of what it puts in"))),
                    },
                    None => match read_block(spool, from..to).await {
                        Ok(octets) => packet.extend_from_slice(&octets),
                        Err(failure) => return Ok(Err(failure)),
                    },
                }
                from = to;
                if packet.len() == MAX_BODY_PACKET {
                    any = true;
                    Reply::Body(&packet).write(&mut self.mta.out);
                    packet.clear();
                    self.mta.flush().await?;
                }
            }
        }
        if !packet.is_empty() || !any {
            Reply::Body(&packet).write(&mut self.mta.out);
        }
        Ok(Ok(()))
    }
}

/// The failure of a patch that cannot be made into changes for the MTA.
fn cannot(why: &'static str) -> Failure {
    Failure::ours(Phase::Rewrite, Cause::Other(why.into()))
}

/// Divides a patch into edits of header fields and a new body.
fn changes(
    fields: &FieldMap,
    body_altered: bool,
    leading_space: bool,
    spool: &Spool,
    patch: Patch,
) -> Result<Changes, Failure> {
    sound_line_ends(&patch)?;
    let (header_end, body_start) = (fields.len(), fields.len() + 2);
    let in_header = patch.changes().partition_point(|c| c.at.start < body_start);
    let (header, body) = patch.changes().split_at(in_header);
    if header.iter().any(|c| c.at.end > header_end) {
        return Err(cannot("the end of the header would change"));
    }
    let mut changes = Changes::default();
    if !header.is_empty() || fields.any_altered() {
        let block = spool
            .read(0..header_end)
            .map_err(|e| Failure::ours(Phase::Rewrite, e))?;
        changes.header = fields.edits(&block, header, leading_space).map_err(cannot)?;
    }
    if !body.is_empty() || body_altered {
        let mut stretches = Vec::with_capacity(2 * body.len() + 1);
        let mut from = body_start;
        for (number, change) in body.iter().enumerate() {
            stretches.push(Stretch::Spool(from..change.at.start));
            stretches.push(Stretch::New(in_header + number));
            from = change.at.end;
        }
        stretches.push(Stretch::Spool(from..spool.len()));
        changes.body = Some(stretches);
    }
    changes.patch = patch;
    Ok(changes)
}
