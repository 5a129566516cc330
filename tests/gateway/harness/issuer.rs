//! Somebody who publishes a key set, well or badly, and counts who asks for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use super::{until, usual_claims};

/// An HTTP server that gives the same answer to everybody.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Option<Vec<u8>>>>,
    asked: Arc<AtomicUsize>,
    _running: AbortOnDropHandle<()>,
}

impl Issuer {
    /// Publishes these keys.
    pub(crate) async fn of(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, answer, asked) = (listener.local_addr().unwrap(), Arc::default(), Arc::default());
        #[expect(clippy::disallowed_methods, reason = "the issuer itself is the task")]
        let running = tokio::spawn(serve(listener, Arc::clone(&answer), Arc::clone(&asked)));
        let issuer = Self { address, answer, asked, _running: AbortOnDropHandle::new(running) };
        issuer.publish(keys);
        issuer
    }

    /// The `[[auth.keys]]` entry that fetches from here.
    pub(crate) fn entry(&self) -> String {
        format!("[[auth.keys]]\njwks = {{ url = \"http://{}/jwks.json\" }}\n", self.address)
    }

    /// Publishes other keys.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_text(&json!({"keys": keys}).to_string());
    }

    /// Publishes what may be no set.
    pub(crate) fn publish_text(&self, text: &str) {
        self.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
    }

    /// Says exactly this to whoever asks, and ends the connection.
    pub(crate) fn say(&self, answer: &str) {
        *self.answer.lock().unwrap() = Some(answer.as_bytes().to_vec());
    }

    /// Says nothing at all any more.
    pub(crate) fn fall_silent(&self) {
        *self.answer.lock().unwrap() = None;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until it was asked so often.
    pub(crate) async fn was_asked(&self, times: usize) {
        until("the key set is asked for", async || self.asked() >= times).await;
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Option<Vec<u8>>>>, asked: Arc<AtomicUsize>) {
    let mut silent = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = answer.lock().unwrap().clone();
        match answer {
            Some(answer) => give(&mut stream, &answer).await,
            None => silent.push(stream),
        }
    }
}

async fn give(stream: &mut TcpStream, answer: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    // Whoever has heard enough may be gone.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

/// An ES256 key of the tests' backend.
pub(crate) struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    pub(crate) fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    /// Its public part.
    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64URL_NOPAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256", "x": x, "y": y})
    }

    /// A token for `acme:<user>`.
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_of(&json!({"alg": "ES256", "kid": self.kid}), &usual_claims(&json!({"sub": user})))
    }

    /// A token of exactly these parts.
    pub(crate) fn token_of(&self, header: &Value, claims: &Value) -> String {
        let part = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}
