-- What was proven of a bundle went to the tenants that published it, and not to those that had it
-- rolled out from another one, as they could before roll-outs were a tenant's. These get it too,
-- where the keys that prove it are among those that counted for all: they stand in either tenant
-- since the same moment. What a tenant's own keys prove stays that tenant's.
INSERT INTO skill_proofs
        (tenant, digest, key_id, certifier_key, certified_until, record, signature)
    SELECT had.tenant, had.digest, proven.key_id, proven.certifier_key, proven.certified_until,
        proven.record, proven.signature
    FROM (
        SELECT tenant, digest FROM skill_current
        UNION SELECT tenant, target FROM rollouts
        UNION SELECT tenant, baseline FROM rollouts WHERE baseline IS NOT NULL
    ) AS had JOIN skill_proofs AS proven ON proven.digest = had.digest
    WHERE EXISTS (
        SELECT 1 FROM skill_keys AS own JOIN skill_keys AS theirs
            ON theirs.key_id = own.key_id AND theirs.key = own.key
                AND theirs.added_at = own.added_at
        WHERE own.tenant = had.tenant AND theirs.tenant = proven.tenant
            AND own.key_id = proven.key_id
    ) AND (proven.certifier_key IS NULL OR EXISTS (
        SELECT 1 FROM skill_keys AS own JOIN skill_keys AS theirs
            ON theirs.key_id = own.key_id AND theirs.key = own.key
                AND theirs.added_at = own.added_at
        WHERE own.tenant = had.tenant AND theirs.tenant = proven.tenant
            AND own.key_id = proven.certifier_key
    ))
    ORDER BY proven.tenant
    ON CONFLICT DO NOTHING;
