//! Parameters, checked once: a missing one, one of the wrong kind, one outside its range and
//! one that nobody asked for are each told to whoever wrote the plan.

use crate::nooterra::skill::types::{Param, Point};
use std::ops::RangeInclusive;

pub struct Params(Vec<(String, Param)>);

impl Params {
    pub fn new(params: Vec<(String, Param)>) -> Self {
        Self(params)
    }

    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(default),
            Some(Param::Flag(flag)) => Ok(flag),
            Some(_) => Err(format!("`{name}` must be true or false")),
        }
    }

    pub fn number(
        &mut self,
        name: &str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> Result<f64, String> {
        let number = match self.take(name) {
            None => return Ok(default),
            Some(Param::Number(number)) => number,
            Some(_) => return Err(format!("`{name}` must be a number")),
        };
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(format!("`{name}` must be {} to {}, is {number}", range.start(), range.end()))
        }
    }

    pub fn points(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
    ) -> Result<Vec<Point>, String> {
        match self.take(name) {
            Some(Param::Points(points)) if count.contains(&points.len()) => Ok(points),
            Some(Param::Points(points)) => Err(format!(
                "`{name}` must hold {} to {} points, holds {}",
                count.start(),
                count.end(),
                points.len()
            )),
            Some(_) => Err(format!("`{name}` must be a list of points")),
            None => Err(format!("`{name}` is missing: a list of points")),
        }
    }

    pub fn none_left(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("there is no parameter `{name}`")),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str) -> Option<Param> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }
}
