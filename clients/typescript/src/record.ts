import { TidewireError } from './error.js';
import { FrameError, Reader } from './msgpack-reader.js';
import { Writer, type Encodable } from './msgpack-writer.js';

const utf8 = new TextDecoder();
const encoder = new TextEncoder();

/**
 * What can be published: bytes as they are, text as UTF-8, anything else as JSON. `null` is a tombstone, which
 * deletes its key from the topic's map.
 */
export type Payload = Uint8Array | string | number | boolean | null | object;

/** A record that is to be published. */
export interface RecordInput {
  /** Which entry of the topic's map it is, and which partition it goes to. */
  key?: string | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  payload: Payload;
}

/** The bytes that a payload travels as; `null` for a tombstone. */
export function payloadBytes(payload: Payload): Uint8Array | null {
  if (payload === null || payload instanceof Uint8Array) return payload;
  if (typeof payload === 'string') return encoder.encode(payload);
  const json = JSON.stringify(payload) as string | undefined;
  if (json === undefined) {
    throw new TidewireError('invalid_argument', 'JSON cannot hold this payload');
  }
  return encoder.encode(json);
}

/** The body of a PUBLISH: the records' encodings one after the other. */
export function encodeBody(records: readonly RecordInput[]): Uint8Array {
  const writer = new Writer();
  for (const { key, headers, payload } of records) {
    writer.array(3);
    writer.value(key ?? null);
    writer.value((headers ?? null) as Encodable);
    writer.value(payloadBytes(payload));
  }
  return writer.take();
}

/** One record of a topic. What it holds is decoded when it is asked for. */
export class TopicRecord {
  readonly topic: string;
  readonly epoch: number;
  readonly offset: number;
  /** Unix time at which its batch was appended, in milliseconds. */
  readonly timeMs: number;
  readonly #body: Uint8Array;
  readonly #at: number;
  readonly #payload: number;
  readonly #end: number;

  /** @internal `at`: where its key stands in the body; its payload are the bytes before `end`, -1 of them: nil. */
  constructor(place: RecordPlace, offset: number, body: Uint8Array, at: number, end: number, length: number) {
    this.topic = place.topic;
    this.epoch = place.epoch;
    this.timeMs = place.timeMs;
    this.offset = offset;
    this.#body = body;
    this.#at = at;
    this.#payload = length;
    this.#end = end;
  }

  get key(): string | null {
    return new Reader(this.#body.subarray(this.#at, this.#end)).value() as string | null;
  }

  get headers(): Readonly<Record<string, string>> {
    const reader = new Reader(this.#body.subarray(this.#at, this.#end));
    reader.skip();
    return (reader.value() ?? {}) as Record<string, string>;
  }

  /** A view into what was received; `null` for a tombstone. */
  get payload(): Uint8Array | null {
    return this.#payload < 0 ? null : this.#body.subarray(this.#end - this.#payload, this.#end);
  }

  /** The payload as UTF-8; empty for a tombstone. */
  text(): string {
    return utf8.decode(this.payload ?? new Uint8Array());
  }

  /** The payload as JSON; `null` for a tombstone. Throws a SyntaxError if it is none. */
  json<T = unknown>(): T {
    const { payload } = this;
    return (payload === null ? null : JSON.parse(utf8.decode(payload))) as T;
  }
}

/** Where the records of a delivery are from. */
export interface RecordPlace {
  readonly topic: string;
  readonly epoch: number;
  readonly timeMs: number;
}

/** Walks through a body, one record after the other. */
export class BodyReader {
  readonly #reader: Reader;
  readonly #place: RecordPlace;

  constructor(place: RecordPlace, body: Uint8Array) {
    this.#place = place;
    this.#reader = new Reader(body);
  }

  get done(): boolean {
    return this.#reader.done;
  }

  next(offset: number): TopicRecord {
    const reader = this.#reader;
    if (reader.array() !== 3) throw new FrameError('a record has three elements');
    const at = reader.at;
    reader.skip();
    reader.skip();
    const length = reader.nil() ? -1 : reader.skipBin();
    return new TopicRecord(this.#place, offset, reader.bytes, at, reader.at, length);
  }
}
