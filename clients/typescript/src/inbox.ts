import { CREDIT, GAP, PROGRESS, SUBSCRIBE, SUBSCRIBED } from './codes.js';
import { Cursor, encodeStart, type Position, type Start } from './cursor.js';
import type { TidewireError } from './error.js';
import type { FeedOwner } from './feed.js';
import { isWildcard, toWire, type Frame, type ServerFrame } from './frames.js';
import { EVENTS_UNREAD_MAX, WINDOW_BYTES } from './limits.js';
import { FrameError, type Reader } from './msgpack-reader.js';
import type { Route } from './route.js';
import type { Session } from './session.js';
import { Delivery, type Gap, type GapReason, type Started, type SubscribeOptions, type SubscriptionEvent } from './subscription-events.js';

const STATUSES = ['fresh', 'resumed', 'gap', 'new_epoch'] as const;
const REASONS: readonly GapReason[] = ['retention', 'new_epoch', 'jumped'];

/** The client's side of a subscription: what has arrived and was not taken yet. */
export class Inbox implements Route {
  sub = 0;
  hasRun = false;
  readonly #session: Session;
  readonly #pattern: string;
  readonly #options: SubscribeOptions;
  readonly #owner: FeedOwner<Started>;
  readonly #cursor: Cursor;
  readonly #window: number;
  #events: SubscriptionEvent[] = [];
  #unread = 0;
  /** Bytes that were taken since the last credit was given. */
  #owed = 0;
  /** Read too slowly for the bounds: frames are ignored until all is taken; then it starts where it stopped. */
  #isOverrun = false;
  /** The topic of the last delivery, as bytes and as text. */
  #topicBytes = new Uint8Array(0);
  #topic = '';

  constructor(session: Session, pattern: string, options: SubscribeOptions, owner: FeedOwner<Started>) {
    this.#session = session;
    this.#pattern = pattern;
    this.#options = options;
    this.#owner = owner;
    this.#window = Math.max(options.windowBytes ?? WINDOW_BYTES, 1);
    this.#cursor = new Cursor(options.start ?? 'latest', !isWildcard(pattern));
  }

  /** Where a later subscription would go on behind what has arrived. */
  get position(): Start {
    return this.#cursor.resume();
  }

  open(req: number): Frame | undefined {
    if (this.#isOverrun) return undefined;
    this.#owed = 0;
    const { mode, intervalMs, filter, onGap } = this.#options;
    const options = toWire({
      mode: mode === 'latest' ? 1 : undefined,
      intervalMs,
      filter,
      credit: Math.max(this.#window - this.#unread, 1),
      onGap: onGap === 'jump' ? 1 : onGap === 'end' ? 2 : undefined,
    });
    return [SUBSCRIBE, req, this.sub, this.#pattern, encodeStart(this.#cursor.resume()), options];
  }

  opened(reply: ServerFrame): void {
    if (reply[0] !== SUBSCRIBED) throw new FrameError('SUBSCRIBED is expected');
    const [, , , status, epoch, offset, missing, places] = reply;
    const positions = (places ?? []) as Position[];
    this.#cursor.started(epoch, offset, positions);
    const started: Started = { type: 'started', status: STATUSES[status as number] ?? 'fresh', epoch, offset, positions };
    this.#events.push(started);
    this.#owner.opened(started);
    if (status === 2 || status === 3) {
      const [from, next] = status === 2 ? (missing ?? [0, 0]) : [0, offset];
      this.#events.push(this.#gap(null, epoch, from, next, status === 2 ? 'retention' : 'new_epoch', null));
    }
    this.#owner.arrived();
  }

  /** The fields of a DELIVER behind `sub`. */
  deliver(reader: Reader): void {
    const topic = this.#readTopic(reader);
    const epoch = reader.uint();
    const from = reader.uint();
    const next = reader.uint();
    const timeMs = reader.uint();
    const position = reader.nil() ? null : (reader.value() as unknown as Position);
    const offsets = reader.nil() ? null : (reader.value() as number[]);
    const length = reader.skipBin();
    if (this.#isOverrun) return;
    if (this.#events.length >= EVENTS_UNREAD_MAX || this.#unread > this.#window * 2 + WINDOW_BYTES) {
      this.#isOverrun = true;
      return;
    }
    const hole = this.#cursor.holeBefore(epoch, from, position);
    if (hole !== undefined) this.#events.push(this.#gap(topic, epoch, hole, from, 'unexplained', null));
    this.#cursor.advance(epoch, next, position);
    this.#unread += length;
    const body = reader.bytes.subarray(reader.at - length, reader.at);
    this.#events.push(new Delivery(topic, epoch, from, next, timeMs, position, offsets, body));
    this.#owner.arrived();
  }

  receive(frame: ServerFrame): void {
    if (this.#isOverrun) return;
    if (frame[0] === GAP) {
      const [, , topic, epoch, from, next, reason, position] = frame;
      this.#cursor.advance(epoch, next, position);
      this.#events.push(this.#gap(topic, epoch, from, next, REASONS[reason as number] ?? 'unexplained', position));
    } else if (frame[0] === PROGRESS) {
      const [, , topic, epoch, next, position] = frame;
      this.#cursor.advance(epoch, next, position);
      // Of several in a row only the newest says anything.
      const last = this.#events.at(-1);
      const progress = { type: 'progress', topic, epoch, next, position } as const;
      if (last?.type === 'progress' && last.topic === topic && last.position?.[0] === position?.[0]) this.#events.pop();
      this.#events.push(progress);
    } else return;
    this.#owner.arrived();
  }

  end(error: TidewireError): void {
    this.#owner.ended(error);
  }

  /** Takes the oldest event, and gives the server credit for it. */
  take(): SubscriptionEvent | undefined {
    const event = this.#events.shift();
    if (!event) {
      if (this.#isOverrun) {
        this.#isOverrun = false;
        this.#session.restart(this);
      }
      return undefined;
    }
    if (event.type === 'delivery') {
      this.#unread -= event.body.length;
      this.#owed += event.body.length;
      if (this.#owed >= this.#window / 4 && !this.#isOverrun) {
        if (this.#session.isRunning(this)) this.#session.requests.control([CREDIT, this.sub, this.#owed]);
        this.#owed = 0;
      }
    }
    return event;
  }

  /** Drops what was not taken. */
  clear(): void {
    this.#events = [];
    this.#unread = 0;
  }

  #gap(topic: string | null, epoch: number, from: number, next: number, reason: GapReason, position: Position | null): Gap {
    return { type: 'gap', topic: topic ?? (isWildcard(this.#pattern) ? null : this.#pattern), epoch, from, next, reason, position };
  }

  /** Mostly it is the same topic as before; then no text is made of it. */
  #readTopic(reader: Reader): string {
    const { bytes, at } = reader;
    const known = this.#topicBytes;
    let same = 0;
    while (same < known.length && bytes[at + same] === known[same]) same++;
    if (same > 0 && same === known.length) {
      reader.at = at + same;
      return this.#topic;
    }
    this.#topic = reader.text();
    if (isWildcard(this.#topic)) throw new FrameError('a name is expected');
    this.#topicBytes = bytes.slice(at, reader.at);
    return this.#topic;
  }
}
