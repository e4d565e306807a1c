/** The panel of the picked vehicle: its numbers, its age counting up, its track's length and speed. */

import { drawChart } from "./chart";
import { motionOf } from "./fleet";
import * as format from "./format";
import type { HistoryView } from "./history";
import { motionWord } from "./legend";
import { byId, setText } from "./page";
import type { Position } from "./position";
import { trackMetres } from "./track";

const HOURS = [1, 3, 12] as const;
const USUAL_HOURS = 3;

export interface DetailActions {
  onClose(): void;
  onHours(hours: number): void;
  onCentre(): void;
  onFollow(follows: boolean): void;
}

const VALUES: readonly [label: string, read: (position: Position) => string][] = [
  ["Speed", ({ speedMps }) => format.formatSpeed(speedMps)],
  ["Heading", ({ headingDeg }) => format.formatHeading(headingDeg)],
  ["Altitude", ({ altitudeMetres }) => format.formatMetres(altitudeMetres)],
  ["Battery", ({ battery }) => format.formatBattery(battery)],
  ["Position", ({ latDeg, lonDeg }) => format.formatPlace(latDeg, lonDeg)],
  ["Accuracy", ({ accuracyMetres }) => format.formatAccuracy(accuracyMetres)],
];

export class Detail {
  hours: number = USUAL_HOURS;
  readonly section = byId("detail", HTMLElement);
  private readonly title = byId("detail-name", HTMLElement);
  private readonly motion = byId("detail-motion", HTMLElement);
  private readonly fix = byId("detail-fix", HTMLElement);
  private readonly summary = byId("track-summary", HTMLElement);
  private readonly followButton = byId("follow", HTMLButtonElement);
  private readonly cells: HTMLElement[] = [];

  constructor(private readonly actions: DetailActions) {
    const values = byId("detail-values", HTMLElement);
    for (const [label] of VALUES) {
      const term = document.createElement("dt");
      term.textContent = label;
      const cell = document.createElement("dd");
      const pair = document.createElement("div");
      pair.append(term, cell);
      values.append(pair);
      this.cells.push(cell);
    }
    this.addHours();
    byId("detail-close", HTMLButtonElement).addEventListener("click", () => actions.onClose());
    byId("centre", HTMLButtonElement).addEventListener("click", () => actions.onCentre());
    this.followButton.addEventListener("click", () => {
      this.setFollows(this.followButton.ariaPressed !== "true");
      actions.onFollow(this.followButton.ariaPressed === "true");
    });
  }

  /** Opens the panel; the name gets the focus, so that a screen reader begins with it. */
  open(device: string): void {
    this.section.hidden = false;
    this.section.dataset["device"] = device;
    setText(this.title, device);
    this.section.scrollTop = 0;
    this.title.focus({ preventScroll: true });
  }

  close(): void {
    this.section.hidden = true;
    this.setFollows(false);
  }

  setFollows(follows: boolean): void {
    this.followButton.ariaPressed = String(follows);
  }

  showPosition(position: Position | undefined, nowMillis: number): void {
    if (position === undefined) {
      setText(this.fix, "This vehicle is no longer in the fleet.");
      return;
    }
    const motion = motionOf(position, nowMillis);
    setText(this.motion, motionWord(motion));
    this.motion.dataset["motion"] = motion;
    const moment = format.formatMoment(position.fixedAtMillis, nowMillis);
    setText(this.fix, `Fix of ${moment}, ${format.formatAge(nowMillis - position.fixedAtMillis)} ago`);
    VALUES.forEach(([, read], index) => {
      const cell = this.cells[index];
      if (cell !== undefined) setText(cell, read(position));
    });
  }

  showHistory({ state, points, fromMillis, toMillis, detail }: HistoryView): void {
    const within = points.filter(({ atMillis }) => atMillis >= fromMillis);
    drawChart(within, fromMillis, toMillis, `${this.hours}\u202fh`);
    this.summary.dataset["state"] = state;
    if (state === "loading") return setText(this.summary, "Loading the track\u2026");
    if (state === "failed") return setText(this.summary, detail);
    if (within.length === 0) return setText(this.summary, `No fix in the last ${this.hours}\u202fh.`);
    setText(
      this.summary,
      `${format.formatKilometres(trackMetres(within))} in ${format.formatCount(within.length)} fixes`,
    );
  }

  private addHours(): void {
    const group = byId("track-hours", HTMLElement);
    for (const hours of HOURS) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "radio";
      input.name = "track-hours";
      input.value = String(hours);
      input.checked = hours === USUAL_HOURS;
      input.addEventListener("change", () => {
        this.hours = hours;
        this.actions.onHours(hours);
      });
      const text = document.createElement("span");
      text.textContent = `${hours}\u202fh`;
      label.append(input, text);
      group.append(label);
    }
  }
}
