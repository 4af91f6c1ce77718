//! The certificate authority of a cluster, and the certificates of its nodes.
//!
//! A node's certificate has two names. `<cluster>.cluster.tidewire.internal` is the same on all nodes: who
//! dials verifies it as the server's name, so a node of another cluster is refused by the TLS library itself.
//! `n<id>.node.tidewire.internal` says which node it is. The authority can name nothing else.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::{ClusterError, ClusterId, NodeId};
use crate::journal::MasterKey;

/// How long an authority is valid, and a node's certificate.
const CA_DAYS: i64 = 20 * 365;
const NODE_DAYS: i64 = 5 * 365;
/// For clocks that are behind.
const EARLIER: Duration = Duration::from_secs(3_600);
/// What names end with.
const CLUSTER_DOMAIN: &str = "cluster.tidewire.internal";
const NODE_DOMAIN: &str = "node.tidewire.internal";
/// What an authority is called, before its cluster.
const CA_NAME: &str = "Tidewire cluster ";
/// Its files.
pub(crate) const CA_FILE: &str = "cluster-ca.pem";
pub(crate) const CA_KEY_FILE: &str = "cluster-ca.key";
/// The master key of all nodes: with it voters are hashed, so that each is the same one on every node.
pub(crate) const MASTER_KEY_FILE: &str = "cluster-master.key";

/// What has been made.
#[derive(Clone, Debug)]
pub(crate) struct MadeFiles {
    pub(crate) cluster: ClusterId,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// When the certificate ends, in Unix milliseconds.
    pub(crate) until_ms: u64,
}

/// Makes an authority, and with it a cluster, in a directory.
///
/// # Errors
/// When one is there already, or it cannot be made or written.
pub(crate) fn init(directory: &Path) -> Result<MadeFiles, ClusterError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|unspecified| make(&unspecified))?;
    let cluster = ClusterId::new(u128::from_be_bytes(bits));
    let mut params = params(ca_name(cluster), Vec::new(), CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(server_name(cluster)),
            GeneralSubtree::DnsName(NODE_DOMAIN.to_owned()),
        ],
        excluded_subtrees: Vec::new(),
    });
    let key = KeyPair::generate().map_err(|error| make(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| make(&error))?;
    std::fs::create_dir_all(directory)
        .map_err(|source| ClusterError::Write { path: directory.to_owned(), source })?;
    let made = MadeFiles {
        cluster,
        certificate: directory.join(CA_FILE),
        key: directory.join(CA_KEY_FILE),
        until_ms: until_ms(&params),
    };
    write_new(&made, &certificate.pem(), &key.serialize_pem())?;
    let master_key = directory.join(MASTER_KEY_FILE);
    // One that is there may be in use.
    if !master_key.exists() {
        MasterKey::create(&master_key).map_err(|error| make(&error))?;
    }
    Ok(made)
}

/// Makes the certificate of a node by the authority in `ca`, in a directory.
///
/// # Errors
/// When there is no authority, or a certificate is there already, or it cannot be made or written.
pub(crate) fn issue(ca: &Path, node: NodeId, out: &Path) -> Result<MadeFiles, ClusterError> {
    let (cluster, ca_key) = read_ca(ca)?;
    let mut ca_params = CertificateParams::default();
    ca_params.distinguished_name = ca_name(cluster);
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = Issuer::new(ca_params, ca_key);
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("Tidewire node {node}"));
    let names = vec![server_name(cluster), format!("n{node}.{NODE_DOMAIN}")];
    let mut params = params(name, names, NODE_DAYS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|error| make(&error))?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| make(&error))?;
    std::fs::create_dir_all(out)
        .map_err(|source| ClusterError::Write { path: out.to_owned(), source })?;
    let made = MadeFiles {
        cluster,
        certificate: out.join(format!("node-{node}.pem")),
        key: out.join(format!("node-{node}.key")),
        until_ms: until_ms(&params),
    };
    write_new(&made, &certificate.pem(), &key.serialize_pem())?;
    Ok(made)
}

/// The name that all nodes of a cluster have, and only they.
pub(crate) fn server_name(cluster: ClusterId) -> String {
    format!("{cluster}.{CLUSTER_DOMAIN}")
}

/// Which node of which cluster a certificate is of; it has been verified, or is this node's own.
///
/// # Errors
/// What it lacks.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<(ClusterId, NodeId), String> {
    let (_rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let (mut clusters, mut nodes) = (Vec::new(), Vec::new());
    for name in names {
        let GeneralName::DNSName(name) = name else { continue };
        let of = |domain: &str| name.strip_suffix(domain)?.strip_suffix('.');
        clusters.extend(of(CLUSTER_DOMAIN).and_then(ClusterId::parse));
        let number = of(NODE_DOMAIN).and_then(|label| label.strip_prefix('n')?.parse().ok());
        nodes.extend(number.and_then(NodeId::new));
    }
    match (clusters.as_slice(), nodes.as_slice()) {
        ([cluster], [node]) => Ok((*cluster, *node)),
        ([], _) => Err(format!("no name in it ends with .{CLUSTER_DOMAIN}")),
        (_, []) => Err(format!("no name in it ends with .{NODE_DOMAIN}")),
        (_, _) => Err("it names more than one node or cluster".to_owned()),
    }
}

/// The cluster of an authority, and its key.
fn read_ca(directory: &Path) -> Result<(ClusterId, KeyPair), ClusterError> {
    let (path, key_path) = (directory.join(CA_FILE), directory.join(CA_KEY_FILE));
    let refuse = |reason: String| ClusterError::NoCa { path: path.clone(), reason };
    let der = CertificateDer::from_pem_file(&path).map_err(|error| refuse(error.to_string()))?;
    let (_rest, parsed) =
        X509Certificate::from_der(&der).map_err(|error| refuse(error.to_string()))?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let cluster = name.and_then(|name| ClusterId::parse(name.strip_prefix(CA_NAME)?));
    let cluster = cluster.ok_or_else(|| refuse("its name is of no cluster".to_owned()))?;
    let refuse_key = |reason: String| ClusterError::NoCa { path: key_path.clone(), reason };
    let key = std::fs::read_to_string(&key_path).map_err(|error| refuse_key(error.to_string()))?;
    let key = KeyPair::from_pem(&key).map_err(|error| refuse_key(error.to_string()))?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(refuse_key(format!("it is not the key of {CA_FILE}")));
    }
    Ok((cluster, key))
}

fn ca_name(cluster: ClusterId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("{CA_NAME}{cluster}"));
    name
}

fn params(
    name: DistinguishedName,
    names: Vec<String>,
    days: i64,
) -> Result<CertificateParams, ClusterError> {
    let mut params = CertificateParams::new(names).map_err(|error| make(&error))?;
    params.distinguished_name = name;
    params.not_before = (SystemTime::now() - EARLIER).into();
    params.not_after = params.not_before + time::Duration::days(days);
    Ok(params)
}

fn until_ms(params: &CertificateParams) -> u64 {
    u64::try_from(params.not_after.unix_timestamp()).unwrap_or(0).saturating_mul(1_000)
}

fn make(error: &dyn std::fmt::Display) -> ClusterError {
    ClusterError::Make(error.to_string())
}

/// Writes both files; neither is there before, and the key is for nobody else.
fn write_new(made: &MadeFiles, certificate: &str, key: &str) -> Result<(), ClusterError> {
    if let Some(path) = [&made.certificate, &made.key].into_iter().find(|path| path.exists()) {
        return Err(ClusterError::Exists { path: path.clone() });
    }
    for (path, content, mode) in [(&made.key, key, 0o600), (&made.certificate, certificate, 0o644)]
    {
        let refuse = |source: std::io::Error| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                return ClusterError::Exists { path: path.clone() };
            }
            ClusterError::Write { path: path.clone(), source }
        };
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(mode);
        let mut file = options.open(path).map_err(refuse)?;
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(refuse)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).unwrap()
    }

    #[test]
    fn a_certificate_says_which_node_of_which_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let ca = init(directory.path()).unwrap();
        let made = issue(directory.path(), node(3), &directory.path().join("out")).unwrap();
        assert_eq!(made.cluster, ca.cluster);
        let der = CertificateDer::from_pem_file(&made.certificate).unwrap();
        assert_eq!(node_of(&der), Ok((ca.cluster, node(3))));
        for key in [&ca.key, &made.key] {
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let other = init(&directory.path().join("other")).unwrap();
        assert_ne!(other.cluster, ca.cluster);
        let der = CertificateDer::from_pem_file(&ca.certificate).unwrap();
        assert!(node_of(&der).is_err(), "an authority is no node");
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        init(path).unwrap();
        issue(path, node(1), path).unwrap();
        let before = std::fs::read(path.join(CA_KEY_FILE)).unwrap();
        for refused in [init(path), issue(path, node(1), path)] {
            assert!(matches!(refused, Err(ClusterError::Exists { .. })), "{refused:?}");
        }
        assert_eq!(std::fs::read(path.join(CA_KEY_FILE)).unwrap(), before);
    }

    #[test]
    fn an_authority_with_the_key_of_another_issues_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        init(&a).unwrap();
        init(&b).unwrap();
        std::fs::copy(a.join(CA_KEY_FILE), b.join(CA_KEY_FILE)).unwrap();
        let refused = issue(&b, node(1), &b).unwrap_err().to_string();
        assert!(refused.contains("not the key of"), "{refused}");
        let refused = issue(directory.path(), node(1), &b).unwrap_err().to_string();
        assert!(refused.contains("ca init"), "{refused}");
    }
}
