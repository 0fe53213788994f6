-- Robots that are not simply in service: a robot without a row is.
CREATE TABLE standings (
    robot  TEXT   NOT NULL PRIMARY KEY,
    state  TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    since  BIGINT NOT NULL
);

-- Keys that no robot may use again, whatever certificate stands over them.
CREATE TABLE revoked_keys (
    device_key TEXT   NOT NULL PRIMARY KEY,
    robot      TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    revoked_at BIGINT NOT NULL
);
