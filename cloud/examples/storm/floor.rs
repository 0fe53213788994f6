//! What could not be faster: a handshake without a network, and an echo with one sync.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An echo behind TLS on both sides, and a file on the same disk as the store.
pub(crate) struct Echo {
    client: Arc<ClientConfig>,
    file: Mutex<File>,
    server: Arc<ServerConfig>,
    stream: Mutex<TlsStream<TcpStream>>,
}

impl Echo {
    pub(crate) async fn start(path: &Path) -> Self {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(server.clone());
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            let mut buffer = vec![0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..n]).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(client.clone()).connect(name, tcp).await.unwrap();
        let file = Mutex::new(File::create(path).unwrap());
        Self { client, file, server, stream: Mutex::new(stream) }
    }

    /// There and back, and the same bytes on the disk.
    pub(crate) async fn round_trip_and_sync(&self, bytes: &[u8]) -> Duration {
        let started = Instant::now();
        let mut stream = self.stream.lock().await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.unwrap();
        let mut file = self.file.lock().await;
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
        started.elapsed()
    }

    /// One handshake, both ends of it.
    pub(crate) fn handshake_in_memory(&self) -> Duration {
        let started = Instant::now();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                server.read_tls(&mut wire).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        started.elapsed()
    }
}

/// Both ends with certificates of one authority, over P-256 as the cloud's.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(params, root_key);
    let leaf = || -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        (leaf.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = &[&rustls::version::TLS13];
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let (certificate, key) = leaf();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    server.send_tls13_tickets = 0;
    let (certificate, key) = leaf();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    (Arc::new(server), Arc::new(client))
}
