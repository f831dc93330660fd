-- What beside passkeys lets people in or back in, and what they have to hear of.

CREATE TABLE awaiting_codes (
    user BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE passwords (
    user   BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    hash   TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE totps (
    user         BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    sealed       BLOB NOT NULL,
    confirmed_at INTEGER NOT NULL,
    last_step    INTEGER NOT NULL,
    failures     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE known_devices (
    user    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    device  BLOB NOT NULL CHECK (length(device) = 32),
    used_at INTEGER NOT NULL,
    PRIMARY KEY (user, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE recoveries (
    id                BLOB PRIMARY KEY CHECK (length(id) = 16),
    user              BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    revision          INTEGER NOT NULL,
    ticket            BLOB UNIQUE CHECK (length(ticket) = 32),
    has_code          INTEGER NOT NULL,
    has_authenticator INTEGER NOT NULL,
    approvals         TEXT NOT NULL, -- JSON array
    state             TEXT NOT NULL,
    link              BLOB CHECK (length(link) = 16),
    epoch             INTEGER NOT NULL,
    opened_at         INTEGER NOT NULL,
    expires_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX recoveries_by_user ON recoveries (user);

CREATE TABLE notices (
    id      BLOB PRIMARY KEY CHECK (length(id) = 16),
    user    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    kind    TEXT NOT NULL,
    detail  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    seen_at INTEGER,
    token   BLOB UNIQUE CHECK (length(token) = 32)
) STRICT, WITHOUT ROWID;

CREATE INDEX notices_by_user ON notices (user);

PRAGMA user_version = 2;
