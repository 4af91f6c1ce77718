import { DELIVER, ERROR, GAP, GOAWAY, LEASED, PING, PONG, PROGRESS, UNSUBSCRIBE, UPDATE } from './codes.js';
import { errorName, refusal, TidewireError } from './error.js';
import { checkServerFrame, type Frame, type ServerFrame } from './frames.js';
import { MEMBERS_MAX, ROUTES_MAX } from './limits.js';
import type { Link } from './link.js';
import { Reader } from './msgpack-reader.js';
import type { Settings } from './options.js';
import { Requests } from './requests.js';
import type { Route } from './route.js';
import { asksForLong, type Asking } from './waiting.js';


/** What the server wants of the connection as such. */
export interface ServerWishes {
  goAway(frame: ServerFrame): void;
  /** What the server said before it closes. */
  parting(error: TidewireError): void;
}

/** What goes on from one connection to the next: requests, routes, and who is declared present. */
export class Session {
  readonly requests: Requests;
  readonly settings: Settings;
  readonly #routes = new Map<number, Route>();
  #lastSub = 0;
  readonly #members = new Map<string, Frame>();
  #link: Link | undefined;

  constructor(settings: Settings) {
    this.settings = settings;
    this.requests = new Requests(settings);
    this.requests.reopenDue = () => {
      for (const route of this.#routes.values()) if (route.isDue) this.restart(route);
    };
  }

  ask(frame: Frame, asking?: Asking): Promise<ServerFrame> {
    return this.requests.ask(frame, asking);
  }

  /** A new connection: everything that goes on after a cut is sent first. */
  begin(link: Link): void {
    this.#link = link;
    this.requests.begin(link);
    for (const join of this.#members.values()) {
      this.requests.internal([...join], (reply) => {
        if (reply[0] === ERROR) this.failed(refusal(reply[2], reply[3]));
      });
    }
    for (const route of this.#routes.values()) this.#open(route);
    this.requests.resume();
  }

  /** A member could not be declared present again after a cut, or a publish that nobody waits for was refused. */
  failed: (error: TidewireError) => void = () => {};

  cut(error: TidewireError): void {
    this.requests.cut(error, this.#link?.info.actor);
    this.#link = undefined;
  }

  close(error: TidewireError): void {
    this.requests.close(error);
    for (const route of [...this.#routes.values()]) this.#end(route, error);
    this.#members.clear();
  }

  // ---- presence ----

  remember(key: string, join: Frame): void {
    if (this.#members.size >= MEMBERS_MAX && !this.#members.has(key)) {
      throw new TidewireError('limit_exceeded', `more than ${MEMBERS_MAX} members`);
    }
    this.#members.set(key, join);
  }

  forget(key: string): void {
    this.#members.delete(key);
  }

  // ---- routes ----

  start(route: Route): void {
    if (this.#routes.size >= ROUTES_MAX) throw new TidewireError('limit_exceeded', `more than ${ROUTES_MAX} subscriptions and watches`);
    route.sub = ++this.#lastSub;
    this.#routes.set(route.sub, route);
    this.#open(route);
  }

  /** Starts it under another number, because frames of the old one may be on their way yet. */
  restart(route: Route): void {
    if (!this.#remove(route)) return;
    this.requests.control([UNSUBSCRIBE, 0, route.sub]);
    this.start(route);
  }

  /** Ends it here and on the server. */
  stop(route: Route): void {
    if (this.#remove(route)) this.requests.control([UNSUBSCRIBE, 0, route.sub]);
  }

  isRunning(route: Route): boolean {
    return this.#routes.get(route.sub) === route;
  }

  #open(route: Route): void {
    route.isDue = false;
    const frame = route.open(0);
    if (frame) this.requests.internal(frame, (reply) => this.#opened(route, reply));
  }

  #opened(route: Route, reply: ServerFrame): void {
    if (!this.isRunning(route)) return;
    if (reply[0] === ERROR) return this.#refused(route, refusal(reply[2], reply[3], reply[4], reply[6]));
    route.hasRun = true;
    route.refusedAt = undefined;
    route.opened(reply);
  }

  /** One that ran before may wait for the copy of its topic on the node that it goes on with. */
  #refused(route: Route, error: TidewireError): void {
    const { repeatForMs, offlineWaitMs, clock } = this.settings;
    const isBrief = error.code === 'unavailable' || (route.hasRun && (error.retryable || error.code === 'out_of_range'));
    const atMostMs = route.hasRun ? Math.max(repeatForMs, offlineWaitMs) : repeatForMs;
    if (!isBrief || (!route.hasRun && asksForLong(error.retryAfterMs)) || clock.now() - (route.refusedAt ??= clock.now()) >= atMostMs) {
      return this.#end(route, error);
    }
    route.isDue = true;
    this.requests.repeatLater(error.retryAfterMs);
  }

  #end(route: Route, error: TidewireError): void {
    if (this.#remove(route)) route.end(error);
  }

  #remove(route: Route): boolean {
    return this.isRunning(route) && this.#routes.delete(route.sub);
  }

  // ---- what arrives ----

  /** Takes one or more whole frames. Throws if they are none. */
  receive(message: Uint8Array, wishes: ServerWishes): void {
    const reader = new Reader(message);
    while (!reader.done) {
      const start = reader.at;
      if (message[start]! >= 0x9a && message[start + 1] === DELIVER && this.#deliver(reader, start)) continue;
      const frame = checkServerFrame(reader.value());
      // A later version may send more than this client knows.
      if (frame) this.#dispatch(frame, wishes);
    }
  }

  /** The way of most frames: read straight into its subscription. Array headers of one byte only. */
  #deliver(reader: Reader, start: number): boolean {
    const head = reader.bytes[start]!;
    if (head > 0x9f) return false;
    reader.at = start + 2;
    const route = this.#routes.get(reader.uint());
    if (route?.deliver) {
      route.deliver(reader);
      for (let extra = (head & 0x0f) - 10; extra > 0; extra--) reader.skip();
      return true;
    }
    reader.at = start;
    return false;
  }

  #dispatch(frame: ServerFrame, wishes: ServerWishes): void {
    switch (frame[0]) {
      case DELIVER:
        // Its subscription has just ended.
        return;
      case GAP:
      case PROGRESS:
      case UPDATE:
      case LEASED:
        return this.#routes.get(frame[1])?.receive(frame);
      case PING:
        return this.requests.control([PONG, frame[1]]);
      case PONG:
        this.requests.answered(frame);
        return;
      case GOAWAY:
        return wishes.goAway(frame);
      case ERROR:
        if (frame[1] === 0) return this.#unasked(frame, wishes);
    }
    // Nobody waits for the answer to a publish with `none`, which is only answered if it is refused.
    if (!this.requests.answered(frame) && frame[0] === ERROR) this.failed(refusal(frame[2], frame[3], frame[4], frame[6]));
  }

  #unasked(frame: ServerFrame, wishes: ServerWishes): void {
    const error = refusal(frame[2], frame[3], frame[4], frame[6]);
    if (frame[5] === null) return wishes.parting(error);
    const route = this.#routes.get(frame[5]);
    if (!route) return;
    // One that a change of leaders has ended begins again.
    if (errorName(frame[2]) === 'unavailable') this.#refused(route, error);
    else this.#end(route, error);
  }
}
