/** Which vehicles the list shows, and in which order. */

import { MOTIONS, motionOf, type Fleet, type Motion } from "./fleet";

export type Order = "name" | "age" | "speed";

/** Names that contain every word of `search`, of the given motions; equal ones stay in the order of names. */
export function choose(
  fleet: Fleet,
  search: string,
  motions: ReadonlySet<Motion>,
  order: Order,
  nowMillis: number,
): readonly string[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  let names = fleet.names();
  if (words.length > 0) {
    names = names.filter((name) => {
      const lower = name.toLowerCase();
      return words.every((word) => lower.includes(word));
    });
  }
  if (motions.size < MOTIONS.length) {
    names = names.filter((name) => {
      const position = fleet.get(name);
      return position !== undefined && motions.has(motionOf(position, nowMillis));
    });
  }
  if (order === "name") return names;
  const rank = (name: string): number => {
    const position = fleet.get(name);
    if (position === undefined) return Number.NEGATIVE_INFINITY;
    if (order === "age") return position.fixedAtMillis;
    // A speed from an hour ago is not the fastest of the present.
    return motionOf(position, nowMillis) === "moving" ? (position.speedMps ?? 0) : -1;
  };
  return names.map((name) => ({ name, rank: rank(name) })).sort((left, right) => right.rank - left.rank).map(({ name }) => name);
}
