//! A driver who sends over a WebSocket: batches by the clock, whether or not the receipts of earlier ones came.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep_until;

use crate::fleet::connect::{Handshake, Opened};
use crate::fleet::driver::{Driver, Sent};
use crate::fleet::wire::{Kind, Reader, write_text};
use crate::fleet::world::World;
use crate::tally::Receipt;

/// How long after the end of the run a receipt is waited for.
const GRACE: Duration = Duration::from_secs(30);

/// How a conversation ended.
enum End {
    Over,
    Cut,
    Lost,
}

/// The conversation over one connection.
struct Conversation<'a> {
    world: &'a World,
    reader: Reader,
    /// The message that is coming in.
    message: Vec<u8>,
    pending: VecDeque<Sent>,
    /// Whether the next receipt is the first since the cut.
    comes_back: bool,
    is_closed: bool,
}

/// The handshake of drivers.
pub fn handshake(address: &str, token: &str) -> Handshake {
    Handshake::new(address, "/ws", token, None)
}

/// Sends until the run is over, over one connection after the other.
pub async fn drive(world: Rc<World>, mut opened: Opened, mut driver: Driver) {
    let handshake = handshake(&world.args.address, &world.args.token);
    let mut was_cut = false;
    let mut comes_back = false;
    loop {
        let mut conversation = Conversation {
            world: &world,
            reader: Reader::default(),
            message: Vec::new(),
            pending: VecDeque::new(),
            comes_back,
            is_closed: false,
        };
        let end = conversation.hold(opened, &mut driver, was_cut).await;
        comes_back = conversation.comes_back;
        for _ in &conversation.pending {
            world.messages.borrow_mut().error("unanswered");
        }
        match end {
            End::Over => return,
            End::Cut => (was_cut, comes_back) = (true, true),
            End::Lost => world.messages.borrow_mut().error("socket_lost"),
        }
        let Some(again) = world.come_back(&world.door, &handshake).await else { return };
        opened = again;
        driver.hurry();
    }
}

impl Conversation<'_> {
    async fn hold(&mut self, opened: Opened, driver: &mut Driver, was_cut: bool) -> End {
        let Opened { mut stream, rest } = opened;
        let (world, mut frame, mut text) = (self.world, Vec::new(), Vec::new());
        self.take(&rest);
        loop {
            let next_at = driver.next_at();
            let is_over = next_at >= world.plan.ends_at;
            if is_over && self.pending.is_empty() {
                return End::Over;
            }
            let wakes_at = if is_over { world.plan.ends_at + GRACE } else { next_at };
            tokio::select! {
                biased;
                () = world.cut(was_cut) => return End::Cut,
                ready = stream.readable() => {
                    let buffer = &mut *world.buffer.borrow_mut();
                    match ready.and_then(|()| stream.try_read(buffer)) {
                        Ok(0) => return End::Lost,
                        Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
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
                    let Some(sent) = driver.write(world, &mut text, true) else { return End::Over };
                    write_text(&mut frame, &text);
                    self.pending.push_back(sent);
                    if stream.write_all(&frame).await.is_err() {
                        return End::Lost;
                    }
                    world.messages.borrow_mut().bytes(frame.len(), 0);
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.take(bytes, |piece| match piece.kind {
            Kind::Text => {
                if piece.is_first {
                    self.message.clear();
                }
                self.message.extend_from_slice(piece.bytes);
                if piece.is_last {
                    self.answered();
                }
            }
            Kind::Close => self.is_closed = true,
            Kind::Continued | Kind::Binary | Kind::Ping | Kind::Other => {}
        });
        self.reader = reader;
    }

    fn answered(&mut self) {
        let tally = &mut *self.world.messages.borrow_mut();
        tally.bytes(0, self.message.len());
        let Ok(receipt) = serde_json::from_slice::<Receipt>(&self.message) else {
            tally.error("receipt");
            return;
        };
        let place = receipt.id.parse().ok().and_then(|id: u64| self.pending.iter().position(|sent| sent.id == id));
        // Without one it is an assignment or a message to the driver.
        let Some(sent) = place.and_then(|place| self.pending.remove(place)) else { return };
        if receipt.kind != "receipt" {
            sent.refused(tally, &receipt.code);
            return;
        }
        sent.stored(self.world, tally, "receipt", &receipt);
        if let (true, Some(cut_at)) = (self.comes_back, self.world.plan.cuts_at) {
            self.comes_back = false;
            self.world.storm.borrow_mut().driver_is_back(cut_at);
        }
    }
}
