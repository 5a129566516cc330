//! The ways of one gateway to the servers of its bus, which can be cut and mended.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// Connections break, and none is made.
    Gone,
    /// Connections stay, and nothing gets through.
    Silent,
}

pub(super) struct Bus {
    /// Where the gateway finds the servers.
    pub(super) urls: Vec<String>,
    way: watch::Sender<Way>,
    _running: JoinSet<()>,
}

impl Bus {
    pub(super) async fn to(servers: impl Iterator<Item = SocketAddr>) -> Self {
        let (way, mut urls, mut running) = (watch::Sender::new(Way::Open), Vec::new(), JoinSet::new());
        for server in servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("nats://{}", listener.local_addr().unwrap()));
            running.spawn(carry_all(listener, server, way.subscribe()));
        }
        Self { urls, way, _running: running }
    }

    /// From now on. Connections of before do not get over a change.
    pub(super) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn carry_all(listener: TcpListener, server: SocketAddr, way: watch::Receiver<Way>) {
    let mut connections = JoinSet::new();
    while let Ok((gateway, _)) = listener.accept().await {
        connections.spawn(carry(gateway, server, way.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut gateway: TcpStream, server: SocketAddr, mut way: watch::Receiver<Way>) {
    let now = *way.borrow_and_update();
    // A server that is frozen may not take it at all.
    let connecting = timeout(Duration::from_secs(3), TcpStream::connect(server));
    if now == Way::Open
        && let Ok(Ok(mut server)) = connecting.await
    {
        let _ = (gateway.set_nodelay(true), server.set_nodelay(true));
        let both = copy_bidirectional(&mut gateway, &mut server);
        tokio::select! {
            _ = both => return,
            changed = way.changed() => if changed.is_err() || *way.borrow_and_update() != Way::Silent { return },
        }
    }
    if *way.borrow() == Way::Silent {
        // Whoever speaks is not heard, and does not hear that.
        let _ = way.wait_for(|way| *way != Way::Silent).await;
    }
}
