//! What any skill is promised by the machine it runs on, tried by the host for itself.
//!
//! An instance that the system refuses is the machine's fault, which costs a version on trial
//! nothing, or it is the skill's own, which wanted too much. The error of the system looks the same
//! for both, and a skill may be made so that it meets one. So the host makes an instance of a module
//! of its own that wants exactly what is promised. Only where that is refused too is it the machine.

use crate::limits::MAX_MEMORIES;
use std::fmt;
use wasmtime::component::Component;
use wasmtime::{Engine, Instance, Module, OutOfMemory, Store};

/// The size of a page of a memory.
const PAGES_PER_MIB: u32 = 16;

/// What a skill is promised at its start: memories, as many as its component declares up to the most
/// that a skill may have, and together the memory of its manifest.
///
/// Each memory takes address space of its own, whatever its size. A skill that may have four and
/// has four is promised four: where there is room for one only, that is the machine's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Start {
    /// The pages of the largest of its memories.
    largest: u64,
    memories: u32,
    memory_mib: u32,
}

impl Start {
    /// Of a component that is not compiled yet: one memory, which it may fill.
    pub(crate) const fn one(memory_mib: u32) -> Self {
        Self { largest: 0, memories: 1, memory_mib }
    }

    /// What this component declares.
    pub(crate) fn of(component: &Component, memory_mib: u32) -> Self {
        // A component that imports modules is linked with none, and makes no instance.
        let Some(wants) = component.resources_required() else { return Self::one(memory_mib) };
        let largest = wants.max_initial_memory_size.unwrap_or_default();
        Self { largest, memories: wants.num_memories, memory_mib }
    }

    /// In which way it is more than any skill is promised, where it is: that is never the
    /// machine's fault.
    pub(crate) fn beyond(&self) -> Option<String> {
        let Self { largest, memories, memory_mib } = *self;
        if usize::try_from(memories).unwrap_or(usize::MAX) > MAX_MEMORIES {
            return Some(format!("it wanted {memories} memories, and a skill has {MAX_MEMORIES}"));
        }
        (largest > u64::from(self.pages())).then(|| {
            format!("it wanted more than the {memory_mib} MiB of memory that its manifest asks for")
        })
    }

    /// Of all its memories together. A manifest asks for 64 MiB at most, 1024 pages.
    fn pages(&self) -> u32 {
        self.memory_mib.saturating_mul(PAGES_PER_MIB).min(0x3fff)
    }

    /// The pages of each memory, the largest first. Which of them are smaller the engine does not
    /// say: so each is as large as the largest, as far as the manifest's memory goes, and the
    /// first has what is left of it, to which any may grow.
    fn memories(&self) -> Vec<u32> {
        let each = u32::try_from(self.largest).unwrap_or(u32::MAX).min(self.pages());
        let mut left = self.pages() - each;
        let count = usize::try_from(self.memories).unwrap_or(usize::MAX).clamp(1, MAX_MEMORIES);
        let mut others = Vec::new();
        for _ in 1..count {
            others.push(each.min(left));
            left -= each.min(left);
        }
        std::iter::once(each + left).chain(others).collect()
    }

    /// `(module (memory PAGES)… (func) (data (memory AT) (i32.const 0) "x")…)`: each memory that has
    /// a page has a first content, as each of a skill may have, which takes an image of its own.
    fn module(&self) -> Vec<u8> {
        let memories = self.memories();
        let count = memories.len().to_le_bytes()[0];
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([1, 4, 1, 0x60, 0, 0]); // Types: one of no parameter and no result.
        module.extend([3, 2, 1, 0]); // Functions: one of the first type.
        module.extend([5, 1 + 3 * count, count]); // Memories: each without a maximum.
        for pages in &memories {
            // Two groups of seven bits have room for 16383.
            let [high, low] = [pages >> 7, pages & 0x7f].map(|bits| bits.to_le_bytes()[0]);
            module.extend([0, low | 0x80, high]);
        }
        module.extend([10, 4, 1, 2, 0, 0x0b]); // Code: no locals, `end`.
        // Data: of a memory that is named, at `i32.const 0`, one byte.
        let filled = (0_u8..).zip(&memories).filter(|(_, pages)| **pages > 0).map(|(at, _)| at);
        let filled: Vec<u8> = filled.collect();
        let count = filled.len().to_le_bytes()[0];
        module.extend([11, 1 + 7 * count, count]);
        for memory in filled {
            module.extend([2, memory, 0x41, 0, 0x0b, 1, b'x']);
        }
        module
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memories {
            0 | 1 => write!(f, "one memory of {} MiB", self.memory_mib),
            count => write!(f, "{count} memories of {} MiB together", self.memory_mib),
        }
    }
}

/// The system, and not the engine, refused something: memory, a file, or leave to run code. By
/// itself it says nothing about whose fault that is.
pub(crate) fn is_refusal(error: &wasmtime::Error) -> bool {
    error.is::<rustix::io::Errno>() || error.is::<std::io::Error>() || error.is::<OutOfMemory>()
}

/// Whether this machine has now what a skill is promised: its code compiled and executable, its
/// memories, and their first content.
///
/// Compiles a few instructions, in about a millisecond: for when something was refused.
pub(crate) fn has_room(engine: &Engine, start: &Start) -> bool {
    let made = Module::new(engine, start.module()).and_then(|module| {
        let mut store = Store::new(engine, ());
        // A new store is past its deadline, and without fuel where that is counted.
        store.set_epoch_deadline(u64::MAX >> 1);
        drop(store.set_fuel(u64::MAX));
        Instance::new(&mut store, &module, &[])
    });
    made.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One core instance for each of these texts, as a component.
    fn component(engine: &Engine, modules: &[&str]) -> Component {
        let all = modules.iter().enumerate().map(|(at, of)| {
            format!("(core module $m{at} {of}) (core instance (instantiate $m{at}))")
        });
        let text = format!("(component {})", all.collect::<String>());
        Component::new(engine, wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn the_reference_wants_the_memories_that_the_component_declares_and_the_memory_of_the_manifest()
    {
        let engines = [false, true].map(|fuel| Engine::new(&crate::engine::config(fuel)).unwrap());
        let [engine, _] = &engines;
        for memory_mib in [1, 7, 8, 9, 64] {
            let all = memory_mib * PAGES_PER_MIB;
            for (declared, expected) in [
                (&[][..], vec![all]),
                (&["(memory 3)"][..], vec![all]),
                (&["(memory 1)", "(memory 3)"][..], vec![all - 3, 3]),
                (&["(memory 3) (memory 1)", "(memory 0)"][..], vec![all - 6, 3, 3]),
                (&["(memory 9)", "(memory 1) (memory 1) (memory 1)"][..], {
                    // Sixteen pages are not four times nine.
                    let [second, third] = if all < 27 { [all - 9, 0] } else { [9, 9] };
                    let fourth = if all < 36 { 0 } else { 9 };
                    vec![all - second - third - fourth, second, third, fourth]
                }),
            ] {
                let start = Start::of(&component(engine, declared), memory_mib);
                assert_eq!((start.memories(), start.beyond()), (expected, None), "{declared:?}");
                assert!(engines.iter().all(|engine| has_room(engine, &start)));
                let memories = start.memories();
                let text: String =
                    memories.iter().map(|pages| format!("(memory {pages}) ")).collect();
                let data: Vec<_> = memories.iter().enumerate().filter(|it| *it.1 > 0).collect();
                let filled = data.iter().filter(|(at, _)| {
                    let at = at.to_le_bytes()[0];
                    start.module().windows(7).any(|it| it == [2, at, 0x41, 0, 0x0b, 1, b'x'])
                });
                assert_eq!(filled.count(), data.len(), "each has a first content");
                let data =
                    data.iter().map(|(at, _)| format!("(data (memory {at}) (i32.const 0) \"x\")"));
                let text = format!("(module {text} (func) {})", data.collect::<String>());
                let made = Module::new(engine, start.module()).unwrap();
                let by_hand = Module::new(engine, wat::parse_str(text).unwrap()).unwrap();
                let required = |module: &Module| {
                    let wants = module.resources_required();
                    (wants.num_memories, wants.max_initial_memory_size)
                };
                assert_eq!(required(&made), required(&by_hand));
                assert_eq!(memories.iter().sum::<u32>(), all, "all that is promised");
            }
        }
    }

    #[test]
    fn what_no_skill_is_promised_is_no_fault_of_a_machine_and_the_reference_never_wants_more() {
        let engine = Engine::new(&crate::engine::config(false)).unwrap();
        let four = "(memory 1) (memory 1) (memory 1) (memory 1)";
        let start = |modules: &[&str]| Start::of(&component(&engine, modules), 1);
        assert_eq!(start(&[four]).beyond(), None);
        let five = start(&[four, "(memory 1)"]);
        assert_eq!(five.beyond().unwrap(), "it wanted 5 memories, and a skill has 4");
        assert_eq!(five.memories(), [13, 1, 1, 1]);
        assert_eq!(start(&["(memory 16)"]).beyond(), None);
        let large = start(&["(memory 17)", "(memory 1)"]);
        assert!(large.beyond().unwrap().contains("more than the 1 MiB"));
        assert_eq!(large.memories(), [16, 0]);
    }
}
