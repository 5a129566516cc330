//! Every way to log in, at servers that want it: the right one is taken, and a wrong one is refused at the start by the name of its setting.

use claimr_relay::config::{Login, Nats};
use nkeys::KeyPair;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    authority::{Operator, file},
    log_name, open, serves, settings,
};
use crate::harness::{Dial, NatsServer, NatsVersion, Relay, WebSocket, claimr_relay, free_address, token};

const SECRET: &str = "geheim-0123456789";
const WRONG: &str = "falsch-0123456789";

fn user(password: &str) -> Login {
    Login::User { user: "relay".to_owned(), password: password.to_owned().into() }
}

/// A server's configuration, a login that it takes, one that it does not, and the setting to name then.
fn logins(name: &str) -> Vec<(String, Login, Login, &'static str)> {
    let (key, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let nkey = |key: &KeyPair| Login::Nkey(key.seed().unwrap().into());
    let (operator, other) = (Operator::new(), Operator::new());
    let credentials = |operator: &Operator| Login::Credentials(operator.credentials().into());
    let token = |text: &str| Login::Token(text.to_owned().into());
    // As much as docs/scaling.md says that a login needs.
    let subjects = format!(r#"["{name}.>", "$JS.API.>", "$JS.FC.>", "_INBOX.>"]"#);
    let permissions = format!("permissions: {{ publish: {subjects}, subscribe: {subjects} }}");
    let users = format!("authorization {{ users: [{{ user: relay, password: \"{SECRET}\", {permissions} }}] }}\n");
    let nkeys = format!("authorization {{ users: [{{ nkey: {} }}] }}\n", key.public_key());
    vec![
        (users, user(SECRET), user(WRONG), "store.nats.user"),
        (format!("authorization {{ token: \"{SECRET}\" }}\n"), token(SECRET), token(WRONG), "store.nats.token"),
        (nkeys, nkey(&key), nkey(&stranger), "store.nats.nkey"),
        (operator.server(), credentials(&operator), credentials(&other), "store.nats.credentials"),
    ]
}

#[tokio::test]
async fn the_right_login_is_taken_and_a_wrong_one_is_refused_by_its_name() {
    for version in [NatsVersion::Debian, NatsVersion::Current] {
        let name = log_name();
        for (lines, right, wrong, setting) in logins(&name) {
            let server = NatsServer::with(version, free_address(), &lines);
            let with = |login: Login| Nats { login, ..settings(&server.url, &name) };
            serves(with(right)).await;
            for (login, words) in [(wrong, setting), (Login::Anonymous, "it wants a login")] {
                let refused = open(with(login)).err().unwrap();
                let said = format!("{refused} {refused:?}");
                assert!(said.contains(words) && said.contains("uthorization"), "{version:?}: {said}");
                assert!(![SECRET, WRONG, "SU"].iter().any(|secret| said.contains(secret)), "{said}");
            }
        }
    }
}

/// From files, as they are in production: editors and `nsc` end the last line.
#[tokio::test]
async fn a_creds_file_and_a_seed_file_are_taken_by_a_whole_gateway() {
    let (folder, operator, key) = (TempDir::new().unwrap(), Operator::new(), KeyPair::new_user());
    let creds = file(folder.path(), "relay.creds", &operator.credentials());
    let seed = file(folder.path(), "relay.nk", &format!("{}\n", key.seed().unwrap()));
    let nkeys = format!("authorization {{ users: [{{ nkey: {} }}] }}\n", key.public_key());
    for (lines, login) in
        [(operator.server(), format!("credentials = {{ file = {creds:?} }}")), (nkeys, format!("nkey = {{ file = {seed:?} }}"))]
    {
        let server = NatsServer::with(NatsVersion::Current, free_address(), &lines);
        let nats = format!("{{ url = \"{}\", stream = \"{}\", {login} }}", server.url, log_name());
        let relay = Relay::with(&format!("store.engine = \"nats\"\nstore.nats = {nats}\n")).await;
        let (mut session, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
        relay.event("42", 7).await;
        assert_eq!(session.points(1).await, [7]);
        assert_eq!(relay.ask_admin("GET", "/readyz", &Value::Null).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_no_login_is_found_before_any_server_is_asked() {
    let (folder, account) = (TempDir::new().unwrap(), KeyPair::new_account().seed().unwrap());
    let paths = ["ca.pem", "relay.pem", "relay.key.pem"].map(|name| file(folder.path(), name, "no PEM"));
    let tls = format!("tls = {{ ca = {:?}, cert = {:?}, key = \"nowhere.key.pem\" }}", paths[0], paths[1]);
    for (login, found) in [
        (format!("nkey = {{ value = \"{account}\" }}"), vec!["store.nats.nkey"]),
        (format!("nkey = {{ value = \"{WRONG}\" }}, {tls}"), vec!["store.nats.nkey", "store.nats.tls.ca", "store.nats.tls.cert"]),
        (format!("credentials = {{ value = \"{WRONG}\" }}"), vec!["store.nats.credentials"]),
    ] {
        let nats = format!("engine = \"nats\"\nnats = {{ url = \"nats://{}\", {login} }}\n", free_address());
        let text = format!(
            "[store]\n{nats}[auth]\nissuer = \"i\"\naudience = \"a\"\n[[auth.keys]]\nalg = \"HS256\"\n\
             secret = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n[[sources]]\nname = \"claimr\"\nallow_unsigned = true\n"
        );
        let path = file(folder.path(), "relay.toml", &text);
        for command in ["check-config", "serve"] {
            let said = claimr_relay(&[command, "--config", path.to_str().unwrap()], &[]).await;
            assert_eq!(said.code, 2, "{said:?}");
            let text = format!("{}{}", said.out, said.err);
            assert!(found.iter().all(|key| text.contains(key)), "{found:?}: {text}");
            assert!(!text.contains(WRONG) && !text.contains(&account), "{text}");
        }
    }
}
