-- What a job's stream says beside its state, as JSON; null until this release has read the stream.
ALTER TABLE jobs ADD COLUMN care TEXT;
-- When the access of a job that is not over will be over.
ALTER TABLE jobs ADD COLUMN access_until INTEGER;
CREATE INDEX jobs_in_execution ON jobs (state) WHERE state IN ('EXECUTING', 'ASSISTED', 'STALLED');
CREATE INDEX jobs_with_access ON jobs (access_until) WHERE access_until IS NOT NULL;
