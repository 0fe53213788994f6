-- Trust documents and revocation lists for skills, as they were published.
CREATE TABLE skill_trust (
    digest       BLOB   NOT NULL PRIMARY KEY,
    file         TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    bytes        BLOB   NOT NULL,
    signatures   TEXT   NOT NULL,
    published_at BIGINT NOT NULL
);
