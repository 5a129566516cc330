//! The gateways and the servers of a cluster, what is done to them, and how long they take to get over it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{
    Day, Times,
    bus::{Bus, Way},
    client::{Carrier, Client, Over, Route},
    node::{Launch, Node},
    size,
};
use crate::harness::{NatsServer, NatsVersion, PATIENCE, event, free_address, sign, until};

/// What is promised, on a machine that has nothing else to do.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
const CLOSE_MAX: Duration = Duration::from_secs(1);

struct Place {
    folder: TempDir,
    address: SocketAddr,
    bus: Bus,
    launch: Launch,
    node: Option<Node>,
}

pub(super) struct Gateways {
    places: Vec<Place>,
    servers: Vec<NatsServer>,
    http: reqwest::Client,
    /// Users that were used up.
    probes: usize,
    after_cut: Times,
    after_freeze: Times,
    to_close: Times,
    to_revoke: Times,
}

/// A user with a session at each gateway, to see when what happens at one arrives at all.
struct Probe {
    user: String,
    clients: Vec<Client>,
}

impl Gateways {
    /// Three of each.
    pub(super) async fn start() -> Self {
        let servers = NatsServer::cluster(NatsVersion::Current);
        let mut places = Vec::new();
        for _ in 0..3 {
            let bus = Bus::to(servers.iter().map(|server| server.address)).await;
            let urls = bus.urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
            let launch = Launch::with(&format!(
                "store.engine = \"nats\"\nstore.nats = {{ url = [{urls}], replicas = 3 }}\nstore.max_events_per_user = 100000\n"
            ));
            places.push(Place { folder: TempDir::new().unwrap(), address: free_address(), bus, launch, node: None });
        }
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let times = || Times::default();
        let mut gateways = Self {
            places,
            servers,
            http,
            probes: 0,
            after_cut: times(),
            after_freeze: times(),
            to_close: times(),
            to_revoke: times(),
        };
        for place in 0..3 {
            gateways.run(place).await;
        }
        gateways
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 3] {
        [0, 1, 2].map(|place: usize| self.places[place].address)
    }

    fn node(&self, place: usize) -> &Node {
        self.places[place].node.as_ref().unwrap()
    }

    pub(super) async fn run(&mut self, place: usize) {
        let place = &mut self.places[place];
        place.node = Some(Node::start(&place.folder, place.address, &place.launch).await);
    }

    pub(super) fn kill(&mut self, place: usize) {
        self.places[place].node.take().unwrap().kill();
    }

    /// Each is drained and started again, one after the other.
    pub(super) async fn roll(&mut self) {
        for place in 0..3 {
            let mut node = self.places[place].node.take().unwrap();
            node.terminate();
            assert!(node.ended(Duration::from_mins(1)).await.success());
            self.run(place).await;
        }
    }

    pub(super) async fn kill_server(&mut self, server: usize, pause: Duration) {
        self.servers[server].kill();
        sleep(pause).await;
        self.servers[server].run();
    }

    pub(super) async fn freeze_server(&mut self, server: usize, pause: Duration) {
        self.servers[server].signal("STOP");
        sleep(pause).await;
        self.servers[server].signal("CONT");
    }

    /// One gateway does nothing for a while. What the others take meanwhile reaches its sessions when it goes on.
    pub(super) async fn freeze(&mut self, place: usize, pause: Duration) {
        let mut probe = self.probe().await;
        self.signal(place, "STOP");
        let other = (place + 1) % 3;
        self.take(&probe, &[other]).await;
        sleep(pause).await;
        self.signal(place, "CONT");
        let begun = Instant::now();
        probe.receives(&[other]).await;
        promise(&self.after_freeze, begun, CATCH_UP_MAX);
    }

    /// These gateways lose their servers for a while, in one way or another: webhooks are put off, sessions stay, and then hear everything.
    pub(super) async fn cut(&mut self, places: &[usize], pause: Duration, dice: &mut fastrand::Rng) {
        let mut probe = self.probe().await;
        let way = if dice.bool() { Way::Gone } else { Way::Silent };
        for place in places {
            self.places[*place].bus.set(way);
        }
        let others: Vec<usize> = (0..3).filter(|place| !places.contains(place)).collect();
        self.take(&probe, &others).await;
        for place in places {
            let answer = self.post(&probe.user, self.places[*place].address, 9).await;
            assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true), "{way:?}");
        }
        sleep(pause).await;
        for place in places {
            self.places[*place].bus.set(Way::Open);
        }
        let begun = Instant::now();
        // At every gateway that was cut off webhooks are taken again, and at every gateway all of them arrive.
        self.take(&probe, places).await;
        probe.receives(&[0, 1, 2]).await;
        promise(&self.after_cut, begun, CATCH_UP_MAX);
    }

    /// An operator ends a user's sessions at one gateway: they end at all.
    pub(super) async fn end_sessions(&mut self, place: usize) {
        let mut probe = self.probe().await;
        let begun = Instant::now();
        self.operate(place, reqwest::Method::DELETE, &format!("users/acme:{}/sessions", probe.user), &Value::Null).await;
        probe.is_ended().await;
        promise(&self.to_close, begun, CLOSE_MAX);
    }

    /// The same with a user who is not to come back, and does not at any.
    pub(super) async fn revoke(&mut self, place: usize) {
        let mut probe = self.probe().await;
        let user = probe.user.clone();
        let begun = Instant::now();
        self.operate(place, reqwest::Method::POST, "revocations", &json!({"user": format!("acme:{user}")})).await;
        probe.is_ended().await;
        promise(&self.to_revoke, begun, CLOSE_MAX);
        for (number, place) in self.places.iter().enumerate() {
            if let Ok(mut client) = Client::dial(&Route::to(place.address), Carrier::of(number), &user, None).await {
                assert_eq!(over(&mut client).await, Over::Closed(4102));
            }
        }
    }

    pub(super) fn check_logs(&self) {
        (0..3).for_each(|place| self.node(place).check_log());
    }

    pub(super) fn figures(&self, day: &Day) {
        day.figure("caught up after a cut was mended", &self.after_cut);
        day.figure("caught up after a freeze", &self.after_freeze);
        day.figure("sessions ended at all gateways after", &self.to_close);
        day.figure("revoked at all gateways after", &self.to_revoke);
    }

    async fn probe(&mut self) -> Probe {
        self.probes += 1;
        let user = format!("probe-{}", self.probes);
        let mut clients = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            let carrier = Carrier::of(number + self.probes);
            let mut client = Client::dial(&Route::to(place.address), carrier, &user, None).await.unwrap();
            assert_eq!(client.next().await.unwrap()["type"], "$hello");
            clients.push(client);
        }
        Probe { user, clients }
    }

    /// One event of the user at each of these gateways, until it is acknowledged.
    async fn take(&self, probe: &Probe, places: &[usize]) {
        for place in places {
            let address = self.places[*place].address;
            until("it is acknowledged", async || self.post(&probe.user, address, *place).await.status() == 200).await;
        }
    }

    async fn post(&self, user: &str, to: SocketAddr, n: usize) -> reqwest::Response {
        let mut body = event(user, n);
        body["id"] = json!(format!("{user}-{n}"));
        let body = body.to_string();
        let request =
            self.http.post(format!("http://{to}/hooks/claimr/user_activity")).header("content-type", "application/json");
        request.header("x-signature", sign(body.as_bytes())).body(body).send().await.unwrap()
    }

    async fn operate(&self, place: usize, method: reqwest::Method, path: &str, body: &Value) {
        let url = format!("http://{}/admin/v1/{path}", self.node(place).admin);
        let request = self.http.request(method, url).header("x-claimr-relay", "1");
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    fn signal(&self, place: usize, name: &str) {
        let id = self.node(place).id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Probe {
    /// Waits until every session has had these events. None may have ended.
    async fn receives(&mut self, events: &[usize]) {
        for client in &mut self.clients {
            let mut missing: BTreeSet<usize> = events.iter().copied().collect();
            while !missing.is_empty() {
                let frame = timeout(PATIENCE, client.next()).await.expect("the event comes").expect("the session stays");
                if frame["type"] == "user_activity" {
                    missing.remove(&usize::try_from(frame["points"].as_u64().unwrap()).unwrap());
                }
            }
        }
    }

    async fn is_ended(&mut self) {
        for client in &mut self.clients {
            assert_eq!(over(client).await, Over::Closed(4102));
        }
    }
}

/// How a session ends.
async fn over(client: &mut Client) -> Over {
    loop {
        match timeout(PATIENCE, client.next()).await.expect("the session ends") {
            Ok(_) => {}
            Err(over) => return over,
        }
    }
}

/// Notes how long something took, which is promised to be `most`; on a machine with nothing else to do it is.
fn promise(times: &Times, begun: Instant, most: Duration) {
    let took = begun.elapsed();
    times.add(took);
    assert!(took < size(PATIENCE, most), "{took:.1?}, and {most:?} are promised");
}
