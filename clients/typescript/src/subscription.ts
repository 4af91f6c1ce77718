import type { Start } from './cursor.js';
import { Emitter } from './emitter.js';
import type { TidewireError } from './error.js';
import { Inbox } from './inbox.js';
import { BodyReader, type TopicRecord } from './record.js';
import type { Session } from './session.js';
import type { RouteState } from './state.js';
import type { Delivery, Gap, Progress, Started, SubscribeOptions, SubscriptionEvent } from './subscription-events.js';

/** What a subscription tells its listeners. */
export interface SubscriptionEvents {
  record: TopicRecord;
  delivery: Delivery;
  gap: Gap;
  progress: Progress;
  started: Started;
  state: RouteState;
  /** It is over; without an error when the application has ended it. */
  ended: TidewireError | undefined;
}

/**
 * The records of a topic, or of all topics that match a pattern. Either iterate over it, or listen to `record` or
 * `delivery`: then records are handed over as they arrive. What is neither read nor listened to waits, within the
 * window; a server that has filled the window sends no more, and delays nothing else.
 */
export class Subscription extends Emitter<SubscriptionEvents> implements AsyncIterable<TopicRecord> {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #waiters: (() => void)[] = [];
  readonly #ready: Promise<Started>;
  #state: RouteState = 'opening';
  #error: TidewireError | undefined;
  #current: { delivery: Delivery; reader: BodyReader; index: number } | undefined;

  /** @internal */
  constructor(session: Session, pattern: string, options: SubscribeOptions) {
    super();
    this.#session = session;
    let failed: (error: TidewireError) => void;
    let started: (started: Started) => void;
    this.#ready = new Promise<Started>((resolve, reject) => {
      started = resolve;
      failed = reject;
    });
    // Whoever awaits it hears of a failure; nobody has to.
    this.#ready.catch(() => {});
    this.#inbox = new Inbox(session, pattern, options.start ?? 'latest', options, {
      arrived: () => this.#arrived(),
      started: (event) => {
        this.#setState('running');
        started(event);
      },
      ended: (error) => {
        failed(error);
        this.#end(error);
      },
    });
    session.start(this.#inbox);
  }

  get state(): RouteState {
    return this.#state;
  }

  /** Why the server has ended it. */
  get error(): TidewireError | undefined {
    return this.#error;
  }

  /** Resolves when the server has said where delivery begins, or rejects with why it does not. */
  ready(): Promise<Started> {
    return this.#ready;
  }

  /** Where a later subscription would go on behind what has arrived. */
  get position(): Start {
    return this.#inbox.position;
  }

  /** Ends it, here and on the server. What was not taken is dropped. */
  unsubscribe(): void {
    this.#session.stop(this.#inbox);
    this.#inbox.clear();
    this.#current = undefined;
    this.#end(undefined);
  }

  override on<Name extends keyof SubscriptionEvents>(name: Name, listener: (event: SubscriptionEvents[Name]) => void): () => void {
    const off = super.on(name, listener);
    if (this.#isFlowing()) this.#arrived();
    return off;
  }

  /** The records. Leaving the loop ends the subscription; one that the server ends throws. Gaps go to listeners. */
  [Symbol.asyncIterator](): AsyncIterator<TopicRecord> {
    return this.#iterate(() => this.#nextRecord());
  }

  /** Everything that happens, records as whole deliveries. Leaving the loop ends the subscription. */
  events(): AsyncIterableIterator<SubscriptionEvent> {
    return this.#iterate(() => this.#take());
  }

  #iterate<T>(pull: () => T | undefined): AsyncIterableIterator<T> {
    const next = (): Promise<IteratorResult<T>> => {
      let value: T | undefined;
      try {
        value = pull();
      } catch (error) {
        return Promise.reject(error);
      }
      if (value !== undefined) return Promise.resolve({ value, done: false });
      if (this.#state !== 'ended') return new Promise<void>((wake) => this.#waiters.push(wake)).then(next);
      return this.#error ? Promise.reject(this.#error) : Promise.resolve({ value: undefined, done: true });
    };
    const finish = () => {
      this.unsubscribe();
      return Promise.resolve({ value: undefined, done: true } as const);
    };
    return { next, return: finish, [Symbol.asyncIterator]: () => this.#iterate(pull) };
  }

  #nextRecord(): TopicRecord | undefined {
    for (;;) {
      const current = this.#current;
      if (current && !current.reader.done) {
        return current.reader.next(current.delivery.offsetOf(current.index++));
      }
      const event = this.#take();
      if (!event) return (this.#current = undefined);
      if (event.type === 'delivery') {
        this.#current = { delivery: event, reader: new BodyReader(event, event.body), index: 0 };
      }
    }
  }

  /** Takes an event; listeners hear of it when it is taken, so in its place among the records. */
  #take(): SubscriptionEvent | undefined {
    const event = this.#inbox.take();
    if (event && this.hasListeners(event.type)) this.emit(event.type, event as never);
    return event;
  }

  #isFlowing(): boolean {
    return this.hasListeners('record') || this.hasListeners('delivery');
  }

  #arrived(): void {
    if (!this.#isFlowing()) return this.#wake();
    for (let event = this.#take(); event; event = this.#take()) {
      if (event.type !== 'delivery' || !this.hasListeners('record')) continue;
      for (const record of event) this.emit('record', record);
    }
  }

  #wake(): void {
    if (this.#waiters.length > 0) for (const wake of this.#waiters.splice(0)) wake();
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
