//! The certificates that functions see at AWS's host names. An authority of this server's own signs one for each name, when
//! a client first asks for it. Only sandboxes are told to trust the authority, and it can vouch for AWS's names only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{self, ServerConfig, crypto::aws_lc_rs};
use tracing::{debug, warn};
use wire::{AWS_DOMAINS, is_aws_host};

use crate::Tls;

/// Name of the authority in its certificates.
const NAME: &str = "Mayfly, AWS's names inside sandboxes";
/// How long the authority's own certificate holds. It is made anew at every start, from the same key.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long the certificate of a name holds, and how much of that must be left when it is shown.
const LIFE: Duration = Duration::from_secs(48 * 3600);
const LEFT_MIN: Duration = Duration::from_secs(24 * 3600);
/// Clocks that are set back by a little must not make a certificate one of the future.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// Names whose certificates are kept; with more of them all are made anew.
const NAMES_MAX: usize = 1024;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The key is not one, or not of a kind that is supported.
    #[error("the key of the certificate authority cannot be used: {0}")]
    Key(#[from] rcgen::Error),
    /// TLS does not take what was made.
    #[error("the certificates cannot be served: {0}")]
    Tls(#[from] rustls::Error),
}

/// Signs certificates for AWS's host names.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// The one key of all names; it never leaves the memory of this process.
    key: KeyPair,
    serving: Arc<dyn SigningKey>,
    names: Mutex<HashMap<String, (Arc<CertifiedKey>, SystemTime)>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Makes the key of an authority, as PEM. Whoever has it can pretend to be AWS to this server's functions.
    pub fn make_key() -> Result<String, AuthorityError> {
        Ok(KeyPair::generate()?.serialize_pem())
    }

    /// The authority that has this key.
    pub fn new(key: &str) -> Result<Self, AuthorityError> {
        let authority_key = KeyPair::from_pem(key)?;
        let params = authority_params()?;
        let certificate = params.self_signed(&authority_key)?.pem();
        let key = KeyPair::generate()?;
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Authority {
            issuer: Issuer::new(params, authority_key),
            certificate,
            key,
            serving: aws_lc_rs::sign::any_supported_type(&pkcs8)?,
            names: Mutex::default(),
        })
    }

    /// The authority's own certificate, as PEM, for those who are to trust it.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves TLS with a certificate for whichever of AWS's names is asked for.
    pub fn tls(self) -> Result<Tls, AuthorityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self));
        Ok(Tls::from(config))
    }

    fn certificate_for(&self, name: &str) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let now = SystemTime::now();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, until)) = names.get(name)
            && *until > now + LEFT_MIN
        {
            return Ok(made.clone());
        }
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Mayfly");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LIFE).into();
        let signed = params.signed_by(&self.key, &self.issuer)?;
        let made = CertifiedKey::new(vec![signed.der().clone()], self.serving.clone());
        let made = Arc::new(made);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(name.to_owned(), (made.clone(), now + LIFE));
        debug!(name, "a certificate for functions was made");
        Ok(made)
    }
}

fn authority_params() -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let domain = |name: &&str| GeneralSubtree::DnsName((*name).to_owned());
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: AWS_DOMAINS.iter().map(domain).collect(),
        excluded_subtrees: Vec::new(),
    });
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    Ok(params)
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        if !is_aws_host(&name) {
            debug!(name, "a function asked for a name that is not AWS's");
            return None;
        }
        match self.certificate_for(&name) {
            Ok(made) => Some(made),
            Err(cause) => {
                warn!(name, %cause, "no certificate could be made");
                None
            }
        }
    }
}
