//! What a running skill may use up, and the words for when it wants more.

use std::fmt;
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// The most entries that all tables of a skill hold together. A table is for indirect calls:
/// one entry per function whose address is taken.
const MAX_TABLE_ENTRIES: usize = 20_000;

/// The most core instances, memories and tables of one component. What `wasm-component-ld`
/// links has one memory, one or two tables and up to four instances.
const MAX_INSTANCES: usize = 16;
pub(crate) const MAX_MEMORIES: usize = 4;
const MAX_TABLES: usize = 8;

/// Why the host ended a skill.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Halt {
    /// Too many calls into the ports.
    Calls(Call),
    /// A call did not return in time.
    Deadline(Call, Duration),
    /// Wanted more memory than its manifest says.
    Memory(u32),
    /// Somebody asked for it.
    Stopped,
    /// Wanted a larger table than any skill needs.
    Table,
}

/// What the skill was doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    Init,
    Resume,
    Step,
    Suspend,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(Call::Suspend) => write!(f, "it called the robot from {}", Call::Suspend),
            Self::Calls(_) => write!(
                f,
                "it called the robot more than {} times in one step",
                crate::ports::MAX_CALLS_PER_STEP
            ),
            Self::Deadline(call, limit) => {
                write!(f, "{call} did not return within {} ms", limit.as_millis())
            }
            Self::Memory(mib) => {
                write!(f, "it wanted more than the {mib} MiB of memory that its manifest asks for")
            }
            Self::Stopped => f.write_str("it was stopped"),
            Self::Table => write!(f, "it wanted more than {MAX_TABLE_ENTRIES} table entries"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "`init`",
            Self::Resume => "`resume`",
            Self::Step => "`step`",
            Self::Suspend => "`suspend`",
        })
    }
}

impl std::error::Error for Halt {}

/// Counts memory and table entries over all of a component's instances, and refuses with a
/// trap: a guest that is told "no" by `memory.grow` aborts anyway, without saying why.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes: usize,
    memory_mib: u32,
    table_entries: usize,
}

impl Limits {
    pub(crate) const fn new(memory_mib: u32) -> Self {
        Self { memory_bytes: 0, memory_mib, table_entries: 0 }
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) const fn table_entries(&self) -> usize {
        self.table_entries
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let most = usize::try_from(self.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        if total > most {
            return Err(Halt::Memory(self.memory_mib).into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_entries.saturating_add(desired.saturating_sub(current));
        if total > MAX_TABLE_ENTRIES {
            return Err(Halt::Table.into());
        }
        self.table_entries = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_allowance() {
        let mut limits = Limits::new(1);
        assert!(limits.memory_growing(0, 512 << 10, None).is_ok());
        assert!(limits.memory_growing(0, 512 << 10, None).is_ok());
        assert!(limits.memory_growing(512 << 10, (512 << 10) + 1, None).is_err());
        assert!(limits.memory_growing(0, usize::MAX, None).is_err());
    }

    #[test]
    fn tables_share_one_allowance() {
        let mut limits = Limits::new(1);
        assert!(limits.table_growing(0, MAX_TABLE_ENTRIES, None).is_ok());
        assert!(limits.table_growing(0, 1, None).is_err());
    }
}
