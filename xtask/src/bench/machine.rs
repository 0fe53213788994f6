//! On what was measured, and how quiet it was.

use serde::Serialize;
use std::fmt;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// The machine, as far as it explains figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    /// The file system of what is written.
    disk: String,
    kernel: String,
    /// Figures were taken ahead of other programs.
    raised_priority: bool,
}

impl Machine {
    /// This one, measuring in `dir`.
    pub(crate) fn here(dir: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mounts = read("/proc/self/mounts");
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu(&read("/proc/cpuinfo")),
            disk: file_system(&mounts, dir).unwrap_or("unknown").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            raised_priority: may_raise_priority(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, disk, kernel, raised_priority } = self;
        let priority = if *raised_priority { "raised" } else { "usual" };
        let arch = std::env::consts::ARCH;
        write!(f, "{cpu}, {cores} cores, {arch}, Linux {kernel}, {disk}, {priority} priority")
    }
}

/// As root; `nice` refuses it to others.
pub(crate) fn may_raise_priority() -> bool {
    nix::unistd::geteuid().is_root()
}

/// x86 names the model; ARM only numbers it.
fn cpu(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name")
        .or_else(|| Some(format!("CPU part {}", field("CPU part")?)))
        .unwrap_or_else(|| "unknown processor".to_owned())
}

/// Of the longest mount point that contains `dir`.
fn file_system<'m>(mounts: &'m str, dir: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    };
    let holding = mounts.lines().filter_map(mount).filter(|(point, _)| dir.starts_with(point));
    holding.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

/// How much else went on.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Noise {
    /// Runnable programs, mean over the last minute, before the figures were taken.
    load_1m: f64,
    /// A fixed loop, p99 over median: 1 on a machine that does nothing else.
    spin_p99_ratio: f64,
}

impl Noise {
    pub(crate) fn now() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let first = load.split(' ').next().and_then(|text| text.parse().ok());
        Self { load_1m: first.unwrap_or(f64::NAN), spin_p99_ratio: spin() }
    }

    /// Before and after.
    pub(crate) fn and(self, after: &Self) -> Self {
        Self { spin_p99_ratio: self.spin_p99_ratio.max(after.spin_p99_ratio), ..self }
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load_1m, spin_p99_ratio } = self;
        write!(
            f,
            "a fixed loop took {spin_p99_ratio:.2} times its median at p99; load {load_1m:.2} before"
        )
    }
}

/// About a third of a second.
fn spin() -> f64 {
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let begun = Instant::now();
            let mut sum = 0_u64;
            for number in 0..100_000_u64 {
                sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
            }
            black_box(sum);
            begun.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[297] / times[150]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_as_far_as_the_kernel_names_them() {
        assert_eq!(cpu("processor : 0\nmodel name\t: Some CPU @ 3 GHz\n"), "Some CPU @ 3 GHz");
        assert_eq!(cpu("processor : 0\nCPU part\t: 0xd0b\n"), "CPU part 0xd0b");
        assert_eq!(cpu(""), "unknown processor");
    }

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/tmpx/x")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/home")), Some("ext4"));
        assert_eq!(file_system("", Path::new("/home")), None);
    }
}
