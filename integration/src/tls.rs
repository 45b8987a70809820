//! Certificates for one test run, and clients that trust them.
//!
//! Made anew for each run, so that nothing expires in the repository and no key
//! lies in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// A certificate authority and a server certificate that it signed, as PEM files.
#[derive(Debug)]
pub struct TestCertificates {
    authority: CertificateDer<'static>,
    directory: PathBuf,
}

/// How a client speaks TLS: whom it trusts and which name it expects.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    server_name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

// === impl TestCertificates ===

impl TestCertificates {
    /// Makes them and writes `ca.pem`, `server.pem` and `server.key` into `directory`.
    /// `names` are DNS names or IP addresses that the server answers to.
    ///
    /// # Errors
    ///
    /// A name is not valid in a certificate, or a file cannot be written.
    pub fn new(names: &[&str], directory: &Path) -> Result<Self> {
        let authority_key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Spillway test authority");
        let authority =
            params.self_signed(&authority_key).context("cannot make the certificate authority")?;
        let issuer = Issuer::new(params, authority_key);

        let server_key = KeyPair::generate().context("cannot make a key")?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone())
            .with_context(|| format!("not all names fit into a certificate: {names:?}"))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.distinguished_name.push(DnType::CommonName, "Spillway test server");
        let server =
            params.signed_by(&server_key, &issuer).context("cannot sign the server certificate")?;

        for (file, text) in [
            ("ca.pem", authority.pem()),
            ("server.pem", server.pem()),
            ("server.key", server_key.serialize_pem()),
        ] {
            let path = directory.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { authority: authority.der().clone(), directory: directory.to_owned() })
    }

    /// The authority's certificate, for `curl --cacert`.
    #[must_use]
    pub fn authority_path(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The server's certificate, for Envoy's `certificate_chain`.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join("server.pem")
    }

    /// The server's key, for Envoy's `private_key`.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.directory.join("server.key")
    }

    /// A client that trusts this authority and no other, offering the ALPN protocols in order.
    ///
    /// # Errors
    ///
    /// rustls refuses the certificate.
    pub fn client_config(&self, alpn: &[&str]) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).context("cannot trust the test authority")?;
        // The provider is named: with two of them in one build rustls would not know which.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS version in common")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Trusts `certificates` and expects the server to be `server_name`.
    ///
    /// # Errors
    ///
    /// `server_name` is neither a DNS name nor an IP address.
    pub fn new(certificates: &TestCertificates, server_name: &str) -> Result<Self> {
        Ok(Self {
            server_name: ServerName::try_from(server_name.to_owned())
                .with_context(|| format!("{server_name:?} is not a server name"))?,
            http1: Arc::new(certificates.client_config(&["http/1.1"])?),
            http2: Arc::new(certificates.client_config(&["h2"])?),
        })
    }

    /// The name that the server must prove.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    /// Offers `http/1.1`.
    #[must_use]
    pub fn http1(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http1)
    }

    /// Offers `h2`.
    #[must_use]
    pub fn http2(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http2)
    }
}
