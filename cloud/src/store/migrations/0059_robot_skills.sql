-- Which versions of skills each robot has, as its journal said last. It is made of the records that
-- came here, up to the cursor beside the robot; those of before this are read at the next start.
ALTER TABLE robots ADD COLUMN skills_through INTEGER NOT NULL DEFAULT 0;
CREATE TABLE robot_skills (
    robot       TEXT   NOT NULL,
    digest      BLOB   NOT NULL,
    skill       TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    cursor      BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (robot, digest)
);

-- Who gets a version by a job is asked for each page: the jobs that are over are not read for it.
CREATE INDEX jobs_under_way ON jobs (state)
    WHERE state IN ('RESERVED', 'EN_ROUTE', 'ACCESS_GRANTED', 'EXECUTING', 'ASSISTED', 'STALLED');
