import { describe, expect, test } from "vitest";

import { chartPaths } from "../src/chart";
import { distanceMetres, readTrack, trackFeatures, trackMetres, type TrackPoint } from "../src/track";

const NOW = 1_763_768_400_000;
const point = (atMillis: number, lonDeg: number, speedMps: number | null = 10): TrackPoint => ({
  atMillis,
  lonDeg,
  latDeg: 48,
  speedMps,
});

test("a degree along the meridian is 111.2 km", () => {
  const metres = distanceMetres({ ...point(0, 11), latDeg: 48 }, { ...point(1, 11), latDeg: 49 });
  expect(metres).toBeCloseTo(111_195, -1);
});

test("points are sorted by time; milliseconds and ISO times are read, the unreadable left out", () => {
  const feature = (timestamp: unknown, coordinates: unknown): unknown => ({
    type: "Feature",
    geometry: { type: "Point", coordinates },
    properties: { timestamp, speed: 3 },
  });
  const points = readTrack({
    type: "FeatureCollection",
    features: [feature(NOW, [11, 48]), feature("2025-11-21T23:39:59Z", [11.1, 48]), feature(NOW, ["11", 48]), feature("soon", [1, 2])],
  });
  expect(points.map(({ lonDeg }) => lonDeg)).toEqual([11.1, 11]);
  expect(readTrack({ detail: "no" })).toEqual([]);
});

describe("the lines", () => {
  const lines = (points: TrackPoint[]): [unknown, number][] =>
    trackFeatures(points, NOW - 3_600_000, NOW)
      .features.filter(({ geometry }) => geometry.type === "LineString")
      .map(({ geometry, properties }) => [
        properties?.["kind"] as unknown,
        geometry.type === "LineString" ? geometry.coordinates.length : 0,
      ]);

  test("of neighbours in time are one", () => {
    expect(lines([point(NOW - 3_000, 11), point(NOW - 2_000, 11.0001), point(NOW, 11.0002)])).toEqual([["driven", 3]]);
  });

  test("break where nobody knows the way", () => {
    const points = [point(NOW - 600_000, 11), point(NOW - 599_000, 11.0001), point(NOW - 1_000, 11.1), point(NOW, 11.1001)];
    expect(lines(points)).toEqual([["driven", 2], ["gap", 2], ["driven", 2]]);
  });

  test("do not break while the vehicle stood still", () => {
    expect(lines([point(NOW - 600_000, 11), point(NOW, 11.0001)]).map(([kind]) => kind)).toEqual(["driven"]);
  });

  test("join without a hole where the shade changes", () => {
    const points = Array.from({ length: 100 }, (_, index) => point(NOW - (100 - index) * 30_000, 11 + index / 10_000));
    const driven = trackFeatures(points, NOW - 3_600_000, NOW).features.flatMap(({ geometry }) =>
      geometry.type === "LineString" ? [geometry.coordinates] : [],
    );
    expect(driven.length).toBeGreaterThan(10);
    driven.slice(1).forEach((coordinates, index) => expect(coordinates[0]).toEqual(driven[index]?.at(-1)));
  });
});

test("the dots fade from now to the beginning", () => {
  const { features } = trackFeatures([point(NOW - 3_600_000, 11), point(NOW, 11.0001)], NOW - 3_600_000, NOW);
  const dots = features.filter(({ geometry }) => geometry.type === "Point");
  expect(dots.map(({ properties }) => properties?.["freshness"] as unknown)).toEqual([0, 1]);
});

test("the length is that of the way, not of its ends", () => {
  expect(trackMetres([point(0, 11), point(1, 11.01), point(2, 11)])).toBeCloseTo(2 * distanceMetres(point(0, 11), point(0, 11.01)));
});

describe("the chart", () => {
  test("breaks without fixes and keeps the peak of a crowded column", () => {
    const points = [point(NOW - 3_600_000, 11, 5), point(NOW - 1_000, 11, 10), point(NOW - 999, 11, 30), point(NOW, 11, 10)];
    const { stroke, peakMps } = chartPaths(points, NOW - 3_600_000, NOW);
    expect(stroke.match(/M/g)).toHaveLength(2);
    expect(peakMps).toBe(30);
    expect(stroke.endsWith("300 2.0")).toBe(true);
  });

  test("of a sender without speeds is empty", () => {
    expect(chartPaths([point(NOW, 11, null)], NOW - 1_000, NOW).stroke).toBe("");
  });
});
