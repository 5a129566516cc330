//! Resume is honest in every history: random publishes, retention, reads, breaks and resumes through the real session, hub and engines,
//! beside a model that keeps everything.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use claimr_relay::{
    auth::jwt,
    config::load::load,
    engine::{
        Engine, Retention, Start,
        disk::{DiskEngine, DiskLimits},
        memory::MemoryEngine,
    },
    event::{Audience, Delivery, Draft, Epoch, EventType, InvalidCursor, Position, Timestamp, UserKey},
    hub::{Arrival, Hub, HubLimits, MailboxLimits},
    protocol::{CloseCode, GapReason},
    session::{Next, Session},
};
use serde_json::{Value, json};

use super::{Day, size};
use crate::harness::{configuration, token_with, unix_now};

/// Each person's keys; two people share none.
const PEOPLE: [&[&str]; 4] = [&["acme:0"], &["acme:1", "web3:0x1"], &["acme:2", "web3:0x2", "email:b@x.y"], &["acme:3"]];
const KINDS: [&str; 2] = ["user_activity", "user_reward"];
const DAY: Duration = Duration::from_hours(24);
const EVENTS_MAX: usize = 100;
const MAILBOX_MAX: usize = 60;
/// Histories that share a log.
const HISTORIES_EACH: usize = 25;

/// A log with all that was ever published.
struct World {
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    tokens: jwt::Verifier,
    wall: Timestamp,
    now: Timestamp,
    /// Event 1 is the first.
    events: Vec<Event>,
    /// What each key still has.
    lists: BTreeMap<&'static str, VecDeque<u64>>,
    /// The highest number that retention took from each key.
    marks: BTreeMap<&'static str, u64>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(on_disk: bool, dice: &mut fastrand::Rng) -> Self {
        let retention = Retention { max_age: DAY, max_events_per_user: EVENTS_MAX, dead_letters_max: 1, publish_queue_max: 64 };
        let mailbox = MailboxLimits { events_max: MAILBOX_MAX, bytes_max: 1 << 20 };
        let hub = Hub::new(HubLimits { sessions_per_user_max: 10, mailbox });
        // What the disk itself does is not looked at here, so it need not be waited for.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let wall = Timestamp(unix_now() * 1_000);
        let limits = DiskLimits { segment_bytes_max: dice.u64(1_000..50_000), ..DiskLimits::default() };
        let engine: Arc<dyn Engine> = if on_disk {
            DiskEngine::open_with(&folder.path().join("log"), retention, limits, Arc::clone(&hub), wall).unwrap()
        } else {
            MemoryEngine::new(retention, Arc::clone(&hub))
        };
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, configuration(folder.path(), "127.0.0.1:0".parse().unwrap(), "")).unwrap();
        let config = load(Some(&file), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let tokens = jwt::Verifier::new(&config.auth, config.limits.token_bytes_max).unwrap();
        let (events, lists, marks) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { engine, hub, tokens, wall, now: wall, events, lists, marks, _folder: folder }
    }

    async fn publish(&mut self, people: &[usize], kind: usize) -> u64 {
        let audience = |person: &usize| Audience {
            keys: PEOPLE[*person].iter().map(|key| UserKey::parse(key, None).unwrap()).collect(),
            members: format!(r#""for":{person}"#),
        };
        let audiences = people.iter().map(audience).collect();
        let draft = Draft { kind: EventType::new(KINDS[kind]).unwrap(), at: self.now, audiences, dedupe: None };
        let delivery = Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() };
        let seq = self.engine.publish(delivery).await.unwrap().events[0].position.seq;
        let keys: BTreeSet<&str> = people.iter().flat_map(|person| PEOPLE[*person]).copied().collect();
        for key in &keys {
            let list = self.lists.entry(key).or_default();
            list.push_back(seq);
            if list.len() > EVENTS_MAX {
                self.marks.insert(key, list.pop_front().unwrap());
            }
        }
        self.events.push((keys, kind, self.now));
        assert_eq!(seq, self.events.len() as u64);
        seq
    }

    async fn retain(&mut self) {
        // The housekeeping does a bounded amount of work each time.
        self.engine.retain(self.now).await.unwrap();
        let limit = self.now.minus(DAY);
        let (events, marks) = (&self.events, &mut self.marks);
        for (key, list) in &mut self.lists {
            while let Some(seq) = list.pop_front_if(|seq| at(events, *seq).2 < limit) {
                marks.insert(key, seq);
            }
        }
    }

    fn kept(&self, person: usize) -> BTreeSet<u64> {
        PEOPLE[person].iter().filter_map(|key| self.lists.get(key)).flatten().copied().collect()
    }

    /// Whether retention took something from the person after `cursor`, or could no longer know.
    fn may_be_evicted(&self, person: usize, cursor: u64) -> (bool, bool) {
        let taken = PEOPLE[person].iter().any(|key| self.marks.get(key).is_some_and(|mark| *mark > cursor));
        let limit = self.now.minus(DAY * 2);
        let very_old = self.events.get(usize::try_from(cursor).unwrap()).is_some_and(|(_, _, at)| *at < limit);
        (taken, very_old)
    }

    fn concerns(&self, person: usize, types: &[EventType], seq: u64) -> bool {
        let (keys, kind, _) = at(&self.events, seq);
        keys.contains(PEOPLE[person][0]) && (types.is_empty() || types.iter().any(|t| t.as_str() == KINDS[*kind]))
    }
}

/// An event's keys, kind and moment.
type Event = (BTreeSet<&'static str>, usize, Timestamp);

fn at(events: &[Event], seq: u64) -> &Event {
    &events[usize::try_from(seq).unwrap() - 1]
}

/// One person's client through a history.
struct Person<'a> {
    day: &'a Day,
    who: usize,
    types: Vec<EventType>,
    session: Option<Session>,
    /// The client's cursor.
    cursor: Option<u64>,
    /// What has to come, in this order, before anything else may.
    backlog: VecDeque<u64>,
    live: VecDeque<u64>,
}

impl Person<'_> {
    fn start(&self, world: &World, dice: &mut fastrand::Rng) -> Start {
        let head = world.engine.head();
        let after = |seq| Start::After(Ok(Position { seq, ..head }));
        match (dice.u8(0..20), self.cursor) {
            (0, _) => Start::After(Err(InvalidCursor)),
            (1, _) => Start::After(Ok(Position { epoch: Epoch::from_random(dice.u64(..)), ..head })),
            (2, _) => after(head.seq + dice.u64(1..5)),
            (3, _) => after(dice.u64(0..=head.seq)),
            (4, _) => Start::Since(world.now.minus(DAY.mul_f64(dice.f64()))),
            (_, Some(cursor)) => after(cursor),
            (_, None) => Start::Live,
        }
    }

    async fn open(&mut self, world: &World, dice: &mut fastrand::Rng) {
        let start = self.start(world, dice);
        let [first, further @ ..] = PEOPLE[self.who] else { panic!() };
        let token = token_with(&json!({"sub": first, "keys": further}));
        let identity = world.tokens.verify(&token, world.wall).unwrap();
        let session = Session::open(&world.hub, &world.engine, identity, Arrival::default(), start, &self.types).await.unwrap();
        let opening = session.opening();
        let head = world.events.len() as u64;
        let wanted = |after: u64| (after + 1..=head).filter(|seq| world.concerns(self.who, &self.types, *seq));
        match start {
            Start::Live => self.backlog.clear(),
            Start::Since(from) => {
                let kept = world.kept(self.who);
                self.backlog = wanted(0).filter(|seq| kept.contains(seq) && at(&world.events, *seq).2 >= from).collect();
            }
            Start::After(asked) => {
                let reason = match asked {
                    Err(_) => Some(GapReason::InvalidCursor),
                    Ok(asked) if asked.epoch != opening.head.epoch => Some(GapReason::OtherEpoch),
                    Ok(asked) if asked.seq > head => Some(GapReason::AheadOfHead),
                    Ok(asked) => match world.may_be_evicted(self.who, asked.seq) {
                        (true, _) => Some(GapReason::Evicted),
                        (false, very_old) => opening.gap.filter(|reason| very_old && *reason == GapReason::Evicted),
                    },
                };
                assert_eq!(opening.gap, reason, "a resume of {} after {asked:?} of {head}", self.who);
                self.backlog = match (reason, asked) {
                    (None, Ok(asked)) => wanted(asked.seq).collect(),
                    _ => VecDeque::new(),
                };
                self.day.happened(reason.map_or("resumed in full", |reason| reason.as_str()));
            }
        }
        assert_eq!(opening.replayed, self.backlog.len());
        self.live.clear();
        self.cursor = Some(if opening.gap.is_some() { opening.head.seq } else { opening.id.seq });
        self.session = Some(session);
    }

    fn published(&mut self, world: &World, seq: u64) {
        if self.session.is_some() && world.concerns(self.who, &self.types, seq) {
            self.live.push_back(seq);
        }
    }

    /// Takes what comes next, if anything has to.
    async fn read(&mut self, world: &World) {
        let Some(session) = &mut self.session else { return };
        if self.backlog.is_empty() && self.live.is_empty() {
            return;
        }
        let kept = world.kept(self.who);
        let next = tokio::time::timeout(Duration::from_secs(10), session.next()).await.expect("something has to come");
        match next {
            Ok(Next::Events(events)) => {
                let due = if self.backlog.is_empty() { &mut self.live } else { &mut self.backlog };
                for event in events {
                    let frame: Value = serde_json::from_slice(event.frame.as_json()).unwrap();
                    let seq = frame["id"].as_str().unwrap().split_once(':').unwrap().1.parse().unwrap();
                    assert_eq!(frame["for"], json!(self.who), "an event of somebody else");
                    assert_eq!(Some(seq), due.pop_front(), "a silent gap: {frame} to {}", self.who);
                    self.cursor = Some(seq);
                }
            }
            Ok(Next::Gap(position, reason)) => {
                assert_eq!(reason, GapReason::Evicted);
                assert!(self.backlog.iter().any(|seq| !kept.contains(seq)), "a gap without a reason");
                self.backlog.clear();
                self.cursor = Some(position.seq);
                self.day.happened("overtaken by retention");
            }
            Err(close) => {
                assert_eq!(close.code, CloseCode::SlowConsumer);
                assert!(self.live.len() > MAILBOX_MAX, "closed as slow with {} events waiting", self.live.len());
                self.session = None;
                self.day.happened("slow");
            }
        }
    }
}

async fn history(day: &Day, world: &mut World, dice: &mut fastrand::Rng) {
    let types = if dice.u8(0..3) == 0 { vec![EventType::new(KINDS[dice.usize(0..2)]).unwrap()] } else { Vec::new() };
    let (who, session) = (dice.usize(0..PEOPLE.len()), None);
    let cursor = dice.bool().then(|| dice.u64(0..=world.events.len() as u64));
    let mut person = Person { day, who, types, session, cursor, backlog: VecDeque::new(), live: VecDeque::new() };
    person.open(world, dice).await;
    for _ in 0..dice.usize(3..20) {
        match dice.u8(0..20) {
            0..9 => {
                // Seldom so many that retention overtakes a replay, or that a mailbox is full.
                let count = if dice.u8(0..12) == 0 { dice.usize(30..130) } else { dice.usize(1..4) };
                for _ in 0..count {
                    let one = if dice.bool() { who } else { dice.usize(0..PEOPLE.len()) };
                    let other = dice.usize(0..PEOPLE.len());
                    let people = if one == other || dice.bool() { vec![one] } else { vec![one, other] };
                    let seq = world.publish(&people, dice.usize(0..2)).await;
                    person.published(world, seq);
                }
            }
            9..15 => person.read(world).await,
            15 => {
                world.now = world.now.plus(Duration::from_hours(dice.u64(1..12)));
                world.retain().await;
            }
            16..18 if person.session.is_some() => {
                person.session = None;
                day.happened("broken off");
            }
            _ if person.session.is_none() => person.open(world, dice).await,
            _ => {}
        }
    }
    // In the end everything comes, on this session or, after an honest break, on the next.
    if person.session.is_none() {
        person.open(world, dice).await;
    }
    while person.session.is_some() && !(person.backlog.is_empty() && person.live.is_empty()) {
        person.read(world).await;
    }
}

#[tokio::test]
async fn every_history_is_complete_or_told_of_its_gap() {
    let gaps =
        [GapReason::Evicted, GapReason::OtherEpoch, GapReason::AheadOfHead, GapReason::InvalidCursor].map(GapReason::as_str);
    let others = ["resumed in full", "overtaken by retention", "slow", "broken off"];
    let day = Day::begin("histories", &[&gaps[..], &others].concat());
    let worlds = size(2_000, 100_000) / HISTORIES_EACH;
    let mut events = 0;
    for number in 0..worlds {
        let mut dice = day.dice(number);
        let mut world = World::new(number % 10 == 0, &mut dice);
        for _ in 0..HISTORIES_EACH {
            history(&day, &mut world, &mut dice).await;
        }
        events += world.events.len();
    }
    day.figure("histories", worlds * HISTORIES_EACH);
    day.figure("events", events);
    day.figure("silent gaps", 0);
    day.end();
}
