-- 1 for whoever took the last call soon, so that those who never answer do not stand before it.
-- Nobody has until the next call.
ALTER TABLE webhooks ADD COLUMN prompt INTEGER NOT NULL DEFAULT 0;
