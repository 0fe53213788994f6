//! The tests that take their cases from a seed, by area.

use clap::ValueEnum;

/// A part of the robot's software, by what could go wrong in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Area {
    /// Closed loops of gate and robot; whatever bits come in.
    Gate,
    /// What is signed and how it is written: canonical forms, envelopes, the chain.
    Formats,
    /// The journal on disk: flipped bits, cut files, killed writers, power cuts.
    Blackbox,
    /// Bundles, signatures and components of strangers.
    Skills,
    /// What robots and strangers send to the cloud, and the order it comes in.
    Cloud,
    /// The simulated robot's configuration.
    Sim,
}

/// Tests of one program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    pub(super) package: &'static str,
    /// An integration test; the unit tests where empty.
    pub(super) program: &'static str,
    /// Full names of the tests.
    pub(super) tests: &'static [&'static str],
}

impl Area {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Blackbox => "blackbox",
            Self::Cloud => "cloud",
            Self::Formats => "formats",
            Self::Gate => "gate",
            Self::Sim => "sim",
            Self::Skills => "skills",
        }
    }

    /// What repeats a seed of it: `prove blackbox` by itself shows promises.
    pub(super) fn repeat(self, seed: u64) -> String {
        let only_it = if self == Self::Blackbox { " --for 0" } else { "" };
        format!("{}{only_it} --seed {seed}", self.name())
    }

    pub(super) const fn suites(self) -> &'static [Suite] {
        match self {
            Self::Blackbox => BLACKBOX,
            Self::Cloud => CLOUD,
            Self::Formats => FORMATS,
            Self::Gate => GATE,
            Self::Sim => SIM,
            Self::Skills => SKILLS,
        }
    }
}

const BLACKBOX: &[Suite] = &[
    Suite {
        package: "nooterra-blackbox",
        program: "",
        tests: &[
            "block::tests::any_flipped_bit_is_noticed",
            "block::tests::bytes_that_are_no_block_never_panic",
        ],
    },
    Suite {
        package: "nooterra-blackbox",
        program: "crash",
        tests: &["kill_9_loses_nothing_that_was_acknowledged"],
    },
    Suite {
        package: "nooterra-blackbox",
        program: "damage",
        tests: &[
            "a_flipped_bit_anywhere_in_any_file_never_panics_and_is_never_called_another_record",
            "a_flipped_bit_in_a_journal_that_was_never_closed_is_named_too",
            "a_flipped_bit_in_any_record_names_that_record",
            "a_truncated_journal_opens_or_is_put_aside_and_what_is_missing_is_said",
        ],
    },
    // One share of 512 for each seed: as many seeds in a row are every bit and every length.
    Suite {
        package: "nooterra-blackbox",
        program: "bitflips",
        tests: &[
            "every_flipped_bit_is_found_and_located_and_the_rest_is_read",
            "every_truncation_is_found_and_located_and_the_rest_is_read",
        ],
    },
    Suite {
        package: "nooterra-blackbox",
        program: "flight",
        tests: &[
            "whatever_fires_whenever_nothing_is_written_twice_and_every_trigger_is_accounted_for",
        ],
    },
    Suite {
        package: "nooterra-blackbox",
        program: "rebuild",
        tests: &[
            "a_file_cut_anywhere_keeps_what_stands_before_the_cut",
            "a_flipped_bit_anywhere_costs_at_most_the_block_that_it_hits",
        ],
    },
    Suite {
        package: "nooterra-blackbox",
        program: "powercut",
        tests: &[
            "a_cut_while_a_damaged_journal_is_rebuilt_loses_nothing_that_could_be_read",
            "a_cut_while_it_recovers_from_a_cut_loses_nothing_either",
            "kill_9_in_the_middle_of_any_change_loses_nothing_that_was_acknowledged",
            "no_power_cut_loses_what_was_acknowledged",
            "without_its_syncs_the_journal_loses_records_and_the_cuts_show_it",
        ],
    },
];

const CLOUD: &[Suite] = &[Suite {
    package: "nooterra-cloud",
    program: "",
    tests: &[
        "api::enrol::tests::no_text_but_a_code_of_this_cloud_is_read",
        "api::skills::tests::a_damaged_bundle_never_panics",
        "ca::tests::a_damaged_request_is_refused_and_never_panics",
        "ingest::tests::a_damaged_batch_never_panics",
        "ingest::tests::noise_is_no_batch",
        "ingest::tests::only_ascending_records_are_taken_and_the_last_is_acknowledged",
        "model::tests::whatever_comes_in_whatever_order_the_cloud_does_what_the_model_does",
    ],
}];

const FORMATS: &[Suite] = &[
    Suite {
        package: "nooterra-protocol",
        program: "recorded",
        tests: &[
            "a_flipped_bit_in_a_block_never_panics",
            "inputs_are_read_back_bit_for_bit",
            "no_bytes_make_their_readers_panic",
            "ticks_are_read_back_bit_for_bit",
        ],
    },
    Suite {
        package: "nooterra-protocol",
        program: "codec",
        tests: &[
            "a_value_has_one_form_only",
            "an_independent_encoder_gives_the_same_bytes",
            "no_bytes_make_the_reader_panic",
            "what_is_encoded_is_canonical_and_reads_back",
        ],
    },
    Suite {
        package: "nooterra-protocol",
        program: "envelope",
        tests: &["a_changed_byte_anywhere_is_noticed", "no_bytes_make_the_verifier_panic"],
    },
    Suite {
        package: "nooterra-evidence",
        program: "absence",
        tests: &["whatever_is_there_in_whatever_form_nothing_is_called_whole_that_is_not"],
    },
    Suite {
        package: "nooterra-evidence",
        program: "",
        tests: &[
            "head::tests::a_record_has_one_form_only",
            "head::tests::what_is_read_is_what_was_written",
        ],
    },
    Suite {
        package: "nooterra-evidence",
        program: "proofs",
        tests: &[
            "a_flipped_bit_in_a_path_is_noticed",
            "another_implementation_makes_the_same_proofs",
            "no_bytes_make_the_reader_of_proofs_panic",
        ],
    },
    Suite {
        package: "nooterra-evidence",
        program: "laws",
        tests: &[
            "a_missing_doubled_or_exchanged_record_is_noticed",
            "any_flipped_bit_in_any_record_or_link_is_named",
            "no_bytes_make_a_decoder_panic",
            "without_links_a_flipped_bit_is_found_or_lies_beyond_what_is_verified",
        ],
    },
];

const GATE: &[Suite] = &[
    Suite {
        package: "nooterra-policy",
        program: "laws",
        tests: &[
            "a_clock_that_stands_jumps_or_goes_back_is_a_stop",
            "a_compliant_command_passes_bit_for_bit_and_anything_else_is_explained",
            "a_denied_source_decides_nothing",
            "a_latch_is_lifted_only_on_its_condition",
            "a_path_keeps_its_shape_or_the_verdict_says_what_bent_it",
            "a_stop_from_wherever_it_was_let_go_ends_inside",
            "from_beyond_an_edge_some_wish_leads_back",
            "standing_still_is_always_within_reach_and_no_jerk_limit_delays_it",
            "tightening_a_policy_never_speeds_anything_up",
            "what_the_gate_lets_through_it_lets_through_again",
            "whatever_comes_in_what_goes_out_is_finite_within_every_limit_and_explained",
        ],
    },
    Suite {
        package: "nooterra-policy",
        program: "vehicles_hold",
        tests: &[
            "a_base_that_steers_stays_inside",
            "a_multirotor_stays_inside_and_between_floor_and_ceiling",
            "an_arm_stays_within_the_range_of_its_joints",
            "an_omnidirectional_base_stays_inside",
        ],
    },
    Suite {
        package: "nooterra-policy",
        program: "zones_hold",
        tests: &[
            "no_wish_takes_the_footprint_across_an_edge_or_too_fast_through_a_zone",
            "whatever_bits_come_in_what_goes_out_is_finite_and_within_the_limits",
        ],
    },
];

const SIM: &[Suite] = &[Suite {
    package: "nooterra-hal",
    program: "sim",
    tests: &["no_numbers_in_a_configuration_make_it_panic"],
}];

const SKILLS: &[Suite] = &[Suite {
    package: "nooterra-skill-host",
    program: "bundle",
    tests: &[
        "no_change_to_a_component_makes_the_host_panic",
        "no_change_to_an_archive_makes_its_reader_panic",
        "no_text_makes_the_reader_of_signatures_panic",
    ],
}];
