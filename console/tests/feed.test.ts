import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Feed, OPEN_MILLIS, SILENCE_MILLIS, type FeedSocket, type FeedState } from "../src/feed";
import type { Frame } from "../src/frame";

/** A socket whose other end is the test. */
class Wire {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly sent: unknown[] = [];
  closedWith: number | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(code: number): void {
    this.closedWith = code;
  }

  say(frame: unknown): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

const SNAPSHOT = { type: "snapshot", epoch: "e1", seq: 40, positions: [] };

let wires: Wire[];
let states: FeedState[];
let frames: Frame[];
let goesOn: boolean[];
let sessionAlive: boolean;
let sessionsOver: number;
let feed: Feed;

const last = (): Wire => wires.at(-1) ?? expect.fail("no socket was opened");
const state = (): string => states.at(-1)?.kind ?? "none";

function goLive(): void {
  last().onopen?.();
  last().say(SNAPSHOT);
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_763_768_400_000 });
  wires = [];
  states = [];
  frames = [];
  goesOn = [];
  sessionAlive = true;
  sessionsOver = 0;
  feed = new Feed({
    openSocket: () => {
      const wire = new Wire();
      wires.push(wire);
      return wire as unknown as FeedSocket;
    },
    onFrame: (frame, continues) => {
      frames.push(frame);
      goesOn.push(continues);
    },
    onState: (entered) => states.push(entered),
    isSessionAlive: () => Promise.resolve(sessionAlive),
    onSessionOver: () => (sessionsOver += 1),
    random: () => 1,
  });
  feed.start();
});

afterEach(() => {
  feed.stop();
  vi.useRealTimers();
});

describe("the first connection", () => {
  test("watches the whole tenant and is live with the snapshot, not before", () => {
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "watch" }]);
    expect(state()).toBe("connecting");
    last().say(SNAPSHOT);
    expect(state()).toBe("live");
    expect(frames).toHaveLength(1);
  });

  test("an error frame does not make it live", () => {
    last().onopen?.();
    last().say({ type: "error", code: "overloaded", detail: "" });
    expect(state()).toBe("connecting");
  });

  test("a handshake that never ends is given up", () => {
    vi.advanceTimersByTime(OPEN_MILLIS + 1);
    expect(state()).toBe("waiting");
    expect(last().closedWith).toBe(1000);
  });
});

describe("after a loss", () => {
  test("it resumes from the last frame it has seen", () => {
    goLive();
    last().say({ type: "moved", seq: 41, positions: [] });
    last().onclose?.({ code: 1006 });
    expect(state()).toBe("waiting");
    vi.advanceTimersByTime(1_000);
    expect(wires).toHaveLength(2);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "resume", epoch: "e1", seq: 41 }]);
  });

  test("a resync whose snapshot got lost is not resumed", () => {
    goLive();
    last().say({ type: "resync", epoch: "e2" });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "watch" }]);
  });

  test("waits grow while no frame comes and start over after one", () => {
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt += 1) {
      last().onclose?.({ code: 1006 });
      const entered = states.at(-1);
      const waitMillis = entered?.kind === "waiting" ? entered.retryAtMillis - Date.now() : expect.fail("it does not wait");
      waits.push(waitMillis);
      vi.advanceTimersByTime(waitMillis);
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    goLive();
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(501);
    expect(wires).toHaveLength(11);
  });

  test("late words of the lost socket count for nothing", () => {
    goLive();
    const lost = last();
    lost.onclose?.({ code: 1006 });
    lost.say({ type: "moved", seq: 99, positions: [] });
    lost.onclose?.({ code: 1006 });
    expect(frames).toHaveLength(1);
    expect(state()).toBe("waiting");
    vi.advanceTimersByTime(600);
    expect(wires).toHaveLength(2);
  });

  test("retryNow ends the wait at once and never opens a second socket", () => {
    goLive();
    last().onclose?.({ code: 1006 });
    feed.retryNow();
    feed.retryNow();
    vi.advanceTimersByTime(5_000);
    expect(wires).toHaveLength(2);
  });
});

describe("a part of the fleet", () => {
  const AREA = [10, 47, 12, 49] as const;

  test("is asked for at once, and with every resume", () => {
    goLive();
    feed.watch(AREA);
    expect(last().sent.at(-1)).toEqual({ type: "watch", area: AREA });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "watch", area: AREA }]);
    last().say({ ...SNAPSHOT, epoch: "e1-area" });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "resume", epoch: "e1-area", seq: 40, area: AREA }]);
    feed.watch(null);
    expect(last().sent.at(-1)).toEqual({ type: "watch" });
  });

  test("is not asked for before the socket is open", () => {
    feed.watch(AREA);
    expect(last().sent).toEqual([]);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "watch", area: AREA }]);
  });
});

describe("a frame in several messages", () => {
  test("moves the place only with its last", () => {
    goLive();
    last().say({ type: "moved", seq: 41, positions: [], more: true });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "resume", epoch: "e1", seq: 40 }]);
    last().say({ type: "moved", seq: 42, positions: [], more: true });
    last().say({ type: "moved", seq: 42, positions: [] });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "resume", epoch: "e1", seq: 42 }]);
  });

  test("of a snapshot goes on until one without more, and starts over with a new socket", () => {
    last().onopen?.();
    last().say({ ...SNAPSHOT, more: true });
    last().say({ ...SNAPSHOT, more: true });
    last().onclose?.({ code: 1006 });
    vi.advanceTimersByTime(1_000);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "watch" }]);
    last().say({ ...SNAPSHOT, more: true });
    last().say(SNAPSHOT);
    last().say(SNAPSHOT);
    expect(goesOn).toEqual([false, true, false, true, false]);
  });
});

describe("silence", () => {
  test("a socket without a word for too long is dropped and opened again", () => {
    goLive();
    vi.advanceTimersByTime(SILENCE_MILLIS + 1);
    expect(state()).toBe("waiting");
    expect(last().closedWith).toBe(1000);
    vi.advanceTimersByTime(1_000);
    expect(wires).toHaveLength(2);
  });

  test("heartbeats keep it", () => {
    goLive();
    for (let beat = 0; beat < 10; beat += 1) {
      vi.advanceTimersByTime(SILENCE_MILLIS - 1);
      last().say({ type: "heartbeat" });
    }
    expect(state()).toBe("live");
    expect(wires).toHaveLength(1);
  });
});

describe("the session", () => {
  test("that is over ends the feed when the handshake is refused", async () => {
    sessionAlive = false;
    last().onclose?.({ code: 1006 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sessionsOver).toBe(1);
    expect(state()).toBe("stopped");
    expect(wires).toHaveLength(1);
  });

  test("renewed meanwhile: 4401 only reconnects", async () => {
    goLive();
    last().onclose?.({ code: 4401 });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sessionsOver).toBe(0);
    expect(wires).toHaveLength(2);
  });

  test("is not asked for when an open socket breaks", async () => {
    goLive();
    sessionAlive = false;
    last().onclose?.({ code: 1006 });
    await vi.advanceTimersByTimeAsync(400);
    expect(sessionsOver).toBe(0);
  });

  test("an answer about it that comes after a new login is ignored", async () => {
    sessionAlive = false;
    last().onclose?.({ code: 1006 });
    feed.stop();
    feed.start();
    await vi.advanceTimersByTimeAsync(100);
    expect(sessionsOver).toBe(0);
    expect(state()).toBe("connecting");
  });
});

test("stop closes the socket, and nothing is opened after it", () => {
  goLive();
  feed.stop();
  expect(last().closedWith).toBe(1000);
  vi.advanceTimersByTime(120_000);
  expect(wires).toHaveLength(1);
  feed.start();
  last().onopen?.();
  expect(last().sent).toEqual([{ type: "watch" }]);
});
