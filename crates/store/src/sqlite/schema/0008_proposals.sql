-- Configurations that wait for the approval of others.

CREATE TABLE config_proposals (
    digest         BLOB PRIMARY KEY CHECK (length(digest) = 32),
    base           INTEGER NOT NULL,
    author_id      BLOB CHECK (author_id IS NULL OR length(author_id) = 16),
    author         TEXT NOT NULL,
    reason         TEXT NOT NULL,
    allows_lockout INTEGER NOT NULL CHECK (allows_lockout IN (0, 1)),
    goes_back_to   INTEGER,
    proposed_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE config_proposal_files (
    digest   BLOB NOT NULL REFERENCES config_proposals (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (digest, position),
    UNIQUE (digest, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_approvals (
    digest BLOB NOT NULL REFERENCES config_proposals (digest) ON DELETE CASCADE,
    who    BLOB NOT NULL CHECK (length(who) = 16),
    at     INTEGER NOT NULL,
    PRIMARY KEY (digest, who)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 8;
