//! What any skill is promised by the machine it runs on, tried by the host for itself.
//!
//! An instance that the system refuses is the machine's fault, which costs a version on trial
//! nothing, or it is the skill's own, which wanted too much. The error of the system looks the same
//! for both, and a skill may be made so that it meets one. So the host makes an instance of a module
//! of its own that wants exactly what is promised. Only where that is refused too is it the machine.

use wasmtime::{Engine, Instance, Module, OutOfMemory, Store};

/// The size of a page of a memory.
const PAGES_PER_MIB: u32 = 16;

/// The system, and not the engine, refused something: memory, a file, or leave to run code. By
/// itself it says nothing about whose fault that is.
pub(crate) fn is_refusal(error: &wasmtime::Error) -> bool {
    error.is::<rustix::io::Errno>() || error.is::<std::io::Error>() || error.is::<OutOfMemory>()
}

/// Whether this machine has now what a skill is promised whose manifest asks for so much memory:
/// its code compiled and executable, one memory of that size, and its first content.
///
/// Compiles a few instructions, in about a millisecond: for when something was refused.
pub(crate) fn has_room(engine: &Engine, memory_mib: u32) -> bool {
    let made = Module::new(engine, module(memory_mib)).and_then(|module| {
        let mut store = Store::new(engine, ());
        // A new store is past its deadline, and without fuel where that is counted.
        store.set_epoch_deadline(u64::MAX >> 1);
        drop(store.set_fuel(u64::MAX));
        Instance::new(&mut store, &module, &[])
    });
    made.is_ok()
}

/// `(module (memory PAGES) (func) (data (i32.const 0) "x"))`
fn module(memory_mib: u32) -> Vec<u8> {
    // A manifest asks for 64 MiB at most, 1024 pages: two groups of seven bits have room for 16383.
    let pages = memory_mib.saturating_mul(PAGES_PER_MIB).min(0x3fff);
    let [high, low] = [pages >> 7, pages & 0x7f].map(|bits| bits.to_le_bytes()[0]);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend([1, 4, 1, 0x60, 0, 0]); // Types: one of no parameter and no result.
    module.extend([3, 2, 1, 0]); // Functions: one of the first type.
    module.extend([5, 4, 1, 0, low | 0x80, high]); // Memories: one, without a maximum.
    module.extend([10, 4, 1, 2, 0, 0x0b]); // Code: no locals, `end`.
    module.extend([11, 7, 1, 0, 0x41, 0, 0x0b, 1, b'x']); // Data: at `i32.const 0`, one byte.
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_wants_the_memory_of_the_manifest() {
        let engines = [false, true].map(|fuel| Engine::new(&crate::engine::config(fuel)).unwrap());
        for memory_mib in [1, 7, 8, 9, 64] {
            let [engine, _] = &engines;
            assert!(engines.iter().all(|engine| has_room(engine, memory_mib)));
            let text = format!(
                "(module (memory {}) (func) (data (i32.const 0) \"x\"))",
                memory_mib * PAGES_PER_MIB
            );
            let module = Module::new(engine, module(memory_mib)).unwrap();
            let by_hand = Module::new(engine, wat::parse_str(text).unwrap()).unwrap();
            let required = |module: &Module| {
                let wants = module.resources_required();
                (wants.num_memories, wants.max_initial_memory_size)
            };
            assert_eq!(required(&module), required(&by_hand));
            assert_eq!(required(&module).1, Some(u64::from(memory_mib * PAGES_PER_MIB)));
        }
    }
}
