-- Service accounts and their tokens. Of a secret only its SHA-256 is here, in the JSON of `secrets`.

PRAGMA user_version = 9;

CREATE TABLE services (
    name       TEXT PRIMARY KEY,
    title      TEXT NOT NULL,
    owner      BLOB,
    is_enabled INTEGER NOT NULL,
    groups     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE service_tokens (
    id         BLOB PRIMARY KEY,
    service    TEXT NOT NULL REFERENCES services (name) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    apps       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    secrets    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX service_tokens_by_service ON service_tokens (service);
