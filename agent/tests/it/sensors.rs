//! What the policy's privacy zones do to a robot's sensors: seen by whoever reads one, and
//! recorded when it changes.

use crate::common::{Site, robot};
use nooterra_agent::control::{ControlLoop, Desk, View};
use nooterra_hal::sim::{SimBase, SimConfig};
use nooterra_protocol::entry::{Class, Entry, SensorGated};
use nooterra_protocol::keys::Ed25519Key;
use nooterra_protocol::policy::{PrivacyZone, Sensor};
use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};
use nooterra_protocol::time::{ClockTrust, MonoNanos, Stamp, WallMillis};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A wall clock whose time is ours.
#[derive(Debug)]
struct Wall(Mutex<(WallMillis, ClockTrust)>);

impl nooterra_blackbox::Clock for Wall {
    fn stamp(&self) -> Stamp {
        let (wall, trust) = *self.0.lock().unwrap();
        Stamp { mono: MonoNanos(0), trust, wall }
    }
}

/// Monday 2026-11-16, 09:00 UTC.
const NINE: WallMillis = WallMillis(1_794_787_200_000 + 9 * 3_600_000);

#[test]
fn a_camera_is_off_in_a_privacy_zone_and_the_black_box_says_from_when_to_when() {
    let site = Site::new();
    let mut document = site.document();
    let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
    let far = 1_000.0;
    document.privacy = vec![PrivacyZone {
        altitude: None,
        circle: None,
        holes: Vec::new(),
        id: "everywhere".parse().unwrap(),
        keep_s: Some(60),
        polygon: [(-far, -far), (far, -far), (far, far), (-far, far)]
            .map(|(x, y)| nooterra_protocol::geometry::Point::new(x, y))
            .to_vec(),
        sensors: vec![Sensor::Camera],
        windows: vec![Window { days: vec![Weekday::Mon], from: time("08:00"), to: time("18:00") }],
    }];
    site.sign_policy(&document, &Ed25519Key::from_seed([9; 32]));
    let world: SimConfig =
        toml::from_str(&std::fs::read_to_string(site.path("world.toml")).unwrap()).unwrap();
    let base = SimBase::new(robot(), world, 1).unwrap();
    let (_journal, handle) = site.journal();
    let desk = Arc::new(Desk::new(handle.clone(), &site.policy()));
    let view = Arc::new(View::default());
    let clock = Arc::new(Wall(Mutex::new((NINE, ClockTrust::Network))));
    let queue = handle.control_queue();
    let mut control =
        ControlLoop::new(Box::new(base), &site.policy(), desk, queue, Arc::clone(&view))
            .with_clock(Arc::<Wall>::clone(&clock));
    assert_eq!(view.privacy(|| MonoNanos(0)), None, "before the first tick");
    let mut now = 1_000_000_000;
    let mut run = |ticks: u32| {
        for _ in 0..ticks {
            now += 20_000_000;
            control.tick(MonoNanos(now));
        }
        // The clock is ours and the disk is not: until all is durable.
        let later = MonoNanos(now).plus(Duration::from_secs(1));
        while handle.oldest_uncommitted_age(later) > Duration::ZERO {
            std::thread::sleep(Duration::from_micros(300));
        }
        // And no picture by what was said two ticks and a margin ago: 40 ms and 100 ms.
        let after = |millis| view.privacy(|| MonoNanos(now).plus(Duration::from_millis(millis)));
        assert_eq!(after(140), None);
        after(139).unwrap()
    };
    let inside = run(5);
    assert!(!inside.allowed.contains(Sensor::Camera) && inside.keep_s == Some(60));
    assert!(inside.allowed.contains(Sensor::Microphone));
    // In the evening, once the clock is looked at again.
    *clock.0.lock().unwrap() = (WallMillis(NINE.0 + 12 * 3_600_000), ClockTrust::Network);
    assert!(run(60).allowed.contains(Sensor::Camera));
    *clock.0.lock().unwrap() = (WallMillis(NINE.0 + 12 * 3_600_000), ClockTrust::Untrusted);
    assert!(!run(60).allowed.contains(Sensor::Camera));
    let records = handle.read_from(Class::Critical, 0, 1 << 22).unwrap();
    let gated: Vec<SensorGated> = records
        .into_iter()
        .filter_map(|(_, bytes)| {
            match nooterra_evidence::Record::decode(&bytes).unwrap().entry().unwrap() {
                Some(Entry::SensorGated(gated)) => Some(gated),
                _ => None,
            }
        })
        .collect();
    let off: Vec<_> = gated.iter().map(|gated| gated.off.clone()).collect();
    assert_eq!(off, [vec![Sensor::Camera], vec![], vec![Sensor::Camera]]);
    assert_eq!(gated[0].keep_s, Some(60));
}
