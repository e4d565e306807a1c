/** The events over the map; hidden as long as there is none. Text goes in as text, never as markup: drivers write it. */

import { describe, type FleetEvent, type ShownEvent } from "./events";
import { byId } from "./page";

const ROWS = 30;

export class EventList {
  private readonly section = byId("events", HTMLElement);
  private readonly rows = byId("event-rows", HTMLElement);

  constructor(private readonly onAcknowledge: (event: FleetEvent) => Promise<void>) {}

  show(events: readonly ShownEvent[]): void {
    this.section.hidden = events.length === 0;
    this.rows.replaceChildren(...events.slice(0, ROWS).map((shown) => this.row(shown)));
  }

  private row({ event, isOpen }: ShownEvent): HTMLElement {
    const row = document.createElement("li");
    row.classList.toggle("open", isOpen);
    const what = document.createElement("span");
    what.textContent = describe(event);
    const who = document.createElement("small");
    who.textContent = `${event.actor} ${new Date(event.occurredAtMillis).toLocaleTimeString()}`;
    row.append(what, who);
    if (isOpen) row.append(this.button(event));
    return row;
  }

  private button(event: FleetEvent): HTMLElement {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Acknowledge";
    button.addEventListener("click", () => {
      button.disabled = true;
      // Taken off by the event that says so; a failure gives the button back.
      void this.onAcknowledge(event).catch(() => (button.disabled = false));
    });
    return button;
  }
}
