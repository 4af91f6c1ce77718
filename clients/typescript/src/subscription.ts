import type { Start } from './cursor.js';
import { Feed, type FeedEvents } from './feed.js';
import { Inbox } from './inbox.js';
import { BodyReader, type TopicRecord } from './record.js';
import type { Session } from './session.js';
import type { Delivery, Gap, Progress, Started, SubscribeOptions, SubscriptionEvent } from './subscription-events.js';

/** What a subscription tells its listeners. */
export interface SubscriptionEvents extends FeedEvents {
  record: TopicRecord;
  delivery: Delivery;
  gap: Gap;
  progress: Progress;
  started: Started;
}

/**
 * The records of a topic, or of all topics that match a pattern. Either iterate over it, or listen to `record` or
 * `delivery`: then records are handed over as they arrive. What is neither read nor listened to waits, within the
 * window; a server that has filled the window sends no more, and delays nothing else.
 */
export class Subscription extends Feed<Started, SubscriptionEvents> implements AsyncIterable<TopicRecord> {
  readonly #inbox: Inbox;
  #current: { delivery: Delivery; reader: BodyReader; index: number } | undefined;

  /** @internal */
  constructor(session: Session, pattern: string, options: SubscribeOptions) {
    super(session);
    this.#inbox = new Inbox(session, pattern, options, this.owner);
    this.start(this.#inbox);
  }

  /** Where a later subscription would go on behind what has arrived. */
  get position(): Start {
    return this.#inbox.position;
  }

  override on<Name extends keyof SubscriptionEvents>(name: Name, listener: (event: SubscriptionEvents[Name]) => void): () => void {
    const off = super.on(name, listener);
    if (this.#isFlowing()) this.arrived();
    return off;
  }

  /** The records. Leaving the loop ends the subscription; one that the server ends throws. Gaps go to listeners. */
  [Symbol.asyncIterator](): AsyncIterableIterator<TopicRecord> {
    return this.iterate(() => this.#nextRecord());
  }

  /** Everything that happens, records as whole deliveries. Leaving the loop ends the subscription. */
  events(): AsyncIterableIterator<SubscriptionEvent> {
    return this.iterate(() => this.#take());
  }

  /** @internal */
  protected override clear(): void {
    this.#inbox.clear();
    this.#current = undefined;
  }

  /** @internal */
  protected override arrived(): void {
    if (!this.#isFlowing()) return super.arrived();
    for (let event = this.#take(); event; event = this.#take()) {
      if (event.type !== 'delivery' || !this.hasListeners('record')) continue;
      for (const record of event) this.emit('record', record);
    }
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
    if (event) this.emit(event.type, event as never);
    return event;
  }

  #isFlowing(): boolean {
    return this.hasListeners('record') || this.hasListeners('delivery');
  }
}
