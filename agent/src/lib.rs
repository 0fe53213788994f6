//! The daemon on the robot.
