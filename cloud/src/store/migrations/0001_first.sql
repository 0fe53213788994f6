-- Times are milliseconds since 1970. Ids are text, digests 32-byte blobs.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How many facts the server itself has stated.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('actor_seq', 0);

CREATE TABLE claim_codes (
    secret_hash BLOB PRIMARY KEY,
    robot       TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE robots (
    id          TEXT PRIMARY KEY,
    device_key  TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    last_seen   INTEGER,
    state       BLOB
) STRICT, WITHOUT ROWID;

-- Every key that a robot ever enrolled: an old journal is signed with an old key.
CREATE TABLE device_keys (
    robot       TEXT NOT NULL REFERENCES robots (id),
    key_id      BLOB NOT NULL,
    key         TEXT NOT NULL,
    enrolled_at INTEGER NOT NULL,
    PRIMARY KEY (robot, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    serial    TEXT PRIMARY KEY,
    robot     TEXT NOT NULL REFERENCES robots (id),
    issued_at INTEGER NOT NULL,
    not_after INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE skills (
    digest       BLOB PRIMARY KEY,
    id           TEXT NOT NULL,
    version      TEXT NOT NULL,
    manifest     TEXT NOT NULL,
    signature    TEXT NOT NULL,
    bundle       BLOB NOT NULL,
    published_at INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    robot      TEXT NOT NULL,
    requester  TEXT NOT NULL,
    plan       TEXT NOT NULL,
    state      TEXT NOT NULL,
    progress   REAL NOT NULL DEFAULT 0,
    stage      TEXT,
    command    TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Streams: facts with the place that they were given.
CREATE TABLE facts (
    stream      TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    event       TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    late        INTEGER NOT NULL,
    prev_hash   BLOB NOT NULL,
    hash        BLOB NOT NULL,
    signed      BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT;

-- Journal records as robots sent them. `digest` is in the key so that two records with one
-- position (a journal that was rolled back) are both kept.
CREATE TABLE records (
    cursor      INTEGER PRIMARY KEY AUTOINCREMENT,
    robot       TEXT NOT NULL,
    journal     TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    class       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    mono        INTEGER NOT NULL,
    wall        INTEGER NOT NULL,
    command     TEXT,
    note        TEXT,
    bytes       BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    UNIQUE (robot, journal, seq, digest)
) STRICT;
CREATE INDEX records_by_kind ON records (robot, kind, cursor);
CREATE INDEX records_by_command ON records (command, cursor) WHERE command IS NOT NULL;

CREATE TABLE commands (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    robot      TEXT NOT NULL,
    job        TEXT,
    digest     BLOB NOT NULL,
    signed     BLOB NOT NULL,
    state      TEXT NOT NULL DEFAULT 'sent',
    reason     TEXT,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX commands_by_robot ON commands (robot, state, n);
