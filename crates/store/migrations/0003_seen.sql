-- Registrable domains that links led to, in mail or at a click, with the first time.
CREATE TABLE seen_domain (
    name     TEXT    NOT NULL PRIMARY KEY, -- A-labels, in lower case
    first_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_domain_by_time ON seen_domain (first_at);
