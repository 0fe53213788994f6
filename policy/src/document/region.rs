//! When and at which height a zone is there, and what a privacy zone says.

use super::{DocumentError, check_shape, range};
use crate::zones::Shape;
use nooterra_protocol::policy::{AltitudeBand, PolicyDocument, Vehicle, ZoneRule};
use nooterra_protocol::schedule::Window;

/// The most time windows of one zone.
pub const MAX_WINDOWS: usize = 64;

/// The most privacy zones of a policy.
pub const MAX_PRIVACY_ZONES: usize = 128;

/// Checks heights and times of all zones, and all of privacy zones but their shapes.
pub(super) fn check(document: &PolicyDocument) -> Result<(), DocumentError> {
    let flies = matches!(document.vehicle, Vehicle::Multirotor(_));
    for (index, zone) in document.zones.iter().enumerate() {
        let key = format!("zones[{index}]");
        check_altitude(&key, zone.altitude.as_ref(), flies)?;
        check_windows(&key, &zone.windows)?;
    }
    let found = document.privacy.len();
    if found > MAX_PRIVACY_ZONES {
        let most = MAX_PRIVACY_ZONES;
        return Err(DocumentError::TooMany { key: "privacy", what: "zones", found, most });
    }
    for (index, zone) in document.privacy.iter().enumerate() {
        let key = format!("privacy[{index}]");
        check_altitude(&key, zone.altitude.as_ref(), flies)?;
        check_windows(&key, &zone.windows)?;
        if zone.sensors.is_empty() && zone.keep_s.is_none() {
            let what = "name sensors that are off, or write `keep_s`";
            return Err(DocumentError::Nothing { key: format!("{key}.sensors"), what });
        }
    }
    Ok(())
}

/// Makes the shapes of privacy zones, as areas to be kept out of.
pub(crate) fn check_privacy_shapes(
    document: &PolicyDocument,
) -> Result<Vec<(ZoneRule, Shape)>, DocumentError> {
    let zones = document.privacy.iter().enumerate();
    zones
        .map(|(index, zone)| {
            let shape = check_shape(&format!("privacy[{index}]"), &zone.region())?;
            Ok((ZoneRule::KeepOut, shape))
        })
        .collect()
}

fn check_altitude(
    key: &str,
    band: Option<&AltitudeBand>,
    flies: bool,
) -> Result<(), DocumentError> {
    let Some(AltitudeBand { max_m, min_m, .. }) = band else {
        return Ok(());
    };
    let key = format!("{key}.altitude");
    if !flies {
        return Err(DocumentError::Grounded { key });
    }
    for (edge, name) in [(min_m, "min_m"), (max_m, "max_m")] {
        if let Some(edge) = edge {
            range(&format!("{key}.{name}"), *edge, -1_000.0, 10_000.0, "m")?;
        }
    }
    match (min_m, max_m) {
        (None, None) => Err(DocumentError::Nothing { key, what: "write `min_m`, `max_m` or both" }),
        (Some(least), Some(most)) if least >= most => Err(DocumentError::Inverted {
            high: format!("{key}.max_m"),
            low: format!("{key}.min_m"),
        }),
        _ => Ok(()),
    }
}

fn check_windows(key: &str, windows: &[Window]) -> Result<(), DocumentError> {
    if windows.len() > MAX_WINDOWS {
        let (found, most) = (windows.len(), MAX_WINDOWS);
        let what = "windows of one zone";
        return Err(DocumentError::TooMany { key: "windows", what, found, most });
    }
    for (index, Window { days, from, to }) in windows.iter().enumerate() {
        let key = format!("{key}.windows[{index}]");
        if days.is_empty() {
            return Err(DocumentError::EmptyDays { key });
        }
        if from >= to {
            return Err(DocumentError::EmptyWindow { key, from: *from, to: *to });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::check_document;
    use super::super::tests::document;
    use nooterra_protocol::policy::{
        AltitudeBand, AltitudeReference, Flight, PolicyDocument, PrivacyZone, Vehicle,
    };
    use nooterra_protocol::schedule::{TimeOfDay, Weekday, Window};

    fn refusal(change: impl FnOnce(&mut PolicyDocument)) -> String {
        let mut document = document();
        document.vehicle = Vehicle::Multirotor(Flight {
            land_after_s: None,
            max_altitude_m: 30.0,
            max_climb_mps: 2.0,
            max_descent_mps: 1.0,
            max_tilt_rad: 0.5,
            max_vertical_accel_mps2: 2.0,
            min_altitude_m: 1.0,
        });
        change(&mut document);
        check_document(&document).map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn band(min_m: Option<f64>, max_m: Option<f64>) -> Option<AltitudeBand> {
        Some(AltitudeBand { max_m, min_m, reference: AltitudeReference::AboveGround })
    }

    fn window(days: &[Weekday], from: &str, to: &str) -> Window {
        let time = |text: &str| TimeOfDay::try_from(text.to_owned()).unwrap();
        Window { days: days.to_vec(), from: time(from), to: time(to) }
    }

    fn private(document: &PolicyDocument) -> PrivacyZone {
        PrivacyZone {
            altitude: None,
            circle: None,
            holes: Vec::new(),
            id: "kitchen".parse().unwrap(),
            keep_s: None,
            polygon: document.zones[0].polygon.clone(),
            sensors: Vec::new(),
            windows: Vec::new(),
        }
    }

    #[test]
    fn heights_and_times_that_make_no_sense_are_refused_with_what_to_write() {
        let days = [Weekday::Fri];
        assert_eq!(refusal(|d| d.zones[1].altitude = band(Some(2.0), Some(9.0))), "");
        assert_eq!(refusal(|d| d.zones[1].windows = vec![window(&days, "08:00", "24:00")]), "");
        for (found, expected) in [
            (
                refusal(|d| d.zones[1].altitude = band(Some(9.0), Some(2.0))),
                "`zones[1].altitude.min_m` is not below `zones[1].altitude.max_m`; swap them, or \
                 correct one",
            ),
            (
                refusal(|d| d.zones[1].altitude = band(None, Some(f64::NAN))),
                "`zones[1].altitude.max_m` is NaN; write -1000 to 10000 m",
            ),
            (
                refusal(|d| d.zones[1].altitude = band(None, None)),
                "`zones[1].altitude` is empty; write `min_m`, `max_m` or both, or leave it out",
            ),
            (
                refusal(|d| {
                    d.vehicle = Vehicle::Differential;
                    d.zones[0].altitude = band(Some(2.0), None);
                }),
                "`zones[0].altitude` is about what flies; leave it out: a zone on the ground has \
                 no heights",
            ),
            (
                refusal(|d| d.zones[1].windows = vec![window(&[], "08:00", "09:00")]),
                "`zones[1].windows[0].days` names no day; write some of mon, tue, wed, thu, fri, \
                 sat, sun",
            ),
            (
                refusal(|d| d.zones[1].windows = vec![window(&days, "22:00", "06:00")]),
                "`zones[1].windows[0]`: it begins at 22:00 and ends at 06:00; where it goes over \
                 midnight, write two: 22:00 to 24:00, and 00:00 to 06:00 on the day after",
            ),
            (
                refusal(|d| d.zones[1].windows = vec![window(&days, "08:00", "09:00"); 65]),
                "`windows` has 65 windows of one zone; at most 64 are handled, merge or simplify \
                 some",
            ),
            (
                refusal(|d| d.privacy = vec![private(d)]),
                "`privacy[0].sensors` is empty; name sensors that are off, or write `keep_s`, or \
                 leave it out",
            ),
            (
                refusal(|d| {
                    let zone = PrivacyZone { keep_s: Some(0), ..private(d) };
                    d.privacy = vec![PrivacyZone { id: "room".parse().unwrap(), ..zone }];
                }),
                "`privacy[0].id` is `room`, as is `zones[0].id`; give each zone its own name",
            ),
            (
                refusal(|d| {
                    let zone = PrivacyZone { keep_s: Some(0), ..private(d) };
                    d.privacy = vec![PrivacyZone { polygon: vec![], ..zone }];
                }),
                "`privacy[0].polygon` has 0 corners; write 3 to 100000",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}
