import { Emitter } from './emitter.js';
import type { TidewireError } from './error.js';
import type { Session } from './session.js';
import type { RouteState } from './state.js';
import { WatchSlot, type CellReader, type Update } from './watch-slot.js';

/** A version of a watched cell. */
export interface WatchUpdate<T> extends Update {
  readonly value: T;
}

/** What a watch tells its listeners. */
export interface WatchEvents<T> {
  /** A newer version. */
  value: WatchUpdate<T>;
  state: RouteState;
  /** It is over; without an error when the application has ended it. */
  ended: TidewireError | undefined;
}

/** How a cell is watched. */
export interface WatchOptions {
  /** At most one update in so long; 0, the default: as fast as the connection takes them. */
  intervalMs?: number;
  /** Maps and presence: only this key. */
  key?: string;
}

/**
 * Follows the newest version of a cell: not every version, since what arrives while the application is busy
 * replaces what it has not taken. Iterate over it, listen to `value`, or look at `current`.
 */
export class Watch<T> extends Emitter<WatchEvents<T>> implements AsyncIterable<WatchUpdate<T>> {
  readonly #session: Session;
  readonly #slot: WatchSlot<T>;
  readonly #waiters: (() => void)[] = [];
  readonly #ready: Promise<void>;
  #state: RouteState = 'opening';
  #error: TidewireError | undefined;
  #hasNews = false;

  /** @internal */
  constructor(session: Session, kind: number, name: string, options: WatchOptions, cell: CellReader<T>) {
    super();
    this.#session = session;
    let opened!: () => void;
    let failed!: (error: TidewireError) => void;
    this.#ready = new Promise((resolve, reject) => {
      opened = resolve;
      failed = reject;
    });
    // Whoever awaits it hears of a failure; nobody has to.
    this.#ready.catch(() => {});
    this.#slot = new WatchSlot(kind, name, options, cell, {
      opened: () => {
        this.#setState('running');
        opened();
      },
      updated: () => this.#updated(),
      ended: (error) => {
        failed(error);
        this.#end(error);
      },
    });
    session.start(this.#slot);
  }

  get state(): RouteState {
    return this.#state;
  }

  /** Why the server has ended it. */
  get error(): TidewireError | undefined {
    return this.#error;
  }

  /** The newest version that has arrived. The same object as long as there is no newer one. */
  get current(): WatchUpdate<T> | undefined {
    return this.#slot.current;
  }

  /** Resolves when the server has accepted the watch, or rejects with why it has not. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** Ends it, here and on the server. */
  unwatch(): void {
    this.#session.stop(this.#slot);
    this.#hasNews = false;
    this.#end(undefined);
  }

  /** The newest versions. Leaving the loop ends the watch; one that the server ends throws. */
  [Symbol.asyncIterator](): AsyncIterator<WatchUpdate<T>> {
    const next = (): Promise<IteratorResult<WatchUpdate<T>>> => {
      if (this.#hasNews) {
        this.#hasNews = false;
        return Promise.resolve({ value: this.#slot.current!, done: false });
      }
      if (this.#state !== 'ended') return new Promise<void>((wake) => this.#waiters.push(wake)).then(next);
      return this.#error ? Promise.reject(this.#error) : Promise.resolve({ value: undefined, done: true });
    };
    const finish = () => {
      this.unwatch();
      return Promise.resolve({ value: undefined, done: true } as const);
    };
    return { next, return: finish };
  }

  #updated(): void {
    this.#hasNews = true;
    if (this.hasListeners('value')) this.emit('value', this.#slot.current!);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #setState(state: RouteState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', state);
  }

  #end(error: TidewireError | undefined): void {
    if (this.#state === 'ended') return;
    this.#error = error;
    this.#setState('ended');
    this.emit('ended', error);
    this.#wake();
  }
}
