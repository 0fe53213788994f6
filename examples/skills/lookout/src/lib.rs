//! `watch`: stands and takes `count` pictures (1 to 20, default 3), one each `every_s` seconds
//! (0.3 to 60, default 1), and attaches each. While pictures are off it waits, for 30 s at most.

use nooterra_skill::camera::{self, CameraError, Picture, PixelFormat};
use nooterra_skill::prelude::*;

/// Asking again sooner than five times a second would only be refused, nanoseconds.
const AGAIN: u64 = 250_000_000;

/// So long without a picture is too long, nanoseconds.
const PATIENCE: u64 = 30_000_000_000;

struct Lookout {
    asked: Option<u64>,
    count: u32,
    every: u64,
    /// When the last picture was taken, or the first was wished.
    last: Option<u64>,
    taken: u32,
}

impl Skill for Lookout {
    fn init(_action: &str, params: &mut Params) -> Result<Self, String> {
        let count = params.number("count", 3.0, 1.0..=20.0)? as u32;
        let every = (params.number("every_s", 1.0, 0.3..=60.0)? * 1e9) as u64;
        Ok(Self { asked: None, count, every, last: None, taken: 0 })
    }

    fn step(&mut self, seen: &Observation) -> (Request, Status) {
        let since = seen.at_nanos.saturating_sub(*self.last.get_or_insert(seen.at_nanos));
        let progress = f64::from(self.taken) / f64::from(self.count);
        let early = self.asked.is_some_and(|asked| seen.at_nanos.saturating_sub(asked) < AGAIN);
        if early || (self.taken > 0 && since < self.every) {
            return (Request::Stop, running(progress, "waiting for the next picture"));
        }
        self.asked = Some(seen.at_nanos);
        match self.picture() {
            Ok(()) => (self.last, self.taken) = (Some(seen.at_nanos), self.taken + 1),
            Err(why) if since > PATIENCE => return failed(why),
            Err(why) => return (Request::Stop, running(progress, why)),
        }
        let done = self.taken == self.count;
        let note = format!("{} of {} pictures", self.taken, self.count);
        (Request::Stop, if done { Status::Done } else { running(progress, note) })
    }
}

impl Lookout {
    /// Takes and attaches one, or says why not.
    fn picture(&self) -> Result<(), String> {
        let words = |error: CameraError| match error {
            CameraError::Off => "pictures are off here".to_owned(),
            other => format!("no picture: {}", other.name()),
        };
        let frame = camera::capture().map_err(words)?;
        let Picture { format, height, width, .. } = frame.describe().map_err(words)?;
        // The letters of Netpbm's formats for grey and for colour.
        let (kind, name) = match format {
            PixelFormat::Grey8 => ("P5", "pgm"),
            PixelFormat::Rgb8 => ("P6", "ppm"),
        };
        let mut file = format!("{kind} {width} {height} 255\n").into_bytes();
        file.extend(frame.pixels().map_err(words)?);
        let name = format!("picture-{}.{name}", self.taken + 1);
        evidence(&name, "image/x-portable-anymap", &file).map_err(|why| format!("{why:?}"))
    }
}

nooterra_skill::export!(Lookout);

#[cfg(test)]
mod tests {
    use super::*;
    use nooterra_skill::testing::{Robot, show};

    #[test]
    fn pictures_are_attached_one_by_one() {
        let mut robot = Robot::at(0.0, 0.0, 0.0);
        let ran = robot.run::<Lookout>("watch", &[("count", 2.0.into())]);
        assert_eq!(ran.end, Status::Done);
        let names: Vec<_> = ran.heard.evidence.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["picture-1.pgm", "picture-2.pgm"]);
        assert!(ran.heard.evidence[0].2.starts_with(b"P5 4 3 255\n"));
        assert!(ran.requests.iter().all(|request| *request == Request::Stop));
    }

    #[test]
    fn where_pictures_stay_off_it_gives_up() {
        show(Err(CameraError::Off));
        let ran = Robot::at(0.0, 0.0, 0.0).run::<Lookout>("watch", &[]);
        assert_eq!(ran.end, Status::Failed("pictures are off here".to_owned()));
        assert!(ran.heard.evidence.is_empty());
    }
}
