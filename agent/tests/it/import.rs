//! Fences from drones become zones that a policy takes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PLAN: &str = r#"{"fileType":"Plan","version":1,"geoFence":{"version":2,
  "circles":[{"circle":{"center":[52.0004,4.0004],"radius":10},"inclusion":false,"version":1}],
  "polygons":[
    {"inclusion":true,"polygon":[[51.999,3.999],[52.001,3.999],[52.001,4.001],[51.999,4.001]]},
    {"inclusion":false,"polygon":[[51.999,3.999],[51.9995,3.999],[51.9995,3.9995]]}]},
  "mission":{"firmwareType":12,"plannedHomePosition":[52.0,4.0,3.5],"items":[]}}"#;

const POINTS: &str = "-33.9000 18.4000\n-33.9010 18.3990\n-33.8990 18.3990\n-33.9000 18.4020\n\
                      -33.9010 18.3990\n";

struct Folder(tempfile::TempDir);

impl Folder {
    /// With the example policy, without zones of its own.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots/turtlebot/policy.toml");
        let text = std::fs::read_to_string(example).unwrap();
        folder.write("policy.toml", text.split("[[zones]]").next().unwrap());
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self.0.path().join(name)
    }

    fn agent(&self, args: &[&str]) -> Output {
        let agent = env!("CARGO_BIN_EXE_nooterra-agent");
        Command::new(agent).current_dir(&self.0).arg("policy").args(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.agent(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, args: &[&str], part: &str) {
        let output = self.agent(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.contains(part), "{error}");
        assert_eq!(error.matches(part).count(), 1, "said twice: {error}");
    }
}

#[test]
fn what_is_printed_passes_policy_check() {
    for (name, text) in [("site.plan", PLAN), ("fence.txt", POINTS)] {
        let folder = Folder::new();
        folder.write(name, text);
        let zones = folder.done(&["import", name]);
        let policy = std::fs::read_to_string(folder.0.path().join("policy.toml")).unwrap();
        folder.write("both.toml", &format!("{policy}\n{zones}"));
        let answer = folder.done(&["check", "both.toml", "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let zones = answer["policy"]["zones"].as_array().unwrap();
        assert_eq!(zones[0]["rule"]["type"], "keep_in", "{answer}");
        assert!(zones.len() == if text == PLAN { 3 } else { 1 }, "{answer}");
    }
}

#[test]
fn zones_are_appended_to_a_policy_only_if_it_then_is_in_order() {
    let folder = Folder::new();
    folder.write("site.plan", PLAN);
    let said = folder.done(&["import", "site.plan", "--into", "policy.toml", "--name", "yard"]);
    assert!(said.contains("3 zones added (yard-1, yard-2, yard-3)"), "{said}");
    folder.done(&["check", "policy.toml"]);
    let before = std::fs::read_to_string(folder.0.path().join("policy.toml")).unwrap();
    let again = ["import", "site.plan", "--into", "policy.toml", "--name", "yard"];
    folder.refused(&again, "`yard-1`, as is `zones[0].id`");
    // A bow tie.
    folder.write("tie.txt", "0.1 0.1\n0.1 0.1\n0.1 0.2\n0.2 0.1\n0.2 0.2\n0.1 0.1\n");
    folder.refused(&["import", "tie.txt", "--into", "policy.toml"], "list the corners in order");
    let after = std::fs::read_to_string(folder.0.path().join("policy.toml")).unwrap();
    assert_eq!(before, after, "a refused import leaves the policy as it was");
}

#[test]
fn the_datum_moves_the_zones_and_is_written_beside_them() {
    let folder = Folder::new();
    folder.write("site.plan", PLAN);
    let home = folder.done(&["import", "site.plan"]);
    assert!(
        home.contains("latitude 52, longitude 4, altitude 3.5 m\n# (the planned home"),
        "{home}"
    );
    let json = folder.done(&["import", "site.plan", "--datum", "51.999,3.999,3.5", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let corner = &json["zones"][0]["polygon"][0];
    assert!(corner["x"].as_f64().unwrap().abs() < 1e-6, "{corner}");
    folder.refused(&["import", "site.plan", "--datum", "4.0,52.0"], "they are swapped");
    folder.refused(&["import", "site.plan", "--datum", "47,8"], "km from the datum");
    let usage = folder.agent(&["import", "site.plan", "--datum", "147,8"]);
    assert_eq!(usage.status.code(), Some(2), "a datum that is no place is a wrong command line");
}

#[test]
fn a_file_that_is_no_fence_is_named_with_what_is_wrong() {
    let folder = Folder::new();
    folder.write("track.gpx", "<gpx/>");
    folder.write("empty.plan", "");
    folder.write("cut.plan", &PLAN[..PLAN.len() - 40]);
    folder.refused(&["import", "track.gpx"], "track.gpx: is no fence file");
    folder.refused(&["import", "empty.plan"], "nothing in the file");
    folder.refused(&["import", "cut.plan"], "was cut, copy it again");
    folder.refused(&["import", "missing.plan"], "missing.plan: ");
    let two = PLAN.replace("\"firmwareType\":12", "\"firmwareType\":3");
    let two = two.replace("\"inclusion\":false,\"polygon\"", "\"inclusion\":true,\"polygon\"");
    folder.write("two.plan", &two);
    folder.refused(&["import", "two.plan"], "say --any-of if any one will do");
    folder.done(&["import", "two.plan", "--any-of"]);
}

#[test]
fn a_nav2_map_says_how_it_is_signed() {
    let folder = Folder::new();
    folder.write("hall.pgm", "P2 2 2 255\n0 255 255 255\n");
    folder.write(
        "hall.yaml",
        "image: hall.pgm\nresolution: 0.5\norigin: [0, 0, 0]\nnegate: 0\n\
         occupied_thresh: 0.65\nfree_thresh: 0.25\n",
    );
    let said = folder.done(&["import", "hall.yaml"]);
    assert!(
        said.contains("kept out of 1, of which 0") && said.contains("--map hall.yaml"),
        "{said}"
    );
    folder.refused(&["import", "hall.yaml", "--into", "policy.toml"], "--map hall.yaml");
}
