-- As the migration of this name. It moves no facts: Postgres came after it.
DROP TABLE facts;
CREATE TABLE facts (
    position    INTEGER PRIMARY KEY,
    stream      TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    event       TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    late        INTEGER NOT NULL,
    prev_hash   BLOB NOT NULL,
    hash        BLOB NOT NULL,
    signed      BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    UNIQUE (stream, seq)
);
CREATE TABLE answers (
    key     TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    at      INTEGER NOT NULL
);
CREATE INDEX answers_by_age ON answers (at);
