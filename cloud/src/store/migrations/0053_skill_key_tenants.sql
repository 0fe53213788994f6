-- Keys of developers and certifiers, and what they prove of a bundle, are a tenant's. Until now they
-- counted for all: so each tenant that is known keeps those that were there, closed ones too, and
-- what was proven of the bundles that it published.
CREATE TABLE tenant_skill_keys (
    tenant     TEXT   NOT NULL,
    key_id     TEXT   NOT NULL,
    key        TEXT   NOT NULL,
    holder     TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    tier       TEXT   NOT NULL,
    added_at   BIGINT NOT NULL,
    revoked_at BIGINT,
    reason     TEXT,
    PRIMARY KEY (tenant, key_id)
);
INSERT INTO tenant_skill_keys
        (tenant, key_id, key, holder, role, tier, added_at, revoked_at, reason)
    SELECT known.tenant, key_id, key, holder, role, tier, added_at, revoked_at, reason
    FROM skill_keys CROSS JOIN (
        SELECT 'default' AS tenant
        UNION SELECT tenant FROM robots
        UNION SELECT tenant FROM skill_tenants
        UNION SELECT tenant FROM tokens WHERE tenant <> '*' AND tenant <> ''
    ) AS known;
DROP TABLE skill_keys;
ALTER TABLE tenant_skill_keys RENAME TO skill_keys;

CREATE TABLE tenant_skill_proofs (
    tenant          TEXT   NOT NULL,
    digest          BLOB   NOT NULL,
    key_id          TEXT   NOT NULL,
    certifier_key   TEXT,
    certified_until BIGINT,
    record          TEXT,
    signature       TEXT,
    PRIMARY KEY (tenant, digest)
);
INSERT INTO tenant_skill_proofs
        (tenant, digest, key_id, certifier_key, certified_until, record, signature)
    SELECT skill_tenants.tenant, skill_proofs.digest, key_id, certifier_key, certified_until,
        record, skill_proofs.signature
    FROM skill_proofs JOIN skill_tenants ON skill_tenants.digest = skill_proofs.digest;
DROP TABLE skill_proofs;
ALTER TABLE tenant_skill_proofs RENAME TO skill_proofs;
