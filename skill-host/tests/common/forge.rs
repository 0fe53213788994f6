//! Components by hand: core modules as text, made into components by the official encoder. For
//! what no compiler would produce.

use crate::common::{template, verify_signed};
use nooterra_skill_host::{Bundle, pack};
use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A module with everything that the world asks for; each part can be replaced.
pub(crate) struct Forged {
    /// Imports, which come first in a module.
    pub(crate) imports: &'static str,
    /// Between the exports: globals, tables, data, more functions.
    pub(crate) more: &'static str,
    pub(crate) memory: &'static str,
    /// Bodies of functions. The result of `init`, `resume` and `suspend` is an address; at 0
    /// lies a zero, which is an `ok` and an empty state.
    pub(crate) init: &'static str,
    /// At 1024 lie zeros: ask for nothing, go on.
    pub(crate) step: &'static str,
    pub(crate) suspend: &'static str,
    pub(crate) realloc: &'static str,
    /// What `step` takes, flattened as the canonical ABI does.
    pub(crate) seen: &'static str,
    /// Of which of the worlds it is.
    pub(crate) world: &'static str,
}

impl Default for Forged {
    fn default() -> Self {
        Self {
            imports: "",
            more: "",
            memory: "1",
            init: "i32.const 0",
            step: "i32.const 1024",
            suspend: "i32.const 0",
            realloc: "i32.const 4096",
            seen: SEEN,
            world: "skill",
        }
    }
}

/// What a base sees.
const SEEN: &str = "i64 i32 i32 f64 i32 f64 f64 f64 i32 f64 f64 f64 i32 i32 f64 f64";

/// What an arm sees.
const SEEN_BY_ARM: &str = "i64 i32 f64 f64 f64 i32 i32 f64 f64 f64";

impl Forged {
    /// A module with everything that the world of an arm's skill asks for.
    pub(crate) fn arm() -> Self {
        Self { seen: SEEN_BY_ARM, world: "arm-skill", ..Self::default() }
    }

    pub(crate) fn text(&self) -> String {
        let Self { imports, more, memory, init, step, suspend, realloc, seen, .. } = self;
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {memory})
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "init") (param i32 i32 i32 i32) (result i32) {init})
                (func (export "step") (param {seen}) (result i32) {step})
                (func (export "suspend") (result i32) {suspend})
                (func (export "resume") (param i32 i32) (result i32) i32.const 0)
                {more})"#
        )
    }

    /// The component, or why there is none.
    pub(crate) fn component(&self) -> Result<Vec<u8>, String> {
        self.component_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("wit"))
    }

    /// The same for the world in a file or folder.
    pub(crate) fn component_of(&self, wit: &Path) -> Result<Vec<u8>, String> {
        let mut module = wat::parse_str(self.text()).map_err(|error| error.to_string())?;
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(wit).map_err(|error| format!("{error:#}"))?;
        let world = resolve
            .select_world(&[package], Some(self.world))
            .map_err(|error| format!("{error:#}"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| format!("{error:#}"))?;
        let mut encoder = ComponentEncoder::default()
            .module(&module)
            .map_err(|error| format!("{error:#}"))?
            // What is wrong with it is for the host to find.
            .validate(false);
        encoder.encode().map_err(|error| format!("{error:#}"))
    }

    /// The same, packed and signed, with the manifest of `misbehave`.
    pub(crate) fn bundle(&self) -> Bundle {
        let component = self.component().unwrap_or_else(|error| panic!("{error}\n{}", self.text()));
        signed(&component)
    }
}

/// Any component, packed and signed, with the manifest of `misbehave`.
pub(crate) fn signed(component: &[u8]) -> Bundle {
    verify_signed(&pack(&template("misbehave"), component).unwrap()).unwrap()
}
