-- Whose robots and skills. A job is its robot's tenant's, and so is all that either says.
ALTER TABLE robots ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE INDEX robots_by_tenant ON robots (tenant, id);
CREATE INDEX jobs_by_robot ON jobs (robot, n);
ALTER TABLE claim_codes ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE TABLE skill_tenants (
    digest    BLOB NOT NULL,
    tenant    TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (digest, tenant)
) STRICT;
INSERT INTO skill_tenants (digest, tenant, signature)
    SELECT digest, 'default', signature FROM skills;

-- Tokens of the API. The secret is not here: only its SHA-256 is.
CREATE TABLE tokens (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    hash       BLOB NOT NULL,
    principal  TEXT NOT NULL,
    role       TEXT NOT NULL,
    families   TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    parent     TEXT,
    made_at    INTEGER NOT NULL,
    made_by    TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;
CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;

-- Who called for which change, and what came of it. Rows are only ever added.
CREATE TABLE audit (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    principal  TEXT NOT NULL,
    token      TEXT,
    tenant     TEXT,
    request_id TEXT NOT NULL,
    method     TEXT NOT NULL,
    route      TEXT NOT NULL,
    path       TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    code       TEXT
) STRICT;
CREATE INDEX audit_by_principal ON audit (principal, n);
CREATE INDEX audit_by_tenant ON audit (tenant, n);
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END;
CREATE TRIGGER audit_keeps_words BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END;
