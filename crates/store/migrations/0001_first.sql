-- All times are integer microseconds since 1970-01-01T00:00:00Z.
-- Addresses, domains and hosts compare without regard to ASCII case.

CREATE TABLE message (
    mail_id       TEXT    NOT NULL PRIMARY KEY, -- our own id, named by each token of the mail
    message_id    TEXT,                         -- Message-ID as the mail has it
    sender        TEXT    NOT NULL COLLATE NOCASE, -- envelope sender, empty for bounces
    received_at   INTEGER NOT NULL,
    listener      TEXT    NOT NULL,
    policy_domain TEXT    COLLATE NOCASE,       -- NULL: no domain of the recipients opted in
    links_found   INTEGER NOT NULL,
    links_wrapped INTEGER NOT NULL,
    links_kept    INTEGER NOT NULL
) STRICT;
CREATE INDEX message_by_time ON message (received_at);
CREATE INDEX message_by_header ON message (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE recipient (
    mail_id TEXT NOT NULL,
    address TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (mail_id, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipient_by_address ON recipient (address);

-- What stood in a mail, in reading order.
CREATE TABLE link (
    mail_id  TEXT    NOT NULL,
    position INTEGER NOT NULL,
    url      TEXT    NOT NULL,
    decision TEXT    NOT NULL, -- wrapped, kept, disarmed
    reason   TEXT    NOT NULL,
    PRIMARY KEY (mail_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE click (
    id            INTEGER PRIMARY KEY,
    event_id      BLOB    NOT NULL UNIQUE,      -- 16 bytes, made by whoever saw the click
    at            INTEGER NOT NULL,
    user          TEXT    COLLATE NOCASE,       -- NULL: the token names no recipient
    url           TEXT    NOT NULL,
    host          TEXT    NOT NULL COLLATE NOCASE,
    mail_id       TEXT    NOT NULL,
    sender        TEXT    NOT NULL,
    policy_domain TEXT    NOT NULL COLLATE NOCASE,
    user_agent    TEXT    NOT NULL,
    client_ip     TEXT,                         -- NULL: not to be recorded
    method        TEXT    NOT NULL,
    outcome       TEXT    NOT NULL
) STRICT;
CREATE INDEX click_by_time ON click (at);
CREATE INDEX click_by_user ON click (user, at) WHERE user IS NOT NULL;
CREATE INDEX click_by_domain ON click (policy_domain, at);
CREATE INDEX click_by_host ON click (host, at);

-- Targets too long to travel in a click link.
CREATE TABLE reference (
    id         BLOB    NOT NULL PRIMARY KEY,    -- 16 bytes, not to be guessed
    target     TEXT    NOT NULL,
    written    BLOB,                            -- as it stood in the mail, where that differs
    mail_id    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
