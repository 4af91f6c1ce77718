import type { TidewireError } from './error.js';
import type { TopicRecord } from './record.js';
import type { RouteState } from './state.js';
import type { Gap } from './subscription-events.js';
import type { Subscription } from './subscription.js';

/** The newest records of a subscription. */
export interface Followed {
  /** Oldest first. */
  readonly records: readonly TopicRecord[];
  /** The newest gap, if there was one. */
  readonly gap: Gap | undefined;
  readonly error: TidewireError | undefined;
}

export const NOTHING_FOLLOWED: Followed = { records: [], gap: undefined, error: undefined };

/** Keeps the newest records of a subscription, for all who look at them. */
export class TopicBuffer {
  readonly #subscription: Subscription;
  readonly #listeners = new Set<() => void>();
  current = NOTHING_FOLLOWED;

  constructor(subscription: Subscription, limit: number) {
    this.#subscription = subscription;
    subscription.on('delivery', (delivery) => {
      this.#change({ records: [...this.current.records, ...delivery].slice(-limit) });
    });
    subscription.on('gap', (gap) => this.#change({ gap }));
    subscription.on('ended', (error) => this.#change({ error }));
  }

  get state(): RouteState {
    return this.#subscription.state;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#subscription.close();
  }

  #change(change: Partial<Followed>): void {
    this.current = { ...this.current, ...change };
    for (const listener of this.#listeners) listener();
  }
}
