import { asMap, read, type ReadValue } from './cells.js';
import { TOPIC, TOPIC_CELL } from './codes.js';
import { fromWire } from './frames.js';
import { Group } from './group.js';
import { readHistory, type HistoryOptions, type HistoryPage } from './history.js';
import { publish, type Published, type PublishOptions } from './publishing.js';
import type { Payload, RecordInput } from './record.js';
import type { Session } from './session.js';
import type { SubscribeOptions } from './subscription-events.js';
import { Subscription } from './subscription.js';

/** What the server keeps of a topic. */
export interface TopicInfo {
  /** The oldest offset that is kept, and the one that comes next. */
  readonly first: number;
  readonly next: number;
  readonly bytes: number;
  readonly batches: number;
  readonly policy: string;
  /** With partitions the numbers are sums. */
  readonly partitions?: number;
}

/** A topic: a log of records. */
export class Topic {
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
  }

  /**
   * Publishes one record. When the connection is lost it is sent again under the number by which the server knows
   * it, so it is appended once; with `ack: 'none'` it is sent once, and nothing tells what became of it.
   */
  publish(payload: Payload, options: PublishOptions & Omit<RecordInput, 'payload'> = {}): Promise<Published> {
    const { key, headers, ...rest } = options;
    return publish(this.#session, this.name, [{ key, headers, payload }], rest);
  }

  /** Publishes up to 10,000 records together, in order: all or none. */
  publishBatch(records: readonly RecordInput[], options: PublishOptions = {}): Promise<Published> {
    return publish(this.#session, this.name, records, options);
  }

  /** Follows it. */
  subscribe(options: SubscribeOptions = {}): Subscription {
    return new Subscription(this.#session, this.name, options);
  }

  /** One page of what it holds. */
  history(options: HistoryOptions = {}): Promise<HistoryPage> {
    return readHistory(this.#session, this, options);
  }

  /** What the server keeps of it. */
  async info(): Promise<TopicInfo> {
    return (await this.readInfo()).value;
  }

  /** @internal */
  readInfo(): Promise<ReadValue<TopicInfo>> {
    return read(this.#session, TOPIC_CELL, this.name, null, {}, (value) => fromWire<TopicInfo>(asMap(value)));
  }

  /** A consumer group of it. */
  group(name: string): Group {
    return new Group(this.#session, this.name, name);
  }

  /** Removes it, if its policy allows that. Returns what it was. */
  delete(): Promise<TopicInfo> {
    return this.#change(0, null);
  }

  /** Removes its oldest records: those before an offset, or appended before a time. Returns what is left. */
  truncate(before: { offset: number } | { timeMs: number }): Promise<TopicInfo> {
    if ('offset' in before) return this.#change(1, { before_offset: before.offset });
    return this.#change(1, { before_time_ms: before.timeMs });
  }

  async #change(op: number, options: { [key: string]: number } | null): Promise<TopicInfo> {
    return fromWire((await this.#session.ask([TOPIC, 0, op, this.name, options]))[2]);
  }
}
