/**
 * What happens beside movement: emergencies, messages, changes of status.
 *
 * Events come in order and may come twice. An emergency is open until somebody at dispatch has acknowledged, resolved or dismissed it; a
 * driver who takes it back does not close it.
 */

import { finite, isRecord } from "./position";

export interface FleetEvent {
  readonly seq: number;
  readonly kind: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly actor: string;
  readonly occurredAtMillis: number;
}

export interface ShownEvent {
  readonly event: FleetEvent;
  /** An emergency that waits for somebody to take it. */
  readonly isOpen: boolean;
}

const KEPT = 100;
const CLOSING: ReadonlySet<unknown> = new Set(["acknowledged", "resolved", "false_alarm"]);

export function readEvent(value: unknown): FleetEvent | null {
  if (!isRecord(value)) return null;
  const { kind, payload, actor } = value;
  const seq = finite(value["seq"]);
  if (seq === null || typeof kind !== "string" || !isRecord(payload) || typeof actor !== "string") return null;
  return { seq, kind, payload, actor, occurredAtMillis: finite(value["occurred_at"]) ?? 0 };
}

export class EventLog {
  private readonly events = new Map<number, FleetEvent>();
  private readonly open = new Set<number>();

  take(event: FleetEvent): void {
    if (this.events.has(event.seq)) return;
    this.events.set(event.seq, event);
    if (event.kind === "emergency") this.takeEmergency(event);
    const surplus = [...this.events.keys()].filter((seq) => !this.open.has(seq)).slice(0, -KEPT);
    for (const seq of surplus) this.events.delete(seq);
  }

  clear(): void {
    this.events.clear();
    this.open.clear();
  }

  /** Open emergencies first, then the rest; the newest first in both. */
  shown(): ShownEvent[] {
    const newestFirst = [...this.events.values()].sort((one, other) => other.seq - one.seq);
    const shown = newestFirst.map((event) => ({ event, isOpen: this.open.has(event.seq) }));
    return [...shown.filter(({ isOpen }) => isOpen), ...shown.filter(({ isOpen }) => !isOpen)];
  }

  private takeEmergency({ seq, payload }: FleetEvent): void {
    const raised = finite(payload["of"]);
    if (raised === null) this.open.add(seq);
    else if (CLOSING.has(payload["state"])) this.open.delete(raised);
  }
}

/** An event in a sentence, for people. */
export function describe({ kind, payload }: FleetEvent): string {
  const text = (name: string): string => (typeof payload[name] === "string" ? payload[name] : "");
  const note = text("note") === "" ? "" : `: ${text("note")}`;
  switch (kind) {
    case "emergency":
      return `Emergency ${text("emergency")} ${(text("state") || "raised").replaceAll("_", " ")}${note}`;
    case "message":
      return text("text");
    case "status":
      return `${text("entity")} ${text("id")} is ${text("status")}${note}`;
    case "assignment":
      return `Order ${text("order")} ${text("state")}${note}`;
    default:
      return kind;
  }
}
