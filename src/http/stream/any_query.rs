//! What holds for any `Last-Event-ID`, any query and any address that a proxy names.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{Parameters, asked, refuse_token_in_url};
use crate::{
    engine::{LetterId, Start},
    event::{EventType, Position, Timestamp, UserKey},
    http::{ClientAddress, origin::Origins},
};

const NOW: Timestamp = Timestamp(1_732_350_000_500);

/// `header` is what `Last-Event-ID` and others hold, `query` what follows the question mark of the URL.
pub(crate) fn check(header: &[u8], query: &[u8]) {
    let cursor = std::str::from_utf8(header).ok();
    if let Some(text) = cursor {
        reads_as_it_prints(text);
    }
    let header = HeaderValue::from_bytes(header).ok();
    if let Some(value) = &header {
        addresses(value);
    }
    let Some(query) = Uri::builder().path_and_query([b"/?", query].concat()).build().ok() else { return };
    let Ok(query) = Parameters::try_from_uri(&query) else { return };
    let cursor = header.as_ref().map(|value| value.to_str().unwrap_or("")).filter(|cursor| !cursor.is_empty());
    if refuse_token_in_url(&query).is_err() {
        return;
    }
    assert!(query.iter().all(|(name, _)| name != "token"));
    let Ok((start, types)) = asked(&query, cursor, NOW) else { return };
    assert!(types.iter().all(|kind| EventType::new(kind.as_str()).as_ref() == Some(kind)));
    let in_query = || query.iter().find(|(name, _)| name == "last_event_id").map(|(_, value)| value.as_str());
    match start {
        Start::Live => assert!(cursor.is_none() && in_query().is_none()),
        Start::Since(moment) => assert!(moment <= NOW && cursor.is_none()),
        Start::After(Ok(position)) => assert_eq!(Some(&*position.to_string()), cursor.or_else(in_query)),
        Start::After(Err(_)) => assert!(cursor.or_else(in_query).is_some()),
    }
}

/// No text has a second spelling.
fn reads_as_it_prints(text: &str) {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
    }
    if let Ok(id) = text.parse::<LetterId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Some(kind) = EventType::new(text) {
        assert!(kind.as_str() == text && !text.starts_with('$'));
    }
    for platform in [None, Some("acme")] {
        if let Ok(key) = UserKey::parse(text, platform) {
            assert!(key.as_str().len() <= UserKey::BYTES_MAX);
            assert_eq!(UserKey::parse(key.as_str(), None), Ok(key));
        }
    }
}

/// What a proxy says counts only if it is trusted; no page but the listed one is let in.
fn addresses(value: &HeaderValue) {
    let peer = ([10, 0, 0, 1], 4711).into();
    for name in ["x-forwarded-for", "forwarded"].map(HeaderName::from_static) {
        let headers = HeaderMap::from_iter([(name, value.clone())]);
        let stranger = ClientAddress::new(Vec::new()).of(peer, &headers);
        assert_eq!(stranger, peer.ip());
        let trusted = ClientAddress::new(vec!["10.0.0.0/8".parse().unwrap_or_else(|_| panic!("a network"))]).of(peer, &headers);
        assert!(trusted == peer.ip() || !value.is_empty());
    }
    let origins = Origins::new(["https://app.example.com".to_owned()]);
    let headers = HeaderMap::from_iter([(HeaderName::from_static("origin"), value.clone())]);
    assert_eq!(origins.check(&headers).is_ok(), value == "https://app.example.com");
}
