//! Lists that the cloud answers in pages: each page is printed as it comes and then forgotten,
//! so that a fleet of any size is listed in the memory of one page.

use super::{ClientError, Cloud, Outcome, items, sent, show};
use nooterra_client::encoded;
use serde_json::Value;
use std::io::Write;

/// Items that are asked for at once.
const PAGE: u64 = 200;

/// How much of a list.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// At most so many; all unless given.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// A list of the API, and how people read it.
pub(super) struct List {
    /// The names of the columns.
    pub(super) head: &'static [&'static str],
    /// What the answer calls its items.
    pub(super) name: &'static str,
    /// Where it is; a parameter in braces where each of something has one.
    pub(super) path: &'static str,
    /// An item's cells.
    pub(super) row: fn(&Value) -> Vec<String>,
}

impl List {
    /// Prints the list up to `limit`: with `--json` as one object, as the API answers it, whose
    /// `next` is null after the last item.
    pub(super) fn print(&self, cloud: &Cloud, limit: Limit) -> Result<Outcome, ClientError> {
        self.print_at(cloud, self.path, limit)
    }

    /// As [`Self::print`], of the list at `path`.
    pub(super) fn print_at(
        &self,
        cloud: &Cloud,
        path: &str,
        limit: Limit,
    ) -> Result<Outcome, ClientError> {
        let out = &mut std::io::stdout().lock();
        let get = |path: &str| sent(cloud.client.get::<Value>(path));
        self.write(get, path, limit, cloud.json, out)?;
        Ok(Outcome::Done)
    }

    fn write(
        &self,
        get: impl Fn(&str) -> Result<Value, ClientError>,
        path: &str,
        Limit { limit }: Limit,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), ClientError> {
        let mut left = limit.unwrap_or(u64::MAX);
        let mut table = show::Table::new(self.head);
        let (mut before, mut next) = (None, Value::Null);
        loop {
            let asked = left.min(PAGE);
            let after = cursor(&next).map_or(String::new(), |at| format!("&after={at}"));
            let page = get(&format!("{path}?limit={asked}{after}"))?;
            let found = items(&page, self.name);
            left = left.saturating_sub(found.len() as u64);
            let begin = before.is_none();
            before = Some(std::mem::replace(&mut next, page["next"].clone()));
            // A cloud that goes in circles would be listed for ever.
            if found.is_empty() && !next.is_null() || before.as_ref() == Some(&next) && !begin {
                return Err(ClientError::Answer(path.to_owned()));
            }
            let end = next.is_null() || left == 0;
            let text = if json {
                self.object(found, begin, end.then_some(&next))
            } else {
                table.page(&found.iter().map(self.row).collect::<Vec<_>>())
            };
            // Nobody reads any longer: that is no fault of the command, and no more is asked.
            let read = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            if end || read.is_err() {
                return Ok(());
            }
        }
    }

    /// The next piece of the one object; with what `next` is at its end.
    fn object(&self, found: &[Value], begin: bool, end: Option<&Value>) -> String {
        let mut text = if begin { format!("{{\"{}\":[", self.name) } else { String::new() };
        for (at, item) in found.iter().enumerate() {
            let comma = if begin && at == 0 { "" } else { "," };
            text.push_str(&format!("{comma}{item}"));
        }
        if let Some(next) = end {
            text.push_str(&format!("],\"next\":{next}}}\n"));
        }
        text
    }
}

/// What `after` takes: a number or an id.
fn cursor(next: &Value) -> Option<String> {
    match next {
        Value::Null => None,
        Value::String(id) => Some(encoded(id)),
        number => Some(encoded(&number.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::RefCell;

    const THINGS: List = List {
        head: &["THING"],
        name: "things",
        path: "/v1/things",
        row: |thing| vec![show::text(thing, "id")],
    };

    /// Answers as the API does, for things numbered from 0 to `count`; what was asked.
    fn listed(count: u64, limit: Option<u64>, json: bool) -> (String, Vec<String>) {
        let (asked, mut out) = (RefCell::new(Vec::new()), Vec::new());
        let get = |path: &str| {
            asked.borrow_mut().push(path.to_owned());
            let number = |name: &str| {
                let (_, rest) = path.split_once(name)?;
                rest.split('&').next()?.parse::<u64>().ok()
            };
            let first = number("after=").map_or(0, |after| after + 1);
            let limit = number("limit=").unwrap();
            let things: Vec<_> = (first..count.min(first + limit)).collect();
            let next = things.last().filter(|_| things.len() as u64 == limit);
            let things: Vec<_> = things.iter().map(|n| json!({ "id": n })).collect();
            Ok(json!({ "next": next, "things": things }))
        };
        THINGS.write(get, THINGS.path, Limit { limit }, json, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), asked.into_inner())
    }

    #[test]
    fn every_page_is_listed_once_in_order_under_one_head() {
        for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE - 7] {
            let expected = (0..count).map(|n| n.to_string());
            let expected: Vec<_> = std::iter::once("THING".to_owned()).chain(expected).collect();
            let (text, asked) = listed(count, None, false);
            assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{count}");
            assert_eq!(asked.len() as u64, count / PAGE + 1, "{asked:?}");
            let object: Value = serde_json::from_str(&listed(count, None, true).0).unwrap();
            assert_eq!(items(&object, "things").len() as u64, count);
            assert_eq!((&object["next"], object.as_object().unwrap().len()), (&Value::Null, 2));
        }
    }

    #[test]
    fn a_limit_is_kept_across_pages_and_says_where_to_go_on() {
        for limit in [1, PAGE, PAGE + 3] {
            let (text, _) = listed(3 * PAGE, Some(limit), true);
            let object: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(items(&object, "things").len() as u64, limit);
            assert_eq!(object["next"], limit - 1);
        }
        let (_, asked) = listed(3 * PAGE, Some(PAGE + 3), false);
        assert_eq!(asked, ["/v1/things?limit=200", "/v1/things?limit=3&after=199"]);
    }

    #[test]
    fn a_cloud_that_goes_in_circles_is_an_error() {
        for things in [json!([]), json!([{ "id": 1 }])] {
            let get = |_: &str| Ok(json!({ "next": 7, "things": things }));
            let listed =
                THINGS.write(get, THINGS.path, Limit { limit: None }, false, &mut Vec::new());
            assert!(matches!(listed, Err(ClientError::Answer(_))));
        }
    }
}
