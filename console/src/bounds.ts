/** The smallest box around the fleet, also when the fleet stands on both sides of the antimeridian. */

import type { Position } from "./position";

/** [west, south, east, north] in degrees; east is above 180 where the box crosses the antimeridian. */
export type Bounds = [number, number, number, number];

/** Null when there is no position. */
export function boundsOf(positions: Iterable<Position>): Bounds | null {
  const lons: number[] = [];
  let south = 90;
  let north = -90;
  for (const { latDeg, lonDeg } of positions) {
    lons.push(lonDeg);
    south = Math.min(south, latDeg);
    north = Math.max(north, latDeg);
  }
  lons.sort((left, right) => left - right);
  const first = lons[0];
  const last = lons.at(-1);
  if (first === undefined || last === undefined) return null;
  // The box leaves out the widest empty span of longitudes. The span over the antimeridian is the one of a plain box.
  let widestDeg = first + 360 - last;
  let bounds: Bounds = [first, south, last, north];
  lons.forEach((lon, index) => {
    const before = lons[index - 1];
    if (before === undefined || lon - before <= widestDeg) return;
    widestDeg = lon - before;
    bounds = [lon, south, before + 360, north];
  });
  return bounds;
}
