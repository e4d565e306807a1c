//! Sends the batches of one driver over a WebSocket, by the schedule and without waiting for receipts.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep_until;

use crate::fleet::connect::{Handshake, Opened};
use crate::fleet::driver::{Driver, Sent};
use crate::fleet::state::FleetState;
use crate::fleet::ws_frame::{FrameReader, Opcode, write_text};
use crate::outcomes::Receipt;

/// Timeout for the last receipts after the end of the run.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Reason for the end of a connection.
enum End {
    Over,
    Cut,
    Lost,
}

/// Sends and receives over one connection.
struct DriverConnection<'a> {
    state: &'a FleetState,
    reader: FrameReader,
    /// Message received so far.
    message: Vec<u8>,
    pending: VecDeque<Sent>,
    /// Whether no receipt has arrived since the cut.
    awaits_receipt: bool,
    is_closed: bool,
}

/// Returns the handshake of drivers.
pub fn handshake(address: &str, token: &str) -> Handshake {
    Handshake::new(address, "/ws", token, None)
}

/// Sends until the run is over and reconnects as needed.
pub async fn drive(state: Rc<FleetState>, mut opened: Opened, mut driver: Driver) {
    let handshake = handshake(&state.args.address, &state.args.token);
    let mut was_cut = false;
    let mut awaits_receipt = false;
    loop {
        let mut connection = DriverConnection {
            state: &state,
            reader: FrameReader::default(),
            message: Vec::new(),
            pending: VecDeque::new(),
            awaits_receipt,
            is_closed: false,
        };
        let end = connection.run(opened, &mut driver, was_cut).await;
        awaits_receipt = connection.awaits_receipt;
        for _ in &connection.pending {
            state.messages.borrow_mut().error("unanswered");
        }
        match end {
            End::Over => return,
            End::Cut => (was_cut, awaits_receipt) = (true, true),
            End::Lost => state.messages.borrow_mut().error("socket_lost"),
        }
        let Some(reopened) = state.reconnect(&state.endpoint, &handshake).await else { return };
        opened = reopened;
        driver.send_at_once();
    }
}

impl DriverConnection<'_> {
    async fn run(&mut self, opened: Opened, driver: &mut Driver, was_cut: bool) -> End {
        let Opened { mut stream, rest } = opened;
        let (state, mut frame, mut text) = (self.state, Vec::new(), Vec::new());
        self.receive(&rest);
        loop {
            let next_at = driver.next_at();
            let is_over = next_at >= state.plan.ends_at;
            if is_over && self.pending.is_empty() {
                return End::Over;
            }
            let wakes_at = if is_over { state.plan.ends_at + RECEIPT_TIMEOUT } else { next_at };
            tokio::select! {
                biased;
                () = state.wait_for_cut(was_cut) => return End::Cut,
                ready = stream.readable() => {
                    let buffer = &mut *state.buffer.borrow_mut();
                    match ready.and_then(|()| stream.try_read(buffer)) {
                        Ok(0) => return End::Lost,
                        Ok(count) => self.receive(buffer.get(..count).unwrap_or_default()),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => return End::Lost,
                    }
                    if self.is_closed {
                        return End::Lost;
                    }
                }
                () = sleep_until(wakes_at) => {
                    if is_over {
                        return End::Over;
                    }
                    text.clear();
                    frame.clear();
                    let Some(sent) = driver.write(state, &mut text, true) else { return End::Over };
                    write_text(&mut frame, &text);
                    self.pending.push_back(sent);
                    if stream.write_all(&frame).await.is_err() {
                        return End::Lost;
                    }
                    state.messages.borrow_mut().bytes(frame.len(), 0);
                }
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.feed(bytes, |chunk| match chunk.kind {
            Opcode::Text => {
                if chunk.is_first {
                    self.message.clear();
                }
                self.message.extend_from_slice(chunk.bytes);
                if chunk.is_last {
                    self.handle_message();
                }
            }
            Opcode::Close => self.is_closed = true,
            Opcode::Continued | Opcode::Binary | Opcode::Ping | Opcode::Other => {}
        });
        self.reader = reader;
    }

    fn handle_message(&mut self) {
        let outcomes = &mut *self.state.messages.borrow_mut();
        outcomes.bytes(0, self.message.len());
        let Ok(receipt) = serde_json::from_slice::<Receipt>(&self.message) else {
            outcomes.error("receipt");
            return;
        };
        let place = receipt.id.parse().ok().and_then(|id: u64| self.pending.iter().position(|sent| sent.id == id));
        // Any other message is an assignment or a message to the driver.
        let Some(sent) = place.and_then(|place| self.pending.remove(place)) else { return };
        if receipt.kind != "receipt" {
            sent.refused(outcomes, &receipt.code);
            return;
        }
        sent.stored(self.state, outcomes, "receipt", &receipt);
        if let (true, Some(cut_at)) = (self.awaits_receipt, self.state.plan.cuts_at) {
            self.awaits_receipt = false;
            self.state.storm.borrow_mut().driver_is_back(cut_at);
        }
    }
}
