//! Programs of another processor, run here by qemu's user mode.
//!
//! qemu translates the program's instructions and passes its system calls on, so that files,
//! sockets, timers and priorities are this machine's. What it shows is that the program is
//! right, not how fast a robot runs it.

use super::Arch;
use crate::toolchain::Package;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For aarch64.
const AARCH64: &[Package] = &[
    Package {
        name: "libc6-arm64-cross",
        path: "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
        why: "the C library that the robot's program runs with here",
    },
    Package {
        name: "libgcc-s1-arm64-cross",
        path: "/usr/aarch64-linux-gnu/lib/libgcc_s.so.1",
        why: "unwinds the robot's program here",
    },
    Package {
        name: "qemu-user",
        path: "/usr/bin/qemu-aarch64",
        why: "runs the robot's program on this machine's processor",
    },
];

/// For armv7.
const ARMV7: &[Package] = &[
    Package {
        name: "libc6-armhf-cross",
        path: "/usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3",
        why: "the C library that the robot's program runs with here",
    },
    Package {
        name: "libgcc-s1-armhf-cross",
        path: "/usr/arm-linux-gnueabihf/lib/libgcc_s.so.1",
        why: "unwinds the robot's program here",
    },
    Package {
        name: "qemu-user",
        path: "/usr/bin/qemu-arm",
        why: "runs the robot's program on this machine's processor",
    },
];

/// What running programs of `arch` needs.
pub(super) const fn packages(arch: Arch) -> &'static [Package] {
    match arch {
        Arch::Aarch64 => AARCH64,
        Arch::Armv7 => ARMV7,
    }
}

/// A program, and how it is run on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Runnable {
    arch: Option<Arch>,
    program: PathBuf,
}

impl Runnable {
    /// A program for `arch`.
    pub(super) const fn new(arch: Arch, program: PathBuf) -> Self {
        Self { arch: Some(arch), program }
    }

    /// A program for this machine.
    pub(crate) const fn own(program: PathBuf) -> Self {
        Self { arch: None, program }
    }

    /// Starts it, when its arguments are added.
    pub(crate) fn command(&self) -> Command {
        let Some((emulator, root)) = self.emulation() else {
            return Command::new(&self.program);
        };
        let mut command = Command::new(emulator);
        command.arg("-L").arg(root).arg(&self.program);
        command
    }

    /// The processor that it is for.
    pub(crate) fn arch(&self) -> &'static str {
        self.arch.map_or(std::env::consts::ARCH, Arch::name)
    }

    /// What runs it, where this machine does not by itself.
    pub(crate) fn emulator(&self) -> Option<&'static str> {
        self.emulation().map(|(emulator, _)| emulator)
    }

    /// The emulator, and where it looks for the program's loader and libraries.
    fn emulation(&self) -> Option<(&'static str, &'static Path)> {
        match self.arch.filter(|arch| !arch.is_here())? {
            Arch::Aarch64 => Some(("qemu-aarch64", Path::new("/usr/aarch64-linux-gnu"))),
            Arch::Armv7 => Some(("qemu-arm", Path::new("/usr/arm-linux-gnueabihf"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_machine_is_run_by_itself() {
        let own = Runnable::own("/bin/true".into());
        assert_eq!((own.emulator(), own.arch()), (None, std::env::consts::ARCH));
        assert!(own.command().status().unwrap().success());
    }

    #[test]
    fn a_foreign_program_is_run_by_its_emulator_with_its_own_libraries() {
        let foreign = Runnable::new(Arch::Armv7, "agent".into());
        let command = foreign.command();
        assert_eq!(command.get_program(), "qemu-arm");
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args, ["-L", "/usr/arm-linux-gnueabihf", "agent"]);
    }
}
