import { ACK, CONSUME, EXTEND, LEASED, NACK, REJECT, SETTLE } from './codes.js';
import type { TidewireError } from './error.js';
import { Feed, type FeedEvents, type FeedOwner } from './feed.js';
import { toWire, type Frame, type ServerFrame } from './frames.js';
import { BodyReader, type TopicRecord } from './record.js';
import type { Route } from './route.js';
import type { Session } from './session.js';


/** How a group is consumed. */
export interface ConsumeOptions {
  /** Records that the consumer has at once: 64 unless given, 4,096 at most. */
  inFlight?: number;
}

/**
 * A share of a topic's records, each to be settled. After a cut it goes on by itself, and what it had is delivered
 * again, to whoever is there. The server leases only so much at once, so it is bounded.
 */
export class Consumer extends Feed<void, FeedEvents> implements AsyncIterable<Job> {
  readonly #shelf: Shelf;

  /** @internal */
  constructor(session: Session, topic: string, group: string, options: ConsumeOptions) {
    super(session);
    this.#shelf = new Shelf(session, topic, group, options, this.owner);
    this.start(this.#shelf);
  }

  /** The records to do. Leaving the loop ends the consumer; one that the server ends throws. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Job> {
    return this.iterate(() => this.#shelf.jobs.shift());
  }

  /** @internal */
  protected override clear(): void {
    this.#shelf.jobs = [];
  }
}

/** A record that this consumer has to do. One that is not settled is delivered again when its time is over. */
export class Job {
  /** @internal */
  constructor(
    readonly record: TopicRecord,
    /** The how manieth delivery this is. From 2 on somebody may have done it before. */
    readonly deliveries: number,
    readonly partition: number | null,
    private readonly settle: (job: Job, op: number, options: object) => Promise<boolean>,
  ) {}

  /** It is done. Whether that counts: not if its time was over and another consumer has got it. */
  ack(): Promise<boolean> {
    return this.settle(this, ACK, {});
  }

  /** It is to be delivered again, after a pause. */
  nack(options: { delayMs?: number; reason?: string } = {}): Promise<boolean> {
    return this.settle(this, NACK, options);
  }

  /** Nobody can do it: it becomes a dead letter. */
  reject(reason?: string): Promise<boolean> {
    return this.settle(this, REJECT, { reason });
  }

  /** It needs more time. Whether it is still this consumer's. */
  extend(): Promise<boolean> {
    return this.settle(this, EXTEND, {});
  }
}

/** What has been leased and was not taken yet. */
class Shelf implements Route {
  sub = 0;
  hasRun = false;
  jobs: Job[] = [];
  readonly #session: Session;
  readonly #topic: string;
  readonly #group: string;
  readonly #options: ConsumeOptions;
  readonly #owner: FeedOwner<void>;

  constructor(session: Session, topic: string, group: string, options: ConsumeOptions, owner: FeedOwner<void>) {
    this.#session = session;
    this.#topic = topic;
    this.#group = group;
    this.#options = options;
    this.#owner = owner;
  }

  open(req: number): Frame {
    // What was leased over another connection and not taken is not this consumer's any more.
    this.jobs = [];
    return [CONSUME, req, this.sub, this.#topic, this.#group, toWire(this.#options)];
  }

  opened(): void {
    this.#owner.opened();
  }

  receive(frame: ServerFrame): void {
    if (frame[0] !== LEASED) return;
    const [, , topic, epoch, timeMs, partition, deliveries, body] = frame as
      [number, number, string, number, number, number | null, [number, number][], Uint8Array];
    const reader = new BodyReader({ topic, epoch, timeMs }, body);
    for (const [offset, count] of deliveries) {
      if (reader.done) break;
      this.jobs.push(new Job(reader.next(offset), count, partition, (job, op, options) => this.#settle(job, op, options)));
    }
    this.#owner.arrived();
  }

  end(error: TidewireError): void {
    this.#owner.ended(error);
  }

  async #settle(job: Job, op: number, options: object): Promise<boolean> {
    const { offset } = job.record;
    const frame: Frame = [SETTLE, 0, this.sub, op, [[offset, offset + 1]], toWire({ ...options, partition: job.partition })];
    const reply = await this.#session.ask(frame, {
      repeatable: op === ACK,
      // The number of the consumption on the connection that is there then.
      refresh: (settling) => void (settling[2] = this.sub),
      mayReturn: () => this.#session.isRunning(this),
    });
    return (reply[2]?.records ?? 0) > 0;
  }
}
