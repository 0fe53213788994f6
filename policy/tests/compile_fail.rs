//! What must not compile: any way to a gated command that is not a gate's tick.

#[test]
fn no_way_around_the_gate_compiles() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
