//! Links that work once, or that act when they are fetched: they must never be fetched.
//!
//! The text of a link gives no certainty, so the tests err on the safe side: an ordinary page taken for such a link is judged
//! by lists alone, while a one-time link that was fetched is lost to its reader.

use url::Host;

use crate::escapes::{clip, pairs, percent_decoded};
use crate::target::Target;

/// The reason a link looks like one that works once or acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum OneTime {
    /// Its URL holds a word such as `unsubscribe`, given as in the list of words.
    UrlWord(&'static str),
    /// Its text in the mail holds such a word.
    TextWord(&'static str),
    /// Path or query hold a long piece that does not read like a name.
    Secret,
}

impl OneTime {
    /// The word found, if it was a word.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::UrlWord(word) | Self::TextWord(word) => Some(word),
            Self::Secret => None,
        }
    }
}

/// Tests whether a link looks like one that works once or acts, and why.
///
/// * Words in the host in front of the registrable domain, in path, query and fragment, and in `link_text`, in the main
///   languages: leaving a list, confirming, activating, resetting, signing in, invitations, answers to a question.
/// * A piece of the path, or a value of the query, that holds 16 letters and digits or more and does not read like words,
///   numbers or names with hyphens between them. Values known to be only for counting (`utm_source`, `fbclid` ...) are
///   ignored.
#[must_use]
pub fn looks_one_time(target: &Target, link_text: Option<&str>) -> Option<OneTime> {
    let url = target.url();
    let front = match url.host() {
        Some(Host::Domain(name)) => suffix::domain_str(name).and_then(|domain| name.strip_suffix(domain)),
        _ => None,
    };
    let query = || pairs(url.query().unwrap_or_default()).filter(|(name, _)| !counts_only(name));
    let mut text = String::from(" ");
    push_words(&mut text, front.unwrap_or_default());
    push_words(&mut text, &percent_decoded(clip(url.path(), MAX_PIECE)));
    for (name, value) in query().take(MAX_PAIRS) {
        push_words(&mut text, &percent_decoded(clip(name, MAX_PIECE)));
        push_words(&mut text, &percent_decoded(clip(value, MAX_PIECE)));
    }
    push_words(
        &mut text,
        &percent_decoded(clip(url.fragment().unwrap_or_default(), MAX_PIECE)),
    );
    if let Some(word) = telling(&text).or_else(|| exact(&text, URL_WORDS)) {
        return Some(OneTime::UrlWord(word));
    }
    if let Some(link_text) = link_text {
        let mut text = String::from(" ");
        push_words(&mut text, clip(link_text, MAX_PIECE));
        if let Some(word) = telling(&text) {
            return Some(OneTime::TextWord(word));
        }
    }
    let secret =
        url.path().split('/').any(is_secret) || query().any(|(name, value)| is_secret(value) || is_secret(name));
    secret.then_some(OneTime::Secret)
}

/// Most of a piece of text searched for words, in octets.
const MAX_PIECE: usize = 4096;

/// Most values of a query searched for words.
const MAX_PAIRS: usize = 64;

/// Parts of words, which count anywhere in a word.
const STEMS: &[&str] = &[
    // Leaving a list.
    "unsubscri",
    "desabonn",
    "désabonn",
    "desinscri",
    "désinscri",
    "abbestell",
    "austrag",
    "abmeld",
    "desuscri",
    "descadastr",
    "disiscri",
    "uitschrij",
    "afmeld",
    "avmeld",
    "avregistrer",
    "avprenumer",
    "wypisz",
    "odhlas",
    "odhlás",
    "отпис",
    "abonelikten",
    "optout",
    "配信停止",
    "購読解除",
    "登録解除",
    "退订",
    "取消订阅",
    "수신거부",
    // Joining one: the first mail asks for a confirmation.
    "subscrib",
    "suscrib",
    "abonnier",
    "doubleoptin",
    "optin",
    "購読",
    "订阅",
    // Confirming, verifying, activating.
    "confirm",
    "conferm",
    "bestätig",
    "bestaetig",
    "bestatig",
    "bevestig",
    "bekräft",
    "bekraft",
    "bekræft",
    "bekreft",
    "potwierd",
    "potvrd",
    "подтверд",
    "onayla",
    "確認",
    "确认",
    "확인",
    "verif",
    "vérif",
    "weryfik",
    "verifiz",
    "認証",
    "验证",
    "인증",
    "validat",
    "validez",
    "valider",
    "validar",
    "validier",
    "activat",
    "activar",
    "activer",
    "activez",
    "aktivier",
    "aktywu",
    "aktiver",
    "ativar",
    "attivare",
    "activeer",
    "активир",
    "有効化",
    "激活",
    "freischalt",
    "freigab",
    "freigeb",
    // Secrets of an account.
    "reset",
    "zurücksetz",
    "zuruecksetz",
    "zurucksetz",
    "réinitialis",
    "reinitialis",
    "restablec",
    "redefin",
    "reimpost",
    "recover",
    "recuper",
    "wiederherstell",
    "herstel",
    "сброс",
    "パスワード",
    "重置",
    "재설정",
    "forgot",
    "passwort",
    "password",
    "motdepasse",
    "contrasena",
    "contraseña",
    "wachtwoord",
    "haslo",
    "hasło",
    "пароль",
    "密码",
    "비밀번호",
    "onetime",
    "einmal",
    "passcode",
    "magiclink",
    "token",
    "secret",
    "oauth",
    // Signing in.
    "signin",
    "signon",
    "anmeld",
    "einlogg",
    "ログイン",
    "サインイン",
    "登录",
    "войти",
    "로그인",
    // Invitations and answers.
    "invit",
    "einlad",
    "uitnodig",
    "convite",
    "convidar",
    "zaprosz",
    "приглаш",
    "招待",
    "邀请",
    "초대",
    "rsvp",
    "approv",
    "genehmig",
    "accept",
    "annehm",
    "akzept",
    "zusag",
    "declin",
    "ablehn",
    "absag",
    "reject",
    "cancel",
    "storn",
    "annul",
    "kündig",
    "kuendig",
    "承認",
    "辞退",
    "キャンセル",
    "取消",
];

/// Words side by side, or written as one; a final blank stands for the end of the word.
const PHRASES: &[(&str, &str)] = &[
    ("opt out", " opt out"),
    ("opt in", " opt in "),
    ("sign in", " sign in "),
    ("sign on", " sign on "),
    ("log in", " log in "),
    ("sign up", " sign up "),
    ("one time", " one time"),
    ("single use", " single use"),
    ("magic link", " magic link"),
    ("double opt", " double opt"),
    ("mot de passe", " mot de passe"),
    ("darse de baja", " de baja "),
    ("se connecter", " connecter "),
    ("iniciar sesi\u{f3}n", " iniciar sesi"),
    ("iniciar sess\u{e3}o", " iniciar sess"),
    ("accedi", " accedi "),
    ("inloggen", " inloggen "),
    ("logga in", " logga in "),
    ("zaloguj", " zaloguj "),
];

/// Whole words that count in a URL, but are too common in texts.
const URL_WORDS: &[&str] = &[
    "code",
    "otp",
    "totp",
    "pin",
    "2fa",
    "mfa",
    "magic",
    "auth",
    "nonce",
    "key",
    "apikey",
    "jwt",
    "sso",
    "saml",
    "baja",
    "delete",
    "remove",
    "vote",
    "unsub",
    "doi",
    "uid2",
    "passwd",
    "pwd",
    "einladung",
    "callback",
];

/// Values of campaign and click counters.
fn counts_only(name: &str) -> bool {
    const NAMES: [&str; 32] = [
        "fbclid",
        "gclid",
        "gclsrc",
        "dclid",
        "gbraid",
        "wbraid",
        "msclkid",
        "yclid",
        "ymclid",
        "twclid",
        "ttclid",
        "igshid",
        "igsh",
        "li_fat_id",
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "_hsenc",
        "_hsmi",
        "vero_id",
        "oly_enc_id",
        "oly_anon_id",
        "_ga",
        "_gl",
        "_ke",
        "_kx",
        "ck_subscriber_id",
        "trk_contact",
        "trk_msg",
        "trk_module",
        "s_cid",
        "sc_cid",
    ];
    let is_family = |family: &str| {
        name.get(..family.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(family))
    };
    is_family("utm_") || is_family("pk_") || is_family("mtm_") || NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Appends the words of a text in lower case, a blank behind each; `resetPassword` is two.
fn push_words(words: &mut String, text: &str) {
    let mut before = ' ';
    for c in text.chars() {
        if c.is_alphanumeric() {
            if before.is_lowercase() && c.is_uppercase() {
                words.push(' ');
            }
            words.extend(c.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
        before = c;
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
}

/// The first part of a word, or phrase, found in a text.
fn telling(text: &str) -> Option<&'static str> {
    STEMS.iter().find(|stem| text.contains(**stem)).copied().or_else(|| {
        PHRASES
            .iter()
            .find(|(_, phrase)| text.contains(phrase))
            .map(|(name, _)| *name)
    })
}

fn exact(text: &str, words: &[&'static str]) -> Option<&'static str> {
    let mut found = text.split(' ').filter(|w| !w.is_empty());
    found.find_map(|word| words.iter().find(|w| **w == word).copied())
}

/// Fewest letters and digits of a piece that may be a secret: 16 hexadecimal digits are 64 bits.
const MIN_SECRET: usize = 16;

/// Whether a piece of a URL is long and does not read like names, numbers and words with signs between them.
fn is_secret(piece: &str) -> bool {
    let piece = percent_decoded(piece);
    let signs = piece.chars().filter(|c| c.is_alphanumeric()).count();
    signs >= MIN_SECRET && !piece.split(|c: char| !c.is_alphanumeric()).all(reads_like_a_word)
}

/// Whether a text reads like a name: a word, a number, both side by side (`256gb`), or words that begin with capitals.
fn reads_like_a_word(piece: &str) -> bool {
    const MAX_WORD: usize = 24;
    const FREE: usize = 4;
    let length = piece.chars().count();
    // Scripts without spaces write a whole title so, and no secret is written in them.
    if length <= FREE || !piece.is_ascii() {
        return true;
    }
    if length > MAX_WORD {
        return false;
    }
    let (mut changes, mut humps, mut letters) = (0, 1, 0);
    let mut before: Option<char> = None;
    for c in piece.chars() {
        letters += usize::from(c.is_ascii_alphabetic());
        if let Some(b) = before {
            changes += usize::from(b.is_ascii_digit() != c.is_ascii_digit());
            humps += usize::from(b.is_ascii_lowercase() && c.is_ascii_uppercase());
        }
        before = Some(c);
    }
    changes <= 1 && (humps == 1 || letters / humps >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Option<OneTime> {
        looks_one_time(&Target::parse(url).unwrap(), None)
    }

    #[test]
    fn links_that_work_once_or_act_are_told_by_their_words() {
        for path in [
            "/unsubscribe",
            "/list/UNSUBSCRIBE/42",
            "/n/opt-out?x=1",
            "/optout",
            "/confirm-email/7",
            "/emailConfirmation?u=7",
            "/verify?email=jo%40example.com",
            "/account/activate/7",
            "/resetPassword",
            "/users/password/edit?x=7",
            "/magic/7",
            "/auth/sign-in?x=1",
            "/signin",
            "/invite/7",
            "/invitations/7/accept",
            "/one-time/7",
            "/x?token=7",
            "/x?access_token=7",
            "/x?code=7",
            "/x?otp=123456",
            "/approve?id=7",
            "/#/reset/7",
            "/newsletter/abmelden",
            "/best%C3%A4tigen",
            "/passwort-zuruecksetzen",
            "/se-desabonner",
            "/d%C3%A9sabonnement",
            "/cuenta/restablecer",
            "/darse-de-baja",
            "/recuperar",
            "/disiscrizione",
            "/uitschrijven",
            "/\u{767b}\u{9332}\u{89e3}\u{9664}",
            "/\u{43e}\u{442}\u{43f}\u{438}\u{441}\u{430}\u{442}\u{44c}\u{441}\u{44f}",
        ] {
            let found = url(&format!("https://www.shop.example{path}"));
            assert!(matches!(found, Some(OneTime::UrlWord(_))), "{path}: {found:?}");
        }
        assert_eq!(
            url("https://unsubscribe.shop.example/7"),
            Some(OneTime::UrlWord("unsubscri"))
        );
    }

    #[test]
    fn links_that_work_once_or_act_are_told_by_their_text() {
        let target = Target::parse("https://shop.example/x/7").unwrap();
        for text in [
            "Unsubscribe",
            "click here to opt out",
            "Confirm your address",
            "Reset password",
            "Sign in now",
            "Passwort zur\u{fc}cksetzen",
            "Newsletter abbestellen",
            "Se d\u{e9}sabonner",
            "Cancelar",
            "\u{914d}\u{4fe1}\u{505c}\u{6b62}\u{306f}\u{3053}\u{3061}\u{3089}",
            "Accept invitation",
        ] {
            let found = looks_one_time(&target, Some(text));
            assert!(matches!(found, Some(OneTime::TextWord(_))), "{text}: {found:?}");
        }
        for text in [
            "Read more",
            "View the source code",
            "Adopt outdoor cats",
            "The key to spring",
            "Zum Angebot",
            "",
        ] {
            assert_eq!(looks_one_time(&target, Some(text)), None, "{text}");
        }
    }

    #[test]
    fn long_pieces_that_nobody_chose_are_taken_for_secrets() {
        for path in [
            "/m/550e8400-e29b-41d4-a716-446655440000",
            "/m/9f86d081884c7d659a2feaa0c55ad015",
            "/l/5f3a9c1b2d4e6f70",
            "/l/kQ8zV1nT-x_7Ga2LrYw0Bd",
            "/l/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJlLW9mLWl0",
            "/ls/click?upn=u001.Xk2bQ9aV7rTnZ0mLpWc3",
            "/x?7Hq2LmZp9XcV4bNtR1sK",
            "/x?d=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg%3D",
            "/m/qwhdkzmvbtxyplgnrcfjsaeuio",
            "/m/123456789012345678901234567890",
        ] {
            assert_eq!(
                url(&format!("https://shop.example{path}")),
                Some(OneTime::Secret),
                "{path}"
            );
        }
    }

    #[test]
    fn ordinary_links_of_newsletters_may_be_fetched() {
        for path in [
            "/",
            "/products/samsung-galaxy-s24-ultra-256gb-5g",
            "/blog/2026/11/how-b2b-companies-grow-in-a-shrinking-market.html",
            "/Getting_Started_Guide_For_Everyone_2026.pdf",
            "/wiki/GettingStartedGuideToAll",
            "/dp/B08N5WRWNW/ref=pd_1",
            "/status/1234567890123456789",
            "/watch?v=dQw4w9WgXcQ&t=42s",
            "/sale?utm_source=newsletter&utm_campaign=9f86d081884c7d659a2feaa0c55ad015&utm_content=x",
            "/sale?fbclid=IwAR0kQ8zV1nTx7Ga2LrYw0BdkQ8zV1nT&gclid=EAIaIQobChMI7Hq2LmZp9XcV4",
            "/sale?mc_cid=1a2b3c4d5e&mc_eid=9f86d081884c7d65",
            "/c/42/item?size=xl&colour=dark-blue",
            "/\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{9577}\u{3044}\u{898b}\u{51fa}\u{3057}\u{306e}\u{8a18}\u{4e8b}\u{3067}\u{3059}",
            "/internationalization/documentation",
        ] {
            assert_eq!(url(&format!("https://www.shop.example{path}")), None, "{path}");
        }
    }

    #[test]
    fn a_long_link_is_searched_in_no_time() {
        let long = format!(
            "https://shop.example/{}?{}",
            "a-".repeat(50_000),
            "x=y-&".repeat(50_000)
        );
        assert_eq!(url(&long), None);
    }
}
