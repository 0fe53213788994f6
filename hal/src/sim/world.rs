//! The room as rigid bodies: who touches whom, and how far a beam sees.

use super::STEP;
use super::config::SimConfig;
use nooterra_protocol::geometry::{Point, Pose, Twist, wrap_angle};
use rapier2d::prelude::{
    ColliderBuilder, PhysicsWorld, Pose as BodyPose, QueryFilter, Ray, RigidBodyBuilder,
    RigidBodyHandle, Vector,
};
use std::fmt;

/// Narrows to the physics' precision, about 1 µm in a room of 10 m.
#[allow(clippy::cast_possible_truncation)]
pub(super) const fn single(number: f64) -> f32 {
    number as f32
}

pub(super) struct World {
    body: RigidBodyHandle,
    physics: PhysicsWorld,
}

impl World {
    /// Builds the room of a checked configuration.
    pub(super) fn new(config: &SimConfig) -> Self {
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::ZERO;
        physics.integration_parameters.dt = single(STEP.as_secs_f64());
        for edge in config.obstacles.iter().chain([&config.room]) {
            physics.insert_collider(outline(edge), None);
        }
        let begin = config.begin().unwrap_or_default();
        let (body, _) = physics.insert(
            RigidBodyBuilder::dynamic()
                .pose(BodyPose::new(vector(begin.point()), single(begin.yaw)))
                .can_sleep(false)
                .ccd_enabled(true),
            ColliderBuilder::ball(single(config.base.radius_m)).friction(0.3).density(200.0),
        );
        // A ray sees what the last step has sorted in; nothing moves in this one.
        physics.step();
        Self { body, physics }
    }

    pub(super) fn pose(&self) -> Pose {
        let body = &self.physics.bodies[self.body];
        let (at, yaw) = (body.translation(), body.rotation().angle());
        Pose { x: f64::from(at.x), y: f64::from(at.y), yaw: wrap_angle(f64::from(yaw)) }
    }

    pub(super) fn twist(&self) -> Twist {
        let body = &self.physics.bodies[self.body];
        let (speed, yaw) = (body.linvel(), body.rotation().angle());
        let linear = speed.x * yaw.cos() + speed.y * yaw.sin();
        Twist::new(f64::from(linear), f64::from(body.angvel()))
    }

    /// Pushes the body as the wheels do, and lets one step pass. Wheels do not give way
    /// sideways, so whatever a contact did to the body's speed in the last step is forgotten.
    pub(super) fn step(&mut self, wheels: Twist) {
        let body = &mut self.physics.bodies[self.body];
        // At the heading of the middle of the step, which makes an arc of the polygon.
        let turn = wheels.angular * STEP.as_secs_f64() / 2.0;
        let heading = body.rotation().angle() + single(turn);
        let speed = single(wheels.linear);
        body.set_linvel(Vector::new(speed * heading.cos(), speed * heading.sin()), true);
        body.set_angvel(single(wheels.angular), true);
        self.physics.step();
    }

    /// The distance from the middle of the base to what a beam meets, `angle` from ahead.
    pub(super) fn range(&self, angle: f64, longest_m: f64) -> Option<f64> {
        let pose = self.pose();
        let towards = pose.yaw + angle;
        let direction = Vector::new(single(towards.cos()), single(towards.sin()));
        let ray = Ray::new(vector(pose.point()), direction);
        let others = QueryFilter::default().exclude_rigid_body(self.body);
        let hit = self.physics.query_pipeline_with_filter(others).cast_ray(
            &ray,
            single(longest_m),
            false,
        );
        hit.map(|(_, range)| f64::from(range))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("pose", &self.pose()).finish_non_exhaustive()
    }
}

fn vector(point: Point) -> Vector {
    Vector::new(single(point.x), single(point.y))
}

/// A closed line around the corners.
fn outline(corners: &[Point]) -> ColliderBuilder {
    let vertices = corners.iter().chain(corners.first()).map(|corner| vector(*corner)).collect();
    ColliderBuilder::polyline(vertices, None).friction(0.3)
}
