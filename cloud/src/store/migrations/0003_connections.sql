-- Which process a robot is connected to, and how often it has connected so far: of two
-- connections the later has the higher number, wherever they are.
ALTER TABLE robots ADD COLUMN process TEXT;
ALTER TABLE robots ADD COLUMN connection INTEGER NOT NULL DEFAULT 0;
