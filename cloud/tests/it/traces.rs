//! Traces, as a collector gets them.

use super::rig::{Rig, RigOn, Sqlite};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything that must happen may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector of OTLP over HTTP that answers with this status; its address, and what it gets.
fn collector(status: u16) -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let Ok(mut tcp) = tcp else { return };
            let mut reader = BufReader::new(tcp.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = head.to_lowercase();
            assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = tcp.write_all(answer.as_bytes());
            if tell.send(ExportTraceServiceRequest::decode(body.as_slice()).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// The program, which sends its traces there.
fn program(address: &str) -> Rig {
    let before = ["env".to_owned(), format!("NOOTERRA_CLOUD_TRACES={address}")];
    let dir = tempfile::tempdir().unwrap();
    RigOn::<Sqlite>::program(dir, None, &before).unwrap_or_else(|_| panic!("it is not ready"))
}

/// Spans until there is one of each of these names.
fn until(told: &Receiver<ExportTraceServiceRequest>, names: &[&str]) -> Vec<Span> {
    let (mut spans, begun) = (Vec::<Span>::new(), Instant::now());
    while !names.iter().all(|name| spans.iter().any(|span| span.name == *name)) {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let found: Vec<_> = spans.iter().map(|span| &span.name).collect();
        let got = told.recv_timeout(left).unwrap_or_else(|_| panic!("{names:?}, of {found:?}"));
        for of in got.resource_spans {
            let named = of.resource.unwrap().attributes.iter().any(|it| {
                it.key == "service.name"
                    && it.value.as_ref().unwrap().value
                        == Some(Value::StringValue("nooterra-cloud".to_owned()))
            });
            assert!(named);
            spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

fn attribute(span: &Span, name: &str) -> Option<Value> {
    span.attributes.iter().find(|it| it.key == name)?.value.clone()?.value
}

#[test]
fn a_collector_gets_requests_with_what_they_wrote_and_dispatched_in_the_senders_trace() {
    let (address, told) = collector(200);
    let rig = program(&address);
    rig.enrol("amr-1");
    let job = rig.create_job("amr-1");
    rig.post(&format!("/v1/jobs/{job}/quote"), serde_json::json!({}));
    rig.post(&format!("/v1/jobs/{job}/book"), serde_json::json!({}));
    let sender = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let path = format!("/v1/jobs/{job}/dispatch?");
    let headers = [sender, ("x-request-id", "mine-7")];
    assert_eq!(rig.call_with("POST", path.trim_end_matches('?'), &headers, None).0, 200);
    assert_eq!(rig.call("GET", "/v1/jobs/job_none", None).0, 404);
    let dispatch = "POST /v1/jobs/{id}/dispatch";
    let all = ["GET /v1/jobs/{id}", dispatch, "job.dispatch", "store.write", "store.commit"];
    let spans = until(&told, &all);

    let request = named(&spans, dispatch);
    let trace = u128::from_str_radix("0af7651916cd43dd8448eb211c80319c", 16).unwrap().to_be_bytes();
    assert_eq!(request.trace_id, trace);
    assert_eq!(request.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(request.kind, 2, "a server's");
    assert_eq!(attribute(request, "http.response.status_code"), Some(Value::IntValue(200)));
    let id = Some(Value::StringValue("mine-7".to_owned()));
    assert_eq!(attribute(request, "nooterra.request_id"), id);
    let dispatched = named(&spans, "job.dispatch");
    assert_eq!(dispatched.parent_span_id, request.span_id);
    assert_eq!(attribute(dispatched, "job"), Some(Value::StringValue(job.to_string())));
    let wrote = spans
        .iter()
        .any(|span| span.name == "store.write" && span.parent_span_id == dispatched.span_id);
    assert!(wrote, "{spans:?}");
    assert!(matches!(
        attribute(named(&spans, "store.commit"), "works"),
        Some(Value::IntValue(1..))
    ));
    // Whoever sends no trace has one of its own.
    let other = named(&spans, "GET /v1/jobs/{id}");
    assert!(other.trace_id != trace && other.parent_span_id.is_empty());
    // Nothing that was presented is in it.
    assert!(!format!("{spans:?}").contains(&rig.token));
}

#[test]
fn a_collector_that_takes_nothing_costs_the_traces_only() {
    let (address, told) = collector(500);
    let rig = program(&address);
    assert_eq!(rig.call("GET", "/v1/jobs", None).0, 200);
    told.recv_timeout(PATIENCE).unwrap();
    let begun = Instant::now();
    loop {
        let (status, text) = rig.raw("GET", "/metrics", None, Some(&rig.token), None);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(status, 200);
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse::<u64>().unwrap()
        };
        assert_eq!(figure("nooterra_trace_spans_sent_total"), 0);
        assert_eq!(figure("nooterra_trace_spans_dropped_total"), 0);
        if figure("nooterra_trace_spans_failed_total") > 0 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}");
    }
}

#[test]
fn without_a_collector_there_are_no_figures_of_traces_and_a_wrong_address_is_refused() {
    let rig = Rig::new();
    let (_, text) = rig.raw("GET", "/metrics", None, Some(&rig.token), None);
    assert!(!String::from_utf8(text).unwrap().contains("trace"));
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    command.args(["serve", "--traces", "grpc://collector:4317", "--data"]).arg(dir.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("4318"));
}
