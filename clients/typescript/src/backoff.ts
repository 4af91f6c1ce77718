/**
 * Delays with full jitter: the n-th one in a row is drawn between the shortest and `shortest * 2^n`, at most the
 * longest, so that the clients of a server that restarts do not come back all at once.
 */
export class Backoff {
  readonly #shortestMs: number;
  readonly #longestMs: number;
  readonly #random: () => number;
  #attempt = 0;
  #hasHurried = false;

  constructor(shortestMs: number, longestMs: number, random: () => number) {
    this.#shortestMs = shortestMs;
    this.#longestMs = Math.max(longestMs, shortestMs);
    this.#random = random;
  }

  next(): number {
    this.#attempt = Math.min(this.#attempt + 1, 16);
    const ceiling = Math.min(this.#shortestMs * 2 ** this.#attempt, this.#longestMs);
    return this.#shortestMs + (ceiling - this.#shortestMs) * this.#random();
  }

  /** The first delay where there are other servers than the one that was lost: short, but once in a row. */
  hurry(): number {
    if (this.#hasHurried) return this.next();
    this.#hasHurried = true;
    return this.#shortestMs * this.#random();
  }

  /** A connection has held: the next delay is a short one again. */
  reset(): void {
    this.#attempt = 0;
    this.#hasHurried = false;
  }
}
