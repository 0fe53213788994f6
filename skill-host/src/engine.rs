//! The settings of the engine, in a file of their own: the bench builds the floor that it
//! measures against from the same text.

use wasmtime::{Config, InstanceAllocationStrategy};

/// What a skill's code may use of its thread's stack, bytes. The thread has twice as much; the
/// rest is for the host's own calls.
const WASM_STACK_BYTES: usize = 512 * 1024;

/// Address space set aside for one linear memory: the most that a manifest may ask for.
const MEMORY_RESERVATION_BYTES: u64 = 64 * 1024 * 1024;

/// The unmapped edge behind it. Together with the reservation this keeps a skill's address
/// space small where the engine's default sets aside 4 GiB, which counts in full against
/// `RLIMIT_MEMLOCK` once the agent locks its memory.
const MEMORY_GUARD_BYTES: u64 = 64 * 1024;

/// Everything that could make two runs differ is off: NaN payloads are canonical, there is no
/// relaxed SIMD, and there are no threads and no garbage collector to begin with. `fuel` has
/// instructions counted, which costs time.
pub(crate) fn config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .epoch_interruption(true)
        .consume_fuel(fuel)
        // Only for backtraces, which a stripped component gives no names for.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        // On demand rather than pooled: a robot runs one skill at a time and starts it every
        // few minutes, so that the pool's faster start buys nothing and its slots cost memory
        // while nothing runs.
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_reservation_for_growth(0)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .guard_before_linear_memory(false);
    config
}
