//! What is asked of the kernel: which sockets are ready, to be woken at an exact moment, connections, what a process costs.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::AsFd,
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use socket2::{Domain, Protocol, Socket, Type};

/// The alarm's number among those of the sockets.
const ALARM: u64 = u64::MAX;

/// Tells which sockets are ready.
pub(crate) struct Poller {
    epoll: Epoll,
    /// What is due is due to the microsecond; epoll's own time-outs count milliseconds.
    alarm: TimerFd,
    is_armed: bool,
    events: Vec<EpollEvent>,
}

/// One socket that is ready.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) number: u64,
    pub(crate) to_read: bool,
    pub(crate) to_write: bool,
}

impl Poller {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&alarm, EpollEvent::new(EpollFlags::EPOLLIN, ALARM))?;
        Ok(Self { epoll, alarm, is_armed: false, events: vec![EpollEvent::empty(); 256] })
    }

    pub(crate) fn add(&self, socket: impl AsFd, number: u64, wants_write: bool) -> io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(interest(wants_write), number))?)
    }

    pub(crate) fn change(&self, socket: impl AsFd, number: u64, wants_write: bool) -> io::Result<()> {
        Ok(self.epoll.modify(socket, &mut EpollEvent::new(interest(wants_write), number))?)
    }

    /// Waits until a socket is ready, for at most so long; then says how many are.
    pub(crate) fn wait(&mut self, at_most: Duration) -> anyhow::Result<usize> {
        const COARSE: Duration = Duration::from_millis(20);
        let timeout = if at_most.is_zero() {
            EpollTimeout::ZERO
        } else if at_most < COARSE {
            // Setting it anew also takes back that it has gone off.
            self.alarm.set(Expiration::OneShot(TimeSpec::from_duration(at_most)), TimerSetTimeFlags::empty())?;
            self.is_armed = true;
            EpollTimeout::NONE
        } else {
            if self.is_armed {
                self.alarm.unset()?;
                self.is_armed = false;
            }
            EpollTimeout::try_from(at_most).unwrap_or(EpollTimeout::MAX)
        };
        match self.epoll.wait(&mut self.events, timeout) {
            Err(nix::errno::Errno::EINTR) => Ok(0),
            ready => Ok(ready?),
        }
    }

    /// One of those that the last call of [`Self::wait`] found; the alarm is none.
    pub(crate) fn ready(&self, at: usize) -> Option<Ready> {
        let event = self.events[at];
        let (number, flags) = (event.data(), event.events());
        let to_read = flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        (number != ALARM).then_some(Ready { number, to_read, to_write: flags.contains(EpollFlags::EPOLLOUT) })
    }
}

fn interest(wants_write: bool) -> EpollFlags {
    if wants_write { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN }
}

/// Begins to connect. Comes from addresses of its own, so that ports suffice; closing resets, so that none waits for its time to be over.
pub(crate) fn connect(to: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))
        .context("no socket; the limit of open files (`ulimit -n`) is too low")?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    let own = Ipv4Addr::new(127, 0, 0, if number.is_multiple_of(2) { 2 } else { 3 });
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(socket.into())
}

/// The cores of the server and of the load: the first and the last of those that this process was started with.
pub(crate) fn cores() -> (usize, usize) {
    static CORES: OnceLock<(usize, usize)> = OnceLock::new();
    *CORES.get_or_init(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
        let core = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
        (core(list.split(['-', ',']).next()), core(list.rsplit(['-', ',']).next()))
    })
}

/// Keeps this thread on the load's core.
pub(crate) fn pin() -> anyhow::Result<()> {
    let (_, core) = cores();
    let mut taskset = Command::new("taskset");
    let output = taskset.args(["-pc", &core.to_string(), &std::process::id().to_string()]).output();
    ensure!(output.context("`taskset` is missing (Debian: util-linux)")?.status.success(), "taskset -pc {core} failed");
    Ok(())
}

/// The process and all its descendants.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children: Vec<u32> =
        children.flat_map(|text| text.split_whitespace().filter_map(|c| c.parse().ok()).collect::<Vec<_>>()).collect();
    all.extend(children.into_iter().flat_map(family));
    all
}

/// User and system time of these processes with all their threads, to 10 ms.
pub(crate) fn processor_time(processes: &[u32]) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let ticks = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
        Some(fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?)
    };
    processes.iter().filter_map(ticks).map(|ticks| TICK * ticks).sum()
}

/// Resident bytes of these processes.
pub(crate) fn resident(processes: &[u32]) -> u64 {
    let kib = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
    };
    processes.iter().filter_map(kib).sum::<u64>() * 1_024
}

/// What all cores together did for whomever, and what the hypervisor took from them.
pub(crate) fn machine_time() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u32> = stat.lines().next().unwrap_or("").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // User, nice, system, interrupts, and stolen.
    TICK * [0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| fields.get(at)).sum::<u32>()
}
