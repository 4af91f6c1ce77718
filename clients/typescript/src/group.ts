import { GROUP } from './codes.js';
import { Consumer, type ConsumeOptions } from './consumer.js';
import { encodeStart, type Start } from './cursor.js';
import { fromWire, toWire } from './frames.js';
import type { Encodable } from './msgpack-writer.js';
import type { Session } from './session.js';

/** How a consumer group delivers. */
export interface GroupRules {
  /** Where it begins; `earliest` unless given. */
  start?: Exclude<Start, { positions: unknown }>;
  /** A delivery that is not settled within this time is made again. */
  ackTimeoutMs?: number;
  /** After so many deliveries in vain a record is a dead letter. Needs `deadLetter`. */
  deliveriesMax?: number;
  /** The topic that dead letters are published to. */
  deadLetter?: string;
  /** Pause before a record that was refused is delivered again; it doubles up to the second one. */
  backoffMs?: number;
  backoffMaxMs?: number;
  /** Of one key one record is out at a time. */
  ordered?: boolean;
}

/** How far a group has come. */
export interface GroupStatus extends Omit<GroupRules, 'start'> {
  readonly created: boolean;
  /** Every record before it is settled. */
  readonly position: number;
  readonly next: number;
  readonly lag: number;
  readonly leased: number;
  readonly outstanding: number;
  readonly consumers: number;
  readonly missed: number;
  readonly dead: number;
  readonly redelivered: number;
  readonly partitions?: number;
}

/** A consumer group: it shares the records of a topic among its consumers. */
export class Group {
  readonly topic: string;
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, topic: string, name: string) {
    this.#session = session;
    this.topic = topic;
    this.name = name;
  }

  /** Makes it. Doing so again with the same rules changes nothing. */
  create({ start, ...rules }: GroupRules = {}): Promise<GroupStatus> {
    return this.#ask(0, toWire({ start: start && encodeStart(start), ...rules }), true);
  }

  status(): Promise<GroupStatus> {
    return this.#ask(3, null, true);
  }

  /** Begins anew; what its consumers have is forgotten. */
  reset(start: Exclude<Start, { positions: unknown }>): Promise<GroupStatus> {
    return this.#ask(2, { start: encodeStart(start) }, false);
  }

  /** Forgets it and how far it has come. */
  delete(): Promise<GroupStatus> {
    return this.#ask(1, null, false);
  }

  /** Gets records that no other consumer of the group has, each to be settled. */
  consume(options: ConsumeOptions = {}): Consumer {
    return new Consumer(this.#session, this.topic, this.name, options);
  }

  async #ask(op: number, options: Encodable, repeatable: boolean): Promise<GroupStatus> {
    return fromWire((await this.#session.ask([GROUP, 0, op, this.topic, this.name, options], { repeatable }))[2]);
  }
}
