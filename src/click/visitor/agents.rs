//! Reading `User-Agent`: whether a machine, a tool or a browser names itself, and how old a browser is.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

/// Programs that fetch a link because someone wrote it, for a preview or to look into it, and say so. Lower case.
const MACHINES: &[&str] = &[
    // Previews in chats and mail.
    "applebot",
    "bingpreview",
    "bitlybot",
    "cliqzbot",
    "discordbot",
    "embedly",
    "facebookexternalhit",
    "facebookcatalog",
    "facebot",
    "googleimageproxy",
    "google-inspectiontool",
    "google-read-aloud",
    "google-safety",
    "iframely",
    "linkedinbot",
    "mastodon",
    "mattermost",
    "meta-externalagent",
    "meta-externalfetcher",
    "microsoftpreview",
    "pinterestbot",
    "redditbot",
    "skypeuripreview",
    "slack-imgproxy",
    "slackbot",
    "telegrambot",
    "twitterbot",
    "vkshare",
    "whatsapp",
    "yahoomailproxy",
    // Office programs look at a link before they hand it to the browser.
    "ms-office",
    "microsoft office",
    "msoffice",
    // Scanners that name themselves.
    "barracuda",
    "checkpoint",
    "cloudmark",
    "forcepoint",
    "fortiguard",
    "ironport",
    "mimecast",
    "netcraft",
    "proofpoint",
    "safedns",
    "sophos",
    "symantec",
    "trendmicro",
    "urlscan",
    "virustotal",
    "websense",
    // What says that it is driven by a program.
    "headlesschrome",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "slimerjs",
];

/// Words that crawlers of all kinds have in common. `+http` is how they say where to complain.
const CRAWLER_WORDS: &[&str] = &[
    "bot/",
    "bot;",
    "bot)",
    "crawler",
    "spider",
    "linkcheck",
    "link checker",
    "url preview",
    "+http",
];

/// Programs that fetch whatever they are told to, by a person or not. Lower case.
const TOOLS: &[&str] = &[
    "aiohttp",
    "ab/",
    "apache-httpasyncclient",
    "apache-httpclient",
    "axios",
    "curl",
    "dart",
    "faraday",
    "fasthttp",
    "go-http-client",
    "go-resty",
    "got",
    "guzzlehttp",
    "hey/",
    "httpie",
    "httpx",
    "http_request2",
    "insomnia",
    "java",
    "jmeter",
    "k6",
    "libcurl",
    "libwww-perl",
    "lwp",
    "mechanize",
    "node",
    "node-fetch",
    "okhttp",
    "perl",
    "php",
    "postmanruntime",
    "powershell",
    "windowspowershell",
    "winhttp",
    "python",
    "python-requests",
    "python-urllib",
    "reqwest",
    "rest-client",
    "ruby",
    "scrapy",
    "siege",
    "undici",
    "urllib",
    "wget",
    "winhttprequest",
    "wrk",
];

/// Any of [`MACHINES`] at the beginning of a word, or of [`CRAWLER_WORDS`] anywhere: one pass over an agent in place of one
/// for each word.
static NAMED: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    let or = |words: &[&str]| words.iter().map(|w| regex::escape(w)).collect::<Vec<_>>().join("|");
    let machines = format!("(?i)(?:^|[^\\pL\\pN])(?:{})", or(MACHINES));
    let crawlers = format!("(?i-u:{})", or(CRAWLER_WORDS));
    RegexSet::new([machines, crawlers]).ok()
});

/// Whether an agent names itself as a machine, by our table or the operator's words (`more`, in any case).
pub(super) fn is_named(agent: &str, client_hints: Option<&str>, more: &[String]) -> bool {
    let has = |text: &str, word: &str| contains_ignoring_case(text, word);
    let named = |agent: &str| NAMED.as_ref().is_some_and(|set| set.is_match(agent.as_bytes()));
    (!agent.is_empty() && named(agent))
        || client_hints.is_some_and(|hints| has(hints, "headlesschrome"))
        || more.iter().any(|name| has(agent, name))
}

/// ASCII case only.
fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.len() >= word.len() && text.to_ascii_lowercase().contains(&word.to_ascii_lowercase())
}

/// Whether the agent is a tool or a library: its first product is one.
pub(super) fn is_tool(agent: &str) -> bool {
    let agent = agent.trim_start().to_ascii_lowercase();
    let mut words = agent.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ';' | ','));
    let product = words.next().unwrap_or_default();
    let first = product.bytes().next();
    let named = |tool: &&str| match tool.strip_suffix('/') {
        _ if tool.bytes().next() != first => false,
        Some(name) => product == name || product.starts_with(*tool),
        None => product
            .strip_prefix(*tool)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic())),
    };
    // Windows' own shell writes a browser's agent around its name.
    TOOLS.iter().any(named) || has_name(&agent, "windowspowershell") || has_name(&agent, "winhttp")
}

/// Whether the agent writes itself as browsers do.
pub(super) fn is_browser(agent: &str) -> bool {
    agent.starts_with("Mozilla/") || agent.starts_with("Opera/")
}

/// Whether the browser is more than about two years older than the click at `at_us`, or of a kind that is not made any
/// more. Chromium and Firefox have counted in step since late 2023, one version in four weeks.
pub(super) fn is_stale(agent: &str, at_us: i64) -> bool {
    if has_name(&agent.to_ascii_lowercase(), "msie") || agent.contains("Trident/") {
        return true;
    }
    let Some(version) = major(agent, "Chrome/").or_else(|| major(agent, "Firefox/")) else {
        return false;
    };
    // Version 120 of both came out in the weeks before this day, 2023-12-05.
    const DAY_OF_120: i64 = 19_696;
    const VERSIONS_IN_TWO_YEARS: i64 = 26;
    let newest = 120 + (at_us.div_euclid(86_400_000_000) - DAY_OF_120).div_euclid(28);
    i64::from(version) < newest - VERSIONS_IN_TWO_YEARS
}

/// Whether `Sec-CH-UA` names another version of Chromium than the agent does.
pub(super) fn hints_differ(agent: &str, client_hints: Option<&str>) -> bool {
    let Some(version) = major(agent, "Chrome/") else {
        // Only Chromium sends these hints.
        return client_hints.is_some();
    };
    let hinted = client_hints.and_then(|hints| major(hints, "\"Chromium\";v=\""));
    hinted.is_some_and(|hinted| hinted != version)
}

/// The number behind `name`.
fn major(text: &str, name: &str) -> Option<u32> {
    let (_, rest) = text.split_once(name)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Whether `text` has `name` at the beginning of a word.
fn has_name(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        !before.is_some_and(char::is_alphanumeric)
    })
}
