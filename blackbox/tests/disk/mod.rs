//! A disk that loses power: what a program does to its files is recorded below everything that
//! it uses (`tape`), and disks are built from it as they may be found after a power cut at any
//! moment (`image`).
#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used)]

pub mod image;
pub mod tape;
