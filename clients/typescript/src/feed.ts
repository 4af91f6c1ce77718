import { Emitter } from './emitter.js';
import type { TidewireError } from './error.js';
import type { Route } from './route.js';
import type { Session } from './session.js';
import type { RouteState } from './state.js';

/** What everything that goes on tells its listeners. */
export interface FeedEvents {
  state: RouteState;
  /** It is over; without an error when the application has ended it. */
  ended: TidewireError | undefined;
}

/** Who is told what happens to a route. */
export interface FeedOwner<Opened> {
  opened(opened: Opened): void;
  /** Something can be taken. */
  arrived(): void;
  ended(error: TidewireError): void;
}

/** What a subscription, a watch and a consumer have in common: they go on over cuts, and can be iterated over. */
export abstract class Feed<Opened, Events extends FeedEvents> extends Emitter<Events> {
  readonly #session: Session;
  readonly #ready: Promise<Opened>;
  #route!: Route;
  #waiters: (() => void)[] = [];
  #state: RouteState = 'opening';
  #error: TidewireError | undefined;
  /** @internal */
  protected owner!: FeedOwner<Opened>;

  /** @internal */
  constructor(session: Session) {
    super();
    this.#session = session;
    this.#ready = new Promise((resolve, reject) => {
      this.owner = {
        opened: (opened) => {
          this.#setState('running');
          resolve(opened);
        },
        arrived: () => this.arrived(),
        ended: (error) => {
          reject(error);
          this.#end(error.code === 'client_closed' ? undefined : error);
        },
      };
    });
    // Whoever awaits it hears of a failure; nobody has to.
    this.#ready.catch(() => {});
  }

  /** Where it stands. While the connection is lost it stays `running`, and goes on with the next one. */
  get state(): RouteState {
    return this.#state;
  }

  /** Why the server has ended it. */
  get error(): TidewireError | undefined {
    return this.#error;
  }

  /** Resolves when the server has accepted it, or rejects with why it has not. */
  ready(): Promise<Opened> {
    return this.#ready;
  }

  /** Ends it, here and on the server. What was not taken is dropped. */
  close(): void {
    this.#session.stop(this.#route);
    this.clear();
    this.#end(undefined);
  }

  /** @internal */
  protected start(route: Route): void {
    this.#route = route;
    this.#session.start(route);
  }

  /** @internal Drops what was not taken. */
  protected abstract clear(): void;

  /** @internal Something can be taken. */
  protected arrived(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** @internal Iterates over what `pull` takes; leaving the loop ends the feed, and one that the server ends throws. */
  protected iterate<T>(pull: () => T | undefined): AsyncIterableIterator<T> {
    const next = async (): Promise<IteratorResult<T>> => {
      for (;;) {
        const value = pull();
        if (value !== undefined) return { value, done: false };
        if (this.#error) throw this.#error;
        if (this.#state === 'ended') return { value, done: true };
        await new Promise<void>((wake) => this.#waiters.push(wake));
      }
    };
    const iterator: AsyncIterableIterator<T> = {
      next,
      return: async () => {
        this.close();
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
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
    this.arrived();
  }
}
