//! A certificate and a key that cannot be served are refused at the start, each by its own name.

use std::fs;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A folder with `cert.pem` and `key.pem`, which belong together and are good from 2020 until 2100.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    fs::write(folder.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    folder
}

fn setting(folder: &TempDir) -> String {
    let file = |name: &str| folder.path().join(name).display().to_string();
    with(&format!("server.tls = {{ cert = {:?}, key = {:?} }}", file("cert.pem"), file("key.pem")))
}

fn loads(text: &str) -> Config {
    read("relay.toml", text, &environment(&[])).0.unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn a_pair_is_read_and_nothing_of_its_key_is_shown() {
    let folder = folder();
    let key = fs::read_to_string(folder.path().join("key.pem")).unwrap();
    // The key may stand before the certificate, in the same file, with other things around.
    let cert = folder.path().join("cert.pem");
    fs::write(&cert, format!("Bag Attributes\n{key}{}", fs::read_to_string(&cert).unwrap())).unwrap();
    let config = loads(&setting(&folder));
    assert_eq!(config.server.tls.as_ref().unwrap().pair().cert.len(), 1);
    let secret = key.lines().nth(1).unwrap();
    let shown = format!("{config:?}{}{}", config.to_toml_redacted(), serde_json::to_string(&config).unwrap());
    assert!(shown.contains("key.pem") && !shown.contains(secret), "{shown}");
    assert!(good(&[]).server.tls.is_none());
}

#[test]
fn a_pair_that_cannot_be_served_is_named_with_its_file_and_a_remedy() {
    let fixture = |name: &str| fs::read(format!("tests/fixtures/{name}")).unwrap();
    let pem = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes();
    let folder = folder();
    for (file, content, problem, remedy) in [
        ("cert.pem", Some(Vec::new()), "has no certificate in it", "BEGIN CERTIFICATE"),
        ("cert.pem", Some(fixture("jwt/p256.key.pem")), "has no certificate in it", "BEGIN CERTIFICATE"),
        ("cert.pem", Some(pem("CERTIFICATE", "%%%")), "is not PEM that can be read", "BEGIN CERTIFICATE"),
        ("cert.pem", Some(pem("CERTIFICATE", "AAAA")), "is broken", "as they were issued"),
        ("cert.pem", Some(vec![b'x'; 70_000]), "longer than 65536 bytes", "BEGIN CERTIFICATE"),
        ("cert.pem", None, "cannot be opened", "where the gateway is started"),
        ("key.pem", Some(Vec::new()), "has no private key in it", "BEGIN PRIVATE KEY"),
        ("key.pem", Some(fixture("tls/localhost.pem")), "has no private key in it", "BEGIN PRIVATE KEY"),
        ("key.pem", Some(pem("PRIVATE KEY", "%geheim%")), "is not PEM that can be read", "BEGIN PRIVATE KEY"),
        ("key.pem", Some(pem("PRIVATE KEY", "Z2VoZWlt")), "has a key that TLS cannot use", "ECDSA on P-256"),
        ("key.pem", Some(pem("ENCRYPTED PRIVATE KEY", "Z2VoZWlt")), "encrypted with a passphrase", "openssl pkey"),
        ("key.pem", Some(pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: X\n\nZ2VoZWlt")), "encrypted", "openssl pkey"),
        ("key.pem", Some(fixture("tls/localhost.key.pem")), "does not belong to the first certificate", "comes first"),
        ("key.pem", Some(fixture("jwt/ed25519.key.pem")), "does not belong to the first certificate", "comes first"),
        ("key.pem", None, "cannot be opened", "where the gateway is started"),
    ] {
        let path = folder.path().join(file);
        let kept = fs::read(&path).unwrap();
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let found = mistakes(&setting(&folder));
        assert_eq!(found.len(), 1, "{problem}: {found:#?}");
        assert_eq!(found[0].key, format!("server.tls.{}", file.trim_end_matches(".pem")), "{found:#?}");
        assert!(found[0].problem.contains(problem) && found[0].problem.contains(file), "{problem}: {found:#?}");
        assert!(found[0].remedy.contains(remedy), "{problem}: {found:#?}");
        assert!(found[0].origin.starts_with("relay.toml:"), "{found:#?}");
        assert!(!found[0].to_string().contains("geheim"), "{found:#?}");
        fs::write(&path, kept).unwrap();
    }
    assert_eq!(mistakes(&setting(&folder)), []);
}

#[test]
fn both_are_needed_and_both_are_looked_at() {
    for (tls, key, problem) in [
        ("\"relay.pem\"", "server.tls", "a table belongs here, not text"),
        ("{ key = \"none.pem\" }", "server.tls.cert", "required, but not set"),
        ("{ cert = 1, key = \"none.pem\" }", "server.tls.cert", "text belongs here"),
        ("{ cert = \"tests/fixtures/tls/localhost.pem\" }", "server.tls.key", "required, but not set"),
        ("{ cert = \"none.pem\", key = \"none.pem\" }", "server.tls.key", "cannot be opened"),
        ("{ crt = \"none.pem\" }", "server.tls.crt", "unknown setting"),
    ] {
        let found = mistakes(&with(&format!("server.tls = {tls}")));
        assert!(found.iter().any(|mistake| mistake.key == key && mistake.problem.contains(problem)), "{tls}: {found:#?}");
    }
    assert_eq!(mistakes(&with("server.tls = { cert = \"none.pem\", key = \"none.pem\" }")).len(), 2);
}

#[test]
fn dates_that_clients_will_refuse_are_told() {
    let folder = folder();
    let tls = loads(&setting(&folder)).server.tls.unwrap();
    // Around both ends, which are the first seconds of 2020 and of 2100.
    for (now, wanted) in [
        (1_577_836_799, Some("the certificate begins at 2020-01-01T00:00:00Z")),
        (1_577_836_800, None),
        (2_524_608_000, None),
        (4_102_444_800, None),
        (4_102_444_801, Some("the certificate ended at 2100-01-01T00:00:00Z")),
    ] {
        assert_eq!(tls.out_of_date(Timestamp(now * 1_000)).as_deref(), wanted, "{now}");
    }
}

#[test]
fn another_pair_can_be_taken_up_but_not_whether_there_is_one() {
    let (one, other, plain) = (loads(&setting(&folder())), loads(&setting(&folder())), good(&[]));
    assert_eq!(one.restart_needed(&other), [""; 0]);
    assert_eq!(one.restart_needed(&plain), ["server.tls"]);
    assert_eq!(plain.restart_needed(&one), ["server.tls"]);
}
