//! What people read: columns, times, one line for an event.

use serde_json::Value;

/// Rows in columns as wide as their widest cell; two blanks between them.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    Table::new(head).page(rows)
}

/// A table that is printed in pages: one head, and columns that only grow wider.
pub(super) struct Table {
    /// Until it is printed.
    head: Option<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// With the names of the columns.
    pub(super) fn new(head: &[&str]) -> Self {
        Self {
            head: Some(head.iter().map(|&name| name.to_owned()).collect()),
            widths: head.iter().map(|name| name.chars().count()).collect(),
        }
    }

    /// The next rows; before the first of them the head.
    pub(super) fn page(&mut self, rows: &[Vec<String>]) -> String {
        for (column, width) in self.widths.iter_mut().enumerate() {
            let cells = rows.iter().filter_map(|row| row.get(column));
            *width = cells.map(|cell| cell.chars().count()).fold(*width, usize::max);
        }
        let mut text = String::new();
        for row in self.head.take().iter().chain(rows) {
            let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text field; a dash where there is none.
pub(super) fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// A time of the API, milliseconds since 1970, in UTC to the second.
pub(super) fn time(value: &Value) -> String {
    let Some(millis) = value.as_i64() else { return "-".to_owned() };
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(millis.div_euclid(1000)) else {
        return millis.to_string();
    };
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let month = u8::from(month);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Progress of a job, as a part of a hundred.
pub(super) fn percent(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

/// One event, one line.
pub(super) fn event(event: &Value) -> String {
    let late = if event["late"] == true { "  (late)" } else { "" };
    let stream = text(event, "stream");
    let what = match event["type"].as_str() {
        Some("HEARTBEAT") => {
            let payload = &event["payload"];
            format!("  {} {}", percent(&payload["progress"]), text(payload, "stage"))
        }
        Some("CHECKPOINT_REACHED") => format!("  {}", text(&event["payload"], "name")),
        _ => match event["payload"]["reason"].as_str() {
            Some(reason) => format!("  {reason}"),
            None => String::new(),
        },
    };
    let actor = text(&event["actor"], "id");
    let kind = text(event, "type");
    format!("{}  {stream}  {kind:20}  {actor}{what}{late}", time(&event["received_at"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "b".to_owned()], vec!["long id".to_owned(), "é".to_owned()]];
        assert_eq!(table(&["ID", "STATE"], &rows), "ID       STATE\na        b\nlong id  é\n");
    }

    #[test]
    fn a_time_is_read_in_utc() {
        assert_eq!(time(&json!(1_700_000_000_999_i64)), "2023-11-14 22:13:20Z");
        assert_eq!(
            (time(&json!(null)), time(&json!(-1))),
            ("-".into(), "1969-12-31 23:59:59Z".into())
        );
    }

    #[test]
    fn an_event_is_one_line_with_what_matters_of_it() {
        let line = event(&json!({
            "actor": { "id": "amr-1" }, "late": true, "received_at": 0, "stream": "job.job_1",
            "type": "HEARTBEAT", "payload": { "progress": 0.25, "stage": "s1" },
        }));
        assert!(
            line.ends_with("job.job_1  HEARTBEAT             amr-1  25 % s1  (late)"),
            "{line}"
        );
    }
}
