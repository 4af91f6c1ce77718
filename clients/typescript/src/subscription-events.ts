import type { Position, Start } from './cursor.js';
import { BodyReader, type TopicRecord } from './record.js';

/** A condition on a record's key or a header. */
export type Condition =
  | readonly [field: 'key' | `header:${string}`, op: 'eq' | 'ne' | 'prefix', value: string]
  | readonly [field: 'key' | `header:${string}`, op: 'exists' | 'absent'];

/** How a subscription is made. */
export interface SubscribeOptions {
  /** Where it begins; `latest` unless given. After a cut it goes on where it was. */
  start?: Start;
  /** `latest`: only the newest record of each key since the last delivery. */
  mode?: 'every' | 'latest';
  /** With `latest`: at most one delivery per topic in so long. 100 unless given. */
  intervalMs?: number;
  /** All of them must hold. */
  filter?: readonly Condition[];
  /** Bytes of records that may be on their way or unread. 4 MiB unless given. */
  windowBytes?: number;
  /** When records were removed before they came: go on behind them, jump to the newest, or end. */
  onGap?: 'continue' | 'jump' | 'end';
}

/** Delivery begins: first of all, and again after each reconnect. */
export interface Started {
  readonly type: 'started';
  /** How that relates to where it was asked to begin. Behind `gap` and `new_epoch` a gap follows. */
  readonly status: 'fresh' | 'resumed' | 'gap' | 'new_epoch';
  readonly epoch: number;
  /** The first offset that is delivered. Both are 0 for a pattern and for a topic with partitions. */
  readonly offset: number;
  readonly positions: readonly Position[];
}

/**
 * Why records are missing: retention removed them, the topic's history is another one, the subscription asked to
 * jump, or the server left them out without a word, which is a fault.
 */
export type GapReason = 'retention' | 'new_epoch' | 'jumped' | 'unexplained';

/** Records `[from, next)` that the subscription does not get. `[0, 0)`: it is not known which. */
export interface Gap {
  readonly type: 'gap';
  /** `null` for a pattern whose position has fallen off: the range counts batches of the shard then. */
  readonly topic: string | null;
  readonly epoch: number;
  readonly from: number;
  readonly next: number;
  readonly reason: GapReason;
  readonly position: Position | null;
}

/** Everything before `next` was looked at, and the filter selected none of it. */
export interface Progress {
  readonly type: 'progress';
  readonly topic: string | null;
  readonly epoch: number;
  readonly next: number;
  readonly position: Position | null;
}

/** Records of one topic. Iterating over it decodes them one by one. */
export class Delivery implements Iterable<TopicRecord> {
  readonly type = 'delivery';

  /** @internal */
  constructor(
    readonly topic: string,
    readonly epoch: number,
    /** It covers the offsets from here to before `next`. */
    readonly from: number,
    readonly next: number,
    /** Unix time at which the last batch of them was appended, in milliseconds. */
    readonly timeMs: number,
    /** What to resume from, for a pattern and for a topic with partitions. */
    readonly position: Position | null,
    /** Which offsets of the range the body holds, relative to `from`; `null`: all of them. */
    readonly offsets: readonly number[] | null,
    /** The records' encodings. */
    readonly body: Uint8Array,
  ) {}

  /** How many records it holds. */
  get count(): number {
    return this.offsets?.length ?? this.next - this.from;
  }

  /** The offset of the index-th record. */
  offsetOf(index: number): number {
    return this.from + (this.offsets ? this.offsets[index]! : index);
  }

  *[Symbol.iterator](): Iterator<TopicRecord> {
    const reader = new BodyReader(this, this.body);
    for (let index = 0; !reader.done; index++) yield reader.next(this.offsetOf(index));
  }
}

/** What happens on a subscription. */
export type SubscriptionEvent = Started | Delivery | Gap | Progress;
