/** Servers whose failures are remembered, at most. */
const SERVERS_MAX = 128;
/** The longest time in which a server is not tried. */
const PAUSE_MS_MAX = 600_000;

interface Failure {
  readonly reason: string;
  readonly until: number;
  readonly pauseMs: number;
}

/** Servers that WebTransport does not reach: each is left alone for a while, twice as long after each failure. */
export class Failures {
  readonly #firstPauseMs: number;
  readonly #failures = new Map<string, Failure>();

  constructor(firstPauseMs: number) {
    this.#firstPauseMs = firstPauseMs;
  }

  /** Why a server is not tried now. */
  reason(server: string, nowMs: number): string | undefined {
    const failure = this.#failures.get(server);
    if (!failure || nowMs >= failure.until) return undefined;
    return `${failure.reason} (tried again after ${Math.ceil((failure.until - nowMs) / 1_000)} s)`;
  }

  note(server: string, reason: string, nowMs: number): void {
    const before = this.#failures.get(server);
    const pauseMs = Math.min(before ? before.pauseMs * 2 : this.#firstPauseMs, PAUSE_MS_MAX);
    // The newest stands last, so that the one that failed longest ago makes room.
    this.#failures.delete(server);
    this.#failures.set(server, { reason, until: nowMs + pauseMs, pauseMs });
    if (this.#failures.size > SERVERS_MAX) this.#failures.delete(this.#failures.keys().next().value!);
  }

  forget(server: string): void {
    this.#failures.delete(server);
  }
}
