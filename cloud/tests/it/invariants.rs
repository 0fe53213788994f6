//! `docs/invariants.md`: every invariant names a test, and every test that it names is there.

use std::path::Path;

/// The parts that the page must speak of, each in a section of its own.
const PARTS: [&str; 7] = [
    "Streams of facts",
    "Jobs",
    "Robots and keys",
    "The link",
    "The store",
    "The registry of skills",
    "The API",
];

/// What is wrong with the page; `source` gives a file of the workspace.
fn faults(page: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut part, mut rows) = ("", Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            part = title;
        }
        let cells = line.strip_prefix('|').and_then(|line| line.strip_suffix('|'));
        let Some(cells) = cells else { continue };
        let cells: Vec<_> = cells.split('|').map(str::trim).collect();
        if cells == ["invariant", "shown by"] || cells.iter().all(|cell| *cell == "---") {
            continue;
        }
        let [invariant, tests] = cells[..] else {
            faults.push(format!("not an invariant and its tests: {line}"));
            continue;
        };
        rows.push(part);
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if invariant.is_empty() || names.is_empty() {
            faults.push(format!("without an invariant or a test: {line}"));
        }
        for name in names {
            if !is_test(name, &source) {
                faults.push(format!("no such test: {name}"));
            }
        }
    }
    for part in PARTS {
        if !rows.contains(&part) {
            faults.push(format!("nothing about: {part}"));
        }
    }
    faults
}

/// Whether `FILE::NAME` is a test, and one that is not left out: the file without `.rs`, from
/// the root of the workspace, or alone in `cloud/tests/it`.
fn is_test(name: &str, source: impl Fn(&str) -> Option<String>) -> bool {
    let Some((file, name)) = name.split_once("::") else { return false };
    let folder = if file.contains('/') { "" } else { "cloud/tests/it/" };
    let Some(text) = source(&format!("{folder}{file}.rs")) else { return false };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        line.strip_prefix("async ").unwrap_or(line).starts_with(&format!("fn {name}("))
    };
    let Some(at) = lines.iter().position(begins) else { return false };
    let above = lines[..at].iter().rev();
    let attributes: Vec<_> =
        above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
    let has = |start: &str| attributes.iter().any(|line| line.starts_with(start));
    (has("#[test]") || has("#[tokio::test")) && !has("#[ignore")
}

fn of_workspace(file: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(file)).ok()
}

#[test]
fn every_invariant_of_the_cloud_names_tests_that_are_there() {
    let page = of_workspace("docs/invariants.md").unwrap();
    assert_eq!(faults(&page, of_workspace), Vec::<String>::new());
}

#[test]
fn a_page_that_names_no_test_a_missing_one_or_leaves_a_part_out_is_noticed() {
    let source = |file: &str| {
        let text = "#[test]\n// Why.\nfn holds() {}\nfn helper() {}\n#[tokio::test]\nasync fn too() {}\n#[test]\n#[ignore]\nfn not() {}";
        (file == "cloud/tests/it/x.rs" || file == "cloud/src/y.rs").then(|| text.to_owned())
    };
    let page = |tests: &str| {
        let part =
            |part| format!("## {part}\n| invariant | shown by |\n|---|---|\n| A. | {tests} |\n");
        PARTS.map(part).concat()
    };
    for good in ["`x::holds`", "`x::too`", "`cloud/src/y::holds`, `x::holds`"] {
        assert_eq!(faults(&page(good), source), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "",
        "holds",
        "`holds`",
        "`x::hold`",
        "`x::helper`",
        "`x::not`",
        "`y::holds`",
        "`cloud/src/z::holds`",
        "`x::holds` | `x::holds`",
        "`x::holds`, `x::gone`",
    ] {
        assert!(faults(&page(bad), source).len() >= PARTS.len(), "{bad}");
    }
    let short = page("`x::holds`").replace("## The link", "## A link");
    assert_eq!(faults(&short, source), ["nothing about: The link"]);
}
