-- Security keys beside a password. Apart from passkeys, so that no sign-in by passkey finds one.

PRAGMA user_version = 7;

CREATE TABLE security_keys (
    credential_id BLOB PRIMARY KEY,
    user          BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    name          TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER,
    counter       INTEGER NOT NULL,
    credential    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX security_keys_by_user ON security_keys (user);
