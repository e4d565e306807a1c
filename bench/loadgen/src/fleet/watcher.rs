//! Watches the whole tenant: counts positions and samples delays. A stalled watcher subscribes and never reads.

use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fleet::args::FleetArgs;
use crate::fleet::connect::{Handshake, Opened};
use crate::fleet::frame_counter::FrameCounter;
use crate::fleet::plan::secs;
use crate::fleet::state::FleetState;
use crate::fleet::text_scan::{Layout, Topic};
use crate::fleet::ws_frame::{Chunk, FrameReader, Opcode, write_text};

const WATCH: &[u8] = br#"{"type":"watch"}"#;

/// Reason for the end of a connection.
enum End {
    Over,
    Cut,
    Lost,
}

/// Returns the handshake of watchers.
pub fn handshake(args: &FleetArgs) -> Handshake {
    let address = args.watch_address.as_ref().unwrap_or(&args.address);
    Handshake::new(address, "/ws/dispatch", &args.watch_token, args.protocol.as_deref())
}

/// Reads the frames of one connection.
struct Feed<'a> {
    state: &'a FleetState,
    reader: FrameReader,
    counter: FrameCounter,
    /// Whether no snapshot has arrived since the cut.
    awaits_snapshot: bool,
    is_closed: bool,
}

/// Watches until the run is over and reconnects as needed.
pub async fn watch(state: Rc<FleetState>, mut opened: Opened) {
    let handshake = handshake(&state.args);
    let mut was_cut = false;
    let mut awaits_snapshot = false;
    loop {
        let counter = FrameCounter::new(Layout::of(state.args.protocol.as_deref()));
        let mut feed =
            Feed { state: &state, reader: FrameReader::default(), counter, awaits_snapshot, is_closed: false };
        let end = feed.run(opened, was_cut).await;
        awaits_snapshot = feed.awaits_snapshot;
        match end {
            End::Over => return,
            End::Cut => (was_cut, awaits_snapshot) = (true, true),
            End::Lost => state.watched.borrow_mut().counts.lost += 1,
        }
        let Some(reopened) = state.reconnect(&state.watch_endpoint, &handshake).await else { return };
        opened = reopened;
    }
}

/// Connects and subscribes, but never reads.
pub async fn watch_stalled(state: Rc<FleetState>) {
    let handshake = handshake(&state.args);
    while Instant::now() < state.plan.ends_at {
        if let Ok(Opened { mut stream, .. }) = state.watch_endpoint.upgrade(&handshake, true).await {
            state.watched.borrow_mut().counts.stalled_connections += 1;
            let mut frame = Vec::new();
            write_text(&mut frame, WATCH);
            if stream.write_all(&frame).await.is_ok() {
                sleep_until((Instant::now() + secs(state.args.stalled_reconnect_secs)).min(state.plan.ends_at)).await;
            }
        }
        sleep(secs(0.1)).await;
    }
}

impl Feed<'_> {
    async fn run(&mut self, opened: Opened, was_cut: bool) -> End {
        let Opened { mut stream, rest } = opened;
        let state = self.state;
        let mut frame = Vec::new();
        write_text(&mut frame, WATCH);
        if stream.write_all(&frame).await.is_err() {
            return End::Lost;
        }
        self.receive(&rest);
        loop {
            tokio::select! {
                biased;
                () = state.wait_for_cut(was_cut) => return End::Cut,
                () = sleep_until(state.plan.ends_at) => return End::Over,
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
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut reader = std::mem::take(&mut self.reader);
        reader.feed(bytes, |chunk| match chunk.kind {
            Opcode::Text | Opcode::Binary => self.receive_chunk(chunk),
            Opcode::Close => self.record_close(chunk.bytes),
            Opcode::Continued | Opcode::Ping | Opcode::Other => {}
        });
        self.reader = reader;
    }

    fn receive_chunk(&mut self, chunk: Chunk<'_>) {
        let frame = self.counter.add(chunk, &mut self.state.random.borrow_mut());
        let Some(frame) = frame else { return };
        let now = Instant::now();
        let is_measured = self.state.plan.is_measured(now);
        self.state.watched.borrow_mut().counts.frame(frame, is_measured);
        if is_measured && frame.topic == Topic::Moved {
            for &sample in self.counter.samples() {
                self.state.record_delay(sample, now);
            }
        }
        let ends_snapshot = frame.topic == Topic::Snapshot && !frame.has_more;
        if let (true, true, Some(cut_at)) = (ends_snapshot, self.awaits_snapshot, self.state.plan.cuts_at) {
            self.awaits_snapshot = false;
            self.state.storm.borrow_mut().watcher_is_back(cut_at);
        }
    }

    fn record_close(&mut self, code: &[u8]) {
        self.is_closed = true;
        let code = if let [high, low, ..] = code { u16::from_be_bytes([*high, *low]) } else { 1005 };
        *self.state.watched.borrow_mut().counts.closes.entry(code).or_default() += 1;
    }
}
