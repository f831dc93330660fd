-- Times are UTC nanoseconds since 1970; ids are the 16 bytes of a UUID; hashes are 32 bytes.

PRAGMA application_id = 0x4353474e; -- "CSGN"
PRAGMA user_version = 1;

CREATE TABLE schema_steps (
    number   INTEGER PRIMARY KEY,
    taken_at INTEGER NOT NULL
) STRICT;

CREATE TABLE facts (
    name     TEXT PRIMARY KEY,
    value    TEXT NOT NULL,
    fixed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    put_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_versions (
    number     INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    author     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE config_files (
    version  INTEGER NOT NULL REFERENCES config_versions (number) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    text     TEXT NOT NULL,
    PRIMARY KEY (version, position),
    UNIQUE (version, name)
) STRICT, WITHOUT ROWID;

-- A session stays here beside its tombstone until that is forgotten, so that its cookies are still known for what
-- they were.
CREATE TABLE sessions (
    id                    BLOB PRIMARY KEY CHECK (length(id) = 16),
    user                  BLOB NOT NULL CHECK (length(user) = 16),
    idp                   TEXT NOT NULL,
    acr                   TEXT NOT NULL,
    amr                   TEXT NOT NULL, -- JSON array
    is_mfa                INTEGER NOT NULL,
    is_phishing_resistant INTEGER NOT NULL,
    is_passkey_synced     INTEGER NOT NULL,
    credential            TEXT NOT NULL,
    auth_time             INTEGER NOT NULL,
    created               INTEGER NOT NULL,
    last_active           INTEGER NOT NULL,
    idle_limit_ns         INTEGER NOT NULL,
    absolute_limit_ns     INTEGER NOT NULL,
    epoch_global          INTEGER NOT NULL,
    epoch_user            INTEGER NOT NULL,
    epoch_session         INTEGER NOT NULL,
    epoch_device          INTEGER NOT NULL,
    src_net               TEXT NOT NULL,
    user_agent            TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session_step_ups (
    session BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    app     TEXT NOT NULL,
    action  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (session, app, action)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_tokens (
    token       BLOB PRIMARY KEY CHECK (length(token) = 32),
    session     BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    host        TEXT NOT NULL,
    valid_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX session_tokens_by_session ON session_tokens (session);

-- Without a reference: the end of a session may come before its beginning.
CREATE TABLE session_tombstones (
    session BLOB PRIMARY KEY CHECK (length(session) = 16),
    user    BLOB,
    cause   TEXT NOT NULL,
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session_user_epochs (
    user  BLOB PRIMARY KEY CHECK (length(user) = 16),
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session_global_epoch (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL
) STRICT;

INSERT INTO session_global_epoch (one, epoch) VALUES (1, 0);

CREATE TABLE directory_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO directory_version (one, version) VALUES (1, 0);

CREATE TABLE users (
    id                  BLOB PRIMARY KEY CHECK (length(id) = 16),
    email               TEXT NOT NULL,
    email_key           TEXT NOT NULL UNIQUE,
    name                TEXT NOT NULL,
    state               TEXT NOT NULL,
    is_external         INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    epoch               INTEGER NOT NULL,
    tags                TEXT NOT NULL, -- JSON object of arrays
    declared_at         TEXT,          -- NULL: local
    is_disabled_by_file INTEGER NOT NULL,
    handle              BLOB NOT NULL UNIQUE CHECK (length(handle) = 64)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    id                  TEXT PRIMARY KEY,
    title               TEXT NOT NULL,
    parents             TEXT NOT NULL, -- JSON array
    declared_at         TEXT,          -- NULL: local
    is_disabled_by_file INTEGER NOT NULL,
    membership          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source   TEXT NOT NULL,
    PRIMARY KEY (group_id, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX memberships_by_user ON memberships (user);

CREATE TABLE passkeys (
    credential_id      BLOB PRIMARY KEY CHECK (length(credential_id) BETWEEN 1 AND 1023),
    user               BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name               TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    last_used_at       INTEGER,
    counter            INTEGER NOT NULL,
    is_backup_eligible INTEGER NOT NULL,
    is_backed_up       INTEGER NOT NULL,
    credential         BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX passkeys_by_user ON passkeys (user);

-- Deferred: one batch may add a link and then the account it is bound to.
CREATE TABLE links (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    kind        TEXT NOT NULL,
    user        BLOB REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_by  TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT NOT NULL,
    ended_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX links_by_user ON links (user);

CREATE TABLE recovery_codes (
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    code BLOB NOT NULL CHECK (length(code) = 32),
    PRIMARY KEY (user, code)
) STRICT, WITHOUT ROWID;
