-- Subscribers that are called. The outbox is the table of facts: `position` says up to which
-- of them this subscriber was told, so what is committed there cannot be missing here.
CREATE TABLE webhooks (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    tenant     TEXT,
    url        TEXT NOT NULL,
    types      TEXT NOT NULL,
    secret     TEXT NOT NULL,
    made_at    INTEGER NOT NULL,
    made_by    TEXT NOT NULL,
    position   INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    error      TEXT,
    next_at    INTEGER NOT NULL DEFAULT 0,
    holder     TEXT,
    held_until INTEGER NOT NULL DEFAULT 0,
    ended_at   INTEGER
) STRICT;

-- Events of which a subscriber could not be told; `waiting` while one is sent anew.
CREATE TABLE dead_letters (
    webhook  TEXT NOT NULL,
    position INTEGER NOT NULL,
    state    TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error    TEXT NOT NULL,
    died_at  INTEGER NOT NULL,
    PRIMARY KEY (webhook, position)
) STRICT;
