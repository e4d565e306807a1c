import { describe, expect, test } from "vitest";

import { boundsOf } from "../src/bounds";
import { VehicleFeatures, type VehicleChange } from "../src/features";
import { Fleet, MOTIONS, motionOf, SILENT_MILLIS, STALE_MILLIS } from "../src/fleet";
import { choose } from "../src/selection";
import { positionOf } from "./vehicles";

const NOW = 1_763_768_400_000;

describe("a position", () => {
  test("that is late never replaces a newer one", () => {
    const fleet = new Fleet();
    expect(fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW, latDeg: 2 })])).toBe(1);
    expect(fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW - 1, latDeg: 1 })])).toBe(0);
    expect(fleet.get("a")?.latDeg).toBe(2);
  });

  test("of the same moment is no move", () => {
    const fleet = new Fleet();
    fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW, latDeg: 2 })]);
    expect(fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW, latDeg: 9 })])).toBe(0);
    expect(fleet.get("a")?.latDeg).toBe(2);
  });

  test("of a snapshot replaces all, older ones too, and drops who is not named", () => {
    const fleet = new Fleet();
    fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW }), positionOf({ device: "b" })]);
    fleet.replace([positionOf({ device: "a", fixedAtMillis: NOW - 5_000 })]);
    expect(fleet.size).toBe(1);
    expect(fleet.get("a")?.fixedAtMillis).toBe(NOW - 5_000);
    expect(fleet.names()).toEqual(["a"]);
  });
});

test("names are in natural order and know of newcomers", () => {
  const fleet = new Fleet();
  fleet.advance([positionOf({ device: "truck-10" }), positionOf({ device: "truck-9" })]);
  expect(fleet.names()).toEqual(["truck-9", "truck-10"]);
  fleet.advance([positionOf({ device: "bike-1" })]);
  expect(fleet.names()).toEqual(["bike-1", "truck-9", "truck-10"]);
});

test("a vehicle that left is gone from the fleet and its names", () => {
  const fleet = new Fleet();
  fleet.advance([positionOf({ device: "a" }), positionOf({ device: "b" })]);
  expect(fleet.names()).toEqual(["a", "b"]);
  fleet.remove(["a", "nobody"]);
  expect([fleet.names(), fleet.size]).toEqual([["b"], 1]);
});

describe("the motion", () => {
  const motion = (ageMillis: number, speedMps: number | null): string =>
    motionOf(positionOf({ fixedAtMillis: NOW - ageMillis, speedMps }), NOW);

  test("depends on the speed while the fix is fresh", () => {
    expect(motion(0, 13)).toBe("moving");
    expect(motion(0, 0.5)).toBe("standing");
    expect(motion(0, null)).toBe("standing");
    expect(motion(-60_000, 13)).toBe("moving");
  });

  test("depends on the age alone when it is not", () => {
    expect(motion(STALE_MILLIS, 13)).toBe("moving");
    expect(motion(STALE_MILLIS + 1, 13)).toBe("stale");
    expect(motion(SILENT_MILLIS, 13)).toBe("stale");
    expect(motion(SILENT_MILLIS + 1, 13)).toBe("silent");
  });
});

describe("the features", () => {
  const devices = ({ changed, gone }: VehicleChange): [string[], string[]] => [
    changed.map(({ properties }) => properties.device),
    gone,
  ];

  test("that changed are those that moved, grew old or left", () => {
    const fleet = new Fleet();
    const features = new VehicleFeatures();
    const moving = positionOf({ device: "a", fixedAtMillis: NOW, speedMps: 9 });
    fleet.advance([moving, positionOf({ device: "b", fixedAtMillis: NOW })]);
    expect(devices(features.update(fleet, NOW))).toEqual([["a", "b"], []]);
    expect(devices(features.update(fleet, NOW + 1_000))).toEqual([[], []]);
    fleet.advance([{ ...moving, fixedAtMillis: NOW + 1_000, lonDeg: 12 }]);
    expect(devices(features.update(fleet, NOW + 1_000))).toEqual([["a"], []]);
    expect(features.counts).toEqual({ moving: 1, standing: 1, stale: 0, silent: 0 });
    expect(devices(features.update(fleet, NOW + STALE_MILLIS + 5_000))).toEqual([["a", "b"], []]);
    expect(features.counts.stale).toBe(2);
    fleet.replace([positionOf({ device: "b", fixedAtMillis: NOW })]);
    expect(devices(features.update(fleet, NOW + STALE_MILLIS + 5_000))).toEqual([[], ["a"]]);
    expect(features.collection().features).toHaveLength(1);
  });

  test("see a swap of one vehicle for another", () => {
    const fleet = new Fleet();
    const features = new VehicleFeatures();
    fleet.replace([positionOf({ device: "a" })]);
    features.update(fleet, NOW);
    fleet.replace([positionOf({ device: "b" })]);
    expect(devices(features.update(fleet, NOW))).toEqual([["b"], ["a"]]);
  });

  test("are new objects when they change: the drawn one must keep its place", () => {
    const fleet = new Fleet();
    const features = new VehicleFeatures();
    fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW, lonDeg: 11 })]);
    const [drawn] = features.update(fleet, NOW).changed;
    fleet.advance([positionOf({ device: "a", fixedAtMillis: NOW + 1, lonDeg: 12 })]);
    features.update(fleet, NOW + 1);
    expect(drawn?.geometry.coordinates[0]).toBe(11);
  });
});

describe("the box around the fleet", () => {
  const box = (...places: [number, number][]): unknown =>
    boundsOf(places.map(([lonDeg, latDeg]) => positionOf({ lonDeg, latDeg })));

  test("is none without vehicles, a point for one, plain for several", () => {
    expect(box()).toBeNull();
    expect(box([11, 48])).toEqual([11, 48, 11, 48]);
    expect(box([11, 48], [13, 47], [12, 49])).toEqual([11, 47, 13, 49]);
  });

  test("crosses the antimeridian where that is the short way", () => {
    expect(box([179, -17], [-178, -18])).toEqual([179, -18, 182, -17]);
  });
});

describe("the list's choice", () => {
  const fleet = new Fleet();
  fleet.advance([
    positionOf({ device: "van-1", fixedAtMillis: NOW - 3_000, speedMps: 20 }),
    positionOf({ device: "van-2", fixedAtMillis: NOW - 1_000, speedMps: 0 }),
    positionOf({ device: "Truck-3", fixedAtMillis: NOW - SILENT_MILLIS * 2, speedMps: 30 }),
  ]);
  const all = new Set(MOTIONS);

  test("searches by words, whatever their case", () => {
    expect(choose(fleet, " tru 3", all, "name", NOW)).toEqual(["Truck-3"]);
  });

  test("keeps to the motions asked for", () => {
    expect(choose(fleet, "", new Set(["silent", "standing"] as const), "name", NOW)).toEqual(["Truck-3", "van-2"]);
  });

  test("sorts by age and by present speed", () => {
    expect(choose(fleet, "", all, "age", NOW)).toEqual(["van-2", "van-1", "Truck-3"]);
    expect(choose(fleet, "", all, "speed", NOW)[0]).toBe("van-1");
  });
});
