/**
 * Which part of a large fleet to watch: what the map shows and a margin around it, once most of the fleet is elsewhere.
 *
 * Below `MANY_VEHICLES` everything is watched: the list beside the map is then the whole fleet, and the feed is small anyway.
 */

import type { Bounds } from "./bounds";
import type { Position } from "./position";

/** [west, south, east, north] in degrees, -180 to 180; west is above east where the area crosses the antimeridian. */
export type Area = readonly [number, number, number, number];

export const MANY_VEHICLES = 2_000;
/** From this share of the fleet in view on, all of it is watched. */
export const MOST_SHARE = 0.5;
export const SETTLE_MILLIS = 300;
// Of the map's width and height, on each side: a short drag needs no new snapshot.
const MARGIN_SHARE = 0.3;
// A watched area that is so many times as wide as a new one holds too much that nobody sees.
const TOO_WIDE = 4;

export class Viewport {
  private watched: Area | null = null;
  /** Vehicles when everything was watched last. */
  private total = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onArea: (area: Area | null) => void) {}

  get area(): Area | null {
    return this.watched;
  }

  /** To be called whenever the map or the fleet may have changed; asks for the fleet when both have come to rest. */
  settle(look: () => { readonly shown: Bounds; readonly fleet: readonly Position[]; readonly everything: boolean } | null): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const seen = look();
      if (seen === null) return;
      if (this.watched === null) this.total = seen.fleet.length;
      this.watch(seen.everything ? null : wantedArea(seen.shown, seen.fleet, this.total), seen.shown);
    }, SETTLE_MILLIS);
  }

  /** Watches everything; true if it did not yet. */
  release(): boolean {
    clearTimeout(this.timer);
    if (this.watched === null) return false;
    this.watched = null;
    this.onArea(null);
    return true;
  }

  /** Forgets the fleet, without a word to anyone. */
  reset(): void {
    clearTimeout(this.timer);
    this.watched = null;
    this.total = 0;
  }

  private watch(wanted: Area | null, shown: Bounds): void {
    if (wanted === null) return void this.release();
    if (this.watched !== null && covers(this.watched, shown) && widthOf(this.watched) < TOO_WIDE * widthOf(wanted)) return;
    this.watched = wanted;
    this.onArea(wanted);
  }
}

/** The area to watch when the map shows `shown`; null for everything. */
export function wantedArea(shown: Bounds, fleet: readonly Position[], total: number): Area | null {
  if (total < MANY_VEHICLES) return null;
  const area = areaAround(shown);
  if (area === null) return null;
  const inside = fleet.filter(({ latDeg, lonDeg }) => contains(area, latDeg, lonDeg)).length;
  return inside > total * MOST_SHARE ? null : area;
}

/** What the map shows and a margin; null where that is all the way round. */
export function areaAround([west, south, east, north]: Bounds): Area | null {
  const aside = (east - west) * MARGIN_SHARE;
  const above = (north - south) * MARGIN_SHARE;
  if (east - west + 2 * aside >= 360) return null;
  return [wrapped(west - aside), Math.max(-90, south - above), wrapped(east + aside), Math.min(90, north + above)];
}

export function contains([west, south, east, north]: Area, latDeg: number, lonDeg: number): boolean {
  const beside = west <= east ? west <= lonDeg && lonDeg <= east : west <= lonDeg || lonDeg <= east;
  return south <= latDeg && latDeg <= north && beside;
}

function covers(area: Area, [west, south, east, north]: Bounds): boolean {
  const fits = eastOf(area[0], wrapped(west)) + (east - west) <= widthOf(area);
  return fits && area[1] <= Math.max(-90, south) && Math.min(90, north) <= area[3];
}

function widthOf([west, , east]: Area): number {
  return eastOf(west, east);
}

/** Degrees to go from one meridian to the east until the other. */
function eastOf(from: number, to: number): number {
  return (((to - from) % 360) + 360) % 360;
}

/** The map counts on beyond the antimeridian; the wire does not. */
function wrapped(lonDeg: number): number {
  return ((((lonDeg + 180) % 360) + 360) % 360) - 180;
}
