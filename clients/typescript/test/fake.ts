/** Time that stands still until a test moves it, and servers that say what a test tells them to. */

import { checkServerFrame } from '../dist/frames.js';
import type { Clock, Socket, Transport } from '../dist/index.js';
import { Reader, type Decoded } from '../dist/msgpack-reader.js';
import { Writer, type Encodable } from '../dist/msgpack-writer.js';

/** Lets everything run that only waits for its turn. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}

export class FakeClock implements Clock {
  #now = 1_000;
  #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  setTimer(callback: () => void, delayMs: number): unknown {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimer(timer: unknown): void {
    this.#timers.delete(timer as { at: number; callback: () => void });
  }

  /** How many timers run. */
  get pending(): number {
    return this.#timers.size;
  }

  /** How long until the next timer. */
  get nextMs(): number {
    return Math.min(...[...this.#timers].map(({ at }) => at)) - this.#now;
  }

  /** Moves on, from one timer to the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at);
      if (!next) break;
      this.#now = Math.max(next.at, this.#now);
      this.#timers.delete(next);
      next.callback();
      await settled();
    }
    this.#now = end;
  }
}

/** One connection, from the server's side. */
export class FakeSocket implements Socket {
  binaryType = '';
  bufferedAmount = 0;
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  readonly sent: Decoded[][] = [];
  isClosed = false;

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {}

  send(data: Uint8Array): void {
    const reader = new Reader(data);
    while (!reader.done) this.sent.push(reader.value() as Decoded[]);
  }

  close(): void {
    this.isClosed = true;
  }

  /** The frames of a type that came from the client. */
  of(type: number): Decoded[][] {
    return this.sent.filter((frame) => frame[0] === type);
  }

  /** Sends frames to the client, in one message. */
  say(...frames: Encodable[][]): void {
    const writer = new Writer();
    for (const frame of frames) writer.value(frame);
    const bytes = writer.take();
    for (const reader = new Reader(bytes); !reader.done; ) checkServerFrame(reader.value());
    this.onmessage?.({ data: bytes.buffer });
  }

  /** Accepts the connection and says WELCOME. */
  async welcome(info: { [key: string]: Encodable } = {}): Promise<this> {
    this.onopen?.({});
    this.say([2, 1, [], 'c-1', { server: 'fake', max_frame_bytes: 1_048_576, heartbeat_ms: 15_000, in_flight_max: 1_024, time_ms: 1_700_000_000_000, ...info }]);
    await settled();
    return this;
  }

  /** Ends the connection. */
  async end(code = 1006): Promise<void> {
    this.onclose?.({ code, reason: '' });
    await settled();
  }
}

/** All connections that a client has made. */
export class FakeNetwork {
  readonly sockets: FakeSocket[] = [];
  readonly transport: Transport;

  constructor() {
    const { sockets } = this;
    this.transport = (url, protocol) => {
      const socket = new FakeSocket(url, protocol);
      sockets.push(socket);
      return socket;
    };
  }

  get last(): FakeSocket {
    return this.sockets.at(-1)!;
  }
}
