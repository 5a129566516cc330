//! One HTTP POST over a connection of its own: the demo's webhooks take the way that everybody's take.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::delivery::Delivery;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The status and the body of the answer.
pub(super) async fn post(address: SocketAddr, delivery: &Delivery) -> Result<(u16, Bytes), Failure> {
    timeout(PATIENCE, exchange(address, delivery)).await?
}

async fn exchange(address: SocketAddr, delivery: &Delivery) -> Result<(u16, Bytes), Failure> {
    let request = Request::post(delivery.path())
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "claimr-relay-dev")
        .header(Delivery::SIGNATURE_HEADER, delivery.signature())
        .body(Full::new(Bytes::copy_from_slice(delivery.body().as_bytes())))?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The sender is dropped with its block, and that ends the connection.
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
        Ok::<_, Failure>((status, body.to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
