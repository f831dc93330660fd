-- Which configuration is live, which one is on its way, and what has been done but may not be in the record yet.

PRAGMA user_version = 3;

ALTER TABLE config_versions ADD COLUMN was_live INTEGER NOT NULL DEFAULT 0;

UPDATE config_versions SET was_live = 1;

CREATE TABLE config_live (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    number  INTEGER NOT NULL, -- 0 before the first
    pending INTEGER           -- between being kept and being live
) STRICT;

INSERT INTO config_live (one, number) SELECT 1, coalesce(max(number), 0) FROM config_versions;

CREATE TABLE outbox (
    id   BLOB PRIMARY KEY CHECK (length(id) = 16),
    at   INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
