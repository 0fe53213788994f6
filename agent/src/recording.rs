//! `[blackbox]` and `[flight]` of the configuration: what is kept, how much of it, how long.

use crate::config::ConfigError;
use nooterra_protocol::entry::Class;
use nooterra_protocol::flight::Trigger;
use serde::Deserialize;
use std::fmt::Display;
use std::path::Path;

const MIB: u64 = 1024 * 1024;

/// `[blackbox]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blackbox {
    /// A journal that was put aside is kept for so long at the most, days, 1 to 3650.
    pub aside_days: u32,
    /// What journal and journals that were put aside take on the disk, MiB, 96 to 1048576.
    pub disk_mib: u64,
    /// How long records of a class stay while there is a choice, days, by class.
    pub keep_days: PerClass,
    /// What records of a class may weigh, MiB, by class.
    pub most_mib: PerClass,
    /// What opens private fields takes on the disk, MiB, 1 to 65536; beside the bound above.
    pub openings_mib: u64,
    /// When records of a class go though there is room, days, by class.
    pub prune_days: PerClass,
}

/// A number for each class, or none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerClass {
    /// Samples.
    pub bulk: Option<u32>,
    /// Facts, commands, stops; only those that the cloud has acknowledged.
    pub critical: Option<u32>,
    /// Verdicts, what skills saw and did, the flight recorder.
    pub normal: Option<u32>,
}

/// `[flight]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flight {
    /// Seconds after a trigger that are written, 1 to 60.
    pub after_s: u32,
    /// Seconds before a trigger that are kept in memory and written, 30 to 120.
    pub before_s: u32,
    /// What a dump may take of the journal in a second, KiB, 16 to 1024.
    pub kib_per_s: u32,
    /// What dumps may take in an hour, MiB, 1 to 1024.
    pub mib_per_hour: u32,
    /// What a dump is written for; nothing is recorded when there is none.
    pub triggers: Vec<Trigger>,
}

impl Default for Blackbox {
    fn default() -> Self {
        Self {
            aside_days: 30,
            disk_mib: 1024,
            keep_days: PerClass::default(),
            most_mib: PerClass::default(),
            openings_mib: 64,
            prune_days: PerClass::default(),
        }
    }
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            after_s: 10,
            before_s: 60,
            kib_per_s: 64,
            mib_per_hour: 16,
            triggers: Trigger::ALL.to_vec(),
        }
    }
}

impl PerClass {
    pub(crate) const fn of(&self, class: Class) -> Option<u32> {
        match class {
            Class::Bulk => self.bulk,
            Class::Critical => self.critical,
            Class::Normal => self.normal,
        }
    }
}

impl Blackbox {
    /// The bound on the disk.
    #[must_use]
    pub const fn disk_bytes(&self) -> u64 {
        self.disk_mib.saturating_mul(MIB)
    }

    /// Of it, what journals that were put aside may take: the rest is the journal's.
    #[must_use]
    pub const fn aside_bytes(&self) -> u64 {
        self.disk_bytes() / 2
    }

    /// The bound of what opens private fields.
    #[must_use]
    pub const fn openings_bytes(&self) -> u64 {
        self.openings_mib.saturating_mul(MIB)
    }

    pub(crate) fn check(&self, path: &Path) -> Result<(), ConfigError> {
        range(path, "blackbox.openings_mib", self.openings_mib, 1, 64 * 1024)?;
        range(path, "blackbox.aside_days", self.aside_days, 1, 3650)?;
        range(path, "blackbox.disk_mib", self.disk_mib, 96, 1024 * 1024)?;
        for class in Class::ALL {
            let keys = [
                ("blackbox.keep_days", self.keep_days),
                ("blackbox.most_mib", self.most_mib),
                ("blackbox.prune_days", self.prune_days),
            ];
            for (key, days) in keys {
                range(path, key, days.of(class).unwrap_or(1), 1, 1024 * 1024)?;
            }
            if let (Some(keep), Some(prune)) = (self.keep_days.of(class), self.prune_days.of(class))
                && prune < keep
            {
                let name = class.name();
                let what = format!("has {prune} days for {name}, `keep_days` keeps it for {keep}");
                return Err(refused(path, "blackbox.prune_days", what));
            }
        }
        Ok(())
    }
}

impl Flight {
    pub(crate) fn check(&self, path: &Path) -> Result<(), ConfigError> {
        range(path, "flight.after_s", self.after_s, 1, 60)?;
        range(path, "flight.before_s", self.before_s, 30, 120)?;
        range(path, "flight.kib_per_s", self.kib_per_s, 16, 1024)?;
        range(path, "flight.mib_per_hour", self.mib_per_hour, 1, 1024)
    }
}

fn range<T: PartialOrd + Display>(
    path: &Path,
    key: &'static str,
    found: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if found >= least && found <= most {
        return Ok(());
    }
    Err(refused(path, key, format!("is {found}, must be {least} to {most}")))
}

fn refused(path: &Path, key: &'static str, what: String) -> ConfigError {
    ConfigError::Value { key, path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const LEAST: &str = "[robot]\nid = \"amr-1\"\ndriver = \"sim\"\nworld = \"w.toml\"\n[policy]\n";

    fn read(extra: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!("{LEAST}{extra}"), Path::new("agent.toml"))
    }

    #[test]
    fn a_number_out_of_range_and_ages_that_contradict_are_refused_by_name() {
        for (extra, said) in [
            ("[blackbox]\ndisk_mib = 10\n", "`blackbox.disk_mib` is 10, must be 96"),
            ("[blackbox]\nkeep_days = { bulk = 0 }\n", "`blackbox.keep_days` is 0"),
            ("[blackbox]\nkeep_days = { bulks = 1 }\n", "did you mean `bulk`?"),
            (
                "[blackbox]\nkeep_days = { bulk = 9 }\nprune_days = { bulk = 8 }\n",
                "has 8 days for bulk, `keep_days` keeps it for 9",
            ),
            ("[blackbox]\nopenings_mib = 0\n", "`blackbox.openings_mib` is 0, must be 1 to 65536"),
            ("[flight]\nbefore_s = 10\n", "`flight.before_s` is 10, must be 30 to 120"),
            ("[flight]\ntriggers = [\"clamps\"]\n", "unknown variant `clamps`"),
        ] {
            let error = read(extra).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
