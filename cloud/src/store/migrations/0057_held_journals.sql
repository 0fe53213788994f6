-- How much of each journal is here, counted as it comes: two records of one position are one.
CREATE TABLE held_journals (
    robot     TEXT   NOT NULL,
    journal   TEXT   NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq  BIGINT NOT NULL,
    records   BIGINT NOT NULL,
    PRIMARY KEY (robot, journal)
);
INSERT INTO held_journals (robot, journal, first_seq, last_seq, records)
    SELECT robot, journal, min(seq), max(seq), count(DISTINCT seq) FROM records
    GROUP BY robot, journal;
