/** Sessions of WebTransport that do what a test tells them to; a test installs the class as the platform's. */

import { StreamFrames } from '../dist/stream-frames.js';
import { Reader, type Decoded } from '../dist/msgpack-reader.js';
import { Writer, type Encodable } from '../dist/msgpack-writer.js';
import { settled } from './fake.js';

/** A frame as it stands on a stream. */
export function onStream(...frames: Encodable[][]): Uint8Array<ArrayBuffer> {
  const parts = frames.map((frame) => {
    const writer = new Writer();
    writer.value(frame);
    const bytes = writer.take();
    const part = new Uint8Array(4 + bytes.length);
    new DataView(part.buffer).setUint32(0, bytes.length);
    part.set(bytes, 4);
    return part;
  });
  return new Uint8Array(Buffer.concat(parts));
}

/** Something that a test decides later. */
class Later<T> {
  resolve!: (value: T) => void;
  reject!: (error: Error) => void;
  readonly promise = new Promise<T>((resolve, reject) => Object.assign(this, { resolve, reject }));

  constructor() {
    this.promise.catch(() => {});
  }
}

/** A stream that the server writes. */
export class Writing {
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly readable = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#controller = controller) });

  async bytes(bytes: Uint8Array): Promise<void> {
    this.#controller.enqueue(bytes);
    await settled();
  }

  say(...frames: Encodable[][]): Promise<void> {
    return this.bytes(onStream(...frames));
  }

  async finish(): Promise<void> {
    this.#controller.close();
    await settled();
  }

  async cut(message: string): Promise<void> {
    this.#controller.error(new Error(message));
    await settled();
  }
}

export class FakeWebTransport {
  static sessions: FakeWebTransport[] = [];
  readonly #ready = new Later<void>();
  readonly #closed = new Later<{ closeCode: number; reason: string }>();
  readonly ready = this.#ready.promise;
  readonly closed = this.#closed.promise;
  readonly control = new Writing();
  readonly #datagrams = new Writing();
  readonly datagrams = { readable: this.#datagrams.readable, incomingHighWaterMark: 1 };
  #streams!: ReadableStreamDefaultController<ReadableStream<Uint8Array>>;
  readonly incomingUnidirectionalStreams = new ReadableStream<ReadableStream<Uint8Array>>({
    start: (controller) => void (this.#streams = controller),
  });
  /** The frames that came over the control stream. */
  readonly sent: Decoded[][] = [];
  isFinished = false;
  closedWith: { closeCode?: number; reason?: string } | undefined;
  streamsOpened = 0;
  /** What the control stream waits for before it takes more. */
  gate: Promise<void> | undefined;

  constructor(
    readonly url: string,
    readonly options: WebTransportOptions,
  ) {
    FakeWebTransport.sessions.push(this);
  }

  static get last(): FakeWebTransport {
    return FakeWebTransport.sessions.at(-1)!;
  }

  async createBidirectionalStream() {
    this.streamsOpened++;
    const frames = new StreamFrames(() => 2_000_000);
    const take = (frame: Uint8Array) => void this.sent.push(new Reader(frame).value() as Decoded[]);
    const writable = new WritableStream<Uint8Array>({
      write: async (bytes) => {
        await this.gate;
        frames.push(bytes, take);
      },
      close: () => void (this.isFinished = true),
    });
    return { readable: this.control.readable, writable };
  }

  close(info: { closeCode?: number; reason?: string } = {}): void {
    this.closedWith ??= info;
    this.#ready.reject(new Error('closed'));
    this.#closed.resolve({ closeCode: 0, reason: '', ...info });
  }

  of(type: number): Decoded[][] {
    return this.sent.filter((frame) => frame[0] === type);
  }

  /** Opens the session, and says WELCOME. */
  async welcome(info: { [key: string]: Encodable } = {}): Promise<this> {
    await this.accept();
    await this.control.say([2, 1, [], 'c-1', { server: 'fake', max_frame_bytes: 1_048_576, heartbeat_ms: 15_000, ...info }]);
    return this;
  }

  async accept(): Promise<void> {
    this.#ready.resolve();
    await settled();
  }

  async refuse(message: string): Promise<void> {
    this.#ready.reject(new Error(message));
    this.#closed.reject(new Error(message));
    await settled();
  }

  /** The server ends the session. */
  async end(closeCode: number, reason = ''): Promise<void> {
    this.#closed.resolve({ closeCode, reason });
    await settled();
  }

  /** The session is lost. */
  async lose(message: string): Promise<void> {
    this.#closed.reject(new Error(message));
    await settled();
  }

  async stream(): Promise<Writing> {
    const stream = new Writing();
    this.#streams.enqueue(stream.readable);
    await settled();
    return stream;
  }

  async datagram(frame: Encodable[]): Promise<void> {
    await this.#datagrams.bytes(onStream(frame).subarray(4));
  }
}
