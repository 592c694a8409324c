//! Servers in the laboratory's internet, with and without TLS. What they say is for each test.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use uplinkd_lab::Lab;

/// How long a server waits for a connection, and for its own end.
const TURN: Duration = Duration::from_millis(20);
/// How long one connection may take.
const CONNECTION_MAX: Duration = Duration::from_secs(2);

/// A server. It ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Serving {
    /// Serves a TCP port of every address in the internet, one connection after the other. What goes wrong
    /// with one does not end it: whoever asks may have heard enough.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn tcp(
        lab: &Lab,
        port: u16,
        serve: impl Fn(TcpStream, SocketAddr) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let listener = lab.internet().run(|| {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot serve port {port}"))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let mut serving = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        serving.also(move |stopped| {
            while !stopped.load(Ordering::Relaxed) {
                let Ok((stream, from)) = listener.accept() else {
                    thread::sleep(TURN);
                    continue;
                };
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(CONNECTION_MAX))?;
                let _ = serve(stream, from);
            }
            Ok(())
        });
        Ok(serving)
    }

    /// Serves in another way too, until told that it has stopped.
    pub fn also(&mut self, work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || work(&stop)));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// TLS with the certificate of `good.example`, or else with the one of `other.example`.
///
/// # Errors
/// When the certificates of the tests are none.
pub fn tls(name: &str) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = match name {
        "good.example" => (
            &include_bytes!("../tests/probes/certificates/good.pem")[..],
            &include_bytes!("../tests/probes/certificates/good.key")[..],
        ),
        _ => (
            &include_bytes!("../tests/probes/certificates/other.pem")[..],
            &include_bytes!("../tests/probes/certificates/other.key")[..],
        ),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate)?],
            PrivateKeyDer::from_pem_slice(key)?,
        )?;
    Ok(Arc::new(config))
}
