//! From WGS 84 to the plane: latitude and longitude as metres east and north of a datum.
//!
//! The plane touches the ellipsoid at the datum. Its formulas are the standard closed ones,
//! geodetic to geocentric to east, north, up: NGA.STND.0036, "Department of Defense World
//! Geodetic System 1984", sections 3 and 4. At the 100 km that a fence may reach, a metre on
//! the plane is a metre on the ground to 0.02 %.

use super::fence::FenceError;

/// Semi-major axis of WGS 84, metres.
const A_M: f64 = 6_378_137.0;

/// Flattening of WGS 84.
const FLATTENING: f64 = 1.0 / 298.257_223_563;

/// Square of the first eccentricity.
const E2: f64 = FLATTENING * (2.0 - FLATTENING);

/// A place on or above the WGS 84 ellipsoid; its numbers are those of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geodetic {
    alt_m: f64,
    lat_deg: f64,
    lon_deg: f64,
}

impl Geodetic {
    /// Degrees and metres. `at` says in messages where the numbers stand.
    ///
    /// # Errors
    /// [`FenceError::Coordinate`] for what is no place on Earth.
    pub fn new(at: &str, lat_deg: f64, lon_deg: f64, alt_m: f64) -> Result<Self, FenceError> {
        let wrong = |what: String| Err(FenceError::Coordinate { at: at.to_owned(), what });
        // `contains` is false for NaN.
        if !(-90.0..=90.0).contains(&lat_deg) {
            let swapped = (-90.0..=90.0).contains(&lon_deg) && lat_deg.abs() <= 180.0;
            let hint = if swapped { "; latitude and longitude are swapped" } else { "" };
            return wrong(format!("latitude {lat_deg} is not in -90 to 90 degrees{hint}"));
        }
        if !(-180.0..=180.0).contains(&lon_deg) {
            return wrong(format!("longitude {lon_deg} is not in -180 to 180 degrees"));
        }
        if !(-1_000.0..=100_000.0).contains(&alt_m) {
            return wrong(format!("altitude {alt_m} is not in -1000 to 100000 m"));
        }
        Ok(Self { alt_m, lat_deg, lon_deg })
    }

    /// Metres above the ellipsoid, or above whatever the file counts from.
    #[must_use]
    pub const fn alt_m(self) -> f64 {
        self.alt_m
    }

    /// Degrees, north positive.
    #[must_use]
    pub const fn lat_deg(self) -> f64 {
        self.lat_deg
    }

    /// Degrees, east positive.
    #[must_use]
    pub const fn lon_deg(self) -> f64 {
        self.lon_deg
    }

    /// The same place at another height.
    #[must_use]
    pub(super) const fn at_height_of(self, other: Self) -> Self {
        Self { alt_m: other.alt_m, ..self }
    }

    /// Latitude and longitude the other way round, where that is a place.
    pub(super) fn swapped(self) -> Option<Self> {
        Self::new("", self.lon_deg, self.lat_deg, self.alt_m).ok()
    }

    /// 0, 0 is in the Atlantic, and what is written for a place that was never set.
    pub(super) fn was_set(self) -> bool {
        self.lat_deg.abs() + self.lon_deg.abs() > 0.0
    }

    /// Geocentric coordinates, metres: x through 0° N 0° E, z through the north pole.
    #[must_use]
    pub fn geocentric(self) -> [f64; 3] {
        let (lat_sin, lat_cos) = self.lat_deg.to_radians().sin_cos();
        let (lon_sin, lon_cos) = self.lon_deg.to_radians().sin_cos();
        let normal = A_M / (1.0 - E2 * lat_sin * lat_sin).sqrt();
        let flat = (normal + self.alt_m) * lat_cos;
        [flat * lon_cos, flat * lon_sin, (normal * (1.0 - E2) + self.alt_m) * lat_sin]
    }
}

/// A plane that touches the ellipsoid at a datum.
#[derive(Clone, Copy, Debug)]
pub struct TangentPlane {
    datum: Geodetic,
    lat: (f64, f64),
    lon: (f64, f64),
    origin: [f64; 3],
}

impl TangentPlane {
    /// The plane at a datum.
    #[must_use]
    pub fn at(datum: Geodetic) -> Self {
        let lat = datum.lat_deg.to_radians().sin_cos();
        let lon = datum.lon_deg.to_radians().sin_cos();
        Self { datum, lat, lon, origin: datum.geocentric() }
    }

    /// Where it touches.
    #[must_use]
    pub const fn datum(&self) -> Geodetic {
        self.datum
    }

    /// East, north and up of the datum, metres.
    #[must_use]
    pub fn enu(&self, place: Geodetic) -> [f64; 3] {
        let ([x, y, z], [x0, y0, z0]) = (place.geocentric(), self.origin);
        let (x, y, z) = (x - x0, y - y0, z - z0);
        let ((lat_sin, lat_cos), (lon_sin, lon_cos)) = (self.lat, self.lon);
        let outward = lon_cos * x + lon_sin * y;
        [
            lon_cos * y - lon_sin * x,
            lat_cos * z - lat_sin * outward,
            lat_cos * outward + lat_sin * z,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn place(lat_deg: f64, lon_deg: f64, alt_m: f64) -> Geodetic {
        Geodetic::new("here", lat_deg, lon_deg, alt_m).unwrap()
    }

    fn near(found: [f64; 3], expected: [f64; 3], within_m: f64) {
        let most = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most <= within_m, "{found:?} is not {expected:?} within {within_m} m");
    }

    #[test]
    fn it_agrees_with_published_conversions() {
        // The examples in the manual of GeographicLib's CartConvert, which prints centimetres.
        let there = place(33.3, 44.4, 6_000.0);
        near(there.geocentric(), [3_816_209.60, 3_737_108.55, 3_485_109.57], 0.006);
        let plane = TangentPlane::at(place(33.0, 44.0, 20.0));
        near(plane.enu(there), [37_288.97, 33_374.29, 5_783.65], 0.011);
        // The reference point of pymap3d's tests.
        let lake = place(42.0, -82.0, 200.0).geocentric();
        near(lake, [660_675.251_824_7, -4_700_948.683_16, 4_245_737.662_22], 1e-4);
        // The axes of the ellipsoid.
        near(place(0.0, 0.0, 0.0).geocentric(), [A_M, 0.0, 0.0], 1e-6);
        near(place(-90.0, 77.0, 0.0).geocentric(), [0.0, 0.0, -6_356_752.314_245], 1e-6);
    }

    #[test]
    fn east_is_east_and_north_is_north_on_both_sides_of_the_date_line() {
        let plane = TangentPlane::at(place(-17.0, 179.999, 0.0));
        let [east, north, _] = plane.enu(place(-16.999, -179.999, 0.0));
        // 0.002 degrees of longitude at 17 S and 0.001 of latitude.
        assert!(
            (212.0..214.0).contains(&east) && (110.0..111.0).contains(&north),
            "{east} {north}"
        );
    }

    #[test]
    fn what_is_no_place_is_refused_and_a_swap_is_named() {
        let text = |lat, lon| Geodetic::new("row 3", lat, lon, 0.0).unwrap_err().to_string();
        let swapped = text(149.163_651, -35.363_720);
        assert!(swapped.contains("row 3") && swapped.contains("swapped"), "{swapped}");
        assert!(text(f64::NAN, 0.0).contains("latitude NaN"));
        assert!(text(0.0, 180.1).contains("longitude 180.1"));
        assert!(Geodetic::new("row 3", 0.0, 0.0, f64::INFINITY).is_err());
    }

    proptest! {
        #[test]
        fn distances_on_the_plane_are_distances_on_the_ground(
            lat in -85.0..85.0_f64, lon in -180.0..180.0_f64, east in -0.5..0.5_f64,
            north in -0.5..0.5_f64,
        ) {
            let datum = place(lat, lon, 0.0);
            let turn = (lon + east + 180.0).rem_euclid(360.0) - 180.0;
            let other = place(lat + north, turn, 0.0);
            let [x, y, _] = TangentPlane::at(datum).enu(other);
            let chord = datum
                .geocentric()
                .iter()
                .zip(other.geocentric())
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
                .sqrt();
            prop_assert!((x.hypot(y) - chord).abs() <= 2e-4 * chord + 1e-6, "{} {}", x.hypot(y), chord);
        }
    }
}
