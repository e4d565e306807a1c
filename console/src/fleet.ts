/**
 * The newest position of every vehicle, and what it says about the vehicle.
 *
 * A position only replaces an older one: fixes that a phone kept in a dead zone arrive late and are history, never the present.
 */

import type { Position } from "./position";

/** In the order in which the legend shows them. */
export const MOTIONS = ["moving", "standing", "stale", "silent"] as const;
export type Motion = (typeof MOTIONS)[number];

/** Past this age a position says little about where the vehicle is. */
export const STALE_MILLIS = 2 * 60_000;
export const SILENT_MILLIS = 10 * 60_000;
// 2.9 km/h: a parked phone reports up to about 0.5 m/s of noise, a walking driver 1.4.
const MOVING_MPS = 0.8;

export function motionOf(position: Position, nowMillis: number): Motion {
  const ageMillis = nowMillis - position.fixedAtMillis;
  if (ageMillis > SILENT_MILLIS) return "silent";
  if (ageMillis > STALE_MILLIS) return "stale";
  return (position.speedMps ?? 0) >= MOVING_MPS ? "moving" : "standing";
}

export class Fleet {
  private readonly byDevice = new Map<string, Position>();
  private sortedNames: string[] | null = null;

  get size(): number {
    return this.byDevice.size;
  }

  get(device: string): Position | undefined {
    return this.byDevice.get(device);
  }

  positions(): IterableIterator<Position> {
    return this.byDevice.values();
  }

  /** A snapshot is the whole truth: vehicles that it does not name are gone. */
  replace(positions: readonly Position[]): void {
    this.byDevice.clear();
    this.sortedNames = null;
    this.advance(positions);
  }

  /** Moves vehicles forward in time. Answers how many positions were newer than what was known. */
  advance(positions: readonly Position[]): number {
    let advanced = 0;
    for (const position of positions) {
      const known = this.byDevice.get(position.device);
      if (known !== undefined && known.fixedAtMillis >= position.fixedAtMillis) continue;
      if (known === undefined) this.sortedNames = null;
      this.byDevice.set(position.device, position);
      advanced += 1;
    }
    return advanced;
  }

  /** Takes vehicles away that are not watched any more. */
  remove(devices: readonly string[]): void {
    for (const device of devices) {
      if (this.byDevice.delete(device)) this.sortedNames = null;
    }
  }

  /** Names in the order people expect: truck-9 before truck-10. Kept until a vehicle comes or goes. */
  names(): readonly string[] {
    this.sortedNames ??= [...this.byDevice.keys()].sort(new Intl.Collator("en", { numeric: true }).compare);
    return this.sortedNames;
  }

  /** The newest `fixedAtMillis` of all vehicles; null when there is none. */
  newestFixMillis(): number | null {
    let newest: number | null = null;
    for (const { fixedAtMillis } of this.byDevice.values()) {
      if (newest === null || fixedAtMillis > newest) newest = fixedAtMillis;
    }
    return newest;
  }
}
