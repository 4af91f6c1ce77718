import type { Clock } from './clock.js';
import { TidewireError } from './error.js';
import { TOKEN_LEAD_MS_MAX, TOKEN_RETRY_MS } from './limits.js';
import type { Identity } from './link.js';
import type { TokenSource } from './options.js';


/** Holds the newest token and gets another one in time. */
export class Token {
  readonly #source: TokenSource | undefined;
  readonly #clock: Clock;
  readonly #refresh: (token: string) => Promise<Identity | undefined>;
  readonly #failed: (error: TidewireError) => void;
  #current: string | null;
  /** Whether the server has taken the token that is held. */
  #isProven = false;
  #timer: unknown;

  /** `refresh` shows the server a new token; `failed` is told when none was to be had. */
  constructor(
    source: TokenSource | undefined,
    clock: Clock,
    refresh: (token: string) => Promise<Identity | undefined>,
    failed: (error: TidewireError) => void,
  ) {
    this.#source = source;
    this.#clock = clock;
    this.#refresh = refresh;
    this.#failed = failed;
    this.#current = typeof source === 'string' ? source : null;
  }

  /** The token for the next connection. */
  async newest(): Promise<string | null> {
    if (this.#current === null && typeof this.#source === 'function') await this.#fetch();
    return this.#current;
  }

  /** The server does not take the token. Whether another one may do: not if this one was just made. */
  refused(): boolean {
    if (typeof this.#source !== 'function') return false;
    const mayTryAgain = this.#isProven;
    this.#current = null;
    this.#isProven = false;
    return mayTryAgain;
  }

  /** The server has taken the token. `serverMs`: its time now, since the clocks of both may differ. */
  accepted(identity: Identity | undefined, serverMs: number): void {
    this.#isProven = true;
    this.stop();
    if (identity?.expiresAtMs === undefined || typeof this.#source !== 'function') return;
    const leftMs = identity.expiresAtMs - serverMs;
    this.#schedule(Math.max(leftMs - Math.min(leftMs / 5, TOKEN_LEAD_MS_MAX), 0), serverMs);
  }

  /** Shows the server a token that the application has got. */
  async show(token: string): Promise<Identity | undefined> {
    const identity = await this.#refresh(token);
    this.#current = token;
    return identity;
  }

  /** Refreshes no more, until a token is accepted again. */
  stop(): void {
    this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  #schedule(delayMs: number, serverMs: number): void {
    const timer = (this.#timer = this.#clock.setTimer(() => void this.#renew(timer, serverMs + delayMs), delayMs));
  }

  async #renew(timer: unknown, serverMs: number): Promise<void> {
    try {
      // If there is none, the old one holds until it expires.
      await this.#fetch();
      const identity = await this.#refresh(this.#current!);
      if (this.#timer === timer) this.accepted(identity, serverMs);
    } catch (error) {
      this.#failed(error as TidewireError);
      if (this.#timer === timer && (error as TidewireError).retryable) this.#schedule(TOKEN_RETRY_MS, serverMs);
    }
  }

  async #fetch(): Promise<void> {
    let token: string;
    try {
      token = await (this.#source as () => string | Promise<string>)();
    } catch (error) {
      throw new TidewireError('token_failed', `the token callback failed: ${(error as Error).message ?? error}`);
    }
    this.#current = token;
    this.#isProven = false;
  }
}
