//! A watcher of the whole tenant: reads everything, counts positions, and of some takes the delay. And one that is deaf.

use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::Fleet;
use crate::fleet::connect::{Handshake, Opened};
use crate::fleet::count::Count;
use crate::fleet::plan::secs;
use crate::fleet::scan::{Layout, Topic};
use crate::fleet::wire::{Kind, Piece, Reader, write_text};
use crate::fleet::world::World;

const WATCH: &[u8] = br#"{"type":"watch"}"#;

/// How a conversation ended.
enum End {
    Over,
    Cut,
    Lost,
}

/// The handshake of watchers.
pub fn handshake(args: &Fleet) -> Handshake {
    let address = args.watch_address.as_ref().unwrap_or(&args.address);
    Handshake::new(address, "/ws/dispatch", &args.watch_token, args.protocol.as_deref())
}

/// The frames over one connection.
struct Feed<'a> {
    world: &'a World,
    reader: Reader,
    count: Count,
    /// Whether the next snapshot is the first since the cut.
    comes_back: bool,
    is_closed: bool,
}

/// Watches until the run is over, over one connection after the other.
pub async fn watch(world: Rc<World>, mut opened: Opened) {
    let handshake = handshake(&world.args);
    let mut was_cut = false;
    let mut comes_back = false;
    loop {
        let count = Count::new(Layout::of(world.args.protocol.as_deref()));
        let mut feed = Feed { world: &world, reader: Reader::default(), count, comes_back, is_closed: false };
        let end = feed.follow(opened, was_cut).await;
        comes_back = feed.comes_back;
        match end {
            End::Over => return,
            End::Cut => (was_cut, comes_back) = (true, true),
            End::Lost => world.watched.borrow_mut().counts.lost += 1,
        }
        let Some(again) = world.come_back(&world.watch_door, &handshake).await else { return };
        opened = again;
    }
}

/// Connects, asks for everything, and reads nothing of it.
pub async fn be_deaf(world: Rc<World>) {
    let handshake = handshake(&world.args);
    while Instant::now() < world.plan.ends_at {
        if let Ok(Opened { mut stream, .. }) = world.watch_door.upgrade(&handshake, true).await {
            world.watched.borrow_mut().counts.deaf_connections += 1;
            let mut frame = Vec::new();
            write_text(&mut frame, WATCH);
            if stream.write_all(&frame).await.is_ok() {
                sleep_until((Instant::now() + secs(world.args.deaf_again_secs)).min(world.plan.ends_at)).await;
            }
        }
        sleep(secs(0.1)).await;
    }
}

impl Feed<'_> {
    async fn follow(&mut self, opened: Opened, was_cut: bool) -> End {
        let Opened { mut stream, rest } = opened;
        let world = self.world;
        let mut frame = Vec::new();
        write_text(&mut frame, WATCH);
        if stream.write_all(&frame).await.is_err() {
            return End::Lost;
        }
        self.take(&rest);
        loop {
            tokio::select! {
                biased;
                () = world.cut(was_cut) => return End::Cut,
                () = sleep_until(world.plan.ends_at) => return End::Over,
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
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.take(bytes, |piece| match piece.kind {
            Kind::Text | Kind::Binary => self.take_frame(piece),
            Kind::Close => self.closed(piece.bytes),
            Kind::Continued | Kind::Ping | Kind::Other => {}
        });
        self.reader = reader;
    }

    fn take_frame(&mut self, piece: Piece<'_>) {
        let frame = self.count.take(piece, &mut self.world.random.borrow_mut());
        let Some(frame) = frame else { return };
        let now = Instant::now();
        let is_measured = self.world.plan.measures(now);
        self.world.watched.borrow_mut().counts.frame(frame, is_measured);
        if is_measured && frame.topic == Topic::Moved {
            for &sample in self.count.samples() {
                self.world.seen(sample, now);
            }
        }
        let is_whole = frame.topic == Topic::Snapshot && !frame.has_more;
        if let (true, true, Some(cut_at)) = (is_whole, self.comes_back, self.world.plan.cuts_at) {
            self.comes_back = false;
            self.world.storm.borrow_mut().watcher_is_back(cut_at);
        }
    }

    fn closed(&mut self, code: &[u8]) {
        self.is_closed = true;
        let code = if let [high, low, ..] = code { u16::from_be_bytes([*high, *low]) } else { 1005 };
        *self.world.watched.borrow_mut().counts.closes.entry(code).or_default() += 1;
    }
}
