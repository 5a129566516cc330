//! What the sockets above rely on: all that is written and flushed arrives, and a peer that takes nothing is found out.

use std::time::Duration;

use rcgen::generate_simple_self_signed;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use super::*;
use crate::{
    listener::{ConnectionLimits, UpgradedLimits, WaitingLimits},
    shutdown::Shutdown,
};

/// A socket of ours, and its peer, whose kernel takes little.
async fn connection(write_stall: Duration) -> (Socket, TlsStream<TcpStream>) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let pair = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &aws_lc_rs::default_provider()).unwrap();
    let tls = Tls(Swap::new(server_config(Arc::new(pair)).unwrap()));
    let common = Arc::new(Common { limits: limits(write_stall), shutdown: Shutdown::default(), tls: None });

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialling = TcpSocket::new_v4().unwrap();
    dialling.set_recv_buffer_size(4_096).unwrap();
    let peer = dialling.connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, from) = listener.accept().await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (stream, peer) = tokio::join!(
        shake_hands(ours, from, &tls, &common, Instant::now()),
        connector.connect(ServerName::try_from("localhost").unwrap(), peer)
    );
    (Socket::new(stream.unwrap(), Arc::clone(&common), Intake::new(Upgraded::default())), peer.unwrap())
}

fn limits(write_stall: Duration) -> ConnectionLimits {
    ConnectionLimits {
        read_timeout: Duration::from_secs(20),
        header_bytes_max: 1,
        write_stall,
        acknowledge_timeout: write_stall / 4,
        waiting: WaitingLimits { connections_max: 1, connections_per_address_max: 1 },
        upgraded: UpgradedLimits { bytes_per_s_max: 1, bytes_burst_max: 1 },
    }
}

/// More than all buffers hold, so that the end of a write stays with us again and again.
#[tokio::test]
async fn what_is_written_and_flushed_arrives_whole_and_its_end_is_said() {
    let (mut socket, mut peer) = connection(Duration::from_secs(20)).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let writing = async {
        for part in sent.chunks(700_001) {
            socket.write_all(part).await.unwrap();
            socket.flush().await.unwrap();
        }
        drop(socket);
    };
    let mut read = Vec::new();
    let (read_all, ()) = tokio::join!(peer.read_to_end(&mut read), writing);
    assert_eq!(read_all.unwrap(), sent.len(), "and no end that was not said");
    assert!(read == sent);
}

/// Whether it is the write that waits or the flush behind it.
#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    for bytes in [1, 3_000, 65_536] {
        let (mut socket, _silent) = connection(Duration::from_millis(50)).await;
        let bytes = vec![0; bytes];
        let error = loop {
            let written = async {
                socket.write_all(&bytes).await?;
                socket.flush().await
            };
            if let Err(error) = written.await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
