-- What was found out about the target at a click, and who seems to have asked.

ALTER TABLE click ADD COLUMN verdict       TEXT;                           -- NULL: nothing was checked
ALTER TABLE click ADD COLUMN reasons       TEXT NOT NULL DEFAULT '[]';     -- JSON: source, code, detail, about
ALTER TABLE click ADD COLUMN chain         TEXT NOT NULL DEFAULT '[]';     -- JSON: URLs on the way
ALTER TABLE click ADD COLUMN page_event    BLOB;                           -- event_id of the page whose button was pressed
ALTER TABLE click ADD COLUMN label         TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE click ADD COLUMN label_reasons TEXT NOT NULL DEFAULT '[]';     -- JSON: words
ALTER TABLE click ADD COLUMN rules         INTEGER NOT NULL DEFAULT 0;     -- version of the rules behind the label
ALTER TABLE click ADD COLUMN facts         TEXT NOT NULL DEFAULT '{}';     -- JSON: what the request said; never edited

-- What the operator has revoked. `name` is a URL without fragment, a host or a domain, in ASCII.
CREATE TABLE revocation (
    scope   TEXT    NOT NULL, -- url, host, domain
    name    TEXT    NOT NULL,
    note    TEXT    NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- Numbers that go with a whole table: readers look whether one has changed.
CREATE TABLE generation (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO generation VALUES ('revocation', 0);
CREATE TRIGGER revocation_made AFTER INSERT ON revocation
    BEGIN UPDATE generation SET value = value + 1 WHERE name = 'revocation'; END;
CREATE TRIGGER revocation_changed AFTER UPDATE ON revocation
    BEGIN UPDATE generation SET value = value + 1 WHERE name = 'revocation'; END;
CREATE TRIGGER revocation_undone AFTER DELETE ON revocation
    BEGIN UPDATE generation SET value = value + 1 WHERE name = 'revocation'; END;

CREATE TABLE alert (
    id          INTEGER PRIMARY KEY,
    kind        TEXT    NOT NULL, -- late-listing, smuggled, revoked, unrevoked
    url         TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    first_click INTEGER NOT NULL,
    last_click  INTEGER NOT NULL,
    people      INTEGER NOT NULL,
    machines    INTEGER NOT NULL,
    unknown     INTEGER NOT NULL,
    events      TEXT    NOT NULL  -- JSON: event ids
) STRICT;
CREATE INDEX alert_by_time ON alert (at);
CREATE INDEX alert_by_url ON alert (kind, url, last_click);

-- Random secrets of this store: the one behind the hashes of networks in `click.facts`.
CREATE TABLE secret (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO secret VALUES ('network', randomblob(32));
