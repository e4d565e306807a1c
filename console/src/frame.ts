/**
 * Frames of the dispatcher's socket: text in, a checked union out.
 *
 * A frame of an unknown type is no error: the server may learn new types before this page does. Such a frame reads as null, as does
 * text that is no JSON. A position that cannot be read is left out; the others of its frame count.
 */

import { readEvent, type FleetEvent } from "./events";
import { isRecord, finite, readPosition, type Position } from "./position";

/** How positions may be written, best first; the server grants one of them. */
export const SUBPROTOCOLS = ["fleetwire.v1.rows", "fleetwire.v1.json"];

export type Frame =
  | {
      readonly type: "snapshot";
      readonly epoch: string;
      readonly seq: number;
      readonly positions: Position[];
      /** The rest comes in the next message. */
      readonly more: boolean;
    }
  | {
      readonly type: "moved";
      readonly seq: number;
      readonly positions: Position[];
      /** Vehicles that are not watched any more. */
      readonly left: string[];
      readonly more: boolean;
    }
  | { readonly type: "resync"; readonly epoch: string | null }
  | { readonly type: "event"; readonly event: FleetEvent }
  | { readonly type: "heartbeat" }
  | { readonly type: "error"; readonly code: string; readonly detail: string };

export function readFrame(text: string): Frame | null {
  const value = parse(text);
  if (!isRecord(value)) return null;
  switch (value["type"]) {
    case "snapshot":
      return {
        type: "snapshot",
        epoch: String(value["epoch"] ?? ""),
        seq: finite(value["seq"]) ?? 0,
        positions: readPositions(value["positions"], value["columns"]),
        more: value["more"] === true,
      };
    case "moved":
      return {
        type: "moved",
        seq: finite(value["seq"]) ?? 0,
        positions: readPositions(value["positions"], value["columns"]),
        left: readNames(value["left"]),
        more: value["more"] === true,
      };
    case "resync":
      return { type: "resync", epoch: typeof value["epoch"] === "string" ? value["epoch"] : null };
    case "event": {
      const event = readEvent(value);
      return event === null ? null : { type: "event", event };
    }
    case "heartbeat":
      return { type: "heartbeat" };
    case "error":
      return { type: "error", code: String(value["code"] ?? "unknown"), detail: String(value["detail"] ?? "") };
    default:
      return null;
  }
}

/** With columns, each position is a row of values in their order, which may end early; else an object. */
function readPositions(value: unknown, columns: unknown): Position[] {
  if (!Array.isArray(value)) return [];
  const objects = Array.isArray(columns) ? value.map((row) => readRow(row, columns)) : value;
  return objects.map(readPosition).filter((position) => position !== null);
}

function readRow(row: unknown, columns: unknown[]): unknown {
  return Array.isArray(row) ? Object.fromEntries(columns.map((name, at) => [name, row[at]])) : null;
}

function readNames(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((name): name is string => typeof name === "string") : [];
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
