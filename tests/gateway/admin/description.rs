//! `/openapi.json` is true: it names every route, and answers have the members that it says.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Dial, Relay, WebSocket, token};

#[tokio::test]
async fn the_description_names_every_route_and_no_other() {
    let relay = Relay::start().await;
    let response = relay.http.get(format!("http://{}/openapi.json", relay.admin)).send().await.unwrap();
    let description: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    // Each line of the table of routes names one path, and its methods as `get(`, `post(` or `delete(`.
    let table = include_str!("../../../src/http/admin.rs");
    let mut routes = 0;
    for line in table.lines().filter_map(|line| Some(line.split_once(".route(\"")?.1)) {
        let (path, handler) = line.split_once('"').unwrap();
        let is_api = !paths.contains_key(path);
        let described = &description["paths"][&if is_api { format!("/admin/v1{path}") } else { path.to_owned() }];
        for method in ["get", "post", "delete"] {
            assert_eq!(
                handler.contains(&format!(" {method}(")) || handler.contains(&format!(").{method}(")),
                described[method].is_object(),
                "{method} {path}"
            );
        }
        routes += 1;
    }
    assert_eq!(routes, paths.len());
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let url = format!("http://{}{}", relay.admin, path.replace("{key}", "acme:42").replace("{id}", "x"));
            let request = relay.http.request(method.to_uppercase().parse().unwrap(), url).header("x-claimr-relay", "1");
            let status = request.send().await.unwrap().status();
            assert!(![404, 405].contains(&status.as_u16()), "{method} {path}: {status}");
        }
    }
    let (mut references, text) = (0, description.to_string());
    for (at, reference) in text.match_indices("#/components/schemas/") {
        let name: String = text[at + reference.len()..].chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(description["components"]["schemas"][&name].is_object(), "{name}");
        references += 1;
    }
    assert!(references > 10);
}

/// The answers have the members that the description says, no more and no fewer.
#[tokio::test]
async fn answers_are_as_described() {
    let relay = Relay::start().await;
    let description: Value = serde_json::from_str(include_str!("../../../src/http/admin/openapi.json")).unwrap();
    let (_socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    relay.event("42", 1).await;
    relay.deliver(&json!({"nobody": 1})).await;
    let published = relay.tell("publish", json!({"keys": ["acme:42"], "type": "a"})).await.body;
    for (name, answer) in [
        ("Delivery", relay.ask("deliveries").await["deliveries"][0].clone()),
        ("Session", relay.ask("connections").await["sessions"][0].clone()),
        ("DeadLetter", relay.ask("dead-letters").await["dead_letters"][0].clone()),
        ("Learned", relay.ask("learn").await["sources"][0].clone()),
        ("Accepted", published),
    ] {
        assert_eq!(names(&answer), names(&description["components"]["schemas"][name]["properties"]), "{name}");
    }
    let steps = relay.ask("deliveries?outcome=accepted").await["deliveries"][0]["steps"].clone();
    for (step, described) in
        steps.as_array().unwrap().iter().zip(description["components"]["schemas"]["Step"]["oneOf"].as_array().unwrap())
    {
        assert_eq!(step["step"], described["properties"]["step"]["const"]);
        assert_eq!(names(step), names(&described["properties"]));
    }
}

/// A revocation names its user or its token.
#[tokio::test]
async fn revocations_are_as_described() {
    let relay = Relay::start().await;
    let description: Value = serde_json::from_str(include_str!("../../../src/http/admin/openapi.json")).unwrap();
    let described = |name: &str, other: &str| {
        let mut names = names(&description["components"]["schemas"][name]["properties"]);
        assert!(names.remove(other), "{name}");
        names
    };
    for (body, other) in [(json!({"user": "acme:42"}), "jti"), (json!({"jti": "a"}), "user")] {
        let revoked = relay.tell("revocations", body.clone()).await;
        assert_eq!((revoked.status, names(&revoked.body)), (201, described("Revoked", other)));
        let listed = relay.ask("revocations").await["revocations"][0].clone();
        assert_eq!(names(&listed), described("Revocation", other));
        let gone = relay.admin(Method::DELETE, "/admin/v1/revocations", "", Some(&body)).await;
        assert_eq!(gone.body, json!({"forgotten": true}));
    }
}

fn names(object: &Value) -> std::collections::BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}
