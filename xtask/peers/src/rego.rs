//! Rego, by regorus: compiled once for its own virtual machine, which is its fastest way.

use crate::measure::{Samples, samples};
use crate::peer;
use crate::questions::{
    MAX_ANGULAR, MAX_COMMAND_AGE, MAX_FASTER, MAX_JOURNAL_AGE, MAX_LINEAR, MAX_ODOMETRY_AGE,
    MAX_REVERSE, MAX_SLOWER, MAX_TURN, Question, Round, Side, fence,
};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::RegoVM;
use regorus::{Engine, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// Ticks in one sample.
const EACH: usize = 16;

pub(crate) fn measure(questions: &[Question]) {
    let mut rego = Rego::new();
    let fence = fence();
    for question in questions {
        assert_eq!(rego.is_allowed(question), question.is_allowed(&fence), "{question:?}");
    }
    let (mut took, mut round) = (Samples::default(), Round::new(questions));
    for sample in 0..samples(2000) + 50 {
        let begun = Instant::now();
        for _ in 0..EACH {
            black_box(rego.is_allowed(black_box(round.next())));
        }
        if sample >= 50 {
            took.push_each(begun.elapsed(), EACH);
        }
    }
    let what = "regorus 0.14, compiled for its virtual machine, asked the same";
    peer("gate.tick_vs_regorus", what, &took);
}

struct Rego {
    machine: RegoVM,
    names: [Value; 10],
}

impl Rego {
    fn new() -> Self {
        // Its machine has 255 registers for a rule, so the fence is several.
        let (mut rules, mut inside) = (String::new(), String::new());
        for (nth, sides) in fence().chunks(10).enumerate() {
            let _ = write!(inside, "part_{nth}\n                ");
            let _ = writeln!(rules, "part_{nth} if {{");
            for Side { most, nx, ny } in sides {
                let _ = writeln!(rules, "    input.x * {nx} + input.y * {ny} <= {most}");
            }
            let _ = writeln!(rules, "}}");
        }
        let policy = format!(
            "package gate
            default allow := false
            allow if {{
                input.linear <= {MAX_LINEAR}
                input.linear >= -{MAX_REVERSE}
                input.angular <= {MAX_ANGULAR}
                input.angular >= -{MAX_ANGULAR}
                input.linear - input.linear_before <= {MAX_FASTER}
                input.linear_before - input.linear <= {MAX_SLOWER}
                input.angular - input.angular_before <= {MAX_TURN}
                input.angular_before - input.angular <= {MAX_TURN}
                input.command_age <= {MAX_COMMAND_AGE}
                input.journal_age <= {MAX_JOURNAL_AGE}
                input.pose_age <= {MAX_ODOMETRY_AGE}
                input.twist_age <= {MAX_ODOMETRY_AGE}
                {inside}
            }}
            {rules}"
        );
        let mut engine = Engine::new();
        engine.add_policy("gate.rego".to_owned(), policy).expect("a policy");
        let entry = "data.gate.allow";
        let compiled = engine.compile_with_entrypoint(&entry.into()).expect("it compiles");
        let program = Compiler::compile_from_policy(&compiled, &[entry]).expect("it compiles");
        let mut machine = RegoVM::new();
        machine.load_program(program);
        Self { machine, names: Question::NAMES.map(Value::from) }
    }

    fn is_allowed(&mut self, question: &Question) -> bool {
        let numbers = question.numbers().map(Value::from);
        let input: BTreeMap<Value, Value> = self.names.iter().cloned().zip(numbers).collect();
        self.machine.set_input(Value::from(input));
        self.machine.execute().expect("the policy answers") == Value::from(true)
    }
}
