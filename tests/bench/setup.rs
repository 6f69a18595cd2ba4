//! Settings that all measurements share.

use std::path::Path;

use linkgate::config::Settings;
use linkgate::config::keyfile::Absent;

/// Settings of a domain that is switched on, with rules to be looked through for every link. Its listener and the next hop are
/// sockets below `dir`.
pub(crate) fn settings(dir: &Path) -> Settings {
    let toml = format!(
        r#"
[click]
public_url = "https://click.example.com"
listen = "127.0.0.1:8080"
[admin]
listen = "127.0.0.1:8081"
[store]
url = "sqlite:{dir}/linkgate.db"
[keys]
file = "{dir}/keys.toml"
[[listener]]
protocol = "smtp"
listen = "unix:{dir}/linkgate.sock"
next_hop = "smtp+unix:{dir}/next-hop.sock"
direction = "inbound"
[domain."example.com"]
rewrite = "all"
bypass_senders = ["@partner.example", "*.trusted.example", "news@shop.example"]
bypass_urls = ["intranet.example.com", "*.example.com", 're:^https://(www\.)?bank\.example/']
[domain."off.example"]
rewrite = "off"
[domain."suspicious.example"]
rewrite = "suspicious"
bypass_senders = ["@partner.example", "*.trusted.example", "news@shop.example"]
bypass_urls = ["intranet.example.com", "*.example.com", 're:^https://(www\.)?bank\.example/']
"#,
        dir = dir.display()
    );
    Settings::from_toml(&toml, Path::new("bench.toml"), Absent::Make)
        .unwrap_or_else(|faults| panic!("{:?}", faults.iter().map(ToString::to_string).collect::<Vec<_>>()))
}
