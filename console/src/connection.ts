/** Says whether what the map shows is the present: state of the feed, and age of the newest fix. */

import { serverNowMillis } from "./clock";
import type { FeedState } from "./feed";
import { formatShortAge } from "./format";
import { byId, setData, setText } from "./page";

/** What `data-connection` says; a wait before the next attempt is offline. */
type Connection = "live" | "connecting" | "offline";

const CONNECTIONS: Record<FeedState["kind"], Connection> = {
  live: "live",
  connecting: "connecting",
  waiting: "offline",
  stopped: "offline",
};

export class ConnectionView {
  private readonly text = byId("connection-text", HTMLElement);
  private readonly age = byId("connection-age", HTMLElement);
  private state: FeedState = { kind: "stopped" };

  enter(state: FeedState): void {
    this.state = state;
    setData("connection", CONNECTIONS[state.kind]);
    setText(this.text, this.sentence());
  }

  /** Counts up and down; to be called every second. */
  tick(newestFixMillis: number | null): void {
    setText(this.text, this.sentence());
    const age = newestFixMillis === null ? "" : `newest fix ${formatShortAge(serverNowMillis() - newestFixMillis)} ago`;
    setText(this.age, age);
  }

  private sentence(): string {
    if (this.state.kind === "live") return "Live";
    if (this.state.kind === "connecting") return "Connecting\u2026";
    if (this.state.kind === "stopped") return "Offline";
    const secs = Math.max(0, Math.ceil((this.state.retryAtMillis - Date.now()) / 1000));
    return `${navigator.onLine ? "Reconnecting" : "Offline, retry"} in ${secs}\u202fs`;
  }
}
