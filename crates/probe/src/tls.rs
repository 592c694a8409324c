//! TLS: whom to trust, and what a refused certificate means.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::line::{bounded, in_words};

/// Where distributions keep the certificates that they trust, all in one file: Debian, Arch, Alpine and
/// OpenWrt, then Red Hat, openSUSE, and others.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// A file of certificates has some 200 kB.
const BUNDLE_MAX: u64 = 16 << 20;

/// Whom to trust, by the file that says so.
#[derive(Debug, Default)]
pub struct Trust {
    read: RefCell<BTreeMap<PathBuf, (SystemTime, Arc<ClientConfig>)>>,
}

impl Trust {
    /// Makes a connection secure. The server must be who it is said to be, in the eyes of the
    /// authorities in this file, or the system's.
    ///
    /// # Errors
    /// Why it cannot be trusted, or spoken to, in words.
    pub async fn secure(
        &self,
        stream: TcpStream,
        name: &str,
        authorities: Option<&Path>,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = self.config(authorities)?;
        let server = ServerName::try_from(name.to_owned());
        let server = server.map_err(|_| format!("{name} is no name for a certificate"))?;
        let connector = TlsConnector::from(config);
        let connected = connector.connect(server, stream).await;
        connected.map_err(|e| refusal(&e, name))
    }

    /// Read again only where the file is another one than before.
    fn config(&self, authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
        let path = match authorities {
            Some(path) => path.to_owned(),
            None => system_bundle()?,
        };
        let told = |e: &io::Error| format!("cannot read {}: {}", path.display(), in_words(e));
        let about = fs::metadata(&path).map_err(|e| told(&e))?;
        let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let known = self.read.borrow().get(&path).cloned();
        if let Some((_, config)) = known.filter(|(then, _)| *then == changed) {
            return Ok(config);
        }
        if about.len() > BUNDLE_MAX {
            return Err(format!("{} is too long", path.display()));
        }
        let text = fs::read(&path).map_err(|e| told(&e))?;
        let config = Arc::new(
            trusting(&text)
                .ok_or_else(|| format!("there is no certificate in {}", path.display()))?,
        );
        let entry = (changed, Arc::clone(&config));
        self.read.borrow_mut().insert(path, entry);
        Ok(config)
    }
}

fn system_bundle() -> Result<PathBuf, String> {
    let mut known = BUNDLES.iter().map(PathBuf::from);
    known.find(|path| path.exists()).ok_or_else(|| {
        "this system has no certificates to trust: install ca-certificates, or set `ca`".to_owned()
    })
}

/// Trusts the authorities of a text of PEM; none where there are none in it. Those that cannot be used
/// are passed over, as everybody does: a system's file has old ones.
fn trusting(text: &[u8]) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(text);
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return None;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().ok()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A session that is resumed shows no certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}

/// Why there is no secure connection, for people.
fn refusal(error: &io::Error, name: &str) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return match error.kind() == io::ErrorKind::UnexpectedEof {
            true => "the server ended the handshake".to_owned(),
            false => in_words(error),
        };
    };
    let Error::InvalidCertificate(why) = inner else {
        return format!("no secure connection: {}", bounded(&inner.to_string()));
    };
    certificate_refusal(why, name)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum of others grows; what is not named is told in their words"
)]
fn certificate_refusal(why: &CertificateError, name: &str) -> String {
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate is not for {name}: a captive portal, or another server")
        }
        CertificateError::UnknownIssuer => {
            "nobody who is trusted has issued the certificate".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired, by this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet, by this machine's clock".to_owned()
        }
        other => format!(
            "the certificate is no good: {}",
            bounded(&format!("{other:?}"))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_certificates_trusts_nobody() {
        assert!(trusting(b"").is_none());
        assert!(
            trusting(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_none()
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let why = Trust::default().config(Some(Path::new("/nowhere/ca.pem")));
        let why = why.map(|_| ()).unwrap_err();
        assert_eq!(
            why,
            "cannot read /nowhere/ca.pem: no such file or directory"
        );
    }

    #[test]
    fn a_clock_that_is_wrong_is_among_the_suspects() {
        let told = certificate_refusal(&CertificateError::NotValidYet, "a.example");
        assert!(told.contains("clock"), "{told}");
        let told = certificate_refusal(&CertificateError::NotValidForName, "a.example");
        assert!(told.contains("not for a.example"), "{told}");
    }
}
