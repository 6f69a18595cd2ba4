//! Response policy zones, as a zone file (RFC 1035 section 5) with QNAME triggers.

use super::Output;
use crate::entry::{Extent, Role};

/// State from line to line.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// `$ORIGIN`, or the zone's name where none is given; without its final dot.
    origin: String,
    /// The name of the zone: the owner of its SOA record, or the first `$ORIGIN`.
    name: Option<String>,
    /// The owner of the record before.
    owner: String,
    /// A record in parentheses that is not yet closed.
    open: Option<Record>,
}

/// A record, cut into its words.
#[derive(Debug, Default)]
struct Record {
    words: Vec<String>,
    /// Whether it begins with blanks: its owner is that of the record before.
    same_owner: bool,
    depth: u32,
}

impl Zone {
    pub(super) fn line(&mut self, line: &str, out: &mut Output<'_>) {
        let mut record = self.open.take().unwrap_or_else(|| Record {
            same_owner: line.starts_with([' ', '\t']),
            ..Record::default()
        });
        if !record.cut(line) {
            out.counted();
            return out.bad("parentheses or quotes that do not match", line);
        }
        if record.depth > 0 {
            self.open = Some(record);
        } else if !record.words.is_empty() {
            self.record(&record, line, out);
        }
    }

    pub(super) fn end(self, out: &mut Output<'_>) {
        if self.open.is_some() {
            out.report.broken = Some("the zone ends within parentheses".to_owned());
        }
    }

    fn record(&mut self, record: &Record, line: &str, out: &mut Output<'_>) {
        let mut words = record.words.iter().map(String::as_str).peekable();
        match words.peek().copied() {
            Some("$ORIGIN") => {
                let origin = self.absolute(words.nth(1).unwrap_or_default());
                self.name.get_or_insert_with(|| origin.clone());
                self.origin = origin;
                return;
            }
            Some(directive) if directive.starts_with('$') => return,
            _ => {}
        }
        out.counted();
        if !record.same_owner {
            let owner = words.next().unwrap_or_default();
            self.owner = if owner == "@" {
                self.origin.clone()
            } else {
                self.absolute(owner)
            };
        }
        let mut words = words.skip_while(|w| {
            w.bytes().next().is_some_and(|b| b.is_ascii_digit())
                || matches!(w.to_ascii_uppercase().as_str(), "IN" | "CH")
        });
        let kind = words.next().unwrap_or_default().to_ascii_uppercase();
        let data = words.next().unwrap_or_default();
        match kind.as_str() {
            "SOA" => {
                self.name = Some(self.owner.clone());
                out.skipped();
            }
            "CNAME" => match self.trigger() {
                None => out.bad("not below the zone's name", line),
                Some(trigger) => self.policy(&trigger, data, out),
            },
            "A" | "AAAA" => match self.trigger() {
                None => out.bad("not below the zone's name", line),
                Some(trigger) => rule(&trigger, Role::Listed, out),
            },
            "NS" | "TXT" | "DNAME" | "MX" | "SRV" | "PTR" | "CAA" | "HTTPS" | "SVCB" => out.skipped(),
            _ => out.bad("not a record", line),
        }
    }

    /// Adds the entry for the action of a CNAME record.
    fn policy(&self, trigger: &str, data: &str, out: &mut Output<'_>) {
        let data = data.to_ascii_lowercase();
        // The old way to let a name pass: an alias of itself.
        let itself = data.strip_suffix('.').is_some_and(|d| d == trigger);
        match data.as_str() {
            "rpz-passthru." => rule(trigger, Role::ExceptedHere, out),
            _ if itself => rule(trigger, Role::ExceptedHere, out),
            "rpz-tcp-only." => out.skipped(),
            // `.`: no such name; `*.`: no such data; `rpz-drop.`: no answer; others: a page of the operator.
            _ => rule(trigger, Role::Listed, out),
        }
    }

    fn absolute(&self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        match name.strip_suffix('.') {
            Some(absolute) => absolute.to_owned(),
            None if self.origin.is_empty() => name,
            None => format!("{name}.{}", self.origin),
        }
    }

    /// The owner without the name of the zone.
    fn trigger(&self) -> Option<String> {
        match self.name.as_deref() {
            None | Some("" | "@") => Some(self.owner.clone()),
            Some(zone) => {
                let trigger = self.owner.strip_suffix(zone)?.strip_suffix('.')?;
                Some(trigger.to_owned())
            }
        }
    }
}

impl Record {
    /// Adds the words of a line; false when it is malformed.
    fn cut(&mut self, line: &str) -> bool {
        let mut word = String::new();
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                _ if quoted => word.push(c),
                ';' => break,
                '(' | ')' | ' ' | '\t' => {
                    if !word.is_empty() {
                        self.words.push(std::mem::take(&mut word));
                    }
                    match c {
                        '(' => self.depth += 1,
                        ')' if self.depth == 0 => return false,
                        ')' => self.depth -= 1,
                        _ => {}
                    }
                }
                _ => word.push(c),
            }
        }
        if !word.is_empty() {
            self.words.push(word);
        }
        // A record with more words is none that is read here, and must not be collected without end.
        !quoted && self.words.len() <= 64
    }
}

/// Adds the entry of a QNAME trigger.
fn rule(trigger: &str, role: Role, out: &mut Output<'_>) {
    let last = trigger.rsplit('.').next().unwrap_or_default();
    if matches!(last, "rpz-ip" | "rpz-client-ip" | "rpz-nsip" | "rpz-nsdname") || trigger.is_empty() {
        out.skipped();
    } else if let Some(name) = trigger.strip_prefix("*.") {
        out.host(name, Extent::Below, role);
    } else {
        out.host(trigger, Extent::Host, role);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{bad, read};

    const ZONE: &str = "$TTL 2h ; two hours\n\
        $ORIGIN rpz.local.\n\
        @ IN SOA ns.local. admin.local. (\n\
            1 ; serial\n\
            6h 1h 1w 2h )\n\
\x20         IN NS localhost.\n\
        evil.example        CNAME .\n\
        *.evil.example      CNAME .\n\
        nodata.example  300 IN CNAME *.\n\
        drop.example        IN 300 CNAME rpz-drop.\n\
        good.evil.example   CNAME rpz-passthru.\n\
        old.example         CNAME old.example.\n\
        slow.example        CNAME rpz-tcp-only.\n\
        garden.example      CNAME walled.local.\n\
        sink.example        A 192.0.2.1\n\
\x20                           AAAA 2001:db8::1\n\
\x20                           TXT \"why; (really)\"\n\
        24.0.2.0.192.rpz-ip CNAME .\n\
        ns.evil.rpz-nsdname CNAME .\n\
        absolute.example.rpz.local. CNAME .\n\
        com                 CNAME .\n\
        outside.example.    CNAME .\n\
        what.example        is this\n";

    #[test]
    fn triggers_and_actions() {
        let (seen, report) = read(Format::Rpz, ZONE);
        assert_eq!(
            seen,
            [
                "Listed Host evil.example",
                "Listed Below evil.example",
                "Listed Host nodata.example",
                "Listed Host drop.example",
                "ExceptedHere Host good.evil.example",
                "ExceptedHere Host old.example",
                "Listed Host garden.example",
                "Listed Host sink.example",
                "Listed Host sink.example",
                "Listed Host absolute.example",
            ]
        );
        assert_eq!((report.lines, report.refused, report.broken.is_some()), (19, 1, false));
        assert_eq!(bad(&report), [22, 23]);
    }

    #[test]
    fn a_zone_with_names_in_full() {
        let zone = "rpz.local. 60 IN SOA ns.local. admin.local. 1 2 3 4 5\nevil.example.rpz.local. 60 IN CNAME .\n";
        assert_eq!(read(Format::Rpz, zone).0, ["Listed Host evil.example"]);
        let relative = "@ SOA ns.local. admin.local. 1 2 3 4 5\nevil.example CNAME .\n";
        assert_eq!(read(Format::Rpz, relative).0, ["Listed Host evil.example"]);
    }

    #[test]
    fn a_zone_cut_short_is_broken() {
        let (_, report) = read(Format::Rpz, "@ SOA ns.local. admin.local. ( 1 2 3\n");
        assert!(report.broken.is_some());
        let (_, report) = read(Format::Rpz, "a CNAME . )\n\"b CNAME .\n");
        assert_eq!(bad(&report), [1, 2]);
    }
}
