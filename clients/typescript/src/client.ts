import { AUTH, PING } from './codes.js';
import { Connection } from './connection.js';
import { Counter } from './counter.js';
import { Emitter } from './emitter.js';
import type { TidewireError } from './error.js';
import { fromWire } from './frames.js';
import { Increments } from './increments.js';
import type { Identity, ServerInfo } from './link.js';
import { LiveMap } from './live-map.js';
import { settle, type ClientOptions } from './options.js';
import { Presence } from './presence.js';
import { Session } from './session.js';
import type { ConnectionState } from './state.js';
import type { SubscribeOptions } from './subscription-events.js';
import { Subscription } from './subscription.js';
import { Tally } from './tally.js';
import { Targets } from './targets.js';
import { Token } from './token.js';
import { Topic } from './topic.js';

/** What a client tells its listeners. */
export interface ClientEvents {
  /** The connection's state has changed. */
  state: ConnectionState;
  /** What failed in the background: a token that could not be refreshed, a member that could not join again, a publish with `ack: 'none'`. */
  error: TidewireError;
}

/**
 * A connection to a server, or to a cluster of nodes that serve the same names. A connection that is lost is made
 * again after a random delay; subscriptions, watches, consumers and presence go on where they were.
 */
export class Client extends Emitter<ClientEvents> {
  readonly #session: Session;
  readonly #connection: Connection;
  readonly #token: Token;

  /** `urls`: `ws://HOST:PORT` or `wss://HOST:PORT`; of a cluster one is enough as long as that node is there at first. */
  constructor(urls: string | readonly string[], options: ClientOptions = {}) {
    super();
    const settings = settle(options);
    const targets = new Targets(typeof urls === 'string' ? [urls] : urls, settings.random);
    const failed = (error: TidewireError) => this.emit('error', error);
    this.#session = new Session(settings);
    this.#session.failed = failed;
    const refresh = async (token: string) => fromWire<{ identity?: Identity }>((await this.#session.ask([AUTH, 0, token]))[2]);
    const show = async (token: string) => {
      const { identity } = await refresh(token);
      return identity && fromWire<Identity>(identity as never);
    };
    this.#token = new Token(settings.token, settings.clock, show, failed);
    this.#connection = new Connection(this.#session, targets, this.#token, (state) => this.emit('state', state));
  }

  /** Where the connection stands. */
  get state(): ConnectionState['state'] {
    return this.#connection.state.state;
  }

  /** Where it stands, and why. */
  get connectionState(): ConnectionState {
    return this.#connection.state;
  }

  /** What the server said about itself when the connection was made; `undefined` without one. */
  get serverInfo(): ServerInfo | undefined {
    return this.#connection.link?.info;
  }

  /** How often a request was sent again so far. */
  get repeated(): number {
    return this.#session.requests.repeated;
  }

  /**
   * Makes the connection. Each URL is tried once, and the promise rejects with why none could be reached; with the
   * option `failFast: false` it tries on, as it does whenever the connection is lost later.
   */
  async connect(): Promise<this> {
    await this.#connection.connect();
    return this;
  }

  /** Closes the connection: what was sent is answered first, for five seconds at most. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  topic(name: string): Topic {
    return new Topic(this.#session, name);
  }

  /** Follows a topic, or all topics that match a pattern, also those made later. */
  subscribe(pattern: string, options: SubscribeOptions = {}): Subscription {
    return new Subscription(this.#session, pattern, options);
  }

  counter(name: string): Counter {
    return new Counter(this.#session, name);
  }

  /** Begins a numbering of increments, for eventual counters. */
  increments(): Promise<Increments> {
    return Increments.begin(this.#session);
  }

  tally(name: string): Tally {
    return new Tally(this.#session, name);
  }

  /** The newest value per key of a topic. */
  map(name: string): LiveMap {
    return new LiveMap(this.#session, name);
  }

  presence(name: string): Presence {
    return new Presence(this.#session, name);
  }

  /** Shows the server a newer token of the same subject. It is also shown when the connection is made again. */
  authenticate(token: string): Promise<Identity | undefined> {
    return this.#token.show(token);
  }

  /** Asks the server for a sign of life; resolves with how many milliseconds it took. */
  async ping(): Promise<number> {
    const { clock } = this.#session.settings;
    const asked = clock.now();
    await this.#session.ask([PING, 0], { repeatable: true });
    return clock.now() - asked;
  }
}
