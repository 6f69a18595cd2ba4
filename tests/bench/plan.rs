//! What a message costs, stage by stage and as a whole, beside what the same work costs others.
//!
//! `cargo bench --features bench` measures single stages with criterion, then pairs in turn: those ratios are what counts, and each has a
//! bar. `cargo bench --features bench -- --pairs` measures the pairs alone, and fails when one is over its bar.

mod mail;
mod pairs;
mod setup;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use link::{MessageClaims, Opener, Sealed, Target};
use linkgate::config::Settings;
use linkgate::intel::sources::NoSources;
use linkgate::mail::budget::SpoolBudget;
use linkgate::mail::rewrite::{Job, RewriteOutcome, judge, rewrite};
use linkgate::mail::spool::Spool;
use lol_html::{HtmlRewriter, element};
use message::bench::{Body, find_html, find_text, rewrite_html};
use message::{Coding, Segment, Source};

const LARGE: usize = 10 << 20;

fn main() {
    let bench = Bench::new();
    bench.prove();
    if std::env::args().any(|a| a == "--pairs") {
        std::process::exit(i32::from(!pairs::all(&bench)));
    }
    // A run that only shows that all of it works, or one for a profiler, is no measurement.
    let measured = !std::env::args().any(|a| matches!(a.as_str(), "--test" | "--profile-time" | "--list"));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
        .configure_from_args();
    stages(&mut criterion, &bench);
    whole(&mut criterion, &bench);
    criterion.final_summary();
    if measured {
        pairs::all(&bench);
    }
}

/// Mail and settings that all measurements share.
pub(crate) struct Bench {
    settings: Settings,
    recipients: Vec<String>,
    pub(crate) newsletter: Vec<u8>,
    pub(crate) html: String,
    text: String,
    pub(crate) plain_5k: Vec<u8>,
    plain_20k: Vec<u8>,
    pub(crate) attachment: Vec<u8>,
    spool_budget: Arc<SpoolBudget>,
    _spool_dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let spool_dir = tempfile::tempdir().expect("a temporary folder");
        Self {
            settings: setup::settings(spool_dir.path()),
            recipients: vec!["reader@example.com".into()],
            newsletter: mail::newsletter(),
            html: mail::newsletter_html(),
            text: mail::newsletter_text(),
            plain_5k: mail::plain(5 << 10),
            plain_20k: mail::plain(20 << 10),
            attachment: mail::attachment(LARGE),
            spool_budget: Arc::default(),
            _spool_dir: spool_dir,
        }
    }

    fn job(&self) -> Job<'_> {
        Job {
            settings: &self.settings,
            sender: "letters@kitchen.example",
            recipients: &self.recipients,
            mail_id: "01JBVK0000BENCH000000000",
            now_s: 1_762_248_600,
        }
    }

    /// The whole plan, as `serve` makes it.
    pub(crate) fn plan(&self, source: &dyn Source) -> RewriteOutcome {
        rewrite(source, &self.job(), &NoSources).expect("a plan")
    }

    /// What the plan does to the HTML alone: with its proof, or without.
    pub(crate) fn links(&self, proved: bool) -> usize {
        let (job, sources) = (self.job(), NoSources);
        let mut judge = judge(&job, &sources).expect("a policy");
        rewrite_html(self.html.as_bytes(), &mut judge, proved).map_or(0, |e| e.count())
    }

    /// Someone else's pass over the same HTML: a constant for every target.
    pub(crate) fn lol_html(&self) -> usize {
        let mut out = 0;
        let settings = lol_html::Settings::new().append_element_content_handler(element!("a[href]", |e| {
            e.set_attribute("href", "https://click.example.com/c/constant")?;
            Ok(())
        }));
        let mut rewriter = HtmlRewriter::new(settings, |c: &[u8]| out += c.len());
        rewriter.write(self.html.as_bytes()).expect("plain HTML");
        rewriter.end().expect("plain HTML");
        out
    }

    /// The plan for a message in memory, and the message that comes of it, in a new buffer.
    pub(crate) fn planned_copy(&self, message: &[u8]) -> Vec<u8> {
        let patch = self.plan(&message).patch;
        let mut out = Vec::with_capacity(message.len() + 1024);
        for s in patch.segments(message.len() as u64) {
            match s {
                Segment::Source(r) => out.extend_from_slice(&message[r.start as usize..r.end as usize]),
                Segment::New(b) => out.extend_from_slice(b),
            }
        }
        out
    }

    /// A message through a spool that holds no more than `serve` lets it, with a plan or without one.
    pub(crate) fn spooled(&self, message: &[u8], planned: bool) -> u64 {
        let mut spool = Spool::new(&self.settings.limits, &self.spool_budget);
        for chunk in message.chunks(64 << 10) {
            spool.append(chunk).expect("room");
        }
        let patch = if planned {
            self.plan(&spool).patch
        } else {
            message::Patch::default()
        };
        let mut sent = 0;
        for s in patch.segments(spool.len()) {
            match s {
                Segment::New(b) => sent += black_box(b).len() as u64,
                Segment::Source(r) => {
                    let mut at = r.start;
                    while at < r.end {
                        let end = (at + (64 << 10)).min(r.end);
                        sent += black_box(spool.read(at..end).expect("a spool that can be read")).len() as u64;
                        at = end;
                    }
                }
            }
        }
        sent
    }

    /// The measurements mean nothing when the work is not done.
    fn prove(&self) {
        let outcome = self.plan(&self.newsletter.as_slice());
        let wrapped = outcome
            .report
            .links
            .iter()
            .filter(|l| l.decision.kind() == link::LinkDecision::Wrap)
            .count();
        assert_eq!(wrapped, mail::HTML_LINKS + mail::TEXT_LINKS);
        assert_eq!(outcome.report.quirks, [""; 0]);
        assert!(
            (72_000..75_000).contains(&self.newsletter.len()),
            "{}",
            self.newsletter.len()
        );
        assert_eq!(self.links(true), mail::HTML_LINKS);
        assert_eq!(self.links(false), mail::HTML_LINKS);
        assert!(self.lol_html() > 10_000);
        for plain in [&self.plain_5k, &self.plain_20k] {
            assert!(self.plan(&plain.as_slice()).patch.is_empty());
        }
        let spooled = self.spooled(&self.attachment, true);
        assert_eq!(spooled, self.planned_copy(&self.attachment).len() as u64);
        assert!(spooled > self.spooled(&self.attachment, false));
    }
}

fn stages(c: &mut Criterion, bench: &Bench) {
    let qp = mail::quoted_printable(&bench.html);
    let base64 = data_encoding::BASE64.encode(bench.html.as_bytes());
    let base64: Vec<u8> = base64
        .as_bytes()
        .chunks(76)
        .flat_map(|l| [l, b"\r\n"].concat())
        .collect();

    let mut g = group(c, "decode", bench.html.len());
    g.bench_function("quoted-printable", |b| {
        b.iter(|| Body::decode(Coding::QuotedPrintable, &qp).text().len())
    });
    g.bench_function("base64", |b| {
        b.iter(|| Body::decode(Coding::Base64, &base64).text().len())
    });
    g.finish();

    let mut g = group(c, "scan", bench.newsletter.len());
    g.bench_function("newsletter", |b| b.iter(|| message::scan(&bench.newsletter)));
    g.finish();
    let mut g = group(c, "scan", bench.attachment.len());
    g.bench_function("attachment", |b| b.iter(|| message::scan(&bench.attachment)));
    g.finish();

    let mut g = group(c, "find", bench.html.len());
    g.bench_function("html", |b| b.iter(|| find_html(bench.html.as_bytes())));
    g.finish();
    let mut g = group(c, "find", bench.text.len());
    g.bench_function("text", |b| b.iter(|| find_text(&bench.text)));
    g.finish();

    tokens(c, bench);

    let mut g = group(c, "html", bench.html.len());
    g.bench_function("without proof", |b| b.iter(|| bench.links(false)));
    g.bench_function("with proof", |b| b.iter(|| bench.links(true)));
    g.finish();

    let job = bench.job();
    let edits = rewrite_html(
        bench.html.as_bytes(),
        &mut judge(&job, &NoSources).expect("a policy"),
        true,
    )
    .expect("edits");
    let mut g = group(c, "splice", bench.html.len());
    let body = Body::decode(Coding::QuotedPrintable, &qp);
    g.bench_function("quoted-printable", |b| b.iter(|| body.splice(&edits)));
    let body = Body::decode(Coding::Base64, &base64);
    g.bench_function("base64", |b| b.iter(|| body.splice(&edits)));
    g.finish();
}

fn tokens(c: &mut Criterion, bench: &Bench) {
    let url = "https://click.letters.kitchen.example/c/7f/8c41b0f3a2de/offer?utm_source=letter&utm_medium=email&utm_campaign=week-45&id=5e1f9c0b7a3d2468&who=0123456789abcdef0123456789abcdef";
    let target = Target::parse(url).expect("a URL");
    let keys = &bench.settings.keys;
    let claims = MessageClaims {
        message_id: "01JBVK0000BENCH000000000".into(),
        recipient: Some("reader@example.com".into()),
        sender: "letters@kitchen.example".into(),
        issued_at: 1_762_248_600,
        domain: "example.com".into(),
    };
    let sealer = keys.sealer(&claims);
    let Sealed::Direct(token) = sealer.seal(&target, None, 0) else {
        panic!("a short target")
    };
    let click = bench.settings.click.base.link(&target, &token);
    let opener = Opener::new(keys, &bench.settings.click.base);
    assert_eq!(
        opener
            .recognise(&click)
            .and_then(|o| o.target().map(|t| t.as_str().to_owned()))
            .as_deref(),
        Some(url)
    );
    let mut g = c.benchmark_group("token");
    g.bench_function("sealer, once a message", |b| b.iter(|| keys.sealer(black_box(&claims))));
    g.bench_function("seal", |b| b.iter(|| sealer.seal(black_box(&target), None, 0)));
    g.bench_function("open", |b| b.iter(|| opener.recognise(black_box(&click))));
    g.finish();
}

fn whole(c: &mut Criterion, bench: &Bench) {
    for (name, message) in [
        ("newsletter", &bench.newsletter),
        ("plain 5 KB", &bench.plain_5k),
        ("plain 20 KB", &bench.plain_20k),
    ] {
        let mut g = group(c, "plan", message.len());
        g.bench_function(name, |b| b.iter(|| bench.plan(&message.as_slice())));
        g.finish();
    }
    let mut g = group(c, "plan and send", bench.attachment.len());
    g.sample_size(20);
    g.bench_function("attachment in memory", |b| {
        b.iter(|| bench.planned_copy(&bench.attachment))
    });
    g.bench_function("attachment through the spool", |b| {
        b.iter(|| bench.spooled(&bench.attachment, true))
    });
    g.finish();

    let mut g = group(c, "beside", bench.html.len());
    g.bench_function("lol_html, constant href", |b| b.iter(|| bench.lol_html()));
    g.finish();
    let mut g = group(c, "beside", bench.plain_5k.len());
    g.bench_function("mail-parser, header", |b| {
        b.iter(|| pairs::parse_header(&bench.plain_5k))
    });
    g.finish();
    let mut g = group(c, "beside", bench.attachment.len());
    g.sample_size(20);
    g.bench_function("copy in memory", |b| b.iter(|| black_box(&bench.attachment).clone()));
    g.bench_function("copy through the spool", |b| {
        b.iter(|| bench.spooled(&bench.attachment, false))
    });
    g.finish();
}

fn group<'c>(c: &'c mut Criterion, name: &str, octets: usize) -> BenchmarkGroup<'c, WallTime> {
    let mut g = c.benchmark_group(name);
    g.throughput(Throughput::Bytes(octets as u64));
    g
}
