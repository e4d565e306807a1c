/** How long the feed waits before it opens a socket again. All times in milliseconds. */

/** WebSocket close codes that the server gives a meaning to. */
export const CLOSE_RESTART = 1012;
export const CLOSE_TRY_LATER = 1013;
export const CLOSE_LOG_IN_AGAIN = 4401;

const FIRST_MILLIS = 500;
const LONGEST_MILLIS = 30_000;
// A restarting server gets its watchers back spread over this span instead of all in one instant.
const RESTART_SPREAD_MILLIS = 3_000;
const TRY_LATER_MILLIS = 5_000;

/**
 * The wait before attempt `attempt + 1`.
 *
 * The ceiling doubles with each failed attempt; the wait lies between half of it and all of it, so that a thousand pages that lost
 * the same server do not come back together.
 *
 * @param attempt failed attempts in a row, from 0
 * @param closeCode what the last socket was closed with
 * @param random 0 up to 1
 */
export function retryDelayMillis(attempt: number, closeCode: number, random: number): number {
  const ceiling = Math.min(LONGEST_MILLIS, FIRST_MILLIS * 2 ** Math.min(attempt, 16));
  const delay = ceiling * (0.5 + random / 2);
  if (closeCode === CLOSE_RESTART) return Math.max(delay, FIRST_MILLIS + random * RESTART_SPREAD_MILLIS);
  if (closeCode === CLOSE_TRY_LATER) return Math.max(delay, TRY_LATER_MILLIS * (1 + random));
  return delay;
}
