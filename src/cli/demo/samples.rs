//! The mails of the demo.

use mail_builder::MessageBuilder;

/// The recipient domain that opted in.
pub(super) const DOMAIN: &str = "example.com";
/// A sender whose links stay.
pub(super) const TRUSTED: &str = "boss@partner.example";

const NEWS: &str = "news@shop.example";
const READER: &str = "reader@example.com";
const STRANGER: &str = "someone@elsewhere.example";

const TEXT: &str = "\
Hello,\r
\r
your order is on its way:\r
https://www.example.com/orders/4711?step=track#map\r
\r
Questions? See https://www.example.org/help\r
";

const HTML: &str = "\
<!DOCTYPE html>\r
<title>Your order</title>\r
<p>Hello,</p>\r
<p>your order\r
<a href=\"https://www.example.com/orders/4711?step=track#map\">\r
is on its way</a>.</p>\r
<p><a href=\"https://www.example.net/offers/?a=1&amp;b=2\">Offers</a></p>\r
";

/// A target that the demo's list names.
pub(super) const LISTED: &str = "https://parcel.example/pay?id=4711";

const PARCEL: &str = "\
Hello,\r
\r
your parcel cannot be delivered before the fee is paid:\r
https://parcel.example/pay?id=4711\r
";

/// Long enough for several lines of base64.
const ATTACHMENT: &[u8] = &[0xd5; 300];

/// One mail, and what should become of it.
pub(super) struct Sample {
    /// In plain words.
    pub(super) story: &'static str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) message: Vec<u8>,
    /// The targets of its links, in order.
    pub(super) links: Vec<&'static str>,
    pub(super) expected: Expected,
}

/// The fate that a mail should have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Every link becomes a click link.
    Wrapped,
    /// Not one octet changes.
    Same,
}

impl Sample {
    /// Whether the attachment stands in `message` as it stood in this mail.
    pub(super) fn attachment_is_whole(&self, message: &[u8]) -> bool {
        let from = |m: &[u8]| {
            let at = m.windows(NAME.len()).rposition(|w| w == NAME.as_bytes())?;
            m.get(at..).map(<[u8]>::to_vec)
        };
        let sent = from(&self.message);
        sent.is_some() && sent == from(message)
    }
}

/// The name of the attachment, which is the last part.
const NAME: &str = "invoice.bin";

/// All mails, in the order of the demo.
pub(super) fn all() -> std::io::Result<Vec<Sample>> {
    Ok(vec![
        Sample {
            story: "a newsletter for a domain that has opted in",
            from: NEWS.to_owned(),
            to: READER.to_owned(),
            message: newsletter(NEWS, READER)?,
            links: vec![
                "https://www.example.com/orders/4711?step=track#map",
                "https://www.example.org/help",
                "https://www.example.com/orders/4711?step=track#map",
                "https://www.example.net/offers/?a=1&b=2",
            ],
            expected: Expected::Wrapped,
        },
        Sample {
            story: "the same, from a sender whose links stay (bypass_senders)",
            from: TRUSTED.to_owned(),
            to: READER.to_owned(),
            message: newsletter(TRUSTED, READER)?,
            links: Vec::new(),
            expected: Expected::Same,
        },
        Sample {
            story: "the same, for a domain that has not opted in",
            from: NEWS.to_owned(),
            to: STRANGER.to_owned(),
            message: newsletter(NEWS, STRANGER)?,
            links: Vec::new(),
            expected: Expected::Same,
        },
        Sample {
            story: "a link that turns out to be bad: it is wrapped like any other, and checked when it is clicked",
            from: "parcels@elsewhere.example".to_owned(),
            to: READER.to_owned(),
            message: parcel("parcels@elsewhere.example", READER)?,
            links: vec![LISTED],
            expected: Expected::Wrapped,
        },
    ])
}

/// Every URL of a message whose text stands as it is, in order.
pub(super) fn urls(message: &str) -> impl Iterator<Item = &str> {
    message.match_indices("http").filter_map(|(at, _)| {
        let rest = message.get(at..)?;
        let end = rest.find(['"', '<', '>', ' ', '\r', '\n'])?;
        let url = rest.get(..end)?;
        (url.starts_with("http://") || url.starts_with("https://")).then_some(url)
    })
}

fn newsletter(from: &str, to: &str) -> std::io::Result<Vec<u8>> {
    MessageBuilder::new()
        .from(("A shop", from))
        .to(to)
        .subject("Your order is on its way")
        .message_id("order-4711@shop.example")
        .text_body(TEXT)
        .html_body(HTML)
        .attachment("application/octet-stream", NAME, ATTACHMENT)
        .write_to_vec()
}

fn parcel(from: &str, to: &str) -> std::io::Result<Vec<u8>> {
    MessageBuilder::new()
        .from(("Parcels", from))
        .to(to)
        .subject("Your parcel is waiting")
        .message_id("parcel-4711@elsewhere.example")
        .text_body(PARCEL)
        .attachment("application/octet-stream", NAME, ATTACHMENT)
        .write_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_hold_the_links_they_speak_of_in_plain_sight() {
        for sample in all().unwrap() {
            let message = String::from_utf8(sample.message.clone()).unwrap();
            let found: Vec<_> = urls(&message).map(|u| u.replace("&amp;", "&")).collect();
            if sample.expected == Expected::Wrapped {
                assert_eq!(found, sample.links, "{message}");
            }
            assert!(message.contains(NAME) && message.is_ascii(), "{message}");
            assert!(message.lines().all(|l| l.len() <= 76), "{message}");
            assert!(sample.attachment_is_whole(&sample.message));
            assert!(!sample.attachment_is_whole(&sample.message[..sample.message.len() - 60]));
        }
    }
}
