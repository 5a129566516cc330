//! Tells small stories of a few threads in the orders that the threads could take turns in: in all of them, or in many that are drawn.
//!
//! Threads take turns wherever they touch what [`crate::sync`] names, and nowhere else, so a story must not depend on anything that
//! another thread changes by other means. A story that is stuck, because somebody waits whom nobody wakes, fails like one that panics.
//! Each failure comes with its schedule, which `shuttle::replay` plays again, and a drawn one with its seed, which
//! `SHUTTLE_RANDOM_SEED` draws again.
//!
//! What this does not see: orders of memory accesses that only a weak memory model allows. Nothing here rests on one: all state is behind
//! locks but the head of a log, and who joins the hub before a delivery or after it is put in order by the map's lock. And it sees the map as
//! one lock instead of dashmap's shards, under which different keys have nothing to do with each other.

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId},
};

/// However often a thread is interrupted: really every order.
pub(crate) const ALL: usize = usize::MAX;

/// How often the second half takes the turn from a thread that could go on.
const CHANGES_MAX: usize = 3;
/// A story with more orders takes too long; it has to become smaller, or its interruptions fewer.
const ORDERS_MAX: usize = 400_000;

/// Tells `story` once for every order of turns in which threads that could go on are interrupted at most so often. Three times is enough for
/// nearly every mistake that people make (Musuvathi and Qadeer, "Iterative Context Bounding", 2007, found two to be enough for theirs).
pub(crate) fn every_order(interruptions_max: usize, story: impl Fn() + Send + Sync + 'static) {
    let all = EveryOrder { interruptions_max, turns: Vec::new(), told: 0, turn: 0, interruptions: 0 };
    let orders = Runner::new(all, config()).run(story);
    println!("{orders} orders, all there are");
    assert!(orders > 1, "nobody ever had a choice");
}

/// Tells `story` in `2 * draws` orders: half of them with each turn drawn, half with priorities drawn that change a few times.
pub(crate) fn many_orders(draws: usize, story: impl Fn() + Clone + Send + Sync + 'static) {
    let seed = fastrand::u64(..);
    println!("{} orders, drawn with SHUTTLE_RANDOM_SEED={seed}", 2 * draws);
    Runner::new(RandomScheduler::new_from_seed(seed, draws), config()).run(story.clone());
    Runner::new(PctScheduler::new_from_seed(seed, CHANGES_MAX, draws), config()).run(story);
}

fn config() -> Config {
    let mut config = Config::new();
    // The default is too little for what debug builds of the engines put there.
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    config
}

/// Goes through the tree of choices depth first.
#[derive(Debug)]
struct EveryOrder {
    interruptions_max: usize,
    /// The choices on the way to where we are.
    turns: Vec<Turn>,
    told: usize,
    /// How far this telling has come, and how often it has interrupted a thread.
    turn: usize,
    interruptions: usize,
}

#[derive(Debug)]
struct Turn {
    options: Vec<TaskId>,
    chosen: usize,
}

impl Scheduler for EveryOrder {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.told > 0 {
            while self.turns.last().is_some_and(|turn| turn.chosen + 1 == turn.options.len()) {
                self.turns.pop();
            }
            self.turns.last_mut()?.chosen += 1;
        }
        self.told += 1;
        assert!(self.told <= ORDERS_MAX, "the story has more than {ORDERS_MAX} orders");
        (self.turn, self.interruptions) = (0, 0);
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, _: bool) -> Option<TaskId> {
        let goes_on = current.filter(|current| runnable.iter().any(|task| task.id() == *current));
        if self.turn == self.turns.len() {
            let may_change = goes_on.is_none() || self.interruptions < self.interruptions_max;
            let others = runnable.iter().map(|task| task.id()).filter(|task| may_change && Some(*task) != goes_on);
            self.turns.push(Turn { options: goes_on.into_iter().chain(others).collect(), chosen: 0 });
        }
        let turn = &self.turns[self.turn];
        let next = turn.options[turn.chosen];
        self.turn += 1;
        self.interruptions += usize::from(goes_on.is_some_and(|task| task != next));
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        panic!("a story that is told in every order draws nothing")
    }
}
