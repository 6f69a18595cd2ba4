//! Maps the header fields that the MTA named to octets, and changes of octets back to edits of fields.

use std::collections::HashMap;

use message::Change;
use wire::milter::Reply;

/// Fields of one message that are taken. Postfix and Sendmail stop long before.
const MAX_FIELDS: usize = 20_000;

/// Maps the fields of a message to its octets. The header begins at octet 0.
#[derive(Debug, Default)]
pub(super) struct FieldMap {
    fields: Vec<Field>,
    len: u64,
    ended: bool,
}

#[derive(Debug)]
struct Field {
    start: u64,
    /// The octets taken in differ from what the MTA has: a lone CR was replaced.
    altered: bool,
}

/// An edit that the MTA is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Another value for the field of that name with that number, from 1; an empty one takes it away.
    Change { index: u32, name: Vec<u8>, value: Vec<u8> },
    /// A new field, with so many fields before it.
    Insert { index: u32, name: Vec<u8>, value: Vec<u8> },
    /// A new field behind all others.
    Append { name: Vec<u8>, value: Vec<u8> },
}

impl Edit {
    /// The packet.
    pub(super) fn as_reply(&self) -> Reply<'_> {
        match self {
            Self::Change { index, name, value } => Reply::ChangeHeader {
                index: *index,
                name,
                value,
            },
            Self::Insert { index, name, value } => Reply::InsertHeader {
                index: *index,
                name,
                value,
            },
            Self::Append { name, value } => Reply::AddHeader { name, value },
        }
    }
}

impl FieldMap {
    /// Whether nothing of the header has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.ended
    }

    /// Octets of the header, without the empty line behind it.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether a lone CR was replaced in any field.
    pub(super) fn any_altered(&self) -> bool {
        self.fields.iter().any(|f| f.altered)
    }

    /// Appends the octets of the next field to `out`. False when there are too many fields.
    ///
    /// With `leading_space` the value comes with what stands behind the colon; without it, the MTA has taken a space away.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8], leading_space: bool, out: &mut Vec<u8>) -> bool {
        if self.fields.len() >= MAX_FIELDS {
            return false;
        }
        let before = out.len();
        out.extend_from_slice(name);
        out.extend_from_slice(if leading_space { b":" } else { b": " });
        let mut altered = false;
        let mut rest = value;
        while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
            let (head, tail) = rest.split_at(at);
            out.extend_from_slice(head);
            // A fold is LF here; some MTAs say CRLF.
            rest = match tail {
                [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] => {
                    out.extend_from_slice(b"\r\n");
                    behind
                }
                [_, behind @ ..] => {
                    altered = true;
                    out.push(b' ');
                    behind
                }
                [] => tail,
            };
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\r\n");
        self.fields.push(Field {
            start: self.len,
            altered,
        });
        self.len += (out.len() - before) as u64;
        true
    }

    /// The header is complete; true the first time, when its empty line is to be written.
    pub(super) fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    /// Turns changes, all of which lie in `block`, which is the header, into edits in the order in which they must be made.
    ///
    /// # Errors
    /// Why no edits can make these changes.
    pub(super) fn edits(
        &self,
        block: &[u8],
        changes: &[Change],
        leading_space: bool,
    ) -> Result<Vec<Edit>, &'static str> {
        let mut numbers = Numbers::new(self, block)?;
        let mut edits = Vec::new();
        let mut appended = Vec::new();
        // From the last to the first: an edit never moves what stands above it, so that all numbers hold.
        for group in self.groups(changes)?.iter().rev() {
            let new = new_fields(&self.patched(block, group, changes)?)?;
            let old = group.fields.clone();
            let mut steps = Vec::new();
            let mut next = old.start;
            for (whole, name, value) in &new {
                let same_name = |i: &usize| numbers.name(*i).eq_ignore_ascii_case(name);
                let Some(at) = (next..old.end).find(same_name) else {
                    steps.push((next, Some((name.clone(), packed(value, leading_space)?)), true));
                    continue;
                };
                for gone in next..at {
                    steps.push((gone, None, false));
                }
                let altered = self.fields.get(at).is_some_and(|f| f.altered);
                if altered || self.field(block, at)? != whole.as_slice() {
                    steps.push((at, Some((name.clone(), packed(value, leading_space)?)), false));
                }
                next = at + 1;
            }
            for gone in next..old.end {
                steps.push((gone, None, false));
            }
            for (at, field, is_new) in steps.into_iter().rev() {
                match field {
                    Some((name, value)) if is_new && at == self.fields.len() => {
                        appended.push(Edit::Append { name, value });
                    }
                    // One more stands before it: the MTA's own Received, which it does not name but counts here.
                    Some((name, value)) if is_new => edits.push(Edit::Insert {
                        index: u32::try_from(at + 1).map_err(|_| "too many fields")?,
                        name,
                        value,
                    }),
                    Some((_, value)) if value.is_empty() => {
                        return Err("a field would lose its value but not its name");
                    }
                    Some((name, value)) => edits.push(Edit::Change {
                        index: numbers.number(at),
                        name,
                        value,
                    }),
                    None => edits.push(Edit::Change {
                        index: numbers.number(at),
                        name: numbers.name(at).to_vec(),
                        value: Vec::new(),
                    }),
                }
            }
        }
        appended.reverse();
        edits.append(&mut appended);
        Ok(edits)
    }

    /// The octets of a field.
    fn field<'b>(&self, block: &'b [u8], at: usize) -> Result<&'b [u8], &'static str> {
        piece(block, self.start(at), self.start(at + 1))
    }

    fn start(&self, at: usize) -> u64 {
        self.fields.get(at).map_or(self.len, |f| f.start)
    }

    /// The field in which an octet lies.
    fn holding(&self, octet: u64) -> usize {
        self.fields.partition_point(|f| f.start <= octet).saturating_sub(1)
    }

    /// Divides the changes by the fields that they touch.
    fn groups(&self, changes: &[Change]) -> Result<Vec<Group>, &'static str> {
        let mut groups: Vec<Group> = Vec::new();
        let mut altered = (0..self.fields.len())
            .filter(|i| self.fields.get(*i).is_some_and(|f| f.altered))
            .peekable();
        for (number, change) in changes.iter().enumerate() {
            let at = self.fields.partition_point(|f| f.start < change.at.start);
            let between = change.at.is_empty() && self.start(at) == change.at.start && change.with.ends_with(b"\r\n");
            let fields = if between {
                at..at
            } else if change.at.start >= self.len {
                return Err("what would be added is no field");
            } else {
                let last = change.at.end.max(change.at.start + 1) - 1;
                self.holding(change.at.start)..self.holding(last) + 1
            };
            while let Some(i) = altered.next_if(|i| *i < fields.end) {
                if groups.last().is_none_or(|g| g.fields.end <= i) && !fields.contains(&i) {
                    groups.push(Group::untouched(i, number));
                }
            }
            match groups.last_mut() {
                Some(last) if fields.start < last.fields.end => {
                    last.fields.end = last.fields.end.max(fields.end);
                    last.changes.end = number + 1;
                }
                _ => groups.push(Group {
                    fields,
                    changes: number..number + 1,
                }),
            }
        }
        for i in altered {
            if groups.last().is_none_or(|g| g.fields.end <= i) {
                groups.push(Group::untouched(i, changes.len()));
            }
        }
        Ok(groups)
    }

    /// Applies the changes of a group to the octets of its fields.
    fn patched(&self, block: &[u8], group: &Group, changes: &[Change]) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        let mut from = self.start(group.fields.start);
        for change in changes.get(group.changes.clone()).unwrap_or_default() {
            out.extend_from_slice(piece(block, from, change.at.start)?);
            out.extend_from_slice(&change.with);
            from = change.at.end;
        }
        out.extend_from_slice(piece(block, from, self.start(group.fields.end))?);
        if !out.is_empty() && !out.ends_with(b"\r\n") {
            return Err("two fields would become one");
        }
        Ok(out)
    }
}

/// Octets of the header block. Text that is not there must not be taken for text that is empty: a field would go away.
fn piece(block: &[u8], from: u64, to: u64) -> Result<&[u8], &'static str> {
    block
        .get(from as usize..to as usize)
        .ok_or("octets outside of the header")
}

/// Neighbouring fields that change together; none for what is put between two.
#[derive(Debug)]
struct Group {
    fields: std::ops::Range<usize>,
    changes: std::ops::Range<usize>,
}

impl Group {
    /// A field that changes only because a lone CR in it was replaced.
    fn untouched(field: usize, changes_before: usize) -> Self {
        Self {
            fields: field..field + 1,
            changes: changes_before..changes_before,
        }
    }
}

/// Names of the fields, and their numbers among those of the same name.
struct Numbers<'b> {
    names: Vec<&'b [u8]>,
    numbers: Vec<u32>,
}

impl<'b> Numbers<'b> {
    fn new(map: &FieldMap, block: &'b [u8]) -> Result<Self, &'static str> {
        let mut counts = HashMap::<Vec<u8>, u32>::new();
        let (mut names, mut numbers) = (Vec::new(), Vec::new());
        for at in 0..map.fields.len() {
            let field = map.field(block, at)?;
            let colon = memchr::memchr(b':', field).ok_or("a field without a colon")?;
            let name = field.get(..colon).unwrap_or_default();
            let count = counts.entry(name.to_ascii_lowercase()).or_default();
            *count += 1;
            names.push(name);
            numbers.push(*count);
        }
        Ok(Self { names, numbers })
    }

    fn name(&self, at: usize) -> &'b [u8] {
        self.names.get(at).copied().unwrap_or_default()
    }

    fn number(&mut self, at: usize) -> u32 {
        self.numbers.get(at).copied().unwrap_or_default()
    }
}

/// A field: all its octets, its name, and what stands behind the colon.
type NewField = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Divides octets into fields.
fn new_fields(octets: &[u8]) -> Result<Vec<NewField>, &'static str> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").ok_or("a line of the header without an end")? + 2;
        let (line, behind) = rest.split_at(end);
        match (line, fields.last_mut()) {
            ([b' ' | b'\t', ..], Some(field)) => field.extend_from_slice(line),
            ([b' ' | b'\t', ..], None) => return Err("the header would begin with a fold"),
            _ => fields.push(line.to_vec()),
        }
        rest = behind;
    }
    let split = |field: Vec<u8>| {
        let colon = memchr::memchr(b':', &field).ok_or("a line of the header would be no field")?;
        let name = field.get(..colon).unwrap_or_default().trim_ascii_end().to_vec();
        let sound = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic());
        if !sound {
            return Err("a field would have no sound name");
        }
        let value = field.get(colon + 1..field.len() - 2).unwrap_or_default().to_vec();
        Ok((field, name, value))
    };
    fields.into_iter().map(split).collect()
}

/// A value as the MTA wants it: folds are LF, and the space behind the colon is its own affair unless agreed otherwise.
fn packed(value: &[u8], leading_space: bool) -> Result<Vec<u8>, &'static str> {
    if value.contains(&0) {
        return Err("a field would hold a NUL");
    }
    let value = match value {
        [b' ', rest @ ..] if !leading_space => rest,
        all => all,
    };
    // Lone CRs were refused or replaced before.
    Ok(value.iter().copied().filter(|b| *b != b'\r').collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Patch;
    use proptest::prelude::*;

    const FIELDS: &[(&str, &str)] = &[
        ("Received", " from a\n by b"),
        ("Subject", " one"),
        ("received", " from c"),
        ("Content-Type", " text/html;\n\tcharset=x"),
        ("X-Last", "tight"),
    ];

    fn map(fields: &[(&str, &str)], leading_space: bool) -> (FieldMap, Vec<u8>) {
        let (mut map, mut block) = (FieldMap::default(), Vec::new());
        for (name, value) in fields {
            assert!(map.add(name.as_bytes(), value.as_bytes(), leading_space, &mut block));
        }
        assert!(map.end() && !map.end());
        (map, block)
    }

    /// Puts `with` in the place of `what`.
    fn replace(block: &[u8], what: &str, with: &str) -> Change {
        let at = memchr::memmem::find(block, what.as_bytes()).unwrap() as u64;
        Change {
            at: at..at + what.len() as u64,
            with: with.into(),
        }
    }

    /// The header after an MTA has made the edits, its own Received field on top.
    fn apply(fields: &[(&str, &str)], edits: &[Edit], leading_space: bool) -> String {
        let mut header: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"Received".to_vec(), b" by the MTA".to_vec())];
        let colon = if leading_space { "" } else { " " };
        let full = |value: &[u8]| [colon.as_bytes(), value].concat();
        header.extend(fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), full(v.as_bytes()))));
        for edit in edits {
            match edit {
                Edit::Append { name, value } => header.push((name.clone(), full(value))),
                Edit::Insert { index, name, value } => header.insert(*index as usize, (name.clone(), full(value))),
                Edit::Change { index, name, value } => {
                    let at = (1..header.len())
                        .filter(|i| header[*i].0.eq_ignore_ascii_case(name))
                        .nth(*index as usize - 1)
                        .expect("the field is there");
                    if value.is_empty() {
                        header.remove(at);
                    } else {
                        header[at] = (name.clone(), full(value));
                    }
                }
            }
        }
        let lines = header.iter().skip(1).map(|(name, value)| {
            format!(
                "{}:{}\r\n",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value).replace('\n', "\r\n")
            )
        });
        lines.collect()
    }

    #[test]
    fn octets_are_rebuilt_with_and_without_the_leading_space() {
        let (exact, block) = map(FIELDS, true);
        assert_eq!(
            String::from_utf8_lossy(&block),
            "Received: from a\r\n by b\r\nSubject: one\r\nreceived: from c\r\nContent-Type: text/html;\r\n\tcharset=x\r\nX-Last:tight\r\n"
        );
        assert_eq!(exact.len(), block.len() as u64);
        let (_, block) = map(&[("A", "b"), ("C", "")], false);
        assert_eq!(block, b"A: b\r\nC: \r\n");
    }

    #[test]
    fn a_field_is_changed_by_its_number_among_those_of_its_name() {
        let (map, block) = map(FIELDS, true);
        let changes = [replace(&block, "from c", "from d\r\n by e")];
        assert_eq!(
            map.edits(&block, &changes, true).unwrap(),
            [Edit::Change {
                index: 2,
                name: b"received".to_vec(),
                value: b" from d\n by e".to_vec()
            }]
        );
        assert_eq!(
            map.edits(&block, &changes, false).unwrap(),
            [Edit::Change {
                index: 2,
                name: b"received".to_vec(),
                value: b"from d\n by e".to_vec()
            }]
        );
    }

    #[test]
    fn fields_are_put_in_taken_away_and_appended() {
        let (map, block) = map(FIELDS, true);
        let changes = [
            Change {
                at: 0..0,
                with: b"X-Top: 1\r\nX-Top: 2\r\n".to_vec(),
            },
            replace(&block, "Subject: one\r\n", ""),
            Change {
                at: map.len()..map.len(),
                with: b"MIME-Version: 1.0\r\nX: y\r\n".to_vec(),
            },
        ];
        let edits = map.edits(&block, &changes, true).unwrap();
        let wanted = Patch::new(changes.to_vec()).unwrap().apply(&block);
        assert_eq!(apply(FIELDS, &edits, true), String::from_utf8(wanted).unwrap());
        assert_eq!(edits.len(), 5);
    }

    #[test]
    fn several_lines_are_put_on_top_one_by_one() {
        let (map, block) = map(FIELDS, true);
        let changes = ["X-Top: 1\r\n", "X-Next: 2\r\n"].map(|line| Change {
            at: 0..0,
            with: line.into(),
        });
        let edits = map.edits(&block, &changes, true).unwrap();
        let wanted = Patch::new(changes.to_vec()).unwrap().apply(&block);
        assert_eq!(apply(FIELDS, &edits, true), String::from_utf8(wanted).unwrap());
    }

    #[test]
    fn what_cannot_be_expressed_is_an_error() {
        let (map, block) = map(FIELDS, true);
        let end = map.len();
        for (what, change) in [
            ("joined", replace(&block, "one\r\n", "one ")),
            ("emptied", replace(&block, "Subject: one", "Subject:")),
            ("no field", replace(&block, "Subject: one", "Subject")),
            ("a fold on top", replace(&block, "Received: from a\r\n by b", " x")),
            ("an empty line", replace(&block, "Subject: one", "Subject: one\r\n")),
            (
                "half a line",
                Change {
                    at: end..end,
                    with: b"X: y".to_vec(),
                },
            ),
            (
                "a name with a space",
                Change {
                    at: 0..0,
                    with: b"X Y: z\r\n".to_vec(),
                },
            ),
            ("a NUL", replace(&block, "one", "\0")),
        ] {
            assert!(map.edits(&block, &[change], true).is_err(), "{what}");
        }
    }

    #[test]
    fn a_lone_cr_in_a_field_is_made_good_at_the_mta_as_well() {
        let (map, block) = map(&[("A", " b\rc"), ("D", " e")], true);
        assert!(map.any_altered());
        assert_eq!(block, b"A: b c\r\nD: e\r\n");
        let change = Edit::Change {
            index: 1,
            name: b"A".to_vec(),
            value: b" b c".to_vec(),
        };
        assert_eq!(map.edits(&block, &[], true).unwrap(), [change]);
        assert_eq!(map.edits(&block, &[replace(&block, "e", "f")], true).unwrap().len(), 2);
    }

    #[test]
    fn a_header_without_end_is_not_kept() {
        let mut map = FieldMap::default();
        let mut out = Vec::new();
        let taken = (0..MAX_FIELDS + 1)
            .filter(|_| map.add(b"a", b"b", true, &mut out))
            .count();
        assert_eq!(taken, MAX_FIELDS);
    }

    proptest! {
        /// Whatever is done to whole fields, the MTA ends up with the very octets of the patch.
        #[test]
        fn edits_lead_to_what_the_patch_says(
            fates in proptest::collection::vec((0u8..5, 0u8..3), FIELDS.len()),
            appended in 0usize..3,
            leading_space in any::<bool>(),
        ) {
            let fields: Vec<(&str, &str)> = FIELDS
                .iter()
                .map(|(n, v)| (*n, if leading_space { *v } else { v.trim_start() }))
                .collect();
            let (map, block) = map(&fields, leading_space);
            let mut changes = Vec::new();
            for (i, (fate, inserted)) in fates.iter().enumerate() {
                let (start, end) = (map.start(i), map.start(i + 1));
                for n in 0..*inserted {
                    let name = ["Received", "X-New"][usize::from(n % 2)];
                    let with = format!("{name}: in {i} {n}\r\n").into_bytes();
                    if n == 0 {
                        changes.push(Change { at: start..start, with });
                    } else if let Some(last) = changes.last_mut() {
                        last.with.extend(with);
                    }
                }
                let name = fields[i].0;
                match fate {
                    0 => changes.push(Change { at: start..end, with: Vec::new() }),
                    1 => changes.push(Change { at: start..end, with: format!("{name}: new {i}\r\n").into_bytes() }),
                    2 => changes.push(Change { at: end - 2..end - 2, with: b" more".to_vec() }),
                    _ => {}
                }
            }
            if appended > 0 {
                let with = "Subject: again\r\n".repeat(appended).into_bytes();
                changes.push(Change { at: map.len()..map.len(), with });
            }
            let patch = Patch::new(changes).unwrap();
            let edits = map.edits(&block, patch.changes(), leading_space).unwrap();
            prop_assert_eq!(
                apply(&fields, &edits, leading_space),
                String::from_utf8(patch.apply(&block)).unwrap()
            );
        }
    }
}
