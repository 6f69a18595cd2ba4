//! Comma-separated values with a URL in one column.

use link::Category;

use super::Output;
use crate::entry::Role;

/// Where the columns are.
#[derive(Debug, Default)]
pub(super) struct Columns {
    url: Option<usize>,
    threat: Option<usize>,
    score: Option<usize>,
}

impl Columns {
    /// One line: the names of the columns, which may be a comment, or a record (RFC 4180, without line ends in fields).
    pub(super) fn line(&mut self, line: &str, out: &mut Output<'_>) {
        if line.is_empty() {
            return;
        }
        let comment = line.strip_prefix('#');
        if self.url.is_none() || comment.is_some() {
            let names = fields(comment.unwrap_or(line));
            let at = |name: &str| names.iter().position(|n| n.trim().eq_ignore_ascii_case(name));
            if names.len() > 1 && at("url").is_some() {
                (self.url, self.threat, self.score) = (at("url"), at("threat"), at("score"));
                return;
            }
        }
        if comment.is_some() {
            return;
        }
        out.counted();
        let fields = fields(line);
        let is_url = |f: &String| f.starts_with("http://") || f.starts_with("https://") || f.starts_with("ftp://");
        let url = match self.url {
            Some(at) => fields.get(at),
            None => fields.iter().find(|f| is_url(f)),
        };
        let Some(url) = url else {
            return out.bad("no column with a URL", line);
        };
        let score = self.score.and_then(|at| fields.get(at));
        if let Some(score) = score
            && out.min_score > 0.0
        {
            match score.trim().parse::<f64>() {
                Ok(score) if score < out.min_score => return out.skipped(),
                Ok(_) => {}
                Err(_) => return out.bad("the score is not a number", line),
            }
        }
        let threat = self.threat.and_then(|at| fields.get(at));
        out.url(url.trim(), Role::Listed, threat.and_then(|t| category(t)));
    }
}

/// The category of a threat as URLhaus names it.
pub(super) fn category(threat: &str) -> Option<Category> {
    if threat.contains("phish") {
        Some(Category::Phishing)
    } else if threat.contains("malware") {
        Some(Category::Malware)
    } else if threat.contains("botnet") {
        Some(Category::Botnet)
    } else {
        None
    }
}

fn fields(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.trim().is_empty() => {
                field.clear();
                quoted = true;
            }
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    all.push(field);
    all
}
