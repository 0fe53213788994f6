//! Parameters, checked once: a missing one, one of the wrong kind, one outside its range and
//! one that nobody asked for are each told to whoever wrote the plan.

use crate::types::{Param, Point};
use std::ops::RangeInclusive;

/// What is left of an action's parameters: each is taken by its name.
#[derive(Debug)]
pub struct Params(Vec<(String, Param)>);

impl Params {
    /// All of them.
    #[must_use]
    pub const fn new(params: Vec<(String, Param)>) -> Self {
        Self(params)
    }

    /// Yes or no.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(default),
            Some(Param::Flag(flag)) => Ok(flag),
            Some(_) => Err(format!("`{name}` must be true or false")),
        }
    }

    /// A number within a range.
    ///
    /// # Errors
    /// Where it is outside, or something else.
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

    /// One point.
    ///
    /// # Errors
    /// Where it is missing, or something else.
    pub fn point(&mut self, name: &str) -> Result<Point, String> {
        Ok(self.points(name, 1..=1)?[0])
    }

    /// A list of points.
    ///
    /// # Errors
    /// Where it is missing, too short, too long, or something else.
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

    /// A text; `None` where it is missing.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Param::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` must be a text")),
        }
    }

    pub(crate) fn none_left(self) -> Result<(), String> {
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

impl From<bool> for Param {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<f64> for Param {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<Point>> for Param {
    fn from(points: Vec<Point>) -> Self {
        Self::Points(points)
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(name: &str, param: impl Into<Param>) -> Params {
        Params::new(vec![(name.to_owned(), param.into())])
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name() {
        let said = params("a", 7.0).number("a", 0.0, 0.0..=5.0).unwrap_err();
        assert_eq!(said, "`a` must be 0 to 5, is 7");
        assert_eq!(params("a", "b").flag("a", true).unwrap_err(), "`a` must be true or false");
        assert_eq!(
            params("a", true).number("a", 1.0, 0.0..=1.0).unwrap_err(),
            "`a` must be a number"
        );
        assert!(params("b", true).point("a").unwrap_err().contains("is missing"));
        assert_eq!(params("a", "b").none_left().unwrap_err(), "there is no parameter `a`");
        assert_eq!(params("a", "b").text("a"), Ok(Some("b".to_owned())));
    }
}
