-- Who was told last is told again after all others that wait.
ALTER TABLE webhooks ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
