import type { Clock } from './clock.js';
import { ERROR, GOAWAY, HELLO, NORMAL_CLOSURE, VERSION, WELCOME } from './codes.js';
import { errorName, refusal, TidewireError } from './error.js';
import { checkServerFrame, fromWire, type ServerFrame } from './frames.js';
import { HEARTBEAT_MS, HELD_MESSAGES_MAX } from './limits.js';
import { Reader } from './msgpack-reader.js';
import { Writer } from './msgpack-writer.js';
import type { Socket, Transport, TransportName } from './socket.js';

const PROTOCOL = 'tidewire.v1';

/** Who the server says the client is. */
export interface Identity {
  issuer: string;
  subject: string;
  /** Unix time. */
  expiresAtMs?: number;
}

/** What the server said about itself. */
export interface ServerInfo {
  server: string;
  node: string;
  shards: number;
  maxFrameBytes: number;
  heartbeatMs: number;
  inFlightMax: number;
  subscriptionsMax: number;
  timeMs: number;
  identity?: Identity;
  actor?: [node: number, incarnation: number];
  nodes?: string[];
}

/** Who takes what arrives over a connection. */
export interface LinkOwner {
  receive(message: Uint8Array): void;
  closed(error: TidewireError): void;
}

/** One connection: it shakes hands, and holds what arrives until somebody takes it. */
export class Link {
  readonly url: string;
  session = '';
  info: ServerInfo = fromWire(null);
  readonly #socket: Socket;
  #owner: LinkOwner | undefined;
  #held: Uint8Array[] = [];
  #ended: TidewireError | undefined;
  #answer: ((message: Uint8Array | TidewireError) => void) | undefined;

  private constructor(url: string, socket: Socket) {
    this.url = url;
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }: { data: unknown }) => this.#message(data);
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      // A status of 4000 and more stands for an error.
      this.#end(new TidewireError(errorName(code - 4000) ?? 'connection_lost', `closed with status ${code} ${reason}`));
    };
    socket.onerror = ({ message }: { message?: string }) => {
      this.#end(new TidewireError('connection_lost', message || 'no connection'));
    };
  }

  /** Connects, says HELLO and takes WELCOME. */
  static async connect(
    open: Transport,
    url: string,
    hello: { token: string | null; client: string },
    clock: Clock,
    timeoutMs: number,
  ): Promise<Link> {
    const fail = (reason: string) => new TidewireError('cannot_connect', `cannot connect to ${url}: ${reason}`);
    let socket: Socket;
    try {
      socket = open(url, PROTOCOL);
    } catch (error) {
      throw fail(String(error));
    }
    const link = new Link(url, socket);
    const answer = await new Promise<Uint8Array | TidewireError>((resolve) => {
      const timer = clock.setTimer(
        () => resolve(fail(`no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      link.#answer = (message) => {
        clock.clearTimer(timer);
        resolve(message);
      };
      socket.onopen = () => {
        const writer = new Writer();
        writer.value([HELLO, VERSION, ['move', 'datagrams'], hello.token, hello.client]);
        socket.send(writer.take());
      };
    });
    link.#answer = undefined;
    try {
      if (answer instanceof TidewireError) throw answer.code === 'connection_lost' ? fail(answer.message) : answer;
      link.#welcome(answer, fail);
    } catch (error) {
      link.close();
      throw error instanceof TidewireError ? error : fail(`no WELCOME came back: ${(error as Error).message}`);
    }
    return link;
  }

  #welcome(answer: Uint8Array, fail: (reason: string) => TidewireError): void {
    const reader = new Reader(answer);
    const frame: ServerFrame | undefined = checkServerFrame(reader.value());
    if (frame?.[0] === ERROR) throw refusal(frame[2], frame[3], frame[4], frame[6]);
    if (frame?.[0] === GOAWAY) throw fail(frame[2]);
    if (frame?.[0] !== WELCOME || frame[1] !== VERSION) throw fail('the server does not speak version 1');
    this.session = frame[3];
    this.info = fromWire(frame[4]);
    if (this.info.identity) this.info.identity = fromWire(frame[4].identity);
    if (!reader.done) this.#held.unshift(answer.subarray(reader.at));
  }

  get heartbeatMs(): number {
    return this.info.heartbeatMs ? Math.max(this.info.heartbeatMs, 100) : HEARTBEAT_MS;
  }

  /** What carries it, and why it is not another transport. */
  get way(): { transport: TransportName; fallback: string | undefined } {
    const { transport = 'websocket', fallback } = this.#socket;
    return { transport, fallback };
  }

  get backlog(): number {
    return this.#socket.bufferedAmount;
  }

  send(message: Uint8Array<ArrayBuffer>): void {
    if (!this.#ended) this.#socket.send(message);
  }

  /** From now on what arrives goes to the owner, what arrived before first. */
  attach(owner: LinkOwner): void {
    this.#owner = owner;
    for (const message of this.#held.splice(0)) owner.receive(message);
    if (this.#ended) owner.closed(this.#ended);
  }

  /** Closes it; nothing that arrives later is told to anyone. */
  close(): void {
    this.#owner = undefined;
    this.#answer = undefined;
    if (this.#ended) return;
    this.#ended = new TidewireError('client_closed', '');
    this.#socket.onmessage = null;
    this.#socket.close(NORMAL_CLOSURE);
  }

  /** Gives it up as lost, for a reason that the socket does not know of. */
  abandon(error: TidewireError): void {
    const owner = this.#owner;
    this.close();
    owner?.closed(error);
  }

  #message(data: unknown): void {
    if (typeof data === 'string') return this.abandon(new TidewireError('bad_reply', 'a text message'));
    const message = data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer);
    if (message.length === 0) return;
    if (this.#answer) {
      this.#answer(message);
      this.#answer = undefined;
    } else if (this.#owner) this.#owner.receive(message);
    else if (this.#held.push(message) > HELD_MESSAGES_MAX) this.close();
  }

  #end(error: TidewireError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#answer?.(error);
    this.#owner?.closed(error);
  }
}
