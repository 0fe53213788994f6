-- A list of more than two in the condition of an index is a table of its own, which SQLite makes and
-- drops again at each change of a job, for each such index. Alternatives are compared in place, and
-- one index does for both.
DROP INDEX jobs_in_execution;
DROP INDEX jobs_under_way;
CREATE INDEX jobs_under_way ON jobs (state)
    WHERE state = 'RESERVED' OR state = 'EN_ROUTE' OR state = 'ACCESS_GRANTED'
        OR state = 'EXECUTING' OR state = 'ASSISTED' OR state = 'STALLED';
