import { describe, expect, test } from "vitest";

import * as format from "../src/format";

const plain = (text: string): string => text.replaceAll("\u202f", " ");

describe("an age", () => {
  test.each([
    [-4_000, "0 s"],
    [999, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min 0 s"],
    [9 * 60_000 + 59_000, "9 min 59 s"],
    [10 * 60_000, "10 min"],
    [3_600_000 + 5 * 60_000, "1 h 5 min"],
    [49 * 3_600_000, "2 d 1 h"],
  ])("of %i ms reads %s", (millis, text) => {
    expect(plain(format.formatAge(millis))).toBe(text);
  });

  test("in a narrow column has one unit", () => {
    expect(plain(format.formatShortAge(65_000))).toBe("1 min");
    expect(plain(format.formatShortAge(5_000))).toBe("5 s");
  });
});

test("what is not known is a dash", () => {
  for (const write of [format.formatSpeed, format.formatHeading, format.formatMetres, format.formatBattery]) {
    expect(write(null)).toBe("\u2013");
  }
});

test("a speed is shown in km/h", () => {
  expect(plain(format.formatSpeed(13.4))).toBe("48 km/h");
  expect(plain(format.formatSpeed(0))).toBe("0 km/h");
});

test.each([
  [0, "0° N"],
  [271, "271° W"],
  [337.4, "337° NW"],
  [359.7, "0° N"],
])("a heading of %d reads %s", (headingDeg, text) => {
  expect(plain(format.formatHeading(headingDeg))).toBe(text);
});

test("a battery is a whole percentage, a distance loses its decimal when long", () => {
  expect(plain(format.formatBattery(0.804))).toBe("80 %");
  expect(plain(format.formatKilometres(1_240))).toBe("1.2 km");
  expect(plain(format.formatKilometres(128_400))).toBe("128 km");
});
