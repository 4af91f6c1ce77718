import { Backoff } from './backoff.js';
import { within } from './clock.js';
import { PING } from './codes.js';
import { TidewireError } from './error.js';
import type { ServerFrame } from './frames.js';
import { Heartbeat } from './heartbeat.js';
import { leave } from './leaving.js';
import { CLOSE_MS, STEADY_MS } from './limits.js';
import { Link } from './link.js';
import { watchPage } from './page.js';
import type { Session } from './session.js';
import type { ConnectionState } from './state.js';
import type { Targets } from './targets.js';
import type { Token } from './token.js';


/** Holds one connection after the other. */
export class Connection {
  readonly session: Session;
  readonly targets: Targets;
  readonly #token: Token;
  readonly #backoff: Backoff;
  readonly #heartbeat: Heartbeat;
  readonly #tell: (state: ConnectionState) => void;
  state: ConnectionState = { state: 'disconnected' };
  link: Link | undefined;
  /** Another node's connection, which takes over as soon as this one has answered. */
  successor: Link | undefined;
  /** Counts what the application starts and ends, so that what runs on from before knows that it is over. */
  #run = 0;
  #connecting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #since = 0;
  #parting: TidewireError | undefined;
  #wake: (() => void) | undefined;
  #isLeaving = false;
  #forgetPage: () => void = () => {};

  constructor(session: Session, targets: Targets, token: Token, tell: (state: ConnectionState) => void) {
    const { backoffMinMs, backoffMaxMs, random, clock } = session.settings;
    this.session = session;
    this.targets = targets;
    this.#token = token;
    this.#tell = tell;
    this.#backoff = new Backoff(backoffMinMs, backoffMaxMs, random);
    this.#heartbeat = new Heartbeat(
      clock,
      () => session.requests.control([PING, 0]),
      (silentMs) => {
        this.link?.abandon(new TidewireError('idle_timeout', `the server was silent for ${Math.round(silentMs)} ms`));
      },
    );
  }

  /** Connects; does nothing if that is done or under way. */
  connect(): Promise<void> {
    if (!this.#connecting) {
      const connecting = this.#begin();
      this.#connecting = connecting;
      // One that failed is tried anew; one that was closed meanwhile is another's by now.
      connecting.catch(() => this.#connecting === connecting && (this.#connecting = undefined));
    }
    return this.#connecting;
  }

  /** What was sent is answered first, for a limited time; what waits to be sent fails. */
  close(): Promise<void> {
    this.#connecting = undefined;
    return (this.#closing = this.#end());
  }

  async #end(): Promise<void> {
    const error = closed();
    this.#run++;
    this.#forgetPage();
    this.#token.stop();
    this.#wake?.();
    const { requests, settings } = this.session;
    requests.pause();
    if (this.link) await within(settings.clock, CLOSE_MS, requests.drained());
    this.#heartbeat.end();
    this.successor?.close();
    this.link?.close();
    this.link = this.successor = undefined;
    this.session.close(error);
    this.#setLost(error);
  }

  setState(state: ConnectionState): void {
    this.state = state;
    this.#tell(state);
  }

  #setLost({ code, message }: TidewireError): void {
    this.setState({ state: 'disconnected', code, reason: message });
  }

  // ---- making connections ----

  async #begin(): Promise<void> {
    await this.#closing;
    const run = ++this.#run;
    this.session.requests.reopen();
    this.#watchPage();
    const { error, isHopeless } = await this.#attempt(run, this.targets.given);
    if (!error) return;
    if (!this.session.settings.failFast && !isHopeless) return this.#reconnect(run, this.targets.given[0]!);
    throw this.#fail(error);
  }

  /** Tries servers, each once. Says why none was reached, and whether no other attempt would mend that. */
  async #attempt(run: number, urls: readonly string[]): Promise<{ error?: TidewireError; isHopeless: boolean }> {
    let isHopeless = true;
    let error: TidewireError | undefined;
    this.setState({ state: 'connecting' });
    for (const url of urls) {
      try {
        const link = await this.dial(url);
        if (run === this.#run) this.attach(link);
        else link.close();
        if (run === this.#run) return { isHopeless };
      } catch (failure) {
        const failed = failure as TidewireError;
        const isFinal = !failed.retryable && !(failed.code === 'unauthenticated' && this.#token.refused());
        isHopeless &&= isFinal;
        // What no other attempt would mend says more than that a server is not there.
        if (!error || isFinal) error = failed;
      }
      if (run !== this.#run) throw closed();
    }
    return { error: error!, isHopeless };
  }

  /** Connects to one server. */
  async dial(url: string): Promise<Link> {
    const { transport, clock, connectTimeoutMs, clientName } = this.session.settings;
    const token = await this.#token.newest();
    const link = await Link.connect(transport, url, { token, client: clientName }, clock, connectTimeoutMs);
    this.targets.learn(link.info.nodes ?? []);
    return link;
  }

  /** Tries until a connection is there, or until the answers of all servers leave no hope. */
  async #reconnect(run: number, lost: string): Promise<void> {
    let delayMs = this.targets.several ? this.#backoff.hurry() : this.#backoff.next();
    for (;;) {
      await this.#pause(delayMs);
      if (run !== this.#run) throw closed();
      const { error, isHopeless } = await this.#attempt(run, this.targets.round(lost));
      if (!error) return;
      if (isHopeless) throw this.#fail(error);
      this.#setLost(error);
      delayMs = this.#backoff.next();
    }
  }

  #pause(delayMs: number): Promise<void> {
    const { clock } = this.session.settings;
    return new Promise((resolve) => {
      const timer = clock.setTimer(() => this.#wake?.(), delayMs);
      this.#wake = () => {
        this.#wake = undefined;
        clock.clearTimer(timer);
        resolve();
      };
    });
  }

  /** From now on requests go over this connection. */
  attach(link: Link): void {
    this.link = link;
    this.#parting = undefined;
    this.#since = this.session.settings.clock.now();
    this.#token.accepted(link.info.identity, link.info.timeMs);
    this.#heartbeat.begin(link.heartbeatMs);
    this.session.begin(link);
    this.setState({ state: 'connected', session: link.session, url: link.url, ...link.way });
    link.attach({
      receive: (message) => this.#receive(link, message),
      closed: (error) => this.#lost(link, error),
    });
  }

  /** Gives up the connection for the one that has taken its place. */
  succeed(): void {
    const next = this.successor!;
    this.successor = undefined;
    this.link?.close();
    this.session.cut(new TidewireError('moved', 'moved to another node'));
    this.attach(next);
  }

  // ---- one connection ----

  #receive(link: Link, message: Uint8Array): void {
    this.#heartbeat.heard();
    try {
      this.session.receive(message, {
        goAway: (frame) => this.#goAway(link, frame),
        parting: (error) => (this.#parting = error),
      });
    } catch (error) {
      link.abandon(new TidewireError('bad_reply', `the server sent a bad frame: ${(error as Error).message}`));
    }
  }

  #goAway(link: Link, frame: ServerFrame): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    void leave(this, link, frame).finally(() => (this.#isLeaving = false));
  }

  #lost(link: Link, ended: TidewireError): void {
    if (link !== this.link) return;
    // What the server said last explains more than how the connection ended.
    const error = this.#parting ?? ended;
    this.link = undefined;
    this.#heartbeat.end();
    this.#token.stop();
    if (this.successor) return this.succeed();
    if (error.code === 'unauthenticated') this.#token.refused();
    this.session.cut(error);
    this.#setLost(error);
    if (this.session.settings.clock.now() - this.#since >= STEADY_MS) this.#backoff.reset();
    // The state tells how it ends.
    this.#reconnect(this.#run, link.url).catch(() => {});
  }

  #fail(error: TidewireError): TidewireError {
    this.#connecting = undefined;
    this.#forgetPage();
    this.setState({ state: 'failed', code: error.code, reason: error.message, error });
    const why = new TidewireError('connection_failed', `the connection has failed: ${error.message}`);
    this.session.close(why);
    return error;
  }

  #watchPage(): void {
    this.#forgetPage();
    if (!this.session.settings.watchPage) return;
    this.#forgetPage = watchPage(
      () => this.#wake?.(),
      () => this.#heartbeat.probe(),
    );
  }
}

function closed(): TidewireError {
  return new TidewireError('client_closed', 'this client is closed');
}
