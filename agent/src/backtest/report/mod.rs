//! A page to look at: speed against limit, where it went, every interval. One file, complete
//! without scripts; it loads nothing.

pub(crate) mod chart;
pub(crate) mod page;
pub(crate) mod track;

pub use page::render;

use super::judge::Way;
use nooterra_protocol::entry::Rule;
use nooterra_protocol::ids::ZoneId;

/// A rule as a person reads it: `speed.linear reverse`, `zone.keep_out press`.
#[must_use]
pub fn label(rule: Rule, way: Option<Way>, zone: Option<&ZoneId>) -> String {
    let mut label = rule.name().to_owned();
    for part in [way.map(Way::name), zone.map(ZoneId::as_str)].into_iter().flatten() {
        label.push(' ');
        label.push_str(part);
    }
    label
}

/// Which colour a rule has: the class of the page's style.
const fn family(rule: Rule) -> &'static str {
    match rule {
        Rule::ZoneClosed | Rule::ZoneKeepIn | Rule::ZoneKeepOut | Rule::ZoneSpeed => "zone",
        Rule::AccelAngular | Rule::AccelLinear => "accel",
        _ => "speed",
    }
}

/// Text as it may stand in HTML and in attributes.
pub(crate) fn esc(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Controls have no place in a page.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A tenth of a pixel is finer than a screen.
pub(crate) fn px(pixels: f64) -> String {
    let text = format!("{pixels:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A round number near `span` divided by `parts`, for marks of an axis.
fn round_step(span: f64, parts: f64) -> f64 {
    let raw = (span / parts).max(1e-6);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_names_cannot_break_out() {
        for (span, parts, step) in [(10.0, 5.0, 2.0), (0.9, 4.0, 0.5), (208.0, 10.0, 50.0)] {
            assert!((round_step(span, parts) - step).abs() < 1e-9, "{span} / {parts}");
        }
        assert_eq!(esc("<b>\"'&\u{7}"), "&lt;b&gt;&quot;&#39;&amp; ");
        assert_eq!((px(1.04), px(2.0)), ("1".to_owned(), "2".to_owned()));
    }
}
