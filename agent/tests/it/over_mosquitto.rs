//! The agent and the cloud with a real broker between them: mosquitto from Debian, as
//! `nooterra-cloud broker` configures it. The agent knows nothing of it but an address.

use crate::common::Site;
use crate::common::rig::{Agent, CloudRig, dispatch, enroll, publish_patrol, step, wait_for};
use crate::common::{ports, skip};
use nooterra_protocol::entry::Class;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/sbin/mosquitto";

struct Mosquitto {
    address: SocketAddr,
    child: Child,
    configuration: PathBuf,
}

impl Mosquitto {
    /// With the shipped configuration but for the port.
    fn start(files: &Path) -> Self {
        let address = ports::free();
        let shipped = std::fs::read_to_string(files.join("mosquitto.conf")).unwrap();
        let listener = format!("listener {} 127.0.0.1", address.port());
        let mut text = shipped.replace("listener 8883", &listener);
        if nix::unistd::geteuid().is_root() {
            // Otherwise it becomes a user that may not read what a test wrote.
            text.push_str("user root\n");
        }
        let configuration = files.join("test.conf");
        std::fs::write(&configuration, text).unwrap();
        Self { address, child: run(&configuration, address), configuration }
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = run(&self.configuration, self.address);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(configuration: &Path, address: SocketAddr) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(configuration).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("mosquitto", || {
        assert!(child.try_wait().unwrap().is_none(), "mosquitto ended");
        TcpStream::connect(address).ok()
    });
    child
}

#[test]
fn a_job_goes_on_while_the_broker_is_away_and_all_of_it_arrives_once_afterwards() {
    if !Path::new(PROGRAM).exists() {
        skip::skipped("mosquitto is not installed: apt install mosquitto");
        return;
    }
    let site = Site::new();
    // The authority is made at the first start, and certifies the broker.
    CloudRig::start(&site, |_| {}).stop();
    let files = site.path("broker");
    nooterra_cloud::broker_files(&site.path("cloud"), None, &["127.0.0.1".to_owned()], &files)
        .unwrap();
    let mut broker = Mosquitto::start(&files);
    let named = format!("mqtts://{}", broker.address).parse().unwrap();
    let cloud = CloudRig::start(&site, |config| config.broker = Some(named));
    let skill = publish_patrol(&cloud, Some(&site));
    enroll(&site, &cloud);
    let agent = Agent::online(&site, &cloud);
    let waypoints = json!([{ "x": 4.0, "y": 1.2 }]);
    let job = dispatch(
        &cloud,
        &[
            step(&skill, "undock", json!({})),
            step(&skill, "patrol", json!({ "waypoints": waypoints })),
        ],
    );
    let used = |step: &str| {
        let events = cloud.events(&job);
        events.iter().filter(|(kind, what)| kind == "SKILL_USED" && what["step"] == step).count()
    };
    wait_for("the first step", || (used("undock") == 1).then_some(()));
    broker.stop();
    agent.says("no channel to the cloud");
    wait_for("the cloud to notice", || (!cloud.is_online()).then_some(()));
    broker.start_again();
    wait_for("the robot to come back", || cloud.is_online().then_some(()));
    cloud.wait_for_state(&job, "COMPLETED");
    // Each once: `records` refuses to see one twice.
    assert_eq!((used("undock"), used("patrol")), (1, 1), "{:?}", cloud.events(&job));
    wait_for("the robot's word that the link was gone", || {
        let links = cloud.records(Class::Normal);
        links.values().any(|r| r["kind"] == "link" && r["body"]["up"] == false).then_some(())
    });
    assert!(agent.terminate().success());
    wait_for("its leave", || (!cloud.is_online()).then_some(()));
}
