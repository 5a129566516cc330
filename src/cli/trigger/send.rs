//! Sends deliveries over the real way, many at once, and counts what became of them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::{body, sign::Signer};
use crate::{
    cli::{
        Failure,
        client::{Answer, Client, Connection, Target, Trouble},
        progress::Progress,
    },
    clock,
    event::Timestamp,
};

/// What is sent.
pub(super) enum Body {
    /// These bytes each time.
    Fixed(Bytes),
    /// This, with an id that is new each time.
    Numbered(Value),
}

/// Makes one delivery after the other.
pub(super) struct Deliveries {
    pub(super) path: String,
    pub(super) signer: Signer,
    pub(super) body: Body,
    /// Makes the ids of this run unlike those of others.
    pub(super) run: u64,
}

/// One delivery.
pub(super) struct Signed {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Deliveries {
    /// The `n`th delivery, signed `now`.
    pub(super) fn make(&self, n: u64, now: Timestamp) -> Result<Signed, Failure> {
        let id = format!("dlv_{:016x}_{n}", self.run);
        let (body, id) = match &self.body {
            // The same delivery is the same under its id as well.
            Body::Fixed(bytes) => (bytes.clone(), format!("dlv_{:016x}", self.run)),
            Body::Numbered(template) => {
                let mut numbered = template.clone();
                body::identify(&mut numbered, &id);
                (Bytes::from(numbered.to_string()), id)
            }
        };
        Ok(Signed { headers: self.signer.headers(&id, now, &body)?, body })
    }

    /// The `n`th delivery as a request.
    pub(super) fn request(&self, n: u64) -> Result<Request<Bytes>, Failure> {
        let Signed { headers, body } = self.make(n, clock::now())?;
        let mut request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(body).map_err(|error| Failure::Usage(format!("--url: {error}")))
    }
}

/// What a gateway says of a delivery that it took.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) ids: Vec<String>,
    pub(super) duplicate: bool,
    pub(super) recipients: usize,
    pub(super) connections: usize,
    #[serde(default)]
    pub(super) dead_letters: usize,
}

impl Receipt {
    /// Absent if the answer is not one of a gateway that took the delivery.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == StatusCode::OK)
    }
}

/// How many, and how fast.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) count: u64,
    /// Deliveries a second; absent: as fast as answers come.
    pub(super) rate: Option<f64>,
    /// Deliveries under way at once.
    pub(super) connections: usize,
}

/// What became of many.
#[derive(Default)]
pub(super) struct Tally {
    accepted: u64,
    duplicates: u64,
    /// Taken, but kept as dead letters, because they name nobody.
    nobody: u64,
    /// By status and code.
    refused: BTreeMap<(u16, String), u64>,
    /// Sent, and the connection broke before the answer.
    unanswered: u64,
    /// Microseconds, of every answer.
    latencies: Vec<u32>,
    elapsed: Duration,
    /// Why it stopped early.
    pub(super) stopped: Option<String>,
}

/// Sends them all, unless the gateway goes away or Ctrl-C is pressed.
pub(super) async fn send(client: &Client, target: &Target, deliveries: &Deliveries, pace: Pace) -> Result<Tally, Failure> {
    let run = Run {
        client,
        target,
        deliveries,
        pace,
        next: Cell::new(0),
        started: Instant::now(),
        tally: RefCell::default(),
        progress: RefCell::new(Progress::new()),
    };
    let workers = pace.connections.min(usize::try_from(pace.count).unwrap_or(usize::MAX));
    let interrupted = select! {
        ended = join_all((0..workers).map(|_| run.work())) => {
            ended.into_iter().collect::<Result<(), _>>()?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    let mut tally = run.tally.into_inner();
    tally.elapsed = run.started.elapsed();
    tally.latencies.sort_unstable();
    if interrupted {
        tally.stopped = Some("interrupted".to_owned());
    }
    Ok(tally)
}

/// A run, as its workers share it; they take turns on one thread.
struct Run<'r> {
    client: &'r Client,
    target: &'r Target,
    deliveries: &'r Deliveries,
    pace: Pace,
    next: Cell<u64>,
    started: Instant,
    tally: RefCell<Tally>,
    progress: RefCell<Progress>,
}

impl Run<'_> {
    /// Sends, on one connection, one delivery after the other, until none is left.
    async fn work(&self) -> Result<(), Failure> {
        let mut connection = None;
        while let Some(n) = self.take() {
            if let Some(rate) = self.pace.rate {
                sleep_until(self.started + Duration::from_secs_f64(precise(n) / rate)).await;
            }
            let request = self.deliveries.request(n)?;
            match self.exchange(&mut connection, request).await {
                Ok((answer, latency)) => self.tally.borrow_mut().count(&answer, latency),
                Err(Trouble::Broken(..)) if connection.is_some() => {
                    self.tally.borrow_mut().unanswered += 1;
                    connection = None;
                }
                Err(trouble) => {
                    self.tally.borrow_mut().stop(&trouble);
                    return Ok(());
                }
            }
            let answered = self.tally.borrow().latencies.len();
            self.progress.borrow_mut().show(|| format!("{answered} of {} answered", self.pace.count));
        }
        Ok(())
    }

    fn take(&self) -> Option<u64> {
        let n = self.next.get();
        let go_on = n < self.pace.count && self.tally.borrow().stopped.is_none();
        self.next.set(n + u64::from(go_on));
        go_on.then_some(n)
    }

    async fn exchange(
        &self,
        connection: &mut Option<Connection>,
        request: Request<Bytes>,
    ) -> Result<(Answer, Duration), Trouble> {
        if connection.as_ref().is_none_or(Connection::is_closed) {
            *connection = None;
            *connection = Some(self.client.open(self.target).await?);
        }
        let sent = Instant::now();
        let Some(open) = connection else { unreachable!("it was opened above") };
        let answer = open.ask(request).await?;
        Ok((answer, sent.elapsed()))
    }
}

impl Tally {
    fn count(&mut self, answer: &Answer, latency: Duration) {
        self.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        match Receipt::of(answer) {
            Some(receipt) if receipt.duplicate => self.duplicates += 1,
            Some(receipt) if receipt.ids.is_empty() => self.nobody += 1,
            Some(_) => self.accepted += 1,
            None => {
                let code = answer.error_code().unwrap_or_else(|| "not an answer of a gateway".to_owned());
                *self.refused.entry((answer.status.as_u16(), code)).or_default() += 1;
            }
        }
    }

    fn stop(&mut self, trouble: &Trouble) {
        self.stopped.get_or_insert_with(|| format!("{trouble}\n      -> {}", trouble.remedy()));
    }

    /// Every kind of refusal: status and code.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (u16, &str)> {
        self.refused.keys().map(|(status, code)| (*status, code.as_str()))
    }

    /// Whether every delivery was taken.
    pub(super) fn is_good(&self) -> bool {
        self.refused.is_empty() && self.unanswered == 0 && self.stopped.is_none()
    }

    /// Milliseconds within which this part of the answers came.
    fn quantile_ms(&self, part: f64) -> Option<f64> {
        let last = self.latencies.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length is one")]
        let rank = (precise(last as u64) * part).ceil() as usize;
        self.latencies.get(rank).map(|micros| f64::from(*micros) / 1_000.0)
    }

    fn per_second(&self) -> f64 {
        precise(self.latencies.len() as u64) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    pub(super) fn to_json(&self) -> Value {
        let refused: BTreeMap<_, _> = self.refused.iter().map(|((status, code), n)| (format!("{status} {code}"), n)).collect();
        json!({
            "ok": self.is_good(),
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "dead_letters": self.nobody,
            "refused": refused,
            "unanswered": self.unanswered,
            "latency_ms": { "p50": self.quantile_ms(0.5), "p99": self.quantile_ms(0.99), "max": self.quantile_ms(1.0) },
            "elapsed_s": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "stopped": self.stopped,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let mut lines = vec![format!("accepted    {}", self.accepted)];
        for (what, count) in [("duplicates ", self.duplicates), ("for nobody ", self.nobody), ("unanswered ", self.unanswered)] {
            if count > 0 {
                lines.push(format!("{what} {count}"));
            }
        }
        lines.extend(self.refused.iter().map(|((status, code), n)| format!("refused     {n} x {status} {code}")));
        if let (Some(p50), Some(p99), Some(max)) = (self.quantile_ms(0.5), self.quantile_ms(0.99), self.quantile_ms(1.0)) {
            lines.push(format!("latency     p50 {p50:.1} ms, p99 {p99:.1} ms, slowest {max:.1} ms"));
        }
        let (answered, seconds) = (self.latencies.len(), self.elapsed.as_secs_f64());
        lines.push(format!("rate        {:.0} a second ({answered} in {seconds:.1} s)", self.per_second()));
        lines.join("\n")
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn every_answer_is_counted_as_what_it_is() {
        let mut tally = Tally::default();
        for (n, answer) in [
            answer(200, r#"{"ids":["a:1"],"duplicate":false,"recipients":1,"connections":0}"#),
            answer(200, r#"{"ids":["a:1"],"duplicate":true,"recipients":1,"connections":0}"#),
            answer(200, r#"{"ids":[],"duplicate":false,"recipients":0,"connections":0,"dead_letters":1}"#),
            answer(200, "<html>"),
            answer(401, r#"{"error":{"code":"signature_invalid","message":""}}"#),
        ]
        .iter()
        .enumerate()
        {
            tally.count(answer, Duration::from_millis(n as u64 + 1));
        }
        assert!(!tally.is_good());
        let json = tally.to_json();
        assert_eq!((&json["accepted"], &json["duplicates"], &json["dead_letters"]), (&json!(1), &json!(1), &json!(1)));
        assert_eq!(json["refused"], json!({"200 not an answer of a gateway": 1, "401 signature_invalid": 1}));
        assert_eq!(json["latency_ms"], json!({"p50": 3.0, "p99": 5.0, "max": 5.0}));
    }
}
