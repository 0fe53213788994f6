-- Rings, rules, roll-outs and trust documents are a tenant's, as robots and skills are. What was
-- there before is the tenant `default`'s. A key cannot be changed in place, so such tables are made
-- anew.
CREATE TABLE tenant_rings (
    tenant TEXT   NOT NULL,
    place  BIGINT NOT NULL,
    name   TEXT   NOT NULL,
    rule   TEXT   NOT NULL,
    PRIMARY KEY (tenant, place),
    UNIQUE (tenant, name)
);
INSERT INTO tenant_rings (tenant, place, name, rule)
    SELECT 'default', place, name, rule FROM rings;
DROP TABLE rings;
ALTER TABLE tenant_rings RENAME TO rings;

CREATE TABLE tenant_skill_rules (
    tenant TEXT   NOT NULL,
    skill  TEXT   NOT NULL,
    rule   TEXT   NOT NULL,
    since  BIGINT NOT NULL,
    PRIMARY KEY (tenant, skill)
);
INSERT INTO tenant_skill_rules (tenant, skill, rule, since)
    SELECT 'default', skill, rule, since FROM skill_rules;
DROP TABLE skill_rules;
ALTER TABLE tenant_skill_rules RENAME TO skill_rules;

CREATE TABLE tenant_skill_current (
    tenant  TEXT   NOT NULL,
    skill   TEXT   NOT NULL,
    digest  BLOB   NOT NULL,
    rollout TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    PRIMARY KEY (tenant, skill)
);
INSERT INTO tenant_skill_current (tenant, skill, digest, rollout, since)
    SELECT 'default', skill, digest, rollout, since FROM skill_current;
DROP TABLE skill_current;
ALTER TABLE tenant_skill_current RENAME TO skill_current;

CREATE TABLE tenant_skill_trust (
    tenant       TEXT   NOT NULL,
    digest       BLOB   NOT NULL,
    file         TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    bytes        BLOB   NOT NULL,
    signatures   TEXT   NOT NULL,
    published_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, digest)
);
INSERT INTO tenant_skill_trust (tenant, digest, file, version, bytes, signatures, published_at)
    SELECT 'default', digest, file, version, bytes, signatures, published_at FROM skill_trust;
DROP TABLE skill_trust;
ALTER TABLE tenant_skill_trust RENAME TO skill_trust;

ALTER TABLE rollouts ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE INDEX rollouts_by_tenant ON rollouts (tenant, skill, n);
