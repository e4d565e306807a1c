import { describe as suite, expect, test } from "vitest";

import { describe, EventLog, readEvent, type FleetEvent } from "../src/events";

function event(seq: number, kind: string, payload: Record<string, unknown>): FleetEvent {
  return { seq, kind, payload, actor: "driver:van", occurredAtMillis: 0 };
}

const raised = (seq: number): FleetEvent => event(seq, "emergency", { emergency: "sos" });
const message = (seq: number): FleetEvent => event(seq, "message", { text: `m${seq}` });
const about = (seq: number, of: number, state: string): FleetEvent => event(seq, "emergency", { emergency: "sos", state, of });

function logOf(...events: FleetEvent[]): EventLog {
  const log = new EventLog();
  events.forEach((each) => log.take(each));
  return log;
}

const order = (log: EventLog): number[] => log.shown().map(({ event: { seq } }) => seq);
const open = (log: EventLog): number[] => log.shown().flatMap((shown) => (shown.isOpen ? [shown.event.seq] : []));

suite("the log of events", () => {
  test("open emergencies are on top, the newest first", () => {
    expect(order(logOf(raised(1), message(2), raised(3), message(4)))).toEqual([3, 1, 4, 2]);
  });

  test("an acknowledgement closes what it is about", () => {
    expect(open(logOf(raised(1), raised(2), about(3, 1, "acknowledged")))).toEqual([2]);
  });

  test("a driver who takes it back does not close it", () => {
    expect(open(logOf(raised(1), about(2, 1, "cancelled")))).toEqual([1]);
  });

  test("an event that comes twice is one, and opens nothing again", () => {
    const log = logOf(raised(1), about(2, 1, "resolved"), raised(1));
    expect([order(log), open(log)]).toEqual([[2, 1], []]);
  });

  test("an open emergency is kept whatever comes after it", () => {
    const log = logOf(raised(1), ...Array.from({ length: 300 }, (_, number) => message(number + 2)));
    expect(order(log)).toHaveLength(101);
    expect(order(log)[0]).toBe(1);
  });
});

test("what is no event is not read", () => {
  for (const value of [null, 1, {}, { seq: 1, kind: "message", payload: 5, actor: "x" }]) expect(readEvent(value)).toBeNull();
  expect(readEvent({ seq: 1, kind: "message", payload: { text: "x" }, actor: "a", occurred_at: 5 })?.occurredAtMillis).toBe(5);
});

test("every kind has a sentence", () => {
  expect(describe(event(1, "status", { entity: "order", id: "7", status: "late", note: "snow" }))).toBe("order 7 is late: snow");
  expect(describe(event(1, "assignment", { order: "7", state: "assigned" }))).toBe("Order 7 assigned");
  expect(describe(event(1, "emergency", { emergency: "medical" }))).toBe("Emergency medical raised");
});
