//! Servers that speak TLS: who signed them, for which name, and whether they want to know us as well.

use std::{fs, path::PathBuf};

use claimr_relay::config::{Nats, NatsTls};

use super::{
    authority::{Authority, file},
    log_name, one, open, serves, settings,
};
use crate::harness::{NatsServer, NatsVersion, free_address, until};

fn with(server: &NatsServer, tls: NatsTls) -> Nats {
    Nats { tls, ..settings(&server.url, &log_name()) }
}

fn refusal(settings: Nats) -> String {
    open(settings).err().unwrap().to_string()
}

#[tokio::test]
async fn a_server_is_known_by_who_signed_it_and_for_which_name() {
    let (ours, stranger) = (Authority::new("ours"), Authority::new("stranger"));
    for version in [NatsVersion::Debian, NatsVersion::Current] {
        let server = NatsServer::with(version, free_address(), &ours.server("127.0.0.1", ""));
        serves(with(&server, ours.trusted())).await;
        let tls_only = server.url.replace("nats://", "tls://");
        serves(Nats { servers: vec![tls_only], ..with(&server, NatsTls { required: false, ..ours.trusted() }) }).await;
        let other_name = NatsServer::with(version, free_address(), &ours.server("elsewhere.example", ""));
        let plain = NatsServer::with(version, free_address(), "");
        for (settings, words) in [
            (with(&server, stranger.trusted()), "its certificate is signed by nobody in store.nats.tls.ca"),
            (with(&server, NatsTls::default()), "set store.nats.tls.ca"),
            (with(&other_name, ours.trusted()), "for another name than the one in store.nats.url"),
            (with(&plain, ours.trusted()), "store.nats.tls.required"),
        ] {
            let said = refusal(settings);
            assert!(said.contains(words) && said.contains("127.0.0.1"), "{version:?}, {words}: {said}");
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_to_know_us_is_shown_our_certificate() {
    let (ours, stranger) = (Authority::new("ours"), Authority::new("stranger"));
    for version in [NatsVersion::Debian, NatsVersion::Current] {
        let server = NatsServer::with(version, free_address(), &ours.server("127.0.0.1", "verify: true"));
        let client = |authority: &Authority| Some(authority.certify("relay.example"));
        serves(with(&server, NatsTls { client: client(&ours), ..ours.trusted() })).await;
        for (client, words) in
            [(None, "set store.nats.tls.cert"), (client(&stranger), "does not take the certificate in store.nats.tls.cert")]
        {
            let said = refusal(with(&server, NatsTls { client, ..ours.trusted() }));
            assert!(said.contains(words), "{version:?}, {words}: {said}");
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_by_their_settings() {
    let (ours, folder) = (Authority::new("ours"), tempfile::tempdir().unwrap());
    let (junk, nowhere) = (file(folder.path(), "junk.pem", "no PEM"), folder.path().join("nowhere.pem"));
    let ((cert, key), (_, other_key)) = (ours.certify("relay.example"), ours.certify("other.example"));
    let tls = |ca: &PathBuf, cert: &PathBuf, key: &PathBuf| NatsTls {
        required: true,
        ca: Some(ca.clone()),
        client: Some((cert.clone(), key.clone())),
    };
    for (tls, words) in [
        (tls(&nowhere, &cert, &key), ["store.nats.tls.ca", "cannot be read"]),
        (tls(&junk, &cert, &key), ["store.nats.tls.ca", "holds no certificate"]),
        (tls(&ours.ca(), &nowhere, &key), ["store.nats.tls.cert", "cannot be read"]),
        (tls(&ours.ca(), &junk, &key), ["store.nats.tls.cert", "holds no certificate"]),
        (tls(&ours.ca(), &cert, &cert), ["store.nats.tls.key", "holds no private key"]),
        (tls(&ours.ca(), &cert, &other_key), ["store.nats.tls.key", "is not the key of the certificate"]),
    ] {
        let said = refusal(Nats { tls, ..settings("tls://127.0.0.1:1", &log_name()) });
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
}

/// Authorities and certificates are replaced now and then, and the gateway goes on without a restart.
#[tokio::test]
async fn new_certificates_are_taken_up_by_the_next_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut server = NatsServer::with(NatsVersion::Current, free_address(), &old.server("127.0.0.1", "verify: true"));
    let client = old.certify("relay.example");
    let (engine, _hub) = open(with(&server, NatsTls { client: Some(client.clone()), ..old.trusted() })).unwrap();
    let publish = async || engine_publish(&engine).await;
    assert!(publish().await);
    server.kill();
    let (newer, ours) = (new.certify("127.0.0.1"), old.certify("127.0.0.1"));
    for (from, to) in [(newer.0, ours.0), (newer.1, ours.1), (new.ca(), old.ca())] {
        fs::copy(from, to).unwrap();
    }
    let (certificate, key) = new.certify("relay.example");
    fs::copy(certificate, client.0).unwrap();
    fs::copy(key, client.1).unwrap();
    server.run();
    until("it is connected again", publish).await;
}

async fn engine_publish(engine: &claimr_relay::engine::nats::NatsEngine) -> bool {
    use claimr_relay::engine::Engine as _;
    engine.publish(one("acme:1", engine.clock())).await.is_ok()
}
