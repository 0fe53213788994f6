//! wasmi: an interpreter for the same skill. It knows no components, so it is given the core
//! module that the component is made around, and what the component model does at its border is
//! done here by hand (the canonical ABI of `skill-host/wit`).

use crate::measure::{Samples, samples};
use crate::peer;
use std::hint::black_box;
use std::time::Instant;
use wasmi::{Engine, Error, ExternType, Instance, Linker, Memory, Module, Store, TypedFunc};

/// Steps in one sample.
const EACH: usize = 16;

/// As `skill-host/examples/bench_skills.rs` steps it: a route whose end is never reached.
const FAR_M: f64 = 1e6;
const PERIOD_NS: i64 = 100_000_000;
const STRIDE_M: f64 = 0.1;

pub(crate) fn measure(component: &[u8]) {
    let mut skill = Skill::new(core_module(component));
    skill.init();
    let mut took = Samples::default();
    for sample in 0..samples(4000) + 400 {
        let begun = Instant::now();
        for _ in 0..EACH {
            black_box(skill.step());
        }
        if sample >= 400 {
            took.push_each(begun.elapsed(), EACH);
        }
    }
    let what = "wasmi 2.0 interpreting the core module of the same component: no fuel counted, no \
                deadline, no ports, nothing recorded";
    peer("skills.step_vs_wasmi", what, &took);
}

/// The first core module of a component: the sections of both formats are a number, a length and
/// as many bytes; section 1 of a component is a core module.
fn core_module(component: &[u8]) -> &[u8] {
    let mut rest = component.strip_prefix(b"\0asm\x0d\0\x01\0").expect("no component");
    while let Some((&section, after)) = rest.split_first() {
        let (mut length, mut at) = (0_usize, 0);
        loop {
            length |= usize::from(after[at] & 0x7f) << (7 * at);
            at += 1;
            if after[at - 1] < 0x80 {
                break;
            }
        }
        let (found, others) = after[at..].split_at(length);
        if section == 1 {
            return found;
        }
        rest = others;
    }
    panic!("the component has no core module");
}

struct Skill {
    at_nanos: i64,
    instance: Instance,
    memory: Memory,
    post_step: TypedFunc<i32, ()>,
    realloc: TypedFunc<(i32, i32, i32, i32), i32>,
    step: TypedFunc<Seen, i32>,
    store: Store<()>,
    x: f64,
}

/// What a step is shown, flat: when; battery; docked; pose; scan; twist.
#[rustfmt::skip]
type Seen = (i64, i32, i32, f64, i32, f64, f64, f64, i32, f64, f64, f64, i32, i32, f64, f64);

impl Skill {
    fn new(module: &[u8]) -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, module).expect("wasmi takes the module");
        let mut linker = Linker::new(&engine);
        for import in module.imports() {
            let ExternType::Func(of) = import.ty() else { panic!("an import is no function") };
            // None of them is called while the route goes on.
            let never = |_: wasmi::Caller<'_, ()>, _: &[wasmi::Val], _: &mut [wasmi::Val]| {
                Err(Error::new("a step called a port"))
            };
            linker.func_new(import.module(), import.name(), of.clone(), never).expect("an import");
        }
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate_and_start(&mut store, &module).expect("an instance");
        Self {
            at_nanos: 0,
            instance,
            memory: instance.get_memory(&store, "memory").expect("its memory"),
            post_step: instance.get_typed_func(&store, "cabi_post_step").expect("cabi_post_step"),
            realloc: instance.get_typed_func(&store, "cabi_realloc").expect("cabi_realloc"),
            step: instance.get_typed_func(&store, "step").expect("step"),
            store,
            x: 0.0,
        }
    }

    /// Hands bytes over.
    fn put(&mut self, align: i32, bytes: &[u8]) -> i32 {
        let length = i32::try_from(bytes.len()).expect("a few bytes");
        let at = self.realloc.call(&mut self.store, (0, 0, align, length)).expect("cabi_realloc");
        self.memory.write(&mut self.store, usize_of(at), bytes).expect("within its memory");
        at
    }

    fn read<const N: usize>(&self, at: i32) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(&self.store, usize_of(at), &mut bytes).expect("within its memory");
        bytes
    }

    /// `init("patrol", [("waypoints", points([(FAR_M, 0)]))])`
    fn init(&mut self) {
        let point = [FAR_M.to_le_bytes(), 0.0_f64.to_le_bytes()].concat();
        let (points, name) = (self.put(8, &point), self.put(1, b"waypoints"));
        // A pair: the name, where it is and its length; `points` is case 2 of a parameter.
        let numbers = [name, 9, 2, 0, points, 1];
        let pair: Vec<u8> = numbers.into_iter().flat_map(i32::to_le_bytes).collect();
        let (params, action) = (self.put(8, &pair), self.put(1, b"patrol"));
        let init: TypedFunc<(i32, i32, i32, i32), i32> =
            self.instance.get_typed_func(&self.store, "init").expect("init");
        let said = init.call(&mut self.store, (action, 6, params, 1)).expect("init returns");
        assert_eq!(self.read::<1>(said), [0], "init refused");
    }

    /// One step, and what it says: the request and the status, as they lie in its memory.
    fn step(&mut self) -> ([u8; 72], Vec<u8>) {
        self.at_nanos += PERIOD_NS;
        self.x += STRIDE_M;
        // Neither battery nor scan, at rest.
        #[rustfmt::skip]
        let seen = (
            self.at_nanos, 0, 0, 0.0, 0, self.x, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0,
        );
        let said = self.step.call(&mut self.store, seen).expect("a step returns");
        let bytes = self.read::<72>(said);
        // The status begins at 48, its fraction at 56, its note at 64; case 0 is `running`.
        assert_eq!(bytes[48], 0, "the skill stopped");
        let number = |at: usize| i32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[at + byte]));
        let mut note = vec![0; usize_of(number(68))];
        self.memory.read(&self.store, usize_of(number(64)), &mut note).expect("its note");
        self.post_step.call(&mut self.store, said).expect("cabi_post_step");
        (bytes, note)
    }
}

/// An address in its memory.
const fn usize_of(at: i32) -> usize {
    at.cast_unsigned() as usize
}
