//! Services that come with a certificate instead of a token: real handshakes.

use super::rig::{Rig, bytes};
use nooterra_client::types::ListQuery;
use nooterra_client::{Client, ClientError, Retry};
use nooterra_cloud::{Cloud, Config, StartError};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CrlDistributionPoint, CrlIssuingDistributionPoint, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// An authority of services, and its file.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // A list is of the authority of its name.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("services {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("services.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("services.pem")
    }

    /// A list with these serial numbers on it, until the year, PEM.
    fn revoke(&self, serials: &[u8], until: i32) -> String {
        self.revoke_at(serials, until, None)
    }

    /// The same, of those certificates alone that name this distribution point.
    fn revoke_at(&self, serials: &[u8], until: i32, point: Option<&str>) -> String {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(vec![*serial]),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let point = point.map(|uri| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: point,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer: &Issuer<'_, KeyPair> = &self.issuer;
        list.signed_by(issuer).unwrap().pem().unwrap()
    }

    fn lists(&self) -> PathBuf {
        self.dir.path().join("services.crl")
    }

    fn write_list(&self, text: &str) {
        std::fs::write(self.lists(), text).unwrap();
    }

    /// A certificate for these URIs, and its key, PEM.
    fn certify(
        &self,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

const ERP: &str = "spiffe://example/erp";

fn rig(authority: &Authority) -> Rig {
    Rig::with(|config| config.service_ca = Some(authority.file()))
}

/// With this certificate and no token.
fn service(rig: &Rig, (chain, key): &(String, String)) -> Client {
    Client::builder(format!("https://{}", rig.http))
        .root_pem(&rig.root_pem)
        .identity(chain, key)
        .retry(Retry { tries: 1, ..Retry::default() })
        .build()
        .unwrap()
}

fn list(client: &Client) -> Result<usize, ClientError> {
    Ok(client.list_jobs(&ListQuery::default()).send()?.jobs.len())
}

fn code(client: &Client) -> String {
    let error = list(client).unwrap_err();
    error.code().unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn refused_at_the_handshake(client: &Client) -> bool {
    matches!(client.health().send(), Err(ClientError::Unreachable { .. }))
}

/// A token for the certificate of that name.
fn token(rig: &Rig, name: &str, principal: &str, tenant: &str) -> (u16, Value) {
    let body = json!({
        "certificate": name, "families": ["jobs", "robots"], "principal": principal,
        "role": "operator", "tenant": tenant,
    });
    rig.call("POST", "/v1/tokens", Some(body))
}

#[test]
fn a_service_acts_as_the_principal_that_the_table_names_for_its_certificate() {
    let authority = Authority::new();
    let rig = rig(&authority);
    rig.enrol("amr-1");
    let own = authority.certify(&[ERP], |_| {});
    let erp = service(&rig, &own);
    assert_eq!(code(&erp), "unauthorized");
    let (status, made) = token(&rig, &format!("uri:{ERP}"), "erp", "*");
    assert_eq!((status, &made["token"]), (201, &json!(null)), "{made}");
    assert_eq!(made["made"]["certificate"], format!("uri:{ERP}"));
    assert_eq!(list(&erp).unwrap(), 0);
    // No more than its scopes.
    let error = erp.list_tokens(&ListQuery::default()).send().unwrap_err();
    assert_eq!(error.code(), Some("scope_missing"));
    let plan = crate::rig::plan(&rig.publish_skill());
    let job = erp.operation("create_job", &[]).unwrap();
    let job = job.json(&json!({ "robot": "amr-1", "plan": plan })).send().unwrap();
    assert_eq!(job["requester"], "erp");
    let trail = rig.get("/v1/audit?principal=erp&outcome=done");
    assert_eq!(trail["entries"][0]["token"], made["made"]["id"]);
}

#[test]
fn a_token_that_is_revoked_closes_the_certificate_and_another_opens_it() {
    let authority = Authority::new();
    let rig = rig(&authority);
    let erp = service(&rig, &authority.certify(&[ERP], |_| {}));
    let name = format!("uri:{ERP}");
    let (_, made) = token(&rig, &name, "erp", "*");
    assert_eq!(list(&erp).unwrap(), 0);
    assert_eq!(token(&rig, &name, "other", "*").1["code"], "certificate_taken");
    rig.post(&format!("/v1/tokens/{}/revoke", made["made"]["id"].as_str().unwrap()), json!({}));
    // Also on the connection that is open.
    assert_eq!(code(&erp), "token_revoked");
    assert_eq!(token(&rig, &name, "other", "*").0, 201);
    assert_eq!(list(&erp).unwrap(), 0);
}

#[test]
fn certificates_of_others_or_without_time_end_at_the_handshake() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let rig = rig(&authority);
    token(&rig, &format!("uri:{ERP}"), "erp", "*");
    let good = service(&rig, &authority.certify(&[ERP], |_| {}));
    assert!(good.health().send().is_ok());
    assert!(refused_at_the_handshake(&service(&rig, &foreign.certify(&[ERP], |_| {}))));
    let over = authority.certify(&[ERP], |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(refused_at_the_handshake(&service(&rig, &over)));
    let servers = authority.certify(&[ERP], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(refused_at_the_handshake(&service(&rig, &servers)));
    // Another's certificate with a key of one's own.
    let (chain, _) = authority.certify(&[ERP], |_| {});
    let (_, key) = authority.certify(&[ERP], |_| {});
    let mixed = Client::builder(format!("https://{}", rig.http))
        .root_pem(&rig.root_pem)
        .identity(chain, key)
        .build();
    assert!(mixed.is_err() || refused_at_the_handshake(&mixed.unwrap()));
    // Where no authority of services is named, there are none.
    let alone = Rig::new();
    assert!(refused_at_the_handshake(&service(&alone, &authority.certify(&[ERP], |_| {}))));
}

#[test]
fn without_a_certificate_a_token_counts_as_ever_and_before_one_too() {
    let authority = Authority::new();
    let rig = rig(&authority);
    assert_eq!(rig.call("GET", "/v1/jobs", None).0, 200);
    assert_eq!(rig.ask("GET", "/v1/jobs", None, None, None).0, 401);
    let own = authority.certify(&[ERP], |_| {});
    let both = |token: &str| {
        let client = Client::builder(format!("https://{}", rig.http)).root_pem(&rig.root_pem);
        client.identity(&own.0, &own.1).token(token).build().unwrap()
    };
    assert_eq!(list(&both(&rig.token)).unwrap(), 0);
    token(&rig, &format!("uri:{ERP}"), "erp", "*");
    // Whoever sends a token says as whom to act, and is not let in as somebody else.
    assert_eq!(code(&both("wrong")), "unauthorized");
}

#[test]
fn neither_authority_makes_the_others_kind() {
    let authority = Authority::new();
    let rig = rig(&authority);
    let device = rig.enrol("amr-1");
    let forged = authority.certify(&["urn:nooterra:robot:amr-1"], |_| {});
    let forged = service(&rig, &forged);
    assert_eq!(code(&forged), "unauthorized");
    let skills = forged.get::<Value>("/v1/skills").send().unwrap_err();
    assert_eq!(skills.code(), Some("unauthorized"));
    let renew = forged.operation("renew_certificate", &["amr-1"]).unwrap();
    let renew = renew.json(&json!({ "csr_pem": "x" })).send().unwrap_err();
    assert_eq!(renew.code(), Some("unauthorized"));
    // A robot is what it was, and no service, whatever the table says.
    token(&rig, "uri:urn:nooterra:robot:amr-1", "amr", "*");
    assert_eq!(rig.ask("GET", "/v1/skills", None, None, Some(&device)).0, 200);
    assert_eq!(rig.ask("GET", "/v1/jobs", None, None, Some(&device)).0, 401);
}

#[test]
fn a_service_of_one_tenant_reaches_nothing_of_anothers() {
    let authority = Authority::new();
    let rig = rig(&authority);
    rig.enrol("amr-1");
    rig.create_job("amr-1");
    let names = ["urn:a", "urn:b"].map(|uri| {
        let tenant = if uri == "urn:a" { "default" } else { "other" };
        assert_eq!(token(&rig, &format!("uri:{uri}"), "svc", tenant).0, 201);
        service(&rig, &authority.certify(&[uri], |_| {}))
    });
    assert_eq!((list(&names[0]).unwrap(), list(&names[1]).unwrap()), (1, 0));
    // Two names of one certificate, for which two tokens stand: nobody guesses.
    let both = service(&rig, &authority.certify(&["urn:a", "urn:b"], |_| {}));
    assert_eq!(code(&both), "certificate_ambiguous");
    // A certificate that names nobody.
    let nobody = authority.certify(&[], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
    });
    assert_eq!(code(&service(&rig, &nobody)), "unauthorized");
}

/// A certificate of that serial number.
fn numbered(authority: &Authority, serial: u8) -> (String, String) {
    let serial = SerialNumber::from(vec![serial]);
    authority.certify(&[ERP], |params| params.serial_number = Some(serial))
}

/// Waits until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < crate::rig::PATIENCE, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_certificate_on_the_authoritys_list_is_refused_and_another_of_the_same_name_is_not() {
    let authority = Authority::new();
    authority.write_list(&authority.revoke(&[7], 2050));
    let rig = Rig::with(|config| {
        config.service_ca = Some(authority.file());
        config.service_crl = Some(authority.lists());
    });
    token(&rig, &format!("uri:{ERP}"), "erp", "*");
    let (lost, fresh) = (numbered(&authority, 7), numbered(&authority, 8));
    assert!(refused_at_the_handshake(&service(&rig, &lost)));
    assert_eq!(list(&service(&rig, &fresh)).unwrap(), 0);
    // Robots, and whoever has no certificate, are no business of that list.
    let device = rig.enrol("amr-1");
    assert_eq!(rig.ask("GET", "/v1/skills", None, None, Some(&device)).0, 200);
    assert_eq!(rig.call("GET", "/v1/jobs", None).0, 200);
}

#[test]
fn a_new_list_counts_without_a_restart_for_connections_that_are_open_too() {
    let authority = Authority::new();
    authority.write_list(&authority.revoke(&[], 2050));
    let rig = Rig::with(|config| {
        config.service_ca = Some(authority.file());
        config.service_crl = Some(authority.lists());
    });
    token(&rig, &format!("uri:{ERP}"), "erp", "*");
    let own = numbered(&authority, 7);
    let open = service(&rig, &own);
    assert_eq!(list(&open).unwrap(), 0);
    // What is no list leaves the last one in force, and so does a file that is gone.
    authority.write_list("nothing");
    rig.reload();
    std::fs::remove_file(authority.lists()).unwrap();
    rig.reload();
    assert_eq!(list(&open).unwrap(), 0);
    assert!(!refused_at_the_handshake(&service(&rig, &own)));

    authority.write_list(&authority.revoke(&[7], 2050));
    eventually("the connection is refused", || {
        list(&open).is_err_and(|error| error.code() == Some("certificate_refused"))
    });
    assert!(refused_at_the_handshake(&service(&rig, &own)));
    assert_eq!(list(&service(&rig, &numbered(&authority, 8))).unwrap(), 0);
    // And back: a list says what holds now.
    authority.write_list(&authority.revoke(&[], 2050));
    eventually("it counts again", || list(&open).is_ok());
}

#[test]
fn a_list_that_is_over_or_of_another_authority_lets_no_service_in() {
    let authority = Authority::new();
    let start = |text: &str| {
        authority.write_list(text);
        let rig = Rig::with(|config| {
            config.service_ca = Some(authority.file());
            config.service_crl = Some(authority.lists());
        });
        token(&rig, &format!("uri:{ERP}"), "erp", "*");
        rig
    };
    // Robots and tokens go on: a list is no reason to stop a fleet.
    let rig = start(&authority.revoke(&[], 2021));
    assert!(refused_at_the_handshake(&service(&rig, &numbered(&authority, 8))));
    assert_eq!(rig.call("GET", "/v1/jobs", None).0, 200);
    authority.write_list(&authority.revoke(&[], 2050));
    eventually("a list in its time", || {
        !refused_at_the_handshake(&service(&rig, &numbered(&authority, 8)))
    });
    // Nobody says of this authority what it revoked.
    let rig = start(&Authority::new().revoke(&[], 2050));
    assert!(refused_at_the_handshake(&service(&rig, &numbered(&authority, 8))));
    // One that is over takes what its own authority made, and no more.
    let rig = start(&(Authority::new().revoke(&[], 2021) + &authority.revoke(&[7], 2050)));
    assert_eq!(list(&service(&rig, &numbered(&authority, 8))).unwrap(), 0);
    // Both: each speaks of its own.
    let rig = start(&(Authority::new().revoke(&[8], 2050) + &authority.revoke(&[7], 2050)));
    assert_eq!(list(&service(&rig, &numbered(&authority, 8))).unwrap(), 0);
    assert!(refused_at_the_handshake(&service(&rig, &numbered(&authority, 7))));
}

#[test]
fn the_program_reads_the_list_again_at_a_hangup() {
    let authority = Authority::new();
    authority.write_list(&authority.revoke(&[], 2050));
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("cloud");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
    command.args(["serve", "--json", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
    command.arg("--data").arg(&data).arg("--service-ca").arg(authority.file());
    command.arg("--service-crl").arg(authority.lists());
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut program = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let own = numbered(&authority, 7);
    let client = || {
        Client::builder(ready["http"].as_str().unwrap())
            .root_pem(std::fs::read_to_string(data.join("ca.pem")).unwrap())
            .identity(&own.0, &own.1)
            .retry(Retry { tries: 1, ..Retry::default() })
            .build()
            .unwrap()
    };
    assert!(!refused_at_the_handshake(&client()));
    authority.write_list(&authority.revoke(&[7], 2050));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(program.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    eventually("it is refused", || refused_at_the_handshake(&client()));
    assert!(program.try_wait().unwrap().is_none(), "a hangup does not end it");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(program.wait().unwrap().success());
}

#[test]
fn only_who_reaches_all_tenants_says_whose_a_certificate_is() {
    let rig = Rig::new();
    let made = rig.post(
        "/v1/tokens",
        json!({ "families": ["tokens", "jobs"], "principal": "a", "role": "admin", "tenant": "t" }),
    );
    let own = made["token"].as_str().unwrap();
    let body = json!({
        "certificate": "cn:erp", "families": ["jobs"], "principal": "x", "role": "viewer",
    });
    let (status, answer) = rig.ask("POST", "/v1/tokens", Some(bytes(&body)), Some(own), None);
    assert_eq!((status, &answer["code"]), (403, &json!("all_tenants_only")));
    for name in ["", "erp", "cn:", "ip:127.0.0.1", "uri:a b"] {
        let (status, answer) = token(&rig, name, "x", "*");
        assert_eq!((status, &answer["code"]), (422, &json!("bad_certificate_name")), "{name}");
    }
    let long = json!({
        "certificate": "cn:erp", "families": ["jobs"], "principal": "x", "role": "viewer",
        "ttl_s": 315_360_001,
    });
    assert_eq!(rig.call("POST", "/v1/tokens", Some(long)).1["code"], "bad_ttl");
}

#[test]
fn a_cloud_with_an_authority_that_is_none_or_its_own_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = |file: PathBuf| {
        let mut config = Config::for_test(dir.path().join("cloud"));
        config.service_ca = Some(file);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            match Cloud::start(config).await {
                Ok(_) => panic!("it started"),
                Err(StartError::Services(error)) => error.to_string(),
                Err(error) => panic!("{error}"),
            }
        })
    };
    assert!(start(dir.path().join("none.pem")).contains("cannot read"));
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    assert!(start(empty).contains("holds no certificate"));
    assert!(start(dir.path().join("cloud/ca.pem")).contains("own root"));
    // Nor does one whose lists are none, or of which one would not be asked.
    let authority = Authority::new();
    let twice = authority.revoke(&[], 2050) + &authority.revoke(&[7], 2050);
    let part = |of: &str| authority.revoke_at(&[7], 2050, Some(of));
    let parts = [part("http://a/"), part("http://b/"), part("http://a/")].concat();
    let whole_and_part = authority.revoke(&[], 2050) + &part("http://a/");
    for (text, why) in [
        ("nothing", "no revocation list"),
        ("", "no revocation list"),
        (&*twice, "two lists of one authority"),
        (&*parts, "two lists of one authority"),
        (&*whole_and_part, "two lists of one authority"),
    ] {
        authority.write_list(text);
        let mut config = Config::for_test(dir.path().join("cloud"));
        config.service_ca = Some(authority.file());
        config.service_crl = Some(authority.lists());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let refused = runtime.block_on(Cloud::start(config)).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn the_program_comes_with_a_certificate_in_place_of_a_token() {
    let authority = Authority::new();
    let rig = rig(&authority);
    let (chain, key) = authority.certify(&[ERP], |_| {});
    let file = |name: &str, text: &str| {
        let path = rig.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (root, chain, key) = (file("ca", &rig.root_pem), file("chain", &chain), file("key", &key));
    let run = |args: &[&str]| {
        let url = format!("https://{}", rig.http);
        let mut command = Command::new(env!("CARGO_BIN_EXE_nooterra-cloud"));
        let output = command.args(args).args(["--url", &url, "--ca", &root]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let admin = file("admin", &rig.token);
    let name = format!("uri:{ERP}");
    let create = ["token", "create", "--principal", "erp", "--families", "jobs"];
    let made = run(&[&create[..], &["--certificate", &name, "--token-file", &admin]].concat());
    assert!(made.0 == Some(0) && made.1.starts_with("tok_"), "{made:?}");
    let listed = run(&["token", "list", "--token-file", &admin]);
    assert!(listed.1.contains("CERTIFICATE") && listed.1.contains(&name), "{listed:?}");
    let jobs = run(&["job", "list", "--json", "--cert", &chain, "--cert-key", &key]);
    assert_eq!((jobs.0, jobs.1.as_str()), (Some(0), "{\"jobs\":[],\"next\":null}\n"), "{}", jobs.2);
    assert_eq!(run(&["job", "list", "--cert", &chain]).0, Some(2));
    assert_eq!(run(&["job", "list", "--cert", "none", "--cert-key", &key]).0, Some(3));
}
