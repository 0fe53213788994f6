//! The laws of the gate as functions of bytes: whatever draws the bytes drives the same laws.
//!
//! `laws.rs` beside this folder draws them with proptest, a few hundred cases each time, a
//! million for `cargo xtask prove gate --cases 1000000`, and two where Miri looks on; the
//! target `gate_laws` of `xtask/fuzz` takes them from libFuzzer, which is led on by the code
//! that they reach. The crate around this module has the module `common`.

#![allow(dead_code, unreachable_pub)]
// Bit for bit is what is claimed, and what is no number must not pass.
#![allow(clippy::float_cmp, clippy::neg_cmp_op_on_partial_ord, clippy::unwrap_used)]

pub mod draw;
pub mod laws;
pub mod loops;
pub mod vehicles;

use draw::Draw;

/// A law: what it saw where it does not hold.
pub type Law = fn(&mut Draw<'_>) -> Result<(), String>;

/// All of them, by the names of their tests.
pub const LAWS: [(&str, Law); 11] = [
    ("a_clock_that_stands_jumps_or_goes_back_is_a_stop", laws::clock),
    ("a_compliant_command_passes_bit_for_bit_and_anything_else_is_explained", laws::compliant),
    ("a_denied_source_decides_nothing", laws::denied),
    ("a_latch_is_lifted_only_on_its_condition", laws::latches),
    ("a_path_keeps_its_shape_or_the_verdict_says_what_bent_it", laws::shape),
    ("a_stop_from_wherever_it_was_let_go_ends_inside", loops::braking),
    ("from_beyond_an_edge_some_wish_leads_back", loops::escape),
    ("standing_still_is_always_within_reach_and_no_jerk_limit_delays_it", laws::rest),
    ("tightening_a_policy_never_speeds_anything_up", laws::tightening),
    ("what_the_gate_lets_through_it_lets_through_again", laws::twice),
    ("whatever_comes_in_what_goes_out_is_finite_within_every_limit_and_explained", laws::anything),
];

/// Gives up a law with what was seen.
macro_rules! claim {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}
pub(crate) use claim;
