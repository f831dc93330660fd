-- Who asked for their account to be deleted.

PRAGMA user_version = 5;

CREATE TABLE deletion_wishes (
    user     BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
