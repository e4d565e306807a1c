import type { Position } from "../src/position";

/** A position with the given members; the rest is that of a standing vehicle in Munich. */
export function positionOf(members: Partial<Position>): Position {
  return {
    device: "truck-7",
    fixedAtMillis: 1_763_768_400_000,
    latDeg: 48.137,
    lonDeg: 11.576,
    accuracyMetres: null,
    altitudeMetres: null,
    headingDeg: null,
    speedMps: null,
    battery: null,
    ...members,
  };
}
