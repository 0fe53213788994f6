-- The record that brought a robot's fact. None beside facts of the cloud itself, and beside those
-- that were kept before there was this.
ALTER TABLE facts ADD COLUMN record INTEGER;
