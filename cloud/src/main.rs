//! `nooterra-cloud`: the command line of the thin cloud.

mod cli;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use nooterra_cloud::{
    Broker, BrokerFilesError, CaError, Cloud, Config, DEFAULT_API_PER_S, DEFAULT_HTTP_PORT,
    DEFAULT_MQTT_PORT, DEFAULT_WEBHOOK_ROOTS, Difference, Network, Replay, ReplayOptions,
    StartError, TRACES_TARGET, Traces,
};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// For what is under way when all else has ended.
const STOP_WITHIN: Duration = Duration::from_secs(5);

const AFTER_HELP: &str = "\
Exit codes:
  0  done; `serve`: stopped in order
  1  failed while running
  2  the command line is wrong
  3  a file or the data directory cannot be used: not there, in use, or damaged
  4  cannot listen: the port is in use, or needs other rights
  5  replay, backup, restore: what the streams say is not what is shown
  6  job watch, job run: the job ended, and is not completed
  7  the cloud refused what was asked
`report verify` has more: see its --help

Where the cloud is, for `audit`, `claim`, `event`, `job`, `ring`, `robot`, `rollout`, `skill`,
`token` and `webhook`:
  --data DIR on its own machine, else --url, --ca and --token-file, or
  NOOTERRA_CLOUD_DATA, NOOTERRA_CLOUD_URL, NOOTERRA_CLOUD_CA, NOOTERRA_CLOUD_TOKEN_FILE

Environment:
  NOOTERRA_CLOUD_STORE  what --store says, where a password is not to be seen
  NOOTERRA_CLOUD_WEBHOOK_ALLOW  what --webhook-allow says, separated by commas
  RUST_LOG  what is logged, on standard error: `info` unless set, `debug`, `nooterra_cloud=trace`";

/// The thin cloud: certificates and claim codes for robots, an MQTT 5 endpoint, an HTTP API,
/// jobs and signed commands. One process, one data directory.
#[derive(Debug, Parser)]
#[command(name = "nooterra-cloud", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(cli::Command),
    /// Write all of a cloud to one file: keys, streams, everything.
    ///
    /// The cloud may run meanwhile: the file has one state of it, which is then checked as by
    /// `replay`. It holds private keys; keep it as you keep those.
    Backup(Backup),
    /// Write what mosquitto needs to carry the link of this cloud.
    ///
    /// Into DIR: `mosquitto.conf`, which names the rest; `acl`, which binds topics to
    /// certificates; `robots.crl`, the certificates of robots that it is to refuse, as of now; and
    /// a key with a certificate of this cloud's authority, valid for 90 days as that list is: run
    /// it again before, and restart mosquitto. Its user must be able to read them. Then start the
    /// cloud with `serve --broker`, and with `--broker-crl DIR/robots.crl` to keep the list.
    Broker(BrokerFiles),
    /// Print the completions of a shell, to be sourced or installed.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the OpenAPI document of this release.
    Openapi,
    /// Read every stream again and compare it with what the cloud shows.
    ///
    /// Checks that no fact is missing or changed, that each is signed by whom it says, and that
    /// every job is shown as its stream says. It may run beside the cloud, and then compares one
    /// state of it.
    Replay(ReplayArgs),
    /// Make a data directory, or fill a server, from a backup, and check it as by `replay`.
    ///
    /// Nothing is overwritten: the directory must not exist or be empty, and so must the
    /// database. A backup of a SQLite file may be restored into Postgres, and back.
    Restore(Restore),
    /// Run until SIGTERM or SIGINT.
    ///
    /// At the first start the data directory is filled: a private root (`ca.pem`, `ca_key.pem`),
    /// the key that signs commands (`command_key.pem`), the token of the HTTP API
    /// (`admin_token`) and the database (`cloud.sqlite`). All of it survives kill -9; `backup`
    /// writes it to one file. With `--store` the database is on a server, and every process on
    /// it has a data directory with the same keys.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct BrokerFiles {
    /// The cloud's data directory; `serve` was started on it before.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A name or address by which robots and the cloud reach the broker; may be given several
    /// times.
    #[arg(long, required = true, value_name = "NAME")]
    host: Vec<String>,
    /// Where the files are written.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, clap::Args)]
struct Backup {
    /// The cloud's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print what was checked as one JSON object.
    #[arg(long)]
    json: bool,
    /// The file to write; it must not exist.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Leave the copy's signatures unchecked, which is most of the work.
    #[arg(long)]
    skip_signatures: bool,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, clap::Args)]
struct Restore {
    /// The data directory to make.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A file that `backup` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print what was checked as one JSON object.
    #[arg(long)]
    json: bool,
    /// Leave signatures unchecked, which is most of the work.
    #[arg(long)]
    skip_signatures: bool,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// Compare only; what it does unless told to rebuild.
    #[arg(long, conflicts_with = "rebuild")]
    check: bool,
    /// The cloud's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Make what is shown of jobs anew from the streams; the cloud must be stopped.
    #[arg(long)]
    rebuild: bool,
    /// Print this job's completion report instead, made anew from its stream: the bytes that the
    /// API answers.
    #[arg(long, value_name = "JOB", conflicts_with_all = ["check", "rebuild", "skip_signatures"])]
    report: Option<String>,
    /// Leave signatures unchecked, which is most of the work.
    #[arg(long)]
    skip_signatures: bool,
    #[command(flatten)]
    store: StoreArg,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Requests a second to the HTTP API for each token and each robot; twice as many at once
    /// after a while of fewer. The token of the data directory has no limit.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_API_PER_S, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    api_rate: u32,
    /// Robots connect to this broker, and so does the cloud; see `nooterra-cloud broker`.
    #[arg(long, value_name = "mqtts://HOST:PORT")]
    broker: Option<Broker>,
    /// Keep the revocation list here that `broker` wrote beside the broker's other files: of every
    /// robot's certificate that opens nothing any more. Have the broker read its files again
    /// whenever this one changes.
    #[arg(long, requires = "broker", value_name = "FILE")]
    broker_crl: Option<PathBuf>,
    /// How long a robot's certificate is valid, hours.
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u32).range(1..=8760))]
    certificate_hours: u32,
    /// Everything that outlives the process.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A stalled job calls a person when it has stood for so long, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    escalate_after: u32,
    /// A robot at work is heard of at least so often, seconds; three times that without a word
    /// is a stall. 30 suits homes, 60 places that are looked after; robots beat every 10.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    heartbeat_interval: u32,
    /// A name or address by which robots reach this cloud; may be given several times. The
    /// server's certificate carries them all, and robots are told to connect to the first.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Where the HTTP API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_HTTP_PORT)))]
    http: SocketAddr,
    /// Print the ready line as one JSON object.
    #[arg(long)]
    json: bool,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Where the MQTT endpoint listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_MQTT_PORT)))]
    mqtt: SocketAddr,
    /// Certificates of the authority that makes services' client certificates, PEM. A service
    /// then needs no token to keep: `token create --certificate NAME` says what it may do.
    #[arg(long, value_name = "FILE")]
    service_ca: Option<PathBuf>,
    /// Revocation lists of that authority, PEM: one for each of its certificates that makes others.
    /// What is on them is refused, and whatever an authority made once its list is over. Read again
    /// when the file changes, within seconds, and at SIGHUP.
    #[arg(long, requires = "service_ca", value_name = "FILE")]
    service_crl: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
    /// Send traces of requests, writes and dispatch to this OpenTelemetry collector, by OTLP over
    /// HTTP; without a path to `/v1/traces` there. None unless given.
    #[arg(long, env = "NOOTERRA_CLOUD_TRACES", value_name = "URL")]
    traces: Option<String>,
    /// A network that is not public, in which webhooks may be called all the same, also by http;
    /// may be given several times.
    #[arg(
        long,
        env = "NOOTERRA_CLOUD_WEBHOOK_ALLOW",
        value_delimiter = ',',
        value_name = "ADDR/BITS"
    )]
    webhook_allow: Vec<Network>,
    /// The roots that a webhook's server must lead to, PEM.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_WEBHOOK_ROOTS)]
    webhook_roots: PathBuf,
}

#[derive(Debug, clap::Args)]
struct StoreArg {
    /// A Postgres server, `postgres://USER@HOST/DATABASE`, that several clouds may share; without,
    /// a SQLite file in the data directory.
    #[arg(
        long = "store",
        value_name = "URL",
        env = "NOOTERRA_CLOUD_STORE",
        hide_env_values = true
    )]
    url: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Completions { shell } => {
            let name = "nooterra-cloud";
            clap_complete::generate(shell, &mut Cli::command(), name, &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Ask(command) => cli::run(command),
        Command::Backup(Backup { data, json, output, skip_signatures, store }) => {
            let url = store.url.as_deref();
            checked(nooterra_cloud::backup(&data, url, &output, skip_signatures), json)
        }
        Command::Broker(BrokerFiles { data, host, out, store }) => {
            match nooterra_cloud::broker_files(&data, store.url.as_deref(), &host, &out) {
                Ok(()) => {
                    print(&format!("mosquitto -c {}\n", out.join("mosquitto.conf").display()))
                }
                Err(error @ BrokerFilesError::Ca(CaError::Host(_))) => fail(&error, 2),
                Err(error) => fail(&error, 3),
            }
        }
        Command::Openapi => match nooterra_cloud::api::openapi_json() {
            Ok(document) => print(&document),
            Err(error) => fail(&error, 1),
        },
        Command::Replay(args) => replay(&args),
        Command::Restore(Restore { data, file, json, skip_signatures, store }) => {
            let url = store.url.as_deref();
            checked(nooterra_cloud::restore(&file, &data, url, skip_signatures), json)
        }
        Command::Serve(serve) => {
            let traces = serve.traces.as_deref();
            let traces = traces.map(|url| Traces::new(url, &serve.webhook_roots)).transpose();
            let traces = match traces {
                Ok(traces) => traces,
                Err(error) => return fail(&error, 2),
            };
            log(serve.log_format, traces.as_ref());
            match tokio::runtime::Runtime::new() {
                Ok(runtime) => {
                    let code = runtime.block_on(run(serve, traces.clone()));
                    if let Some(traces) = traces {
                        traces.stop();
                    }
                    // Nothing that matters is left, and what waits for a server that does not
                    // answer would wait on.
                    runtime.shutdown_timeout(STOP_WITHIN);
                    code
                }
                Err(error) => fail(&error, 1),
            }
        }
    }
}

fn replay(args: &ReplayArgs) -> ExitCode {
    if let Some(job) = &args.report {
        return match nooterra_cloud::replay_report(&args.data, args.store.url.as_deref(), job) {
            Ok(report) => print(&(report + "\n")),
            Err(error) => fail(&error, 3),
        };
    }
    let options = ReplayOptions {
        rebuild: args.rebuild,
        skip_signatures: args.skip_signatures,
        store: args.store.url.clone(),
    };
    checked(nooterra_cloud::replay(&args.data, &options), args.json)
}

fn checked<E: std::fmt::Display>(replay: Result<Replay, E>, json: bool) -> ExitCode {
    let replay = match replay {
        Ok(replay) => replay,
        Err(error) => return fail(&error, 3),
    };
    let text = if json {
        match serde_json::to_string(&replay) {
            Ok(json) => json + "\n",
            Err(error) => return fail(&error, 1),
        }
    } else {
        replay_text(&replay)
    };
    match print(&text) {
        ExitCode::SUCCESS if !replay.agrees() => ExitCode::from(5),
        code => code,
    }
}

fn replay_text(replay: &Replay) -> String {
    let mut text = format!(
        "{} facts in {} streams, {} of them late; {} jobs\n",
        replay.facts, replay.streams, replay.late, replay.jobs
    );
    for Difference { seq, stream, what } in &replay.differences {
        let place = seq.map_or(String::new(), |seq| format!(" #{seq}"));
        text.push_str(&format!("{stream}{place}: {what}\n"));
    }
    let undescribed = replay.differing - replay.differences.len() as u64;
    if undescribed > 0 {
        text.push_str(&format!("and {undescribed} more\n"));
    }
    match (replay.differing, replay.rebuilt) {
        (0, None) => text.push_str("the streams say what is shown\n"),
        (found, None) => text.push_str(&format!("{found} differences\n")),
        (found, Some(jobs)) => {
            text.push_str(&format!("{found} differences before; {jobs} jobs were made anew\n"));
        }
    }
    text
}

async fn run(serve: Serve, traces: Option<Traces>) -> ExitCode {
    // Before the ready line: whoever read it may signal at once.
    let stopped = match signals() {
        Ok(stopped) => stopped,
        Err(error) => return fail(&error, 1),
    };
    let mut stopped = std::pin::pin!(stopped);
    // Only where it means something: else a terminal that closes ends the cloud, as ever.
    let mut asked = match serve.service_crl.is_some().then(hangups).transpose() {
        Ok(asked) => asked,
        Err(error) => return fail(&error, 1),
    };
    let mut config = Config::new(serve.data);
    config.api_per_s = serve.api_rate;
    config.broker = serve.broker;
    config.broker_crl = serve.broker_crl;
    config.hosts = serve.host;
    config.http = serve.http;
    config.mqtt = serve.mqtt;
    config.service_ca = serve.service_ca;
    config.service_crl = serve.service_crl;
    config.store = serve.store.url;
    config.traces = traces;
    config.webhook_networks = serve.webhook_allow;
    config.webhook_roots = serve.webhook_roots;
    config.robot_certificate_lifetime =
        Duration::from_secs(u64::from(serve.certificate_hours) * 3600);
    config.escalate_after = Duration::from_secs(u64::from(serve.escalate_after));
    config.heartbeat_interval = Duration::from_secs(u64::from(serve.heartbeat_interval));
    // A start waits for a store that may not answer; whoever ends it need not.
    let started = tokio::select! {
        biased;
        () = &mut stopped => return ExitCode::SUCCESS,
        started = Cloud::start(config) => started,
    };
    let cloud = match started {
        Ok(cloud) => cloud,
        Err(error) => {
            let code = match &error {
                StartError::Ca(_)
                | StartError::DataDir { .. }
                | StartError::InUse(_)
                | StartError::Key { .. }
                | StartError::OtherKeys(_)
                | StartError::Services(_)
                | StartError::Store { .. } => 3,
                StartError::Listen { .. } => 4,
                StartError::Entropy(_) => 1,
            };
            return fail(&error, code);
        }
    };
    let ready = if serve.json { ready_json(&cloud) } else { ready_text(&cloud) };
    if print(&ready) != ExitCode::SUCCESS {
        // Nobody reads: whoever started us is gone, and would not know that we run.
        cloud.stop().await;
        return ExitCode::FAILURE;
    }
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(()) = again(&mut asked) => cloud.reload(),
        }
    }
    cloud.stop().await;
    ExitCode::SUCCESS
}

/// Asks for files to be read again.
fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// The next time that it was asked for; never where it cannot be.
async fn again(asked: &mut Option<Signal>) -> Option<()> {
    match asked {
        Some(asked) => asked.recv().await,
        None => std::future::pending().await,
    }
}

/// From now on.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn ready_json(cloud: &Cloud) -> String {
    let ready = serde_json::json!({
        "ready": true,
        "http": format!("https://{}", cloud.http_addr()),
        "mqtt": cloud.mqtt_addr().to_string(),
        "admin_token_file": cloud.admin_token_file(),
        "root_sha256": cloud.root_sha256().to_string(),
    });
    format!("{ready}\n")
}

fn ready_text(cloud: &Cloud) -> String {
    format!(
        "ready: https://{} and mqtt {}; admin token in {}; root sha256 {}\n",
        cloud.http_addr(),
        cloud.mqtt_addr(),
        cloud.admin_token_file().display(),
        cloud.root_sha256(),
    )
}

fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // One line; a closed standard error leaves the exit code to say it.
    let _ = writeln!(std::io::stderr(), "nooterra-cloud: {error}");
    ExitCode::from(code)
}

fn log(format: LogFormat, traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Json => log.json().boxed(),
        LogFormat::Text => {
            log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
        }
    };
    // Spans of traces are no part of the log, whatever it is to hold.
    let log = log.with_filter(filter.and(filter_fn(|it| it.target() != TRACES_TARGET)));
    tracing_subscriber::registry().with(log).with(traces.map(Traces::layer)).init();
}
