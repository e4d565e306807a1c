/**
 * A vehicle's newest position, as the page holds it.
 *
 * The wire has the W3C Geolocation names; here every unit is in the name. A member that the sender did not give is null, so that a
 * missing speed is never shown as a speed of zero.
 */

export interface Position {
  readonly device: string;
  /** The device's clock, ms since 1970. */
  readonly fixedAtMillis: number;
  readonly latDeg: number;
  readonly lonDeg: number;
  readonly accuracyMetres: number | null;
  readonly altitudeMetres: number | null;
  /** Clockwise from north, 0 to below 360. */
  readonly headingDeg: number | null;
  readonly speedMps: number | null;
  /** 0 to 1. */
  readonly battery: number | null;
}

/** Reads one position of a frame. Answers null when a required member is missing or no finite number. */
export function readPosition(value: unknown): Position | null {
  if (!isRecord(value)) return null;
  const { device } = value;
  const fixedAtMillis = finite(value["timestamp"]);
  const latDeg = finite(value["latitude"]);
  const lonDeg = finite(value["longitude"]);
  if (typeof device !== "string" || fixedAtMillis === null || latDeg === null || lonDeg === null) return null;
  const headingDeg = finite(value["heading"]);
  return {
    device,
    fixedAtMillis,
    latDeg,
    lonDeg,
    accuracyMetres: finite(value["accuracy"]),
    altitudeMetres: finite(value["altitude"]),
    headingDeg: headingDeg === null ? null : ((headingDeg % 360) + 360) % 360,
    speedMps: finite(value["speed"]),
    battery: finite(value["battery"]),
  };
}

/** True for an object whose members can be looked at; arrays are not. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value where it is a finite number, else null. */
export function finite(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
