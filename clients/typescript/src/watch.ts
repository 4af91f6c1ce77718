import { Feed, type FeedEvents } from './feed.js';
import type { Session } from './session.js';
import { WatchSlot, type CellReader, type Update } from './watch-slot.js';

/** A version of a watched cell. */
export interface WatchUpdate<T> extends Update {
  readonly value: T;
}

/** What a watch tells its listeners. */
export interface WatchEvents<T> extends FeedEvents {
  /** A newer version. */
  value: WatchUpdate<T>;
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
export class Watch<T> extends Feed<void, WatchEvents<T>> implements AsyncIterable<WatchUpdate<T>> {
  readonly #slot: WatchSlot<T>;
  #taken: WatchUpdate<T> | undefined;

  /** @internal */
  constructor(session: Session, kind: number, name: string, options: WatchOptions, cell: CellReader<T>) {
    super(session);
    this.#slot = new WatchSlot(kind, name, options, cell, this.owner);
    this.start(this.#slot);
  }

  /** The newest version that has arrived. The same object as long as there is no newer one. */
  get current(): WatchUpdate<T> | undefined {
    return this.#slot.current;
  }

  /** The newest versions. Leaving the loop ends the watch; one that the server ends throws. */
  [Symbol.asyncIterator](): AsyncIterableIterator<WatchUpdate<T>> {
    return this.iterate(() => {
      const { current } = this;
      if (current === this.#taken) return undefined;
      return (this.#taken = current);
    });
  }

  /** @internal */
  protected override clear(): void {
    this.#taken = this.current;
  }

  /** @internal */
  protected override arrived(): void {
    // Looked at only if somebody wants it: until then what has changed adds up.
    if (this.state !== 'ended' && this.hasListeners('value')) this.emit('value', this.current!);
    super.arrived();
  }
}
