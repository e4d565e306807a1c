/**
 * The time as the server has it.
 *
 * Ages decide the colours of the map, and a dispatcher's computer may be minutes off. Every HTTP answer carries the server's time in
 * its `Date` header; a difference beyond what that header's whole seconds and the way can explain is taken off.
 */

const TOLERATED_MILLIS = 5_000;

let aheadMillis = 0;

/** Learns from a `Date` header; null and unreadable ones change nothing. */
export function observeServerDate(header: string | null): void {
  const serverMillis = header === null ? Number.NaN : Date.parse(header);
  if (Number.isNaN(serverMillis)) return;
  const differenceMillis = Date.now() - serverMillis;
  aheadMillis = Math.abs(differenceMillis) > TOLERATED_MILLIS ? differenceMillis : 0;
}

/** Milliseconds since 1970 by the server's clock. */
export function serverNowMillis(): number {
  return Date.now() - aheadMillis;
}
