//! What a stranger needs to verify a black box: records, chain, checkpoints, verifier.
