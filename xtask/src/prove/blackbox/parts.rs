//! The promises of the black box, and which tests try to break each.

use clap::ValueEnum;

/// A promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Part {
    /// Power is cut at any moment; 1,000 disks as they may be found then, and more while it
    /// recovers and rebuilds.
    Powercut,
    /// The same without its syncs: losses must show, or the simulator would be blind.
    Unsynced,
    /// The process is killed in the middle of 500 changes to its files.
    Kill,
    /// Every bit of a small box flipped, every length that its files can be cut to.
    Bits,
    /// Records exchanged, taken out, doubled, boxes spliced, checkpoints forged.
    Forged,
    /// Every reader of its bytes, fuzzed.
    Fuzz,
    /// One form of every object, by another implementation too.
    Canonical,
    /// An hour of work in constant memory and disk; shows the last `prove soak`.
    Soak,
}

/// How a test takes its cases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cases {
    /// Drawn by the seed.
    Drawn,
    /// All there are, in shares.
    Shares,
}

/// Tests of one program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) package: &'static str,
    /// An integration test; the unit tests where empty.
    pub(super) program: &'static str,
    pub(super) tests: &'static [&'static str],
    /// Words in the lines that say what was done.
    pub(super) figures: &'static [&'static str],
    pub(super) cases: Cases,
}

/// What reads bytes of the black box that anybody may have written; names of `prove fuzz list`.
pub(super) const READERS: &[&str] =
    &["codec", "record", "journal", "checkpoint", "envelope", "block", "openings", "salvage"];

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bits => "bits",
            Self::Canonical => "canonical",
            Self::Forged => "forged",
            Self::Fuzz => "fuzz",
            Self::Kill => "kill",
            Self::Powercut => "powercut",
            Self::Soak => "soak",
            Self::Unsynced => "unsynced",
        }
    }

    /// For somebody who knows none of it.
    pub(super) const fn claim(self) -> &'static str {
        match self {
            Self::Bits => {
                "every flipped bit and every cut of a small box is found and located, and the rest \
                 is read"
            }
            Self::Canonical => {
                "every object has one form in bytes, which another implementation reads and writes \
                 the same"
            }
            Self::Forged => "who rewrites a box is caught, and the first wrong record is named",
            Self::Fuzz => "no bytes make a reader panic, hang, or take memory without bound",
            Self::Kill => {
                "a process killed in the middle of any change loses nothing that it acknowledged"
            }
            Self::Powercut => {
                "no power cut loses an acknowledged record, and every disk it leaves opens"
            }
            Self::Soak => "at full rate with pruning, memory and disk stay flat",
            Self::Unsynced => "without its syncs the simulated power cuts do show losses",
        }
    }

    /// What the promise is measured by.
    pub(super) const fn asked(self) -> &'static str {
        match self {
            Self::Bits => "every bit and every length of every file",
            Self::Canonical => "every golden file, and every other form of each refused",
            Self::Forged => "each forgery is a named failure",
            Self::Fuzz => "10,000,000 inputs for each reader, over all nights",
            Self::Kill => "500 kills, none loses anything",
            Self::Powercut => "1,000 disks: 0 records lost, 0 that do not open",
            Self::Soak => "60 minutes",
            Self::Unsynced => "losses in at least 10 of 25 disks",
        }
    }

    pub(super) const fn trials(self) -> &'static [Trial] {
        match self {
            Self::Bits => BITS,
            Self::Canonical => CANONICAL,
            Self::Forged => FORGED,
            Self::Fuzz | Self::Soak => &[],
            Self::Kill => KILL,
            Self::Powercut => POWERCUT,
            Self::Unsynced => UNSYNCED,
        }
    }

    /// The packages and programs of its trials.
    pub(super) fn suites(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.trials().iter().map(|trial| (trial.package, trial.program))
    }
}

const BLACKBOX: &str = "nooterra-blackbox";
const EVIDENCE: &str = "nooterra-evidence";
const PROTOCOL: &str = "nooterra-protocol";

const fn drawn(
    program: &'static str,
    tests: &'static [&'static str],
    figures: &'static [&'static str],
) -> Trial {
    Trial { package: BLACKBOX, program, tests, figures, cases: Cases::Drawn }
}

const POWERCUT: &[Trial] = &[
    drawn("powercut", &["no_power_cut_loses_what_was_acknowledged"], &[" images, "]),
    drawn(
        "powercut",
        &["a_cut_while_it_recovers_from_a_cut_loses_nothing_either"],
        &[" images of a recovery, "],
    ),
    drawn(
        "powercut",
        &["a_cut_while_a_damaged_journal_is_rebuilt_loses_nothing_that_could_be_read"],
        &[" images of a rebuild, "],
    ),
    drawn("powercut", &["the_tape_has_all_that_was_done_to_the_files"], &[]),
];

const UNSYNCED: &[Trial] = &[drawn(
    "powercut",
    &["without_its_syncs_the_journal_loses_records_and_the_cuts_show_it"],
    &[" images without syncs "],
)];

const KILL: &[Trial] = &[
    drawn(
        "powercut",
        &["kill_9_in_the_middle_of_any_change_loses_nothing_that_was_acknowledged"],
        &[" kills over "],
    ),
    drawn(
        "crash",
        &["kill_9_loses_nothing_that_was_acknowledged"],
        &[" acknowledged records, none lost"],
    ),
];

const BITS: &[Trial] = &[
    Trial {
        package: BLACKBOX,
        program: "bitflips",
        tests: &["every_flipped_bit_is_found_and_located_and_the_rest_is_read"],
        figures: &[" alter records"],
        cases: Cases::Shares,
    },
    Trial {
        package: BLACKBOX,
        program: "bitflips",
        tests: &["every_truncation_is_found_and_located_and_the_rest_is_read"],
        figures: &[" alter records"],
        cases: Cases::Shares,
    },
];

const FORGED: &[Trial] = &[
    drawn(
        "",
        &[
            "forged::a_forged_checkpoint_is_named",
            "forged::a_record_that_stands_twice_is_named",
            "forged::a_record_that_was_taken_out_is_named",
            "forged::a_record_with_other_words_is_named_by_the_checkpoint_after_it",
            "forged::rewritten_as_it_was_it_verifies",
            "forged::the_end_of_another_box_is_named",
            "forged::two_records_exchanged_are_named",
        ],
        &[],
    ),
    Trial {
        package: EVIDENCE,
        program: "laws",
        tests: &[
            "a_box_rewritten_with_its_links_is_caught_by_the_checkpoint",
            "a_missing_doubled_or_exchanged_record_is_noticed",
            "any_flipped_bit_in_any_record_or_link_is_named",
            "two_boxes_spliced_are_noticed_at_the_seam",
        ],
        figures: &[],
        cases: Cases::Drawn,
    },
];

const CANONICAL: &[Trial] = &[
    Trial {
        package: PROTOCOL,
        program: "canonical",
        tests: &[
            "another_decoder_reads_every_golden_file_alike_and_writes_it_the_same",
            "every_other_form_of_every_golden_file_is_refused",
        ],
        figures: &[],
        cases: Cases::Drawn,
    },
    Trial {
        package: PROTOCOL,
        program: "codec",
        tests: &["a_value_has_one_form_only", "an_independent_encoder_gives_the_same_bytes"],
        figures: &[],
        cases: Cases::Drawn,
    },
];

#[cfg(test)]
mod tests {
    use super::super::package_dir;
    use super::*;
    use crate::prove::is_in_sources;

    #[test]
    fn every_named_test_is_in_the_sources_and_says_its_figures() {
        for part in Part::value_variants() {
            for trial in part.trials() {
                for test in trial.tests {
                    assert!(is_in_sources(trial.package, trial.program, test), "{test}");
                }
                let file = package_dir(trial.package).join("tests").join(trial.program);
                let source = std::fs::read_to_string(file.with_extension("rs"));
                for figure in trial.figures {
                    let said = source.as_ref().unwrap().contains(figure.trim_end());
                    assert!(said, "{figure}");
                }
            }
        }
    }

    #[test]
    fn every_reader_is_a_target_of_the_fuzzer() {
        let targets = crate::toolchain::root().join("xtask/fuzz/src/targets.rs");
        let targets = std::fs::read_to_string(targets).unwrap();
        for reader in READERS {
            assert!(targets.contains(&format!("name: \"{reader}\"")), "{reader}");
        }
    }
}
