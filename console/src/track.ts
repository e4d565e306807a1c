/**
 * A vehicle's way over the last hours: from the server's GeoJSON points to what the map draws.
 *
 * Points are sorted by time here, whatever order they come in. Distances are metres on a sphere.
 */

import type { Feature, FeatureCollection, Position as Coordinates } from "geojson";

import { finite, isRecord, type Position } from "./position";

export interface TrackPoint {
  readonly atMillis: number;
  readonly lonDeg: number;
  readonly latDeg: number;
  readonly speedMps: number | null;
}

// No fix for so long while the vehicle went so far: nobody knows the way in between, so it is drawn dashed.
const GAP_MILLIS = 3 * 60_000;
const GAP_METRES = 400;
// The line is cut into this many pieces of even time, each with one opacity: enough for the eye to see no steps.
const SHADES = 36;
const EARTH_RADIUS_METRES = 6_371_008.8;

export function readTrack(collection: unknown): TrackPoint[] {
  if (!isRecord(collection) || !Array.isArray(collection["features"])) return [];
  const points: TrackPoint[] = [];
  for (const feature of collection["features"] as unknown[]) {
    const point = readPoint(feature);
    if (point !== null) points.push(point);
  }
  return points.sort((left, right) => left.atMillis - right.atMillis);
}

function readPoint(feature: unknown): TrackPoint | null {
  if (!isRecord(feature) || !isRecord(feature["geometry"]) || !isRecord(feature["properties"])) return null;
  const coordinates: unknown = feature["geometry"]["coordinates"];
  if (!Array.isArray(coordinates)) return null;
  const lonDeg = finite(coordinates[0]);
  const latDeg = finite(coordinates[1]);
  const timestamp = feature["properties"]["timestamp"];
  const atMillis = typeof timestamp === "string" ? finite(Date.parse(timestamp)) : finite(timestamp);
  if (lonDeg === null || latDeg === null || atMillis === null) return null;
  return { atMillis, lonDeg, latDeg, speedMps: finite(feature["properties"]["speed"]) };
}

export function trackPointOf(position: Position): TrackPoint {
  const { fixedAtMillis, lonDeg, latDeg, speedMps } = position;
  return { atMillis: fixedAtMillis, lonDeg, latDeg, speedMps };
}

/**
 * Lines (`kind` driven or gap) and dots, each with `freshness` from 0 at `fromMillis` to 1 at `toMillis`.
 */
export function trackFeatures(points: readonly TrackPoint[], fromMillis: number, toMillis: number): FeatureCollection {
  const freshness = (atMillis: number): number =>
    Math.min(1, Math.max(0, (atMillis - fromMillis) / Math.max(1, toMillis - fromMillis)));
  const shade = (atMillis: number): number => Math.round(freshness(atMillis) * SHADES) / SHADES;
  const features: Feature[] = [];
  let run: Coordinates[] = [];
  let runShade = 0;
  const endRun = (): void => {
    if (run.length > 1) features.push(line(run, "driven", runShade));
    run = [];
  };
  points.forEach((point, index) => {
    const here: Coordinates = [point.lonDeg, point.latDeg];
    const before = points[index - 1];
    if (before !== undefined && isGap(before, point)) {
      endRun();
      features.push(line([[before.lonDeg, before.latDeg], here], "gap", shade(point.atMillis)));
    }
    run.push(here);
    if (shade(point.atMillis) !== runShade && run.length > 1) {
      endRun();
      run = [here];
    }
    runShade = shade(point.atMillis);
    features.push({
      type: "Feature",
      geometry: { type: "Point", coordinates: here },
      properties: { kind: "fix", freshness: freshness(point.atMillis) },
    });
  });
  endRun();
  return { type: "FeatureCollection", features };
}

function line(coordinates: Coordinates[], kind: "driven" | "gap", freshness: number): Feature {
  return { type: "Feature", geometry: { type: "LineString", coordinates }, properties: { kind, freshness } };
}

function isGap(before: TrackPoint, after: TrackPoint): boolean {
  return after.atMillis - before.atMillis > GAP_MILLIS && distanceMetres(before, after) > GAP_METRES;
}

/** The way along the points; what lies in a gap counts as the straight line. */
export function trackMetres(points: readonly TrackPoint[]): number {
  let metres = 0;
  points.forEach((point, index) => {
    const before = points[index - 1];
    if (before !== undefined) metres += distanceMetres(before, point);
  });
  return metres;
}

export function distanceMetres(from: TrackPoint, to: TrackPoint): number {
  const radians = Math.PI / 180;
  const latSine = Math.sin(((to.latDeg - from.latDeg) * radians) / 2);
  const lonSine = Math.sin(((to.lonDeg - from.lonDeg) * radians) / 2);
  const chord =
    latSine * latSine + Math.cos(from.latDeg * radians) * Math.cos(to.latDeg * radians) * lonSine * lonSine;
  return 2 * EARTH_RADIUS_METRES * Math.asin(Math.min(1, Math.sqrt(chord)));
}
