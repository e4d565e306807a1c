/** Numbers as a dispatcher reads them. A value that is not known is a dash, never a zero. */

const UNKNOWN = "\u2013";
// A narrow no-break space: the unit stays on the line of its number.
const GAP = "\u202f";
const COMPASS = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"] as const;
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

export function formatSpeed(speedMps: number | null): string {
  return speedMps === null ? UNKNOWN : `${Math.round(speedMps * 3.6)}${GAP}km/h`;
}

export function formatHeading(headingDeg: number | null): string {
  if (headingDeg === null) return UNKNOWN;
  const point = COMPASS[Math.round(headingDeg / 45) % COMPASS.length] ?? "";
  return `${Math.round(headingDeg) % 360}°${GAP}${point}`;
}

export function formatMetres(metres: number | null): string {
  return metres === null ? UNKNOWN : `${Math.round(metres)}${GAP}m`;
}

export function formatAccuracy(metres: number | null): string {
  return metres === null ? UNKNOWN : `±${GAP}${formatMetres(metres)}`;
}

export function formatBattery(battery: number | null): string {
  return battery === null ? UNKNOWN : `${Math.round(battery * 100)}${GAP}%`;
}

/** Degrees to five places: about a metre, which is more than a phone knows. */
export function formatPlace(latDeg: number, lonDeg: number): string {
  return `${latDeg.toFixed(5)}, ${lonDeg.toFixed(5)}`;
}

export function formatKilometres(metres: number): string {
  const kilometres = metres / 1000;
  return `${kilometres < 100 ? kilometres.toFixed(1) : String(Math.round(kilometres))}${GAP}km`;
}

/** At most two units. A fix from a clock slightly ahead has age zero, not a negative one. */
export function formatAge(millis: number): string {
  const secs = Math.max(0, Math.floor(millis / 1000));
  if (secs < 60) return `${secs}${GAP}s`;
  const mins = Math.floor(secs / 60);
  if (mins < 10) return `${mins}${GAP}min ${secs % 60}${GAP}s`;
  if (mins < 60) return `${mins}${GAP}min`;
  const hours = Math.floor(mins / 60);
  if (hours < 24) return `${hours}${GAP}h ${mins % 60}${GAP}min`;
  return `${Math.floor(hours / 24)}${GAP}d ${hours % 24}${GAP}h`;
}

/** One unit, for a narrow column. */
export function formatShortAge(millis: number): string {
  return formatAge(millis).split(" ")[0] ?? UNKNOWN;
}

/** Local time of day; with the day when it is not within the last day. */
export function formatMoment(atMillis: number, nowMillis: number): string {
  return (nowMillis - atMillis < 86_400_000 ? CLOCK : DAY_AND_CLOCK).format(atMillis);
}

export function formatCount(count: number): string {
  return count.toLocaleString("en-GB");
}
