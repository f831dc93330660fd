-- How people like their pages.

PRAGMA user_version = 4;

CREATE TABLE preferences (
    user   BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    set_at INTEGER NOT NULL,
    PRIMARY KEY (user, name)
) STRICT, WITHOUT ROWID;
