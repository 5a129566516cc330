//! Random operations beside a model: a list of everything that ever happened, searched from the start for every question.

use claimr_relay::protocol::GapReason;
use proptest::prelude::*;

use super::*;

const PEOPLE: [&str; 6] = ["acme:1", "acme:2", "web3:0x1", "claimr:IjKl", "acme:4", "campaign::AbCd_123"];
const KINDS: [&str; 2] = ["user_activity", "user_reward"];
const MAX_EVENTS: usize = 4;
const MAX_LETTERS: usize = 3;
const WINDOW: Duration = Duration::from_hours(5);

#[derive(Clone, Debug)]
enum Op {
    Publish(Vec<Sketch>, Vec<u8>),
    Pass(u8),
    Retain,
    Reopen,
}

#[derive(Clone, Debug)]
struct Sketch {
    /// Indexes into the people; one audience each.
    audiences: Vec<Vec<usize>>,
    kind: usize,
    /// Delivery id and body.
    id: Option<(u8, u8)>,
    /// How far the clock of this event is behind.
    behind_h: u8,
}

fn op() -> impl Strategy<Value = Op> {
    let who = prop::collection::btree_set(0..PEOPLE.len(), 1..3).prop_map(|set| set.into_iter().collect());
    let sketch = (prop::collection::vec(who, 1..3), 0..KINDS.len(), prop::option::of((0..6_u8, 0..2_u8)), 0..3_u8)
        .prop_map(|(audiences, kind, id, behind_h)| Sketch { audiences, kind, id, behind_h });
    prop_oneof![
        8 => (prop::collection::vec(sketch, 0..4), prop::collection::vec(0..9_u8, 0..2)).prop_map(|(s, l)| Op::Publish(s, l)),
        2 => (1..9_u8).prop_map(Op::Pass),
        3 => Just(Op::Retain),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    events: Vec<Event>,
    firsts: Vec<([u8; 16], [u8; 16], u64, Timestamp)>,
    letters: Vec<u8>,
    /// What retention has been told.
    retained: Timestamp,
    stamp: Timestamp,
}

struct Event {
    draft: Draft,
    stamp: Timestamp,
}

impl Model {
    fn publish(&mut self, drafts: &[Draft], letters: &[u8]) -> Vec<(u64, Option<Repetition>)> {
        for letter in letters {
            let kept = &self.letters[self.letters.len().saturating_sub(MAX_LETTERS)..];
            if !kept.contains(letter) {
                self.letters.push(*letter);
            }
        }
        drafts.iter().map(|draft| self.publish_one(draft)).collect()
    }

    fn publish_one(&mut self, draft: &Draft) -> (u64, Option<Repetition>) {
        let seq = self.events.len() as u64 + 1;
        if let Some(dedupe) = draft.dedupe {
            let first = self.firsts.iter().rev().find(|(key, _, _, until)| *key == dedupe.key && draft.at <= *until);
            if let Some((_, digest, seq, _)) = first {
                return (*seq, Some(if *digest == dedupe.digest { Repetition::Same } else { Repetition::OtherBody }));
            }
            self.firsts.push((dedupe.key, dedupe.digest, seq, draft.at.plus(dedupe.window)));
        }
        self.stamp = self.stamp.max(draft.at);
        self.events.push(Event { draft: draft.clone(), stamp: self.stamp });
        (seq, None)
    }

    fn retain(&mut self, now: Timestamp) {
        self.retained = self.retained.max(now);
        self.stamp = self.stamp.max(now);
    }

    /// A log that has only its events to tell the time from takes them to be as old as they say, once it is opened anew.
    fn forget_the_time(&mut self) {
        self.stamp = Timestamp(0);
        for event in &mut self.events {
            self.stamp = self.stamp.max(event.draft.at);
            event.stamp = self.stamp;
        }
    }

    /// The numbers in a key's list, and the highest that retention took from it.
    fn list(&self, key: &UserKey) -> (Vec<u64>, u64) {
        let concerns = |event: &Event| event.draft.audiences.iter().any(|audience| audience.keys.contains(key));
        let all: Vec<(u64, &Event)> = (1..).zip(&self.events).filter(|(_, event)| concerns(event)).collect();
        let too_many = all.len().saturating_sub(MAX_EVENTS);
        let limit = self.retained.minus(DAY);
        let too_old = all.iter().filter(|(_, event)| event.stamp < limit).count();
        let (gone, kept) = all.split_at(too_many.max(too_old));
        (kept.iter().map(|(seq, _)| *seq).collect(), gone.last().map_or(0, |(seq, _)| *seq))
    }

    fn missed(&self, who: &[UserKey], types: &[EventType], after: u64, from: Timestamp) -> Vec<u64> {
        let wanted = |seq: &u64| {
            let draft = &self.events[usize::try_from(*seq).unwrap() - 1].draft;
            *seq > after && draft.at >= from && (types.is_empty() || types.contains(&draft.kind))
        };
        let lists = who.iter().flat_map(|key| self.list(key).0);
        lists.filter(wanted).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// What a resume may be answered: very old cursors may be refused although nothing is missing.
    fn resumed(&self, who: &[UserKey], types: &[EventType], cursor: u64) -> Vec<Backlog> {
        let evicted = Backlog::Gap(GapReason::Evicted);
        if who.iter().any(|key| self.list(key).1 > cursor) {
            return vec![evicted];
        }
        let limit = self.retained.minus(DAY * 2);
        let very_old = self.events.iter().take_while(|event| event.stamp < limit).count() as u64;
        let complete = Backlog::Complete(self.missed(who, types, cursor, Timestamp(0)));
        if cursor < very_old { vec![complete, evicted] } else { vec![complete] }
    }

    fn view(&self, who: &[UserKey], seq: u64) -> Option<String> {
        let audiences = &self.events[usize::try_from(seq).ok()?.checked_sub(1)?].draft.audiences;
        let seen = audiences.iter().find(|audience| audience.keys.iter().any(|key| who.contains(key)));
        seen.map(|audience| audience.members.clone())
    }
}

fn drafts(sketches: &[Sketch], now: Timestamp) -> Vec<Draft> {
    let draft = |sketch: &Sketch| {
        let people: Vec<String> =
            sketch.audiences.iter().map(|who| who.iter().map(|i| PEOPLE[*i]).collect::<Vec<_>>().join(" ")).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        // What is recognised by an id keeps to the clock: how long it is remembered when clocks disagree is not promised.
        let behind = if sketch.id.is_some() { Duration::ZERO } else { HOUR * u32::from(sketch.behind_h) };
        let draft = Draft { kind: kind(KINDS[sketch.kind]), ..event_at(now.minus(behind), &people) };
        sketch.id.map_or(draft.clone(), |(id, body)| with_id(draft, id, body, WINDOW))
    };
    sketches.iter().map(draft).collect()
}

async fn compare(bench: &Bench, model: &Model, now: Timestamp) {
    let head = model.events.len() as u64;
    assert_eq!(bench.engine.head().seq, head);
    let reward = [kind(KINDS[1])];
    for who in ["acme:1", "acme:2 web3:0x1", "claimr:IjKl acme:4 acme:1", "acme:2 campaign::AbCd_123"] {
        let person = keys(who);
        for cursor in 0..=head {
            let types = if cursor % 2 == 0 { &[][..] } else { &reward };
            let answer = bench.missed_types(who, bench.cursor(cursor), types).await;
            let allowed = model.resumed(&person, types, cursor);
            assert!(allowed.contains(&answer), "{who} after {cursor}: {answer:?}, not one of {allowed:?}");
        }
        let since = now.minus(HOUR * 6);
        let answer = bench.missed(who, Start::Since(since)).await;
        assert_eq!(answer, Backlog::Complete(model.missed(&person, &[], 0, since)), "{who} since");
        let all: Vec<u64> = (0..=head + 1).collect();
        let readable = model.missed(&person, &[], 0, Timestamp(0));
        let expected: Vec<(u64, String)> = readable.into_iter().map(|seq| (seq, model.view(&person, seq).unwrap())).collect();
        assert_eq!(bench.read(who, &all).await, expected, "{who} reads");
    }
    let newest = model.letters.iter().rev().take(MAX_LETTERS);
    let expected: Vec<DeadLetter> = newest.map(|body| letter(&body.to_string())).collect();
    assert_eq!(bench.engine.dead_letters(99).await.unwrap(), expected);
}

async fn run(kind: Kind, ops: &[Op]) {
    // Segments of a few events, so that all of the housekeeping happens.
    let limits = DiskLimits { segment_bytes_max: 700, ..DiskLimits::default() };
    let retention =
        Retention { max_age: DAY, max_events_per_user: MAX_EVENTS, dead_letters_max: MAX_LETTERS, publish_queue_max: 8 };
    let mut bench = Bench::with(kind, retention, limits);
    let mut model = Model::default();
    let mut now = NOON;
    // Only a log on disk is told the time when it is opened.
    model.retain(now);
    bench.engine.retain(now).await.unwrap();
    for op in ops {
        match op {
            Op::Publish(sketches, letters) => {
                let drafts = drafts(sketches, now);
                let expected = model.publish(&drafts, letters);
                let dead_letters = letters.iter().map(|body| letter(&body.to_string())).collect();
                let receipt = bench.engine.publish(Delivery { dead_letters, ..delivery(drafts) }).await.unwrap();
                let stored: Vec<_> = receipt.events.iter().map(|stored| (stored.position.seq, stored.repetition)).collect();
                assert_eq!(stored, expected);
            }
            Op::Pass(hours) => now = now.plus(HOUR * u32::from(*hours)),
            Op::Retain => {
                model.retain(now);
                bench.engine.retain(now).await.unwrap();
            }
            Op::Reopen if !kind.is_durable() => {}
            Op::Reopen => {
                if matches!(kind, Kind::Nats(_)) {
                    model.forget_the_time();
                }
                model.retain(now);
                bench.reopen(now).await;
                // What the disk is told when it is opened, NATS is told by the first round of housekeeping.
                bench.engine.retain(now).await.unwrap();
            }
        }
    }
    compare(&bench, &model, now).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_engine_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(Kind::Memory, &ops));
    }

    #[test]
    fn the_disk_engine_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(Kind::Disk, &ops));
    }
}

proptest! {
    // Each case has streams of its own on the server, which takes its time.
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_nats_engine_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60), is_current: bool) {
        let version = if is_current { NatsVersion::Current } else { NatsVersion::Debian };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(Kind::Nats(version), &ops));
    }
}
