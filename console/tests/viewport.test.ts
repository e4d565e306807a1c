import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Bounds } from "../src/bounds";
import type { Position } from "../src/position";
import { areaAround, contains, MANY_VEHICLES, SETTLE_MILLIS, Viewport, wantedArea, type Area } from "../src/viewport";
import { positionOf } from "./vehicles";

const MUNICH: Bounds = [11, 48, 12, 49];
const at = (count: number, latDeg: number, lonDeg: number): Position[] =>
  Array.from({ length: count }, (_, number) => positionOf({ device: `v-${lonDeg}-${number}`, latDeg, lonDeg }));
const SPREAD = [...at(MANY_VEHICLES, 52.5, 13.4), ...at(100, 48.5, 11.5)];

describe("the area around what the map shows", () => {
  test("has a margin, within the poles", () => {
    expect(areaAround([10, 40, 20, 60])).toEqual([7, 34, 23, 66]);
    expect(areaAround([10, -89, 20, 89])).toMatchObject([7, -90, 23, 90]);
  });

  test("crosses the antimeridian as the wire has it", () => {
    const area = areaAround([170, -20, 190, -10]) as Area;
    expect(area).toEqual([164, -23, -164, -7]);
    expect([179, -179, 180, 0, 160].map((lonDeg) => contains(area, -15, lonDeg))).toEqual([true, true, true, false, false]);
    expect(areaAround([-190, -20, -170, -10])).toEqual([164, -23, -164, -7]);
  });

  test("is everything all the way round", () => {
    expect(areaAround([-120, -60, 120, 80])).toBeNull();
  });
});

test("a part is wanted of a large fleet that is mostly elsewhere, and of no other", () => {
  expect(wantedArea(MUNICH, SPREAD, SPREAD.length)).toEqual(areaAround(MUNICH));
  expect(wantedArea(MUNICH, SPREAD.slice(0, 100), 100)).toBeNull();
  expect(wantedArea([13, 52, 14, 53], SPREAD, SPREAD.length)).toBeNull();
});

describe("the watched area", () => {
  let asked: (Area | null)[];
  let viewport: Viewport;
  const settle = (shown: Bounds, fleet = SPREAD, everything = false): void => {
    viewport.settle(() => ({ shown, fleet, everything }));
    vi.advanceTimersByTime(SETTLE_MILLIS);
  };

  beforeEach(() => {
    vi.useFakeTimers();
    asked = [];
    viewport = new Viewport((area) => asked.push(area));
  });
  afterEach(() => void vi.useRealTimers());

  test("is asked for when the map has come to rest", () => {
    for (let step = 0; step < 5; step += 1) {
      viewport.settle(() => ({ shown: MUNICH, fleet: SPREAD, everything: false }));
      vi.advanceTimersByTime(SETTLE_MILLIS - 1);
    }
    expect(asked).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(asked).toEqual([areaAround(MUNICH)]);
  });

  test("stays for a short drag, and follows a long one and a closer look", () => {
    settle(MUNICH);
    settle([11.2, 48.2, 12.2, 49.2], SPREAD.slice(-100));
    expect(asked).toHaveLength(1);
    settle([12.2, 48.2, 13.2, 49.2], SPREAD.slice(-100));
    expect(asked).toHaveLength(2);
    settle([12.5, 48.5, 12.6, 48.6], SPREAD.slice(-100));
    expect(asked.at(-1)).toEqual(areaAround([12.5, 48.5, 12.6, 48.6]));
    expect(asked).toHaveLength(3);
  });

  test("ends when most of the fleet is in it, when a vehicle is picked, and when the whole fleet is to be seen", () => {
    settle(MUNICH);
    settle([5, 45, 15, 55], SPREAD);
    expect(asked.at(-1)).toBeNull();
    settle(MUNICH);
    settle(MUNICH, SPREAD.slice(-100), true);
    expect(asked.at(-1)).toBeNull();
    settle(MUNICH);
    expect([viewport.release(), viewport.release(), asked.at(-1)]).toEqual([true, false, null]);
    expect(viewport.area).toBeNull();
  });
});
