//! What a robot is to the agent: capabilities, read, gated write, stop.
