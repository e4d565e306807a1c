import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { currentSession, logIn, Problem } from "../src/api";
import { observeServerDate, serverNowMillis } from "../src/clock";
import { renewalDelayMillis, SessionKeeper } from "../src/session";

const NOW = 1_763_768_400_000;
let answers: (() => Response | Promise<Response>)[];
let asked: string[];

const session = (expiresAtMillis: number): Response =>
  Response.json({ token: "t", user: "anna", role: "dispatcher", tenant: "demo", expires_at: expiresAtMillis });
const refusal = (): Response =>
  Response.json({ code: "token_expired", detail: "The session is over." }, { status: 401 });

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
  answers = [];
  asked = [];
  vi.stubGlobal("fetch", (address: string) => {
    asked.push(address);
    const answer = answers.shift();
    return answer === undefined ? Promise.reject(new TypeError("failed")) : Promise.resolve(answer());
  });
});

afterEach(() => {
  observeServerDate(new Date().toUTCString());
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a session is renewed when two thirds of it are over", async () => {
  let over = 0;
  const keeper = new SessionKeeper(() => (over += 1));
  answers = [() => session(Date.now() + 900_000), () => session(Date.now() + 900_000)];
  keeper.keep({ user: "anna", role: "dispatcher", tenant: "demo", expiresAtMillis: NOW + 900_000 });
  await vi.advanceTimersByTimeAsync(599_000);
  expect(asked).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(asked).toEqual(["/api/session/renew"]);
  await vi.advanceTimersByTimeAsync(600_000);
  expect(asked).toHaveLength(2);
  expect(over).toBe(0);
  keeper.stop();
});

test("an unreachable server is asked again, a refusal ends the session", async () => {
  let over = 0;
  const keeper = new SessionKeeper(() => (over += 1));
  keeper.keep({ user: "anna", role: "dispatcher", tenant: "demo", expiresAtMillis: NOW + 9_000 });
  await vi.advanceTimersByTimeAsync(7_000);
  expect(asked).toHaveLength(1);
  expect(over).toBe(0);
  answers = [refusal];
  await vi.advanceTimersByTimeAsync(16_000);
  expect(over).toBe(1);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(asked).toHaveLength(2);
});

test("the delay has a floor and a ceiling", () => {
  expect(renewalDelayMillis(NOW - 1, NOW)).toBe(5_000);
  expect(renewalDelayMillis(NOW + 1e12, NOW)).toBe(86_400_000);
});

test("no session is null, a broken server is a problem with its code", async () => {
  answers = [refusal];
  expect(await currentSession()).toBeNull();
  answers = [() => Response.json({ code: "overloaded", detail: "Later." }, { status: 503 })];
  await expect(currentSession()).rejects.toMatchObject({ status: 503, code: "overloaded", message: "Later." });
  answers = [() => new Response("<html>", { status: 502 })];
  await expect(logIn("demo", "anna", "x")).rejects.toMatchObject({ code: "http_502" });
  await expect(logIn("demo", "anna", "x")).rejects.toBeInstanceOf(Problem);
});

test("a clock minutes off is corrected by the server's, seconds are not", () => {
  observeServerDate(new Date(NOW - 180_000).toUTCString());
  expect(serverNowMillis()).toBe(NOW - 180_000);
  observeServerDate(new Date(NOW - 2_000).toUTCString());
  expect(serverNowMillis()).toBe(NOW);
  observeServerDate(null);
  observeServerDate("nonsense");
  expect(serverNowMillis()).toBe(NOW);
});
