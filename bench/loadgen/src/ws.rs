//! Sends batches over driver sockets: a batch per message, receipts matched by the batch's id.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::args::WsArgs;
use crate::outcomes::Receipt;
use crate::sender::{Run, Sender};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Error of a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The connection failed, or the handshake was refused.
    #[error("the socket failed: {0}")]
    Socket(#[from] tungstenite::Error),
    /// TCP error.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The token has characters that are invalid in a header.
    #[error("the token cannot be sent in a header")]
    Token,
    /// The server closed it.
    #[error("the server closed the socket")]
    Closed,
    /// The answer timed out.
    #[error("no answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

/// An open socket.
pub type Socket = WebSocketStream<TcpStream>;

struct Pending {
    id: u64,
    due: Instant,
    fixes: usize,
    bytes: usize,
}

/// Opens a socket.
///
/// # Errors
/// No server listens, or the handshake was refused.
pub async fn open(args: &WsArgs) -> Result<Socket, SocketError> {
    let stream = TcpStream::connect(&args.load.address).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{}{}", args.load.address, args.path).into_client_request()?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", args.load.token)).map_err(|_| SocketError::Token)?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    Ok(client_async(request, stream).await?.0)
}

/// Sends until the run is over and all receipts have arrived; returns a time after the last fix.
pub async fn send_all(args: &WsArgs, mut socket: Socket, mut sender: Sender, run: Run) -> i64 {
    let mut pending = VecDeque::with_capacity(args.inflight);
    let mut more = true;
    while more || !pending.is_empty() {
        let step = if more && pending.len() < args.inflight.max(1) {
            if let Some(due) = run.next_due().await {
                send_next(&mut socket, &mut sender, due, &mut pending).await
            } else {
                more = false;
                Ok(())
            }
        } else {
            receive_one(&mut socket, &run, &mut pending).await
        };
        if let Err(fault) = step {
            // No reconnect: a run in which the server closes a socket is not a measurement.
            let reason = match fault {
                SocketError::Closed => "closed",
                SocketError::Late(_) => "late",
                SocketError::Socket(_) | SocketError::Io(_) | SocketError::Token => "io",
            };
            for _ in &pending {
                run.outcomes.borrow_mut().error(reason);
            }
            run.outcomes.borrow_mut().error("socket_lost");
            return sender.last_fix_millis();
        }
    }
    // All receipts have arrived, so a failed close does not matter.
    drop(socket.close(None).await);
    sender.last_fix_millis()
}

async fn send_next(
    socket: &mut Socket,
    sender: &mut Sender,
    due: Instant,
    pending: &mut VecDeque<Pending>,
) -> Result<(), SocketError> {
    let Some(id) = sender.prepare() else { return Ok(()) };
    let text = String::from_utf8_lossy(&sender.body).into_owned();
    pending.push_back(Pending { id, due, fixes: sender.fixes, bytes: text.len() });
    Ok(socket.send(Message::text(text)).await?)
}

/// Receives messages until one answers a batch.
async fn receive_one(socket: &mut Socket, run: &Run, pending: &mut VecDeque<Pending>) -> Result<(), SocketError> {
    loop {
        let message = timeout(ANSWER_TIMEOUT, socket.next()).await?.ok_or(SocketError::Closed)??;
        let Message::Text(text) = message else { continue };
        let Ok(receipt) = serde_json::from_str::<Receipt>(&text) else {
            run.outcomes.borrow_mut().error("receipt");
            continue;
        };
        // A repeated batch has the same id: the earlier one is answered first.
        let place = receipt.id.parse().ok().and_then(|id: u64| pending.iter().position(|sent| sent.id == id));
        let Some(sent) = place.and_then(|place| pending.remove(place)) else {
            continue; // An assignment or a message to the driver.
        };
        let mut outcomes = run.outcomes.borrow_mut();
        outcomes.bytes(sent.bytes, text.len());
        if receipt.kind == "receipt" {
            outcomes.success("receipt", sent.due.elapsed(), sent.fixes, Some(&receipt));
        } else {
            outcomes.answer(&receipt.code, sent.fixes);
        }
        return Ok(());
    }
}
