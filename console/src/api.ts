/**
 * The server's HTTP interface, as far as the page uses it.
 *
 * The session is an HttpOnly cookie: the page never sees, keeps or sends a token. Every refusal becomes a `Problem` with the server's
 * stable code; a server that cannot be reached becomes a `Problem` with code `unreachable` and status 0.
 */

import { observeServerDate } from "./clock";
import type { FleetEvent } from "./events";
import { finite, isRecord } from "./position";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

export interface Session {
  readonly user: string;
  readonly role: string;
  readonly tenant: string;
  readonly expiresAtMillis: number | null;
}

export interface ConsoleSettings {
  /** Address of a MapLibre style that the operator set; null: the bundled world outline. */
  readonly mapStyle: string | null;
  /** Address of GeoJSON lines to draw beneath the vehicles. */
  readonly overlay: string | null;
  readonly version: string;
}

export async function logIn(tenant: string, user: string, password: string): Promise<Session> {
  return readSession(await request("/api/login", { method: "POST", body: JSON.stringify({ tenant, user, password }) }));
}

export async function renewSession(): Promise<Session> {
  return readSession(await request("/api/session/renew", { method: "POST" }));
}

export async function logOut(): Promise<void> {
  await request("/api/logout", { method: "POST" });
}

export async function changePassword(oldPassword: string, newPassword: string): Promise<void> {
  const form = { old_password: oldPassword, new_password: newPassword };
  await request("/api/password", { method: "POST", body: JSON.stringify(form) });
}

/** The session of the cookie, or null when there is none that holds. */
export async function currentSession(): Promise<Session | null> {
  try {
    return readSession(await request("/api/session"));
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return null;
    throw error;
  }
}

export async function consoleSettings(): Promise<ConsoleSettings> {
  const body = await request("/api/console");
  const member = (name: string): string | null => {
    const value = isRecord(body) ? body[name] : null;
    return typeof value === "string" && value !== "" ? value : null;
  };
  return { mapStyle: member("map_style"), overlay: member("overlay"), version: member("version") ?? "" };
}

/** A device's fixes in [from, to] as a GeoJSON FeatureCollection; times in ms since 1970. */
export async function fetchTrack(device: string, from: number, to: number, signal: AbortSignal): Promise<unknown> {
  const query = new URLSearchParams({ from: String(from), to: String(to), format: "geojson" });
  return request(`/api/devices/${encodeURIComponent(device)}/track?${query.toString()}`, { signal });
}

/** Any JSON of this server; used for the overlay, whose address the server names. */
export async function request(address: string, init: RequestInit = {}): Promise<unknown> {
  const headers = new Headers(init.headers);
  headers.set("Accept", "application/json");
  if (init.body !== undefined && init.body !== null) headers.set("Content-Type", "application/json");
  let response: Response;
  try {
    response = await fetch(address, { ...init, headers, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The server cannot be reached.");
  }
  observeServerDate(response.headers.get("Date"));
  const body = await jsonOf(response);
  if (!response.ok) throw problemOf(response.status, body);
  return body;
}

/** The number of the newest event; refused with 403 to those who may not hear events. */
export async function newestEvent(): Promise<number> {
  const page = await request("/api/events?room=dispatch&limit=1");
  return (isRecord(page) ? finite(page["newest"]) : null) ?? 0;
}

/** Says that somebody has taken an emergency; may be sent again. */
export async function acknowledge(event: FleetEvent): Promise<void> {
  const { emergency } = event.payload;
  const payload = { emergency, state: "acknowledged", of: event.seq };
  const form = { room: "dispatch", kind: "emergency", payload, client_id: `acknowledged-${event.seq}` };
  await request("/api/events", { method: "POST", body: JSON.stringify(form) });
}

function problemOf(status: number, body: unknown): Problem {
  const code = isRecord(body) && typeof body["code"] === "string" ? body["code"] : `http_${status}`;
  const detail = isRecord(body) && typeof body["detail"] === "string" ? body["detail"] : `The server answered ${status}.`;
  return new Problem(status, code, detail);
}

/** The body as JSON; null when it is empty or none, as behind a proxy that answers with a page of its own. */
async function jsonOf(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    return null;
  }
}

function readSession(body: unknown): Session {
  const member = (name: string): string => {
    const value = isRecord(body) ? body[name] : undefined;
    return typeof value === "string" ? value : "";
  };
  return {
    user: member("user"),
    role: member("role"),
    tenant: member("tenant"),
    expiresAtMillis: isRecord(body) ? finite(body["expires_at"]) : null,
  };
}
