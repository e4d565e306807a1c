/** The legend: what each colour means, how many there are, and a switch that hides the others on the map and in the list. */

import type { MotionCounts } from "./features";
import { MOTIONS, type Motion } from "./fleet";
import { formatCount } from "./format";
import { byId, setText } from "./page";

const WORDS: Record<Motion, [word: string, meaning: string]> = {
  moving: ["Moving", "faster than walking pace"],
  standing: ["Standing", "newest fix within 2 minutes"],
  stale: ["Stale", "no fix for more than 2 minutes"],
  silent: ["Silent", "no fix for more than 10 minutes"],
};

export function motionWord(motion: Motion): string {
  return WORDS[motion][0];
}

export class Legend {
  private readonly chosen = new Set<Motion>(MOTIONS);
  private readonly buttons = new Map<Motion, HTMLButtonElement>();

  constructor(private readonly onChange: (motions: ReadonlySet<Motion>) => void) {
    for (const motion of MOTIONS) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset["motion"] = motion;
      button.title = `${WORDS[motion][0]}: ${WORDS[motion][1]}`;
      const mark = document.createElement("i");
      mark.className = `mark ${motion}`;
      const count = document.createElement("b");
      const word = document.createElement("span");
      word.textContent = WORDS[motion][0];
      button.append(mark, count, word);
      button.addEventListener("click", () => this.toggle(motion));
      this.buttons.set(motion, button);
    }
    byId("legend", HTMLElement).append(...this.buttons.values());
    this.show();
  }

  get motions(): ReadonlySet<Motion> {
    return this.chosen;
  }

  setCounts(counts: MotionCounts): void {
    for (const [motion, button] of this.buttons) {
      const count = button.querySelector("b");
      if (count !== null) setText(count, formatCount(counts[motion]));
    }
  }

  /** The first click asks for this kind alone; further ones add and take away; taking the last away shows all. */
  private toggle(motion: Motion): void {
    if (this.chosen.size === MOTIONS.length) {
      this.chosen.clear();
      this.chosen.add(motion);
    } else if (!this.chosen.delete(motion)) {
      this.chosen.add(motion);
    }
    if (this.chosen.size === 0) for (const each of MOTIONS) this.chosen.add(each);
    this.show();
    this.onChange(this.chosen);
  }

  private show(): void {
    const all = this.chosen.size === MOTIONS.length;
    for (const [motion, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(!all && this.chosen.has(motion)));
      button.classList.toggle("left-out", !this.chosen.has(motion));
    }
  }
}
