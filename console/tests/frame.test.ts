import { expect, test } from "vitest";

import { readFrame } from "../src/frame";

const FIX = { device: "a", timestamp: 1_763_768_400_000, latitude: 48.1, longitude: 11.5 };
const read = (value: unknown): ReturnType<typeof readFrame> => readFrame(JSON.stringify(value));

test("a snapshot keeps epoch, place and positions; what a sender left out is null", () => {
  const frame = read({ type: "snapshot", epoch: "e1", seq: 3, positions: [{ ...FIX, speed: 0 }] });
  expect(frame).toMatchObject({ type: "snapshot", epoch: "e1", seq: 3 });
  expect(frame?.type === "snapshot" ? frame.positions[0] : null).toMatchObject({ speedMps: 0, headingDeg: null, battery: null });
});

test.each([[null], [{ ...FIX, latitude: "48" }], [{ ...FIX, device: 7 }], [{ ...FIX, timestamp: null }], ["x"]])(
  "the unreadable position %j is left out, its neighbour is kept",
  (unreadable) => {
    const frame = read({ type: "moved", seq: 4, positions: [unreadable, FIX] });
    expect(frame?.type === "moved" ? frame.positions.map(({ device }) => device) : null).toEqual(["a"]);
  },
);

test("who left is named, and a frame says whether it goes on", () => {
  expect(read({ type: "moved", seq: 4, positions: [], left: ["a", 7], more: true })).toMatchObject({ left: ["a"], more: true });
  expect(read({ type: "moved", seq: 4, positions: [] })).toMatchObject({ left: [], more: false });
  expect(read({ type: "snapshot", epoch: "e", seq: 4, positions: [], more: true })).toMatchObject({ more: true });
});

test("rows below columns are read as the objects that they stand for", () => {
  const columns = ["device", "timestamp", "latitude", "longitude", "accuracy", "altitude", "heading", "speed", "battery", "new"];
  const positions = [["a", FIX.timestamp, 48.1, 11.5, null, -3.5, 361, 13.4], ["b", FIX.timestamp, 48.1, 11.5], ["c", FIX.timestamp], 7];
  const rows = read({ type: "moved", seq: 4, columns, positions, left: ["d"] });
  const objects = [{ ...FIX, altitude: -3.5, heading: 361, speed: 13.4 }, { ...FIX, device: "b" }];
  expect(rows).toEqual(read({ type: "moved", seq: 4, positions: objects, left: ["d"] }));
  expect(read({ type: "snapshot", epoch: "e", seq: 4, columns, positions })).toMatchObject({ positions: [{ device: "a" }, { device: "b" }] });
});

test.each([[361, 1], [-90, 270], [360, 0]])("a heading of %d becomes %d", (heading, shown) => {
  const frame = read({ type: "moved", seq: 1, positions: [{ ...FIX, heading }] });
  expect(frame?.type === "moved" ? frame.positions[0]?.headingDeg : null).toBe(shown);
});

test("a type of the future, an array and broken JSON read as nothing", () => {
  expect(read({ type: "event", what: "new" })).toBeNull();
  expect(read([1])).toBeNull();
  expect(readFrame("{")).toBeNull();
});
