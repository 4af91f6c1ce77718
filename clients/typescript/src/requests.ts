import { Backoff } from './backoff.js';
import type { Clock } from './clock.js';
import { ERROR, PRODUCER } from './codes.js';
import { errorName, refusal, TidewireError } from './error.js';
import type { Frame, ServerFrame } from './frames.js';
import { IN_FLIGHT_MAX, QUEUE_BYTES_MAX, SWEEP_MS } from './limits.js';
import type { Link } from './link.js';
import { Numbering } from './numbering.js';
import type { Settings } from './options.js';
import { Outbox } from './outbox.js';
import { asksForLong, isRepeatable, lost, NO_CONNECTION, type Asking, type Waiting } from './waiting.js';

/** Pause before a request that was refused for the moment is sent again. */
const PAUSE_MS = [50, 500] as const;

/**
 * The requests: those that wait to be sent, and those that wait to be answered. What waits to be sent is bounded
 * by count, bytes and time; what waits for an answer by the server's `in_flight_max`.
 */
export class Requests {
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #outbox: Outbox;
  readonly #numbering: Numbering;
  readonly #table = new Map<number, Waiting>();
  readonly #backoff: Backoff;
  #queue: Waiting[] = [];
  #queueBytes = 0;
  #inFlight = 0;
  #inFlightMax = 1024;
  #lastReq = 0;
  #lastOrder = 0;
  #online = false;
  #offlineSince = 0;
  #isFlushScheduled = false;
  #expiry: unknown;
  #repeatTimer: unknown;
  #repeatAt = 0;
  #holdsPublishes = false;
  #closed: TidewireError | undefined;
  #drained: (() => void)[] = [];
  /** Opens again, before requests are sent again, what was refused for the moment. */
  reopenDue: () => void = () => {};
  /** How often a request was sent again. */
  repeated = 0;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#clock = settings.clock;
    this.#outbox = new Outbox(settings.clock, () => this.flush());
    this.#backoff = new Backoff(PAUSE_MS[0], PAUSE_MS[1], settings.random);
    const ask = (done: (frame: ServerFrame) => void) => this.internal([PRODUCER, 0], done);
    this.#numbering = new Numbering(ask, (retryAfterMs) => {
      this.#holdsPublishes = true;
      this.repeatLater(retryAfterMs);
    });
  }

  get isOnline(): boolean {
    return this.#online;
  }

  /** Sends a request as soon as there is a connection and room; its second element becomes the request id. */
  ask(frame: Frame, asking: Asking = {}): Promise<ServerFrame> {
    return new Promise((settle, fail) => {
      if (this.#closed) return fail(this.#closed);
      const bytes = asking.bytes ?? 0;
      if (this.#queue.length >= this.#settings.offlineQueue || this.#queueBytes + bytes > QUEUE_BYTES_MAX) {
        return fail(this.#full());
      }
      this.#queue.push(this.#waiting(frame, settle, fail, asking, false));
      this.#queueBytes += bytes;
      if (this.#online) this.#scheduleFlush();
      else this.#scheduleExpiry();
    });
  }

  /** Sends a request of the connection's own at once; without a connection it is not sent. */
  internal(frame: Frame, settle: (frame: ServerFrame) => void): void {
    if (this.#online) this.#send(this.#waiting(frame, settle, () => {}, {}, true));
  }

  /** Sends a frame that has no reply; dropped while there is no connection. */
  control(frame: Frame): void {
    if (this.#online) this.#outbox.push(frame);
  }

  /** Takes a reply; false if nobody waits for it. */
  answered(frame: ServerFrame): boolean {
    const waiting = this.#table.get(frame[1]);
    if (!waiting) return false;
    const isError = frame[0] === ERROR;
    if (isError && !waiting.internal && (this.#renumber(waiting, frame) || this.#postpone(waiting, frame))) {
      this.#checkDrained();
      return true;
    }
    this.#remove(waiting);
    if (isError && !waiting.internal) waiting.fail(refusal(frame[2], frame[3], frame[4], frame[6]));
    else waiting.settle(frame);
    if (waiting.refusedAt !== undefined) this.#backoff.reset();
    if (this.#queue.length > 0) this.#scheduleFlush();
    this.#checkDrained();
    return true;
  }

  /** A new connection is there. What goes on after a cut is sent by the caller, then `resume`. */
  begin(link: Link): void {
    this.#inFlightMax = Math.min(Math.max(link.info.inFlightMax || 1024, 1), IN_FLIGHT_MAX);
    this.#outbox.begin(link);
    this.#online = true;
    this.#stopRepeating();
    this.#clock.clearTimer(this.#expiry);
    this.#expiry = undefined;
  }

  /** Sends again what may be, in the order in which it was sent first; then what has waited. */
  resume(): void {
    this.#numbering.begin();
    this.#repeat(() => true);
    this.flush();
  }

  /** Writes no more requests; what is written is answered yet. */
  pause(): void {
    if (!this.#online) return;
    this.#outbox.write();
    this.#online = false;
    this.#offlineSince = this.#clock.now();
    this.#scheduleExpiry();
  }

  /** The connection is gone. `actor` is who may have carried out what was not answered. */
  cut(error: TidewireError, actor: [number, number] | undefined): void {
    this.pause();
    this.#outbox.end();
    this.#stopRepeating();
    for (const waiting of [...this.#table.values()]) {
      waiting.postponed = false;
      if (isRepeatable(waiting)) this.#noteTried(waiting, actor);
      else {
        this.#remove(waiting);
        waiting.fail(lost(error.message));
      }
    }
    this.#checkDrained();
  }

  /** The end: all that waits fails. */
  close(error: TidewireError): void {
    this.#closed = error;
    this.#online = false;
    this.#outbox.end();
    this.#stopRepeating();
    this.#clock.clearTimer(this.#expiry);
    this.#failAll((waiting) => waiting.fail(error));
    for (const waiting of this.#queue.splice(0)) waiting.fail(error);
    this.#queueBytes = 0;
    this.#checkDrained();
  }

  /** Requests may be made again. */
  reopen(): void {
    this.#closed = undefined;
  }

  /** Resolves when all that was sent is answered, except what waits to be sent again. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    });
  }

  /** Sends as much of what waits as there is room for. */
  flush(): void {
    this.#isFlushScheduled = false;
    const held: Waiting[] = [];
    let index = 0;
    for (; this.#online && index < this.#queue.length; index++) {
      if (this.#inFlight >= this.#inFlightMax || !this.#outbox.hasRoom()) break;
      const waiting = this.#queue[index]!;
      if (waiting.numbered && (this.#holdsPublishes || !this.#numbering.number(waiting.frame))) held.push(waiting);
      else {
        this.#queueBytes -= waiting.bytes ?? 0;
        this.#send(waiting);
      }
    }
    if (index > 0) this.#queue.splice(0, index, ...held);
  }

  /** Sends again, after a pause, what was refused for the moment. */
  repeatLater(askedMs: number | null | undefined): void {
    const pauseMs = this.#repeatTimer === undefined ? this.#backoff.next() : 0;
    const at = this.#clock.now() + Math.max(pauseMs, askedMs ?? 0);
    if (this.#repeatTimer !== undefined && at <= this.#repeatAt) return;
    this.#clock.clearTimer(this.#repeatTimer);
    this.#repeatAt = at;
    this.#repeatTimer = this.#clock.setTimer(() => {
      this.#repeatTimer = undefined;
      if (!this.#online) return;
      this.#holdsPublishes = false;
      // Consumers first: what they settle refers to them.
      this.reopenDue();
      this.#repeat((waiting) => waiting.postponed);
      this.flush();
    }, at - this.#clock.now());
  }

  #waiting(frame: Frame, settle: (frame: ServerFrame) => void, fail: (error: TidewireError) => void, asking: Asking, internal: boolean): Waiting {
    const since = this.#clock.now();
    const order = ++this.#lastOrder;
    return { ...asking, frame, settle, fail, internal, order, since, req: 0, attempts: 0, renumbered: 0, refusedAt: undefined, postponed: false };
  }

  #send(waiting: Waiting): void {
    waiting.frame[1] = waiting.req ||= ++this.#lastReq;
    waiting.attempts++;
    waiting.postponed = false;
    waiting.refresh?.(waiting.frame);
    try {
      this.#outbox.push(waiting.frame);
    } catch (error) {
      this.#remove(waiting);
      return waiting.fail(error as TidewireError);
    }
    if (waiting.silent) return waiting.settle([0]);
    if (!waiting.internal && !this.#table.has(waiting.req)) this.#inFlight++;
    this.#table.set(waiting.req, waiting);
  }

  #repeat(which: (waiting: Waiting) => boolean): void {
    const again = [...this.#table.values()].filter((waiting) => !waiting.internal && which(waiting));
    for (const waiting of again.sort((one, other) => one.req - other.req)) {
      this.repeated++;
      this.#send(waiting);
    }
  }

  #remove(waiting: Waiting): void {
    if (this.#table.delete(waiting.req) && !waiting.internal) this.#inFlight--;
  }

  /** A producer that the server has forgotten: of a first attempt nothing was appended, so it gets another number. */
  #renumber(waiting: Waiting, frame: ServerFrame): boolean {
    if (!waiting.numbered || errorName(frame[2]) !== 'producer_unknown') return false;
    if (!this.#numbering.forgotten(waiting)) return false;
    this.#remove(waiting);
    waiting.req = waiting.attempts = 0;
    const at = this.#queue.findIndex((other) => other.order > waiting.order);
    this.#queue.splice(at < 0 ? this.#queue.length : at, 0, waiting);
    this.#queueBytes += waiting.bytes ?? 0;
    this.#scheduleFlush();
    return true;
  }

  #postpone(waiting: Waiting, frame: ServerFrame): boolean {
    const name = errorName(frame[2]);
    const isBrief = name === 'unavailable' || (name === 'subscription_unknown' && waiting.mayReturn?.());
    if (!isRepeatable(waiting) || !isBrief || asksForLong(frame[4])) return false;
    waiting.refusedAt ??= this.#clock.now();
    if (this.#clock.now() - waiting.refusedAt >= this.#settings.repeatForMs) return false;
    waiting.postponed = true;
    // Those behind it wait, for the sake of their order.
    this.#holdsPublishes ||= waiting.numbered === true;
    this.repeatLater(frame[4]);
    return true;
  }

  #noteTried(waiting: Waiting, actor: [number, number] | undefined): void {
    const tried = (waiting.frame[5] as { tried?: [number, number][] } | null | undefined)?.tried;
    if (tried && actor && !tried.some(([node, life]) => node === actor[0] && life === actor[1])) tried.push(actor);
  }

  #stopRepeating(): void {
    this.#clock.clearTimer(this.#repeatTimer);
    this.#repeatTimer = undefined;
    this.#holdsPublishes = false;
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => this.flush());
  }

  /** While there is no connection, looks once in a while for what has waited too long. */
  #scheduleExpiry(): void {
    if (this.#expiry !== undefined || this.#queue.length + this.#table.size === 0) return;
    this.#expiry = this.#clock.setTimer(() => {
      this.#expiry = undefined;
      this.#expire(this.#clock.now() - this.#settings.offlineWaitMs);
    }, Math.min(this.#settings.offlineWaitMs, SWEEP_MS));
  }

  /** Gives up what waits for a connection since then. */
  #expire(before: number): void {
    if (this.#online) return;
    const isOver = (since: number) => Math.max(since, this.#offlineSince) <= before;
    if (isOver(0)) this.#failAll((waiting) => waiting.fail(lost(NO_CONNECTION)));
    while (this.#queue[0] && isOver(this.#queue[0].since)) {
      const waiting = this.#queue.shift()!;
      this.#queueBytes -= waiting.bytes ?? 0;
      waiting.fail(new TidewireError('not_connected', `${NO_CONNECTION}: nothing was sent`));
    }
    this.#scheduleExpiry();
  }

  #failAll(fail: (waiting: Waiting) => void): void {
    for (const waiting of [...this.#table.values()]) {
      this.#remove(waiting);
      fail(waiting);
    }
  }

  #checkDrained(): void {
    if (this.#drained.length === 0) return;
    for (const waiting of this.#table.values()) if (!waiting.postponed) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #full(): TidewireError {
    return new TidewireError('queue_full', `${this.#queue.length} requests wait to be sent (option offlineQueue): wait for their answers`);
  }
}
