-- The name of a client certificate that stands in place of a token's secret.
ALTER TABLE tokens ADD COLUMN certificate TEXT;
CREATE INDEX tokens_by_certificate ON tokens (certificate) WHERE certificate IS NOT NULL;
