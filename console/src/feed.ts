/**
 * The dispatcher's socket, kept open.
 *
 *   connecting --first frame--> live --closed, or silent too long--> waiting --time over--> connecting
 *        any of them --the session is over--> stopped
 *
 * Promises: after a loss it resumes from the last (epoch, seq) of which it has seen everything; it never has two sockets; a socket
 * that went silent is given up even though TCP does not notice. It does not hold positions: frames go to `onFrame` in the order of
 * their arrival. A frame may come in several messages, each of which is handed on at once.
 */

import { CLOSE_LOG_IN_AGAIN, retryDelayMillis } from "./backoff";
import { readFrame, type Frame } from "./frame";
import type { Area } from "./viewport";

// The server sends a heartbeat every 30 s: two may be missed before the socket counts as dead.
export const SILENCE_MILLIS = 75_000;
export const OPEN_MILLIS = 15_000;
const CLOSED_BY_US = 1000;
const CLOSED_WITHOUT_WORD = 1006;

export type FeedState =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  | { readonly kind: "waiting"; readonly retryAtMillis: number }
  | { readonly kind: "stopped" };

/** The part of a WebSocket that the feed touches. */
export type FeedSocket = Pick<WebSocket, "onopen" | "onmessage" | "onclose" | "send" | "close">;

export interface FeedOptions {
  openSocket(): FeedSocket;
  /** `goesOn` says of a snapshot that it continues the one before instead of replacing it. */
  onFrame(frame: Frame, goesOn: boolean): void;
  onState(state: FeedState): void;
  /** Asked when a socket was refused; false ends the feed. An unreachable server is no refusal and answers true. */
  isSessionAlive(): Promise<boolean>;
  onSessionOver(): void;
  random(): number;
}

export class Feed {
  private state: FeedState = { kind: "stopped" };
  private socket: FeedSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  /** Counts `stop`: an answer about the session that was asked for before it says nothing about what came after. */
  private lives = 0;
  private seen: { epoch: string; seq: number } | null = null;
  /** What is watched; null for everything. */
  private area: Area | null = null;
  /** The last event that was seen; null as long as events are not asked for. */
  private eventSeq: number | null = null;
  private isOpen = false;
  /** Whether a snapshot has begun and not ended. */
  private inSnapshot = false;

  constructor(private readonly options: FeedOptions) {}

  start(): void {
    if (this.state.kind === "stopped") this.connect();
  }

  /** Closes the socket for good and forgets the place in the feed; `start` begins with a fresh snapshot. */
  stop(): void {
    this.drop(CLOSED_BY_US);
    this.seen = null;
    this.area = null;
    this.eventSeq = null;
    this.attempt = 0;
    this.lives += 1;
    this.enter({ kind: "stopped" });
  }

  /** Ends a wait early: the network came back, or the user looks at the page again. */
  retryNow(): void {
    if (this.state.kind === "waiting") this.connect();
  }

  /** Watches a part of the fleet from now on, or all of it; a snapshot comes. */
  watch(area: Area | null): void {
    this.area = area;
    this.seen = null;
    if (this.isOpen) this.ask();
  }

  /** Hears the events of the dispatch room behind this number, and goes on behind the last one after a loss. */
  hear(afterSeq: number): void {
    this.eventSeq = afterSeq;
    if (this.isOpen) this.join();
  }

  private join(): void {
    if (this.eventSeq === null) return;
    this.socket?.send(JSON.stringify({ type: "events", rooms: ["dispatch"], after: this.eventSeq }));
  }

  private ask(): void {
    const wish = this.seen === null ? { type: "watch" } : { type: "resume", ...this.seen };
    this.socket?.send(JSON.stringify(this.area === null ? wish : { ...wish, area: this.area }));
  }

  private connect(): void {
    this.drop(CLOSED_BY_US);
    this.enter({ kind: "connecting" });
    const socket = this.options.openSocket();
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = this.isOpen = true;
      this.inSnapshot = false;
      this.expectWordWithin(SILENCE_MILLIS);
      this.ask();
      this.join();
    };
    socket.onmessage = (event) => {
      this.expectWordWithin(SILENCE_MILLIS);
      if (typeof event.data === "string") this.take(event.data);
    };
    socket.onclose = (event) => void this.lose(event.code, !opened || event.code === CLOSE_LOG_IN_AGAIN);
    this.expectWordWithin(OPEN_MILLIS);
  }

  private take(text: string): void {
    const frame = readFrame(text);
    if (frame === null) return;
    const goesOn = frame.type === "snapshot" && this.inSnapshot;
    if (frame.type === "snapshot") {
      this.inSnapshot = frame.more;
      if (!frame.more) this.seen = { epoch: frame.epoch, seq: frame.seq };
    } else if (frame.type === "moved" && this.seen !== null && !frame.more) {
      this.seen = { epoch: this.seen.epoch, seq: Math.max(this.seen.seq, frame.seq) };
    } else if (frame.type === "event" && this.eventSeq !== null) {
      this.eventSeq = Math.max(this.eventSeq, frame.event.seq);
      this.socket?.send(JSON.stringify({ type: "ack", seq: frame.event.seq }));
    } else if (frame.type === "resync") {
      // Nothing of the old epoch can be resumed, and the snapshot that ends the resync may get lost.
      this.seen = null;
    }
    // An error frame is not taken as a sign of life: the server is about to close, and the back-off must go on growing.
    if (frame.type !== "error" && this.state.kind !== "live") {
      this.attempt = 0;
      this.enter({ kind: "live" });
    }
    this.options.onFrame(frame, goesOn);
  }

  private async lose(code: number, askForSession: boolean): Promise<void> {
    this.drop(CLOSED_BY_US);
    const waitMillis = retryDelayMillis(this.attempt, code, this.options.random());
    this.attempt += 1;
    this.enter({ kind: "waiting", retryAtMillis: Date.now() + waitMillis });
    this.timer = setTimeout(() => this.connect(), waitMillis);
    if (!askForSession) return;
    const life = this.lives;
    // A browser hides why a handshake failed: 401 and an unreachable server look the same.
    if ((await this.options.isSessionAlive()) || life !== this.lives) return;
    this.stop();
    this.options.onSessionOver();
  }

  private expectWordWithin(millis: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.lose(CLOSED_WITHOUT_WORD, false), millis);
  }

  /** Lets go of the socket at once: closing a dead one properly may take minutes, and its late events must not count. */
  private drop(code: number): void {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    this.isOpen = false;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  private enter(state: FeedState): void {
    this.state = state;
    this.options.onState(state);
  }
}
