//! A webhook reaches its user: live, on both carriers, and nobody else.

use serde_json::json;

use crate::harness::{Dial, Relay, Sse, WebSocket, token, token_with};

#[tokio::test]
async fn an_event_reaches_both_carriers_of_its_user_at_once() {
    let relay = Relay::start().await;
    let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&token("acme:42"))).await;
    assert_eq!((&hello["v"], &hello["resume"], &hello["replayed"]), (&json!(1), &json!("fresh"), &json!(0)));

    let answer = relay.event("42", 250).await;

    assert_eq!((&answer.body["recipients"], &answer.body["connections"]), (&json!(1), &json!(2)));
    let frame = socket.json().await;
    assert_eq!((&frame["id"], &frame["type"]), (&json!(answer.id()), &json!("user_activity")));
    assert_eq!((&frame["name"], &frame["points"]), (&json!("task_completed"), &json!(250)));
    let event = stream.event().await;
    assert_eq!((event.name.as_str(), event.data), ("message", frame));
    assert_eq!(stream.last_event_id, answer.id());
}

#[tokio::test]
async fn nobody_else_sees_it() {
    let relay = Relay::start().await;
    let (mut other, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    assert_eq!(relay.event("42", 1).await.body["connections"], 0);
    relay.event("77", 2).await;
    assert_eq!(other.points(1).await, [2]);
}

#[tokio::test]
async fn a_token_that_proves_several_keys_hears_each_event_once() {
    let relay = Relay::start().await;
    let wallet = "0xAbC0000000000000000000000000000000000001";
    let claims = json!({"sub": "42", "keys": [format!("web3:{wallet}"), "claimr:IjKl7890"]});
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token_with(&claims))).await;
    let both = json!({"account": "42", "platform": "acme", "wallet": wallet, "claimr_id": "IjKl7890", "event_xp": 1});
    assert_eq!(relay.deliver(&both).await.body["connections"], 1);
    relay.deliver(&json!({"wallet": wallet.to_lowercase(), "event_xp": 2})).await;
    relay.deliver(&json!({"claimr_id": "IjKl7890", "event_xp": 3})).await;
    assert_eq!(socket.points(3).await, [1, 2, 3]);
}
