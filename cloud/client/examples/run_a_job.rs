//! Makes a job, sends it to its robot and follows it to its end.
//!
//!     cargo run -p nooterra-client --example run_a_job -- https://127.0.0.1:8443 DATA job.json

use nooterra_client::types::{DispatchRequest, EventQuery, Job, JobRequest, QuoteRequest};
use nooterra_client::{Client, ClientError};

/// From a request to a job that its robot was given.
///
/// # Errors
/// Whatever the cloud refuses, or that it cannot be reached.
pub fn give(client: &Client, request: &JobRequest) -> Result<Job, ClientError> {
    let job = client.create_job(request).send()?;
    let quoted = client.quote_job(&job.id, &QuoteRequest::default()).send()?;
    // Booked as it was just seen, or not at all.
    let mut booking = client.book_job(&job.id);
    if let Some(tag) = quoted.etag {
        booking = booking.if_match(tag);
    }
    booking.send()?;
    Ok(client.dispatch_job(&job.id, &DispatchRequest::default()).send()?.body)
}

/// What happens to the job from its first fact on; `each` says when it is enough.
///
/// # Errors
/// As for [`give`].
pub fn follow(
    client: &Client,
    job: &Job,
    mut each: impl FnMut(&str) -> bool,
) -> Result<(), ClientError> {
    let stream = Some(format!("job.{}", job.id));
    for event in client.follow_events(&EventQuery { stream, ..EventQuery::default() }) {
        if each(event?.kind.name()) {
            break;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(data), Some(file)) = (words.next(), words.next(), words.next()) else {
        return Err("write: run_a_job https://HOST:PORT DATA-DIRECTORY JOB.json".into());
    };
    let data = std::path::Path::new(&data);
    let client = Client::builder(url)
        .root_pem(std::fs::read_to_string(data.join("ca.pem"))?)
        .token_file(data.join("admin_token"))
        .build()?;
    let job = give(&client, &serde_json::from_slice(&std::fs::read(file)?)?)?;
    follow(&client, &job, |kind| {
        println!("{kind}");
        matches!(kind, "EXECUTION_COMPLETED" | "EXECUTION_ABORTED" | "CANCELLED")
    })?;
    Ok(())
}
