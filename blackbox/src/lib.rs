//! The journal on disk: group commit over sled, checkpoints, verification and salvage.
