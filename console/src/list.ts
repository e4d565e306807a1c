/**
 * The list of vehicles. Only the rows in view are in the page, whatever the fleet's size; they are reused while scrolling.
 *
 * It is a listbox: arrow keys move the active row, Enter picks it, and a screen reader hears the row's place among all.
 */

import type { Fleet, Motion } from "./fleet";
import { motionOf } from "./fleet";
import { formatCount, formatShortAge, formatSpeed } from "./format";
import { motionWord } from "./legend";
import { byId, setText } from "./page";
import { choose, type Order } from "./selection";

export const NO_VEHICLE = "No vehicle has reported yet. It appears here with its first fix.";

// Must agree with --row-height in panel.css.
const ROW_PIXELS = 40;
const ROWS_BEYOND_VIEW = 4;

interface Row {
  readonly element: HTMLElement;
  readonly mark: HTMLElement;
  readonly name: HTMLElement;
  readonly speed: HTMLElement;
  readonly age: HTMLElement;
}

export class VehicleList {
  private readonly list = byId("list", HTMLElement);
  private readonly holder = byId("list-rows", HTMLElement);
  private readonly count = byId("list-count", HTMLElement);
  private readonly empty = byId("list-empty", HTMLElement);
  private readonly search = byId("search", HTMLInputElement);
  private readonly sort = byId("sort", HTMLSelectElement);
  private readonly rows: Row[] = [];
  private names: readonly string[] = [];
  private active = -1;
  private picked: string | null = null;
  private nowMillis = 0;

  constructor(
    private readonly fleet: Fleet,
    private readonly motions: () => ReadonlySet<Motion>,
    private readonly onPick: (device: string) => void,
  ) {
    this.list.addEventListener("scroll", () => this.draw(), { passive: true });
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    this.search.addEventListener("input", () => this.reset());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.list.focus();
      if (event.key === "Enter") this.pick(0);
    });
    this.sort.addEventListener("change", () => this.reset());
    new ResizeObserver(() => this.draw()).observe(this.list);
  }

  /** Brings the list up to the fleet; called at most once a second, since rows that jump cannot be read. */
  refresh(nowMillis: number): void {
    this.nowMillis = nowMillis;
    this.names = choose(this.fleet, this.search.value, this.motions(), this.sort.value as Order, nowMillis);
    const shown = this.names.length;
    const total = this.fleet.size;
    setText(this.count, shown === total ? `${formatCount(total)} vehicles` : `${formatCount(shown)} of ${formatCount(total)}`);
    this.empty.hidden = shown > 0;
    this.empty.dataset["reason"] = total === 0 ? "fleet" : "search";
    setText(
      this.empty,
      total === 0
        ? NO_VEHICLE
        : "No vehicle matches. Clear the search or choose another kind.",
    );
    this.holder.style.height = `${shown * ROW_PIXELS}px`;
    this.draw();
  }

  /** After a new search, order or choice of motions: back to the top. */
  reset(): void {
    this.active = -1;
    this.list.scrollTop = 0;
    this.refresh(this.nowMillis);
  }

  setPicked(device: string | null): void {
    this.picked = device;
    this.active = device === null ? this.active : this.names.indexOf(device);
    if (device !== null) this.reveal();
    this.draw();
  }

  private draw(): void {
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW_PIXELS) - ROWS_BEYOND_VIEW);
    const fitting = Math.ceil(this.list.clientHeight / ROW_PIXELS) + 2 * ROWS_BEYOND_VIEW;
    const shown = Math.max(0, Math.min(fitting, this.names.length - first));
    while (this.rows.length < shown) this.rows.push(this.addRow());
    this.rows.forEach((row, offset) => {
      row.element.hidden = offset >= shown;
      if (offset < shown) this.fill(row, first + offset);
    });
    if (this.active >= first && this.active < first + shown) {
      this.list.setAttribute("aria-activedescendant", `row-${this.active}`);
    } else {
      this.list.removeAttribute("aria-activedescendant");
    }
  }

  private fill(row: Row, index: number): void {
    const device = this.names[index] ?? "";
    const position = this.fleet.get(device);
    if (position === undefined) return void (row.element.hidden = true);
    const motion = motionOf(position, this.nowMillis);
    const { element } = row;
    element.id = `row-${index}`;
    element.style.transform = `translateY(${index * ROW_PIXELS}px)`;
    element.dataset["device"] = device;
    element.ariaPosInSet = String(index + 1);
    element.ariaSetSize = String(this.names.length);
    element.ariaSelected = String(device === this.picked);
    element.classList.toggle("active", index === this.active);
    row.mark.className = `mark ${motion}`;
    row.mark.title = motionWord(motion);
    setText(row.name, device);
    setText(row.speed, motion === "moving" ? formatSpeed(position.speedMps) : motionWord(motion));
    setText(row.age, formatShortAge(this.nowMillis - position.fixedAtMillis));
  }

  private addRow(): Row {
    const element = document.createElement("div");
    element.role = "option";
    element.className = "row";
    const [mark, name, speed, age] = ["mark", "name", "speed", "age"].map((className) => {
      const cell = document.createElement("span");
      cell.className = className;
      return cell;
    }) as [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
    element.append(mark, name, speed, age);
    element.addEventListener("click", () => {
      const { device } = element.dataset;
      if (device !== undefined) this.onPick(device);
    });
    this.holder.append(element);
    return { element, mark, name, speed, age };
  }

  private onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.list.clientHeight / ROW_PIXELS) - 1);
    const steps: Record<string, number> = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.names.length, End: this.names.length,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      event.preventDefault();
      this.active = Math.max(0, Math.min(this.names.length - 1, this.active + step));
      this.reveal();
      this.draw();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(this.active);
    }
  }

  private pick(index: number): void {
    const device = this.names[index];
    if (device !== undefined) this.onPick(device);
  }

  private reveal(): void {
    const top = this.active * ROW_PIXELS;
    if (this.active < 0) return;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    const lowest = top + ROW_PIXELS - this.list.clientHeight;
    if (lowest > this.list.scrollTop) this.list.scrollTop = lowest;
  }
}
