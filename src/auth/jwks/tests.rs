//! Sets that are sound, and sets that are ignored, with the words of the log; and when a set is fetched, kept and dropped.

use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::{
    document::{Document, read},
    *,
};
use crate::{
    auth::{
        Rejection,
        keys::KeyRing,
        tests::{NOW, auth, fixture},
    },
    event::Timestamp,
};

const ALL: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn jwk(alg: Algorithm, kid: &str, key: &EncodingKey) -> Value {
    let jwk = Jwk::from_encoding_key(key, alg).unwrap();
    let mut jwk = serde_json::to_value(&jwk).unwrap();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(fixture!("rsa-2048.key.pem").as_bytes()).unwrap()
}

fn p256() -> EncodingKey {
    EncodingKey::from_ec_pem(fixture!("p256.key.pem").as_bytes()).unwrap()
}

fn p384() -> EncodingKey {
    EncodingKey::from_ec_pem(fixture!("p384.key.pem").as_bytes()).unwrap()
}

fn ed25519() -> Value {
    // RFC 8037, appendix A.2.
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"})
}

fn good() -> Vec<Value> {
    vec![jwk(Algorithm::RS256, "rsa", &rsa()), jwk(Algorithm::ES256, "ec", &p256()), ed25519()]
}

/// The key with one member set, or left out if it is null.
fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

fn pinned(set: &Value, algs: &[Algorithm]) -> Result<Vec<Algorithm>, String> {
    read(set.to_string().as_bytes(), algs).map(|document| document.keys.iter().map(|key| key.alg).collect())
}

#[test]
fn every_key_is_pinned_to_one_algorithm() {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS512, RS256, RS512};
    let (rsa, ec) = (jwk(RS256, "rsa", &rsa()), jwk(ES256, "ec", &p256()));
    let bare = |key: &Value| with(key.clone(), "alg", Value::Null);
    for (key, algs, wanted) in [
        (rsa.clone(), ALL, Ok(vec![RS256])),
        (bare(&rsa), ALL, Ok(vec![RS256])),
        (bare(&rsa), &[PS256, ES256], Ok(vec![PS256])),
        (with(rsa.clone(), "alg", json!("RS512")), &[RS256, RS512], Ok(vec![RS512])),
        (with(rsa.clone(), "alg", json!("PS512")), &[RS256, PS512], Ok(vec![PS512])),
        (bare(&rsa), &[RS256, PS256], Err("allows several")),
        (with(rsa.clone(), "alg", json!("RS512")), ALL, Err("no key for any of")),
        (with(rsa.clone(), "alg", json!("ES256")), ALL, Err("its alg is ES256, which is not for Rsa")),
        (with(rsa, "alg", json!("HS256")), ALL, Err("its alg is HS256, which is not for Rsa")),
        (ec.clone(), ALL, Ok(vec![ES256])),
        (bare(&ec), ALL, Ok(vec![ES256])),
        (bare(&ec), &[ES384, EdDSA], Err("no key for any of")),
        (with(ec, "alg", json!("ES384")), ALL, Err("its alg is ES384, which is not for P256")),
        (bare(&jwk(ES384, "ec", &p384())), &[ES384], Ok(vec![ES384])),
        (ed25519(), ALL, Ok(vec![EdDSA])),
        (with(ed25519(), "kid", json!("k".repeat(256))), ALL, Ok(vec![EdDSA])),
        (with(ed25519(), "key_ops", json!(["verify"])), ALL, Ok(vec![EdDSA])),
    ] {
        match (pinned(&json!({"keys": [key]}), algs), wanted) {
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{key}: {problem}"),
            (found, wanted) => assert_eq!(found, wanted.map_err(str::to_owned), "{key}"),
        }
    }
}

#[test]
fn what_is_not_for_us_is_left_out() {
    let strange = [
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "Ed448", "x": "AA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        with(jwk(Algorithm::ES256, "old", &p256()), "alg", json!("ES256K")),
        // Nothing of what we ask of keys that sign is asked of those that do not; Keycloak publishes the first beside its own.
        with(with(jwk(Algorithm::RS256, "enc", &rsa()), "use", json!("enc")), "alg", json!("RSA-OAEP")),
        with(with(jwk(Algorithm::RS256, "enc", &rsa()), "use", json!("enc")), "key_ops", json!(["wrapKey"])),
        json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "Aw", "kid": "ed"}),
        json!({"kty": "RSA", "use": "tls", "kid": ""}),
    ];
    for key in strange {
        let document = read(json!({"keys": [key, ed25519()], "more": 1}).to_string().as_bytes(), ALL).unwrap();
        assert_eq!((document.keys.len(), document.left_out), (1, 1), "{key}");
    }
}

#[test]
fn a_set_with_one_bad_key_is_no_set() {
    let (rsa, ec) = (jwk(Algorithm::RS256, "rsa2", &rsa()), jwk(Algorithm::ES256, "ec2", &p256()));
    let weak = data_encoding::BASE64URL_NOPAD.encode(&[0xC5; 128]);
    let long = data_encoding::BASE64URL_NOPAD.encode(&[0xC5; 1_025]);
    let off_curve = with(ec.clone(), "y", ec["x"].clone());
    for (bad, problem) in [
        (with(rsa.clone(), "n", json!(weak)), "keys[3]: its RSA modulus has 1024 bits, and 2,048 to 8,192 are needed"),
        (with(rsa.clone(), "n", json!(long)), "keys[3]: its RSA modulus has 8200 bits"),
        (with(rsa.clone(), "e", json!("Aw")), "keys[3]: its RSA exponent is below 65,537"),
        (with(rsa.clone(), "e", json!("AQ")), "keys[3]: its RSA exponent is below 65,537"),
        (with(rsa.clone(), "e", json!("AQAA")), "keys[3]: its RSA exponent is below 65,537"),
        (with(rsa.clone(), "n", json!("")), "keys[3]: it cannot be read as a key for RSA"),
        (with(rsa.clone(), "n", Value::Null), "keys[3]: it has no n"),
        (with(rsa.clone(), "n", json!("+/+/")), "keys[3]: its n is not base64url"),
        (with(rsa.clone(), "d", json!("AQAB")), "keys[3]: it is a private key"),
        (with(rsa.clone(), "p", json!("AQAB")), "keys[3]: it is a private key"),
        (with(ec.clone(), "d", json!("AQAB")), "keys[3]: it is a private key"),
        (with(rsa.clone(), "kid", json!("rsa")), "keys[3]: an earlier key has the same kid"),
        (with(ec.clone(), "kid", json!("ed")), "keys[3]: an earlier key has the same kid"),
        (with(ec.clone(), "kid", json!("")), "keys[3]: its kid must have 1 to 256 bytes"),
        (with(ec.clone(), "kid", json!("k".repeat(257))), "keys[3]: its kid must have 1 to 256 bytes"),
        (with(ec.clone(), "key_ops", json!(["sign"])), "keys[3]: its key_ops have no verify"),
        (with(ec.clone(), "key_ops", json!([])), "keys[3]: its key_ops have no verify"),
        (with(ec.clone(), "crv", Value::Null), "keys[3]: it has no crv"),
        (with(ec.clone(), "x", json!("AAAA")), "keys[3]: it cannot be read as a key for P256"),
        (with(off_curve, "kid", json!("off")), "keys[3]: it cannot be read as a key for P256"),
        (with(with(ec, "x", json!("AAAA")), "alg", json!("ES512")), "keys[3]: it cannot be read as a key for P256"),
        (with(with(ed25519(), "kid", json!("x")), "x", json!("AAAA")), "keys[3]: it cannot be read as a key for Ed25519"),
        (json!({"kty": "oct", "k": "AAAA", "kid": "oct"}), "keys[3]: it is a shared secret"),
        (json!({"kty": "oct", "kid": "oct"}), "keys[3]: it is a shared secret"),
        (json!({"kty": "RSA", "k": "AAAA"}), "keys[3]: it is a shared secret"),
        (json!({"kid": "x"}), "it is not a JWK set, {\"keys\":[…]}: missing field `kty`"),
        (json!(42), "it is not a JWK set"),
        (json!(null), "it is not a JWK set"),
    ] {
        let keys = [good(), vec![bad.clone()]].concat();
        let found = read(json!({"keys": keys}).to_string().as_bytes(), ALL).err();
        let found = found.unwrap_or_else(|| panic!("taken: {bad}"));
        assert!(found.starts_with(problem), "{bad}: {found}");
    }
}

#[test]
fn what_is_no_set_at_all() {
    let many: Vec<Value> = (0..65).map(|i| with(ed25519(), "kid", json!(i.to_string()))).collect();
    for (text, problem) in [
        (String::new(), "it is not a JWK set"),
        ("<html>".to_owned(), "it is not a JWK set"),
        ("[]".to_owned(), "it is not a JWK set"),
        ("{}".to_owned(), "missing field `keys`"),
        (r#"{"keys":{}}"#.to_owned(), "it is not a JWK set"),
        (r#"{"keys":[]}"#.to_owned(), "it has no key for any of [RS256, ES256, EdDSA]"),
        (format!("{} x", json!({"keys": good()})), "it is not a JWK set"),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), "it is not a JWK set"),
        (json!({"keys": good()}).to_string().replacen(r#""kty":"#, r#""kty":"RSA","kty":"#, 1), "it is not a JWK set"),
        (json!({"keys": many}).to_string(), "it has 65 keys, and at most 64 are taken"),
    ] {
        let found = read(text.as_bytes(), ALL).err().unwrap_or_else(|| panic!("taken: {text:.60}"));
        assert!(found.contains(problem), "{text:.60}: {found}");
    }
}

#[test]
fn a_set_has_sixty_four_keys_at_most() {
    let keys: Vec<Value> = (0..64).map(|i| with(ed25519(), "kid", json!(i.to_string()))).collect();
    assert_eq!(pinned(&json!({"keys": keys}), ALL).map(|algs| algs.len()), Ok(64));
}

fn config() -> config::Jwks {
    config::Jwks {
        url: "http://127.0.0.1:9/jwks.json".to_owned(),
        algs: ALL.to_vec(),
        refresh: Duration::from_mins(10),
        stale_max: Duration::from_hours(24),
        setting: "auth.keys[1].jwks".to_owned(),
    }
}

fn shared() -> Shared {
    Shared {
        config: Swap::new(config()),
        keys: Swap::default(),
        flight: Mutex::new(Flight { under_way: true, ..Flight::default() }),
        asked: Notify::new(),
        landed: watch::Sender::new(0),
    }
}

fn fetched(keys: &[Value]) -> Result<Document, String> {
    read(json!({"keys": keys}).to_string().as_bytes(), ALL)
}

#[test]
fn unknown_keys_ask_once_in_thirty_seconds_and_share_a_fetch() {
    let (set, start) = (shared(), Instant::now());
    let at = |s: f64| start + Duration::from_secs_f64(s);
    assert!(set.ask(at(0.0)), "the first fetch is under way, so there is something to wait for");
    set.land(&config(), fetched(&good()), at(0.0));
    assert!(set.ask(at(0.1)), "nobody asked before");
    assert!((0..10_000).all(|_| set.ask(at(0.2))), "one fetch for all who come meanwhile");
    set.land(&config(), Err("down".to_owned()), at(0.3));
    assert!((0..10_000).all(|i| !set.ask(at(0.3 + f64::from(i) * 0.0029))), "up to 29.3 s");
    assert!(set.ask(at(30.2)));
    assert_eq!(*set.landed.borrow(), 2);
}

#[test]
fn a_bad_set_changes_nothing_until_the_old_one_is_stale() {
    let (set, start) = (shared(), Instant::now());
    let at = |hours: u64| start + Duration::from_hours(hours);
    let again = set.land(&config(), Err("down".to_owned()), start);
    assert_eq!((set.keys.get().len(), again - start), (0, KeySet::COOLDOWN), "try again soon");
    let again = set.land(&config(), fetched(&good()), start) - start;
    assert!(again > Duration::from_mins(8) && again <= Duration::from_mins(10), "{again:?}");
    for hours in 1..24 {
        let problem = fetched(&[json!({"kty": "oct", "k": "AAAA"})]).err().unwrap();
        set.land(&config(), Err(problem), at(hours));
        assert_eq!(set.keys.get().len(), 3, "after {hours} h");
    }
    let nearly = at(24) - Duration::from_secs(3);
    assert_eq!(set.land(&config(), Err("down".to_owned()), nearly) - nearly, Duration::from_secs(3), "look when it is stale");
    let again = set.land(&config(), Err("down".to_owned()), at(24));
    assert_eq!((set.keys.get().len(), again - at(24)), (0, KeySet::COOLDOWN));
    set.land(&config(), fetched(&good()[..1]), at(25));
    assert_eq!(set.keys.get().len(), 1);
}

/// A reload keeps the keys of a set that stays what it is, however often it is to be fetched.
#[tokio::test]
async fn a_set_is_another_if_its_url_or_its_algorithms_are() {
    let set = KeySet { shared: Arc::new(shared()), _stop: CancellationToken::new().drop_guard() };
    let table = [
        (config(), true),
        (
            config::Jwks { refresh: Duration::from_mins(1), stale_max: Duration::ZERO, setting: "other".to_owned(), ..config() },
            true,
        ),
        (config::Jwks { url: "http://127.0.0.1:9/other.json".to_owned(), ..config() }, false),
        (config::Jwks { algs: ALL[1..].to_vec(), ..config() }, false),
    ];
    for (wanted, same) in table {
        assert_eq!(set.serves(&wanted), same, "{} {:?}", wanted.url, wanted.algs);
    }
    set.adjust(config::Jwks { setting: "auth.keys[7].jwks".to_owned(), ..config() });
    assert_eq!(set.missing().as_deref(), Some("auth.keys[7].jwks"));
}

/// The configuration's key, and the key of an earlier set, is the one that a `kid` means.
#[tokio::test]
async fn the_first_who_knows_a_kid_decides() {
    let set = |keys: &[Value]| {
        let shared = shared();
        shared.keys.set(fetched(keys).unwrap().keys);
        Arc::new(KeySet { shared: Arc::new(shared), _stop: CancellationToken::new().drop_guard() })
    };
    let (ours, theirs) = (jwk(Algorithm::ES256, "k", &p256()), with(ed25519(), "kid", json!("k")));
    let signature = jsonwebtoken::crypto::sign(b"m", &p256(), Algorithm::ES256).unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let no_keys = config::Auth { jwks: vec![config()], ..auth(Vec::new()) };
    let check = |sets: Vec<Arc<KeySet>>, kid: Option<&str>, now: Timestamp| {
        let ring = KeyRing::new(&no_keys, sets).unwrap_or_else(|problems| panic!("{problems:?}"));
        ring.check((Algorithm::ES256, kid), b"m", &signature, now)
    };
    let bare = |key: &Value| with(key.clone(), "kid", Value::Null);
    assert_eq!(check(vec![set(std::slice::from_ref(&ours))], Some("k"), NOW), Ok(()));
    assert_eq!(check(vec![set(std::slice::from_ref(&ours)), set(std::slice::from_ref(&theirs))], Some("k"), NOW), Ok(()));
    let second = check(vec![set(std::slice::from_ref(&theirs)), set(std::slice::from_ref(&ours))], Some("k"), NOW);
    assert_eq!(second, Err(Rejection::Invalid("alg is not the one of its key")));
    assert_eq!(check(vec![set(&[bare(&theirs)]), set(&[bare(&ours)])], None, NOW), Ok(()), "without a kid all are tried");
    let unknown = check(vec![set(&[ours, theirs.clone()][..1])], Some("other"), NOW);
    assert_eq!(unknown, Err(Rejection::UnknownKey("no key in auth.keys has its kid")));
}
