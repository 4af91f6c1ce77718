import type { Clock } from './clock.js';
import { UNSUBSCRIBE, UPDATE, WATCHING, WELCOME } from './codes.js';
import { FRAME_BYTES_MAX } from './limits.js';
import { FrameError, Reader, type DecodedMap } from './msgpack-reader.js';
import type { Socket } from './socket.js';
import { FrameTooLargeError, StreamFrames } from './stream-frames.js';

const PREFIX_BYTES = 4;
/** What the server puts before records that were published as one frame of the largest size. */
const HEAD_BYTES = 1_024;
/** Datagrams that wait for a page that is busy; older ones make room. */
const DATAGRAMS_UNREAD_MAX = 256;
/** How long the end of a session may take: what was sent goes first, and the reason may come behind the streams' ends. */
const END_MS_MAX = 2_000;
/** Statuses of a WebSocket that closes: an end without a code, a loss; from 4,000 on stand the protocol's error codes. */
const ENDED = 1_000, LOST = 1_006, FIRST_CODE = 4_000;
const MALFORMED = 1, TOO_LARGE = 2;

/**
 * A session of WebTransport as the client sees a connection. Requests go over the control stream; what comes on any
 * stream, or as a datagram, is one message for each frame.
 */
export class WebTransportSocket implements Socket {
  binaryType = 'arraybuffer';
  /** Bytes that the control stream has not taken yet. */
  bufferedAmount = 0;
  onopen: ((event: object) => void) | null = null;
  onmessage: ((event: { data: Uint8Array }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: object) => void) | null = null;
  readonly #session: WebTransport;
  readonly #clock: Clock;
  #requests: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #isOver = false;
  #deadline: unknown;
  #frameBytesMax = FRAME_BYTES_MAX;
  /** Watches that the server has answered: values that overtake the answer say nothing about it. */
  readonly #watched = new Set<number>();

  constructor(url: string, options: WebTransportOptions, clock: Clock) {
    this.#clock = clock;
    this.#session = new WebTransport(url, options);
    this.#session.closed.then(
      ({ closeCode = 0, reason = '' }) => this.#end(closeCode ? FIRST_CODE + closeCode : ENDED, reason),
      (error: Error) => this.#end(LOST, error.message),
    );
    void this.#guard(this.#open());
  }

  send(data: Uint8Array): void {
    const message = this.#prefixed(data);
    this.bufferedAmount += message.length;
    void this.#guard(this.#requests!.write(message).then(() => void (this.bufferedAmount -= message.length)));
  }

  /** What was sent goes first: the server ends the session when the control stream has ended. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#clock.clearTimer(this.#deadline);
    if (!this.#requests) return this.#session.close();
    const deadline = this.#clock.setTimer(() => this.#session.close(), END_MS_MAX);
    const ended = () => this.#clock.clearTimer(deadline);
    this.#session.closed.then(ended, ended);
    this.#requests.close().catch(() => this.#session.close());
  }

  async #open(): Promise<void> {
    await this.#session.ready;
    const { readable, writable } = await this.#session.createBidirectionalStream();
    if (this.#isOver) return;
    this.#requests = writable.getWriter();
    this.#requests.closed.catch(() => {});
    void this.#guard(this.#takeStreams());
    void this.#guard(this.#takeDatagrams());
    this.onopen?.({});
    await this.#read(readable);
    // The session ends with its control stream; the server says why.
    throw new Error('the control stream has ended');
  }

  /** Whatever fails ends the connection: nobody could say what is missing otherwise. */
  async #guard(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof FrameError) this.#break(error instanceof FrameTooLargeError ? TOO_LARGE : MALFORMED, message);
      else if (!this.#requests) this.#end(LOST, message);
      else if (!this.#isOver) this.#deadline ??= this.#clock.setTimer(() => this.#end(LOST, message), END_MS_MAX);
    }
  }

  #break(code: number, reason: string): void {
    if (!this.#isOver) this.#session.close({ closeCode: code, reason });
    this.#end(FIRST_CODE + code, reason);
  }

  #end(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#clock.clearTimer(this.#deadline);
    this.#session.close();
    this.onclose?.({ code, reason });
  }

  // ---- what arrives ----

  async #takeStreams(): Promise<void> {
    await each(this.#session.incomingUnidirectionalStreams, (stream: ReadableStream<Uint8Array>) => void this.#guard(this.#read(stream)));
  }

  async #takeDatagrams(): Promise<void> {
    const { datagrams } = this.#session;
    datagrams.incomingHighWaterMark = DATAGRAMS_UNREAD_MAX;
    await each(datagrams.readable, (frame: Uint8Array) => {
      if (frame[1] === UPDATE && this.#watched.has(field(frame, 1))) this.onmessage?.({ data: frame });
    });
  }

  /** Reads a stream to its end. It is read as it comes: what a subscription may have under way is bounded by its credit. */
  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const frames = new StreamFrames(() => this.#frameBytesMax + HEAD_BYTES);
    let watched = 0;
    await each(stream, (piece: Uint8Array) =>
      frames.push(piece, (frame) => {
        watched = this.#look(frame) || watched;
        this.onmessage?.({ data: frame });
      }),
    );
    if (!frames.isBetweenFrames) throw new FrameError('a stream has ended within a frame');
    this.#watched.delete(watched);
  }

  /** Notes what the connection has to know of a frame: the length of others, and the watch that it begins. */
  #look(frame: Uint8Array): number {
    if (frame[1] === WELCOME) {
      const info = (new Reader(frame).value() as [number, number, string[], string, DecodedMap | null])[4];
      const told = Number(info?.max_frame_bytes);
      if (told > 0) this.#frameBytesMax = told;
    }
    if (frame[1] !== WATCHING) return 0;
    const sub = field(frame, 2);
    this.#watched.add(sub);
    return sub;
  }

  // ---- what is sent ----

  /** The frames of a message, each behind its length. */
  #prefixed(data: Uint8Array): Uint8Array {
    const ends: number[] = [];
    for (const reader = new Reader(data); !reader.done; ends.push(reader.at)) reader.skip();
    const message = new Uint8Array(data.length + ends.length * PREFIX_BYTES);
    const view = new DataView(message.buffer);
    let start = 0, at = 0;
    for (const end of ends) {
      const frame = data.subarray(start, end);
      if (frame[1] === UNSUBSCRIBE) this.#watched.delete(field(frame, 2));
      view.setUint32(at, frame.length);
      message.set(frame, at + PREFIX_BYTES);
      at += PREFIX_BYTES + frame.length;
      start = end;
    }
    return message;
  }
}

/** A field of a frame, of those that are numbers; before it stand numbers only. The type is field 0. */
function field(frame: Uint8Array, index: number): number {
  const reader = new Reader(frame);
  reader.at = 1;
  for (let before = 0; before < index; before++) reader.uint();
  return reader.uint();
}

async function each<T>(stream: ReadableStream<T>, take: (value: T) => void): Promise<void> {
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    take(value);
  }
}
