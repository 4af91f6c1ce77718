import type { Clock } from './clock.js';
import { PROBE_MS } from './limits.js';


/** Asks a quiet server for a sign of life, and says when it gives none. */
export class Heartbeat {
  readonly #clock: Clock;
  readonly #ping: () => void;
  readonly #dead: (silentMs: number) => void;
  #beatMs = 0;
  #heard = 0;
  #timer: unknown;
  #probe: unknown;

  constructor(clock: Clock, ping: () => void, dead: (silentMs: number) => void) {
    this.#clock = clock;
    this.#ping = ping;
    this.#dead = dead;
  }

  begin(beatMs: number): void {
    this.end();
    this.#beatMs = beatMs;
    this.#heard = this.#clock.now();
    this.#schedule();
  }

  heard(): void {
    this.#heard = this.#clock.now();
  }

  end(): void {
    this.#clock.clearTimer(this.#timer);
    this.#clock.clearTimer(this.#probe);
    this.#timer = this.#probe = undefined;
  }

  /** Asks at once, and does not wait long. */
  probe(): void {
    if (this.#timer === undefined || this.#probe !== undefined) return;
    const asked = this.#clock.now();
    this.#ping();
    this.#probe = this.#clock.setTimer(() => {
      this.#probe = undefined;
      if (this.#heard < asked) this.#dead(this.#clock.now() - this.#heard);
    }, PROBE_MS);
  }

  #schedule(): void {
    const silentMs = this.#clock.now() - this.#heard;
    this.#timer = this.#clock.setTimer(() => this.#look(), this.#beatMs - (silentMs % this.#beatMs));
  }

  #look(): void {
    const silentMs = this.#clock.now() - this.#heard;
    if (silentMs >= this.#beatMs * 3) return this.#dead(silentMs);
    if (silentMs >= this.#beatMs) this.#ping();
    this.#schedule();
  }
}
