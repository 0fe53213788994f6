//! What the camera sees of the room: walls by their distance, floor and ceiling, a little noise.

use super::config::{CameraConfig, SimConfig};
use crate::camera::Camera;
use crate::robot::HalError;
use nooterra_protocol::frame::{Frame, PixelFormat};
use nooterra_protocol::geometry::{Point, Pose};
use nooterra_protocol::time::MonoNanos;
use std::sync::{Mutex, PoisonError, TryLockError};

/// From floor to ceiling, metres.
const WALLS_M: f64 = 2.5;

/// At this distance a wall is half as bright as one that touches the lens.
const HALF_BRIGHT_M: f64 = 4.0;

const CEILING: u8 = 210;
const FLOOR: u8 = 70;

/// A grey camera. Its picture is a function of the room, where the robot truly stands, and the
/// moment, and the same on every machine of one kind.
#[derive(Debug)]
pub(super) struct SimCamera {
    config: CameraConfig,
    /// Where the robot stands, and when; `None` before the first call.
    stands: Mutex<Option<(MonoNanos, Pose)>>,
    /// The sides of room and obstacles.
    walls: Vec<(Point, Point)>,
}

impl SimCamera {
    /// For a checked configuration.
    pub(super) fn new(config: &SimConfig) -> Self {
        let sides = |corners: &Vec<Point>| {
            let next = corners.iter().cycle().skip(1).copied();
            corners.iter().copied().zip(next).collect::<Vec<_>>()
        };
        let walls = config.obstacles.iter().chain([&config.room]).flat_map(sides).collect();
        let stands = Mutex::new(None);
        Self { config: config.camera.clone().unwrap_or_default(), stands, walls }
    }

    /// The robot stands there now. Never waits: while a picture is begun, it stays where it was.
    pub(super) fn stand(&self, at: MonoNanos, pose: Pose) {
        match self.stands.try_lock() {
            Ok(mut stands) => *stands = Some((at, pose)),
            Err(TryLockError::Poisoned(stands)) => *stands.into_inner() = Some((at, pose)),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// How far the nearest wall is in a direction, metres.
    fn range(&self, from: Point, towards: f64) -> f64 {
        let (sin, cos) = towards.sin_cos();
        let hit = |(one, other): &(Point, Point)| {
            let (side_x, side_y) = (other.x - one.x, other.y - one.y);
            let (x, y) = (one.x - from.x, one.y - from.y);
            let across = cos * side_y - sin * side_x;
            let along = (x * side_y - y * side_x) / across;
            let share = (x * sin - y * cos) / across;
            // Both are NaN or infinite for a side along the ray.
            (along > 0.0 && (0.0..=1.0).contains(&share)).then_some(along)
        };
        self.walls.iter().filter_map(hit).fold(f64::INFINITY, f64::min)
    }

    fn picture(&self, at: MonoNanos, pose: Pose) -> Vec<u8> {
        let CameraConfig { height, mounted_m, view_rad, width } = self.config;
        // Pixels are square: the distance of the picture's plane, in pixels.
        let plane = f64::from(width) / 2.0 / (view_rad / 2.0).tan();
        let columns: Vec<(f64, u8)> = (0..width)
            .map(|column| {
                let off = (f64::from(width) / 2.0 - 0.5 - f64::from(column)) / plane;
                let range = self.range(pose.point(), pose.yaw + off.atan());
                // Level distance along the camera's axis, so that straight walls stay straight.
                let depth = range / off.hypot(1.0);
                (depth, shade(255.0 / (1.0 + range / HALF_BRIGHT_M)))
            })
            .collect();
        let mut pixels = Vec::with_capacity(columns.len() * usize::from(height));
        for row in 0..height {
            let up = (f64::from(height) / 2.0 - 0.5 - f64::from(row)) / plane;
            pixels.extend(columns.iter().map(|(depth, wall)| {
                let over_floor_m = mounted_m + up * depth;
                match over_floor_m {
                    _ if !depth.is_finite() || over_floor_m > WALLS_M => CEILING,
                    _ if over_floor_m < 0.0 => FLOOR,
                    _ => *wall,
                }
            }));
        }
        for (index, pixel) in (0_u64..).zip(&mut pixels) {
            // Even a camera that stands still gives no two pictures that are the same.
            let mixed = (at.0 ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *pixel = pixel.saturating_add((mixed >> 62) as u8 & 1);
        }
        pixels
    }
}

impl Camera for SimCamera {
    fn capture(&self) -> Result<Frame, HalError> {
        let stands = *self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let none = |why: &str| HalError::Device(why.into());
        let (at, pose) = stands.ok_or_else(|| none("the robot was never read"))?;
        let shape = (u32::from(self.config.width), u32::from(self.config.height));
        Frame::new(at, PixelFormat::Grey8, shape, self.picture(at, pose))
            .ok_or_else(|| none("its picture has no pixels"))
    }
}

/// Brightness as a byte; what is none is black.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Brought into range.
fn shade(brightness: f64) -> u8 {
    brightness.clamp(0.0, 254.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> SimCamera {
        let corner = |x, y| Point { x, y };
        SimCamera::new(&SimConfig {
            arm: None,
            base: Default::default(),
            battery: Default::default(),
            camera: Some(CameraConfig::default()),
            dock: None,
            lidar: Default::default(),
            obstacles: Vec::new(),
            odometry: Default::default(),
            room: vec![corner(0.0, 0.0), corner(10.0, 0.0), corner(10.0, 8.0), corner(0.0, 8.0)],
            start: None,
        })
    }

    fn at(camera: &SimCamera, nanos: u64, x: f64) -> Frame {
        camera.stand(MonoNanos(nanos), Pose { x, y: 4.0, yaw: 0.0 });
        camera.capture().unwrap()
    }

    /// Of the middle of the picture.
    fn middle(frame: &Frame) -> u8 {
        let index = frame.height() / 2 * frame.width() + frame.width() / 2;
        frame.bytes()[index as usize]
    }

    #[test]
    fn a_picture_is_a_function_of_pose_and_moment() {
        let camera = camera();
        assert!(camera.capture().is_err(), "before anything is known");
        let first = at(&camera, 5, 2.0);
        assert_eq!(first, at(&camera, 5, 2.0));
        assert_ne!(first, at(&camera, 6, 2.0));
        assert_ne!(first, at(&camera, 5, 2.5));
        assert_eq!((first.width(), first.height(), first.bytes().len()), (64, 48, 64 * 48));
    }

    #[test]
    fn a_near_wall_is_brighter_between_ceiling_and_floor() {
        let camera = camera();
        let (far, near) = (at(&camera, 1, 1.0), at(&camera, 1, 8.0));
        assert!(middle(&near) > middle(&far) + 20, "{} and {}", middle(&near), middle(&far));
        // Nine metres away the wall leaves room for both.
        let column = |row: u32| far.bytes()[(row * far.width() + far.width() / 2) as usize];
        assert!(column(0) >= CEILING && column(47) <= FLOOR + 1);
        for (towards, range) in [(0.0, 9.0), (std::f64::consts::PI, 1.0)] {
            assert!((camera.range(Point { x: 1.0, y: 4.0 }, towards) - range).abs() < 1e-9);
        }
    }
}
