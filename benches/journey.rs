//! What each stop of an event's journey costs, without sockets: `cargo bench --bench journey`.
//!
//! One delivery of about 600 bytes with one recipient, as in `docs/performance.md`. Times are of this machine; the instruction counts there
//! come from `perf stat` or callgrind over the same functions.

#![expect(clippy::unwrap_used, reason = "nothing but the measurement goes on here")]

use std::{collections::VecDeque, hint::black_box, sync::Arc, task, time::Instant};

use bytes::Bytes;
use claimr_relay::{
    claimr::{payload::PayloadReader, signature::Verifier},
    config::{Config, load::load},
    engine::{Engine, Retention, disk::DiskEngine, memory::MemoryEngine},
    event::{Delivery, Epoch, EventType, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
    protocol::Frame,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};

const SECRET: &str = "bench-hook-secret";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn config() -> Config {
    let settings = [
        ("SOURCES", format!("[{{ name = \"claimr\", preset = \"claimr\", secrets = [{{ value = \"{SECRET}\" }}] }}]")),
        ("AUTH__KEYS", "[{ alg = \"HS256\", secret = { value = \"0123456789012345678901234567890123\" } }]".to_owned()),
        ("AUTH__ISSUER", "issuer".to_owned()),
        ("AUTH__AUDIENCE", "audience".to_owned()),
    ];
    let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
    load(None, settings).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn body(number: u64) -> Bytes {
    format!(
        r#"{{"scope":"user_activity","id":"evt-{number}-1800000000000","campaign_id":"AbCd_123","campaign_name":"Spring","contest_id":"q-1042","event_type":"quest_completed","event_xp":150,"account":"user-{}","platform":"bench","total_xp":1250.5,"rank":42,"note":"{}","mark":"{number}"}}"#,
        number % 10_000,
        "x".repeat(250),
    )
    .into()
}

/// The headers of a sender that signs as the relay's benchmark does.
fn headers(body: &[u8]) -> HeaderMap {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body).as_ref());
    let lines =
        [("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", "600"), ("x-signature", &signature)];
    lines.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn retention() -> Retention {
    Retention {
        max_age: std::time::Duration::from_hours(24),
        max_events_per_user: 1_000,
        dead_letters_max: 100,
        publish_queue_max: 10_000,
    }
}

fn hub() -> Arc<Hub> {
    let mailbox = MailboxLimits { events_max: 256, bytes_max: 65_536 };
    Hub::new(HubLimits { sessions_per_user_max: 20, mailbox })
}

/// Webhooks that arrive together share a flush; so do these.
const TOGETHER: u64 = 64;

fn journey(criterion: &mut Criterion) {
    let config = config();
    let source = &config.sources[0];
    let (check, reader) = (Verifier::new(source).unwrap(), PayloadReader::new(source));
    let scope = EventType::new("user_activity");
    let body_1 = body(1);
    let headers_1 = headers(&body_1);
    let genuine = check.verify(&headers_1, body_1.clone(), NOW).unwrap();
    let read = |body: Bytes| {
        let genuine = check.verify(&headers(&body), body, NOW).unwrap();
        let reading = reader.read(&genuine, scope.as_ref(), NOW);
        Delivery { drafts: reading.drafts, dead_letters: reading.dead_letters, received: Instant::now() }
    };

    let mut group = criterion.benchmark_group("journey");
    group.bench_function("verify", |b| b.iter(|| check.verify(black_box(&headers_1), body_1.clone(), NOW).unwrap()));
    group.bench_function("map", |b| b.iter(|| reader.read(black_box(&genuine), scope.as_ref(), NOW)));

    let members = read(body_1.clone()).drafts[0].audiences[0].members.clone();
    let position = Position { epoch: Epoch::from_random(7), seq: 1 };
    group.bench_function("encode", |b| b.iter(|| Frame::encode(black_box(position), &members)));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    let mut deliveries = || {
        (0..TOGETHER)
            .map(|_| {
                number += 1;
                read(body(number))
            })
            .collect::<Vec<_>>()
    };
    let memory = MemoryEngine::new(retention(), hub());
    group.bench_function("append-64-in-memory", |b| {
        b.iter_batched(&mut deliveries, |deliveries| publish(&runtime, &*memory, deliveries), BatchSize::SmallInput);
    });
    let disk = DiskEngine::open(folder.path(), retention(), hub(), NOW).unwrap();
    group.bench_function("append-64-and-flush", |b| {
        b.iter_batched(&mut deliveries, |deliveries| publish(&runtime, &*disk, deliveries), BatchSize::SmallInput);
    });

    let hub = hub();
    let key = UserKey::new("bench", "user-1").unwrap();
    let mut mailbox = hub.join(std::slice::from_ref(&key), &[]).unwrap();
    let mut mail = VecDeque::new();
    let (mut seq, frame) = (0, Frame::encode(position, &members));
    group.bench_function("hand-on", |b| {
        b.iter(|| {
            seq += 1;
            let view = claimr_relay::protocol::View { keys: vec![key.clone()], frame: frame.clone() };
            let event = claimr_relay::protocol::Published { seq, kind: EventType::unknown(), views: vec![view] };
            hub.deliver(&event, Instant::now());
            let _ = mailbox.poll_take(&mut task::Context::from_waker(task::Waker::noop()), &mut mail);
            mail.clear();
        });
    });
}

fn publish(runtime: &tokio::runtime::Runtime, engine: &dyn Engine, deliveries: Vec<Delivery>) {
    runtime.block_on(async {
        let all = deliveries.into_iter().map(|delivery| engine.publish(delivery));
        for receipt in futures_util::future::join_all(all).await {
            receipt.unwrap();
        }
    });
}

criterion_group!(benches, journey);
criterion_main!(benches);
