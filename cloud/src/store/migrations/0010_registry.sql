-- The registry of skills: whose they are, who may have them, and how a version reaches robots.
-- Lists of names are JSON.

-- Keys of those who sign bundles or vouch for them. A key that was revoked stays, closed.
CREATE TABLE skill_keys (
    key_id     TEXT   NOT NULL PRIMARY KEY,
    key        TEXT   NOT NULL,
    holder     TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    tier       TEXT   NOT NULL,
    added_at   BIGINT NOT NULL,
    revoked_at BIGINT,
    reason     TEXT
);

-- What was proven of a bundle when it was published; nothing was of one without a row.
CREATE TABLE skill_proofs (
    digest          BLOB   NOT NULL PRIMARY KEY,
    key_id          TEXT   NOT NULL,
    certifier_key   TEXT,
    certified_until BIGINT,
    record          TEXT,
    signature       TEXT
);

CREATE TABLE skill_revocations (
    digest     BLOB   NOT NULL PRIMARY KEY,
    reason     TEXT   NOT NULL,
    running    TEXT   NOT NULL,
    revoked_at BIGINT NOT NULL
);

-- Which robots may have a skill; all may have one without a row.
CREATE TABLE skill_rules (
    skill TEXT   NOT NULL PRIMARY KEY,
    rule  TEXT   NOT NULL,
    since BIGINT NOT NULL
);

CREATE TABLE robot_labels (
    robot TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (robot, label)
);

CREATE TABLE rings (
    place BIGINT NOT NULL PRIMARY KEY,
    name  TEXT   NOT NULL UNIQUE,
    rule  TEXT   NOT NULL
);

-- The version that the last completed roll-out of a skill left.
CREATE TABLE skill_current (
    skill   TEXT   NOT NULL PRIMARY KEY,
    digest  BLOB   NOT NULL,
    rollout TEXT   NOT NULL,
    since   BIGINT NOT NULL
);

CREATE TABLE rollouts (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT   NOT NULL UNIQUE,
    skill      TEXT   NOT NULL,
    target     BLOB   NOT NULL,
    baseline   BLOB,
    stages     TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    stage      BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    opened_at  BIGINT NOT NULL,
    reason     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX rollouts_by_skill ON rollouts (skill, n);

-- Jobs that were given the version that a roll-out brings, and what came of them.
CREATE TABLE rollout_jobs (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout   TEXT   NOT NULL,
    job       TEXT   NOT NULL,
    robot     TEXT   NOT NULL,
    ring      TEXT   NOT NULL,
    given_at  BIGINT NOT NULL,
    outcome   TEXT   NOT NULL,
    reason    TEXT,
    epoch     BIGINT,
    judged_at BIGINT,
    UNIQUE (rollout, job)
);
CREATE INDEX rollout_jobs_by_epoch ON rollout_jobs (rollout, epoch, outcome);
CREATE INDEX rollout_jobs_by_robot ON rollout_jobs (robot, outcome);
CREATE INDEX rollout_jobs_by_job ON rollout_jobs (job);

-- Steps whose plan says that the robot's ring chooses the version.
CREATE TABLE job_rings (
    job   TEXT NOT NULL,
    step  TEXT NOT NULL,
    skill TEXT NOT NULL,
    PRIMARY KEY (job, step)
);
