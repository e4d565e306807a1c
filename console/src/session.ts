/**
 * Keeps the session's cookie fresh while the page is open.
 *
 * A session lives for minutes only; it is renewed when two thirds of what was left are over. A server that cannot be reached is asked
 * again, a refusal ends the session.
 */

import { Problem, renewSession, type Session } from "./api";
import { serverNowMillis } from "./clock";

const RETRY_MILLIS = 15_000;
const SOONEST_MILLIS = 5_000;
// setTimeout fires at once beyond 2^31 ms; no session needs a longer look ahead.
const LATEST_MILLIS = 24 * 3_600_000;

/** When to renew a session that ends at `expiresAtMillis`; a session that names no end is looked at once an hour. */
export function renewalDelayMillis(expiresAtMillis: number | null, nowMillis: number): number {
  if (expiresAtMillis === null) return 3_600_000;
  return Math.min(LATEST_MILLIS, Math.max(SOONEST_MILLIS, ((expiresAtMillis - nowMillis) * 2) / 3));
}

export class SessionKeeper {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private dueAtMillis = Number.POSITIVE_INFINITY;

  constructor(private readonly onOver: () => void) {}

  keep(session: Session): void {
    this.schedule(renewalDelayMillis(session.expiresAtMillis, serverNowMillis()));
  }

  stop(): void {
    clearTimeout(this.timer);
    this.dueAtMillis = Number.POSITIVE_INFINITY;
  }

  /** Timers of a hidden page or a sleeping computer fire late: to be called when the page is looked at again. */
  wake(): void {
    if (Date.now() >= this.dueAtMillis) void this.renew();
  }

  private schedule(delayMillis: number): void {
    clearTimeout(this.timer);
    this.dueAtMillis = Date.now() + delayMillis;
    this.timer = setTimeout(() => void this.renew(), delayMillis);
  }

  private async renew(): Promise<void> {
    this.schedule(RETRY_MILLIS);
    try {
      const session = await renewSession();
      if (this.dueAtMillis !== Number.POSITIVE_INFINITY) this.keep(session);
    } catch (error) {
      if (!(error instanceof Problem) || (error.status !== 401 && error.status !== 403)) return;
      this.stop();
      this.onOver();
    }
  }
}
