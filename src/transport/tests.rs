//! What only a moment shows: a session that was let in by a token which was revoked before the session could be seen, and one whose
//! goodbye is on its way.

use std::net::{IpAddr, Ipv4Addr};

use http_body_util::BodyExt as _;

use super::*;
use crate::{
    auth::{
        KeySetHome,
        jwt::mint,
        revocations::{Revocation, Revocations, Subject},
        tests::{NOW, hs256},
    },
    engine::{Retention, memory::MemoryEngine},
    event::UserKey,
    hub::{
        HubLimits, MailboxLimits,
        admission::{Admission, AdmissionLimits},
    },
    shutdown::Shutdown,
};

fn streams() -> Arc<Streams> {
    let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox: MailboxLimits { events_max: 9, bytes_max: 999 } });
    let retention =
        Retention { max_age: Duration::from_hours(1), max_events_per_user: 9, dead_letters_max: 9, publish_queue_max: 9 };
    let metrics = Arc::new(Metrics::default());
    let home = KeySetHome { shutdown: Shutdown::default(), metrics: Arc::clone(&metrics) };
    let credentials = Credentials::new(&hs256(), 4_096, Revocations::in_memory(), home);
    let second = Duration::from_secs(1);
    let limits = StreamLimits {
        ping_interval: second,
        pong_timeout: second,
        auth_timeout: second,
        client_message_bytes_max: 9,
        client_frames_per_s_max: 9,
        client_frames_burst_max: 9,
    };
    Arc::new(Streams {
        engine: MemoryEngine::new(retention, Arc::clone(&hub)),
        hub,
        credentials: Arc::new(credentials.unwrap_or_else(|problems| panic!("{problems:?}"))),
        limits: Swap::new(limits),
        metrics,
        clock: || NOW,
    })
}

fn terms() -> Terms {
    let limits = AdmissionLimits { sessions_max: 9, sessions_per_address_max: 9, new_sessions_per_address_per_s_max: 9 };
    let place = Admission::new(limits).enter(IpAddr::V4(Ipv4Addr::LOCALHOST), std::time::Instant::now());
    Terms { start: Start::Live, types: Vec::new(), place: place.unwrap_or_else(|no_place| panic!("{no_place:?}")) }
}

/// Whoever reads the goodbye may come back at once, also if a user may have no session more.
#[tokio::test]
async fn a_session_has_left_when_its_goodbye_goes_out() {
    let streams = streams();
    let token = mint(&hs256(), &UserKey::new("acme", "42").unwrap(), &[], Duration::from_mins(15), NOW).unwrap();
    let identity = streams.credentials.token(&token, NOW).await.unwrap();
    let mut body = sse::open(Arc::clone(&streams), identity, terms()).await.unwrap().into_body();
    let mut said = async || String::from_utf8(body.frame().await?.unwrap().into_data().unwrap().to_vec()).ok();
    assert!(said().await.unwrap().contains("event: $hello"));
    assert_eq!(streams.hub.sessions(), 1);
    streams.hub.members().iter().for_each(|member| member.close(CloseCode::SlowConsumer.into()));
    assert!(said().await.unwrap().contains("event: $bye"));
    assert_eq!(streams.hub.sessions(), 0);
    assert_eq!(said().await, None);
}

#[tokio::test]
async fn who_was_revoked_between_the_check_and_the_hub_does_not_stay() {
    let streams = streams();
    let user = UserKey::new("acme", "42").unwrap();
    let token = mint(&hs256(), &user, &[], Duration::from_mins(15), NOW).unwrap();
    let identity = streams.credentials.token(&token, NOW).await.unwrap();
    assert!(sse::open(Arc::clone(&streams), identity.clone(), terms()).await.is_ok());

    let revocation = Revocation { subject: Subject::User(user), at: NOW, until: NOW.plus(Duration::from_hours(1)) };
    streams.credentials.revocations().add(revocation.clone(), NOW).unwrap();
    assert_eq!(streams.hub.revoke(&revocation), 0, "nobody is there to be seen");
    let opened = sse::open(Arc::clone(&streams), identity, terms()).await;
    assert_eq!(opened.err(), Some(CloseCode::TokenRevoked));
    assert_eq!(streams.hub.sessions(), 0);
}
