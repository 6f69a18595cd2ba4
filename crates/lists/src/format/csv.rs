//! Comma-separated values with a URL in one column.

use link::Category;

use super::Output;
use crate::entry::Role;

/// Places of the columns.
#[derive(Debug, Default)]
pub(super) struct Columns {
    url: Option<usize>,
    threat: Option<usize>,
    score: Option<usize>,
}

impl Columns {
    /// Reads one line: the names of the columns, which may be a comment, or a record (RFC 4180, without line ends in fields).
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

/// The category of a threat in URLhaus' words.
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

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{bad, read, read_above};
    use super::*;

    #[test]
    fn urlhaus_with_and_without_last_online() {
        let (seen, report) = read(
            Format::Csv,
            "################\r\n# URLs, and more #\r\n#\r\n\
             # id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\r\n\
             \"9\",\"2026-11-22 05:00:00\",\"http://1.2.3.4:8080/i\",\"online\",\"\",\"malware_download\",\"elf,mozi\",\"https://u.example/url/9/\",\"r\"\r\n\
             \"8\",\"2026-11-22 04:00:00\",\"http://evil.example/a,b\",\"offline\",\"\",\"malware_download\",\"\"\"q\"\"\",\"https://u.example/url/8/\",\"r\"\r\n\
             cut off\r\n",
        );
        assert_eq!(seen, ["Listed Url 1.2.3.4/i", "Listed Url evil.example/a,b"]);
        assert_eq!(bad(&report), [7]);
        let (seen, _) = read(
            Format::Csv,
            "# id,dateadded,url,url_status,threat,tags,urlhaus_link,reporter\n\
             \"7\",\"2019-01-01\",\"http://old.example/x\",\"online\",\"malware_download\",\"\",\"https://u.example/url/7/\",\"r\"\n",
        );
        assert_eq!(seen, ["Listed Url old.example/x"]);
    }

    #[test]
    fn named_columns_and_scores() {
        let (seen, report) = read(
            Format::Csv,
            "phish_id,url,phish_detail_url,submission_time,verified,verification_time,online,target\n\
             1,https://evil.example/p,https://d.example/1,t,yes,t,yes,Other\n",
        );
        assert_eq!((seen, report.lines), (vec!["Listed Url evil.example/p".to_owned()], 1));
        let text = "# Score ranges: 0-2 likely, 2-4 suspicious\n# CSV: Date,Score,URL,IP\n#Date,Score,URL,IP\n\
                    \"2026-11-22\",\"5.20\",\"https://high.example/\",\"1.2.3.4\"\n\
                    \"2026-11-22\",\"1.10\",\"https://low.example/\",\"1.2.3.4\"\n\
                    \"2026-11-22\",\"much\",\"https://odd.example/\",\"1.2.3.4\"\n";
        let (seen, report) = read_above(2.0, Format::Csv, text);
        assert_eq!((seen, report.skipped), (vec!["Listed Url high.example/".to_owned()], 1));
        assert_eq!(bad(&report), [6]);
        assert_eq!(read(Format::Csv, text).0.len(), 3);
    }

    #[test]
    fn without_names_the_first_url_counts() {
        let (seen, report) = read(Format::Csv, "1,x,https://evil.example/,https://d.example/\n1,2,3\n");
        assert_eq!(
            (seen, bad(&report)),
            (vec!["Listed Url evil.example/".to_owned()], vec![2])
        );
    }

    #[test]
    fn threats() {
        assert_eq!(category("malware_download"), Some(Category::Malware));
        assert_eq!(category("phishing"), Some(Category::Phishing));
        assert_eq!(category("other"), None);
    }
}
