/**
 * The track of the picked vehicle: fetched, prolonged by what the feed brings, fetched again now and then.
 *
 * The second fetch is for fixes that arrive late: the feed only tells of the newest, and a dead zone's burst lands in the history.
 */

import { fetchTrack, Problem } from "./api";
import { serverNowMillis } from "./clock";
import { readTrack, trackPointOf, type TrackPoint } from "./track";
import type { Position } from "./position";

export type HistoryState = "loading" | "shown" | "failed";

export interface HistoryView {
  readonly state: HistoryState;
  readonly points: readonly TrackPoint[];
  readonly fromMillis: number;
  readonly toMillis: number;
  /** A sentence of the server where the state is failed. */
  readonly detail: string;
}

const REFETCH_MILLIS = 60_000;
const HOUR_MILLIS = 3_600_000;
// The tail joins the line at most this often: a long track is costly to cut into pieces.
const REDRAW_MILLIS = 1_000;

export class History {
  private device: string | null = null;
  private hours = 3;
  private points: TrackPoint[] = [];
  private state: HistoryState = "loading";
  private detail = "";
  private aborter = new AbortController();
  private refetch: ReturnType<typeof setTimeout> | undefined;
  private redraw: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onChange: (view: HistoryView | null) => void) {}

  show(device: string, hours: number): void {
    this.clear();
    this.device = device;
    this.hours = hours;
    this.state = "loading";
    this.emit();
    void this.load();
  }

  hide(): void {
    this.clear();
    this.onChange(null);
  }

  /** Takes a newer position of the shown vehicle. */
  append(position: Position): void {
    if (position.device !== this.device || this.state === "loading") return;
    const last = this.points.at(-1);
    if (last !== undefined && last.atMillis >= position.fixedAtMillis) return;
    this.points.push(trackPointOf(position));
    this.redraw ??= setTimeout(() => {
      this.redraw = undefined;
      this.emit();
    }, REDRAW_MILLIS);
  }

  private clear(): void {
    this.aborter.abort();
    clearTimeout(this.refetch);
    clearTimeout(this.redraw);
    this.redraw = undefined;
    this.device = null;
    this.points = [];
  }

  private async load(): Promise<void> {
    if (this.device === null) return;
    this.aborter = new AbortController();
    const { signal } = this.aborter;
    const toMillis = Math.round(serverNowMillis());
    // A clock a little ahead must not cut off the newest fixes.
    const untilMillis = toMillis + 10 * 60_000;
    try {
      const body = await fetchTrack(this.device, toMillis - this.hours * HOUR_MILLIS, untilMillis, signal);
      const points = readTrack(body);
      const lastMillis = points.at(-1)?.atMillis ?? 0;
      // What the feed brought while the answer was on its way stays at the end.
      this.points = [...points, ...this.points.filter(({ atMillis }) => atMillis > lastMillis)];
      this.state = "shown";
    } catch (error) {
      if (signal.aborted) return;
      // A failed refetch leaves the track that is shown.
      if (this.state === "loading") this.state = "failed";
      this.detail = error instanceof Problem ? error.message : "The track could not be read.";
    }
    if (signal.aborted) return;
    this.emit();
    this.refetch = setTimeout(() => void this.load(), REFETCH_MILLIS * Math.max(1, this.hours / 3));
  }

  private emit(): void {
    const toMillis = serverNowMillis();
    const fromMillis = toMillis - this.hours * HOUR_MILLIS;
    this.onChange({ state: this.state, points: this.points, fromMillis, toMillis, detail: this.detail });
  }
}
