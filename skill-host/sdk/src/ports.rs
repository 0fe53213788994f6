//! The calls into the robot, each behind the capability of its name. In unit tests, where
//! there is no robot, they go to `testing`.

use crate::types::Refusal;

/// The milestone `name` is reached, now: 1 to 64 bytes of `[a-zA-Z0-9_.+/-]`.
///
/// # Errors
/// [`Refusal`]; the skill may go on.
pub fn checkpoint(name: &str) -> Result<(), Refusal> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::nooterra::skill::checkpoint::reached(name);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::heard(|heard| heard.checkpoints.push(name.to_owned()))
}

/// Attaches something that shows what was done or seen.
///
/// # Errors
/// [`Refusal`]; the skill may go on.
pub fn evidence(name: &str, media_type: &str, bytes: &[u8]) -> Result<(), Refusal> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::nooterra::skill::evidence::attach(name, media_type, bytes);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::heard(|heard| {
        heard.evidence.push((name.to_owned(), media_type.to_owned(), bytes.to_vec()));
    })
}

/// Writes one line of the robot's log, for the developer.
pub fn log(text: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::nooterra::skill::log::line(text);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = crate::testing::heard(|heard| heard.lines.push(text.to_owned()));
}

/// Asks people for help, and says why in 1 to 256 bytes. The skill is stepped as before.
///
/// # Errors
/// [`Refusal`]; the skill may go on.
pub fn request_assist(reason: &str) -> Result<(), Refusal> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::nooterra::skill::assist::request(reason);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::heard(|heard| heard.assists.push(reason.to_owned()))
}
