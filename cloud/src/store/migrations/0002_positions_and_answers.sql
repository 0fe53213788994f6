-- A position over all streams, so that whoever follows them can go on where it stopped. SQLite
-- gives no promise for the hidden row number that was used until now.
CREATE TABLE placed (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
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
) STRICT;
INSERT INTO placed (stream, seq, event, kind, late, prev_hash, hash, signed, received_at)
    SELECT stream, seq, event, kind, late, prev_hash, hash, signed, received_at
    FROM facts ORDER BY rowid;
DROP TABLE facts;
ALTER TABLE placed RENAME TO facts;

-- The first answer to each request that came with an Idempotency-Key, for a day.
CREATE TABLE answers (
    key     TEXT PRIMARY KEY,
    request BLOB NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (at);
