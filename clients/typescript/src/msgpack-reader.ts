import { DEPTH_MAX } from './limits.js';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** How an integer of 8 to 32 bits is read, by its tag. */
const INTEGERS = ['getUint8', 'getUint16', 'getUint32', 'getUint8', 'getInt8', 'getInt16', 'getInt32'] as const;

/** Bytes that are not what the protocol says. */
export class FrameError extends Error {}

/** What a value of the wire decodes to. Integers beyond 2^53 - 1 are bigints. */
export type Decoded = null | boolean | number | bigint | string | Uint8Array | Decoded[] | DecodedMap;
/** A map; it has no prototype, so that no key of a stranger's means anything. */
export interface DecodedMap {
  [key: string]: Decoded;
}

/** Reads MessagePack out of one buffer. Binaries are views into it. */
export class Reader {
  #view: DataView;
  bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Whether everything was read. */
  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  value(depth = 0): Decoded {
    const tag = this.#tag();
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.#text(tag & 0x1f);
    if (tag === 0xc0) return null;
    if (tag === 0xc1) throw new FrameError('the reserved byte c1');
    if (tag < 0xc4) return tag === 0xc3;
    if (tag < 0xc7) return this.#slice(this.#length(tag - 0xc4));
    // Extensions and floats do not occur, except perhaps in a field of a later version: they are passed over.
    if (tag < 0xca) return this.#slice(this.#length(tag - 0xc7) + 1);
    if (tag < 0xcc) return this.#slice(4 << (tag - 0xca));
    if (tag < 0xd4) return this.#integer(tag);
    if (tag < 0xd9) return this.#slice((1 << (tag - 0xd4)) + 1);
    if (tag < 0xdc) return this.#text(this.#length(tag - 0xd9));
    if (tag < 0xde) return this.#array(this.#length(tag - 0xdb), depth);
    return this.#map(this.#length(tag - 0xdd), depth);
  }

  /** Passes one value over without making anything of it. */
  skip(): void {
    const tag = this.bytes[this.at];
    if (tag === 0xc0) this.at++;
    else if (tag !== undefined && tag >= 0xa0 && tag < 0xc0) this.#skip(1 + (tag & 0x1f));
    else this.value();
  }

  array(): number {
    const tag = this.#tag();
    if (tag >= 0x90 && tag < 0xa0) return tag & 0x0f;
    if (tag === 0xdc || tag === 0xdd) return this.#length(tag - 0xdb);
    throw new FrameError('an array is expected');
  }

  uint(): number {
    const tag = this.#tag();
    if (tag < 0x80) return tag;
    const value = tag >= 0xcc && tag <= 0xd3 ? this.#integer(tag) : -1;
    if (typeof value !== 'number' || value < 0) {
      throw new FrameError('an integer up to 2^53 - 1 is expected');
    }
    return value;
  }

  /** Whether the next value is nil, which is passed over then. */
  nil(): boolean {
    if (this.bytes[this.at] !== 0xc0) return false;
    this.at++;
    return true;
  }

  text(): string {
    const value = this.value();
    if (typeof value !== 'string') throw new FrameError('a text is expected');
    return value;
  }

  /** Passes a bin over and returns its length; it ends where the reader stands. */
  skipBin(): number {
    const tag = this.#tag();
    if (tag < 0xc4 || tag > 0xc6) throw new FrameError('bytes are expected');
    const length = this.#length(tag - 0xc4);
    this.#skip(length);
    return length;
  }

  #tag(): number {
    if (this.done) throw new FrameError('cut off');
    return this.bytes[this.at++]!;
  }

  #skip(count: number): number {
    const start = this.at;
    if (start + count > this.bytes.length) throw new FrameError('cut off');
    this.at = start + count;
    return start;
  }

  #slice(count: number): Uint8Array {
    const start = this.#skip(count);
    return this.bytes.subarray(start, this.at);
  }

  /** A length in one (0), two (1) or four bytes (2). */
  #length(width: number): number {
    return this.#view[INTEGERS[width]!](this.#skip(1 << width));
  }

  #integer(tag: number): number | bigint {
    const width = (tag - 0xcc) & 3;
    const at = this.#skip(1 << width);
    const signed = tag >= 0xd0;
    if (width < 3) return this.#view[INTEGERS[tag - 0xcc]!](at);
    const high = signed ? this.#view.getInt32(at) : this.#view.getUint32(at);
    const value = high * 0x1_0000_0000 + this.#view.getUint32(at + 4);
    if (Number.isSafeInteger(value)) return value;
    return signed ? this.#view.getBigInt64(at) : this.#view.getBigUint64(at);
  }

  #text(count: number): string {
    const bytes = this.#slice(count);
    try {
      return decoder.decode(bytes);
    } catch {
      throw new FrameError('text that is no UTF-8');
    }
  }

  #enter(count: number, elements: number, depth: number): void {
    if (count > 0 && depth >= DEPTH_MAX) throw new FrameError(`more than ${DEPTH_MAX} levels`);
    // Each element takes a byte at least, so a length that lies costs nothing.
    if (elements > this.bytes.length - this.at) throw new FrameError('cut off');
  }

  #array(count: number, depth: number): Decoded[] {
    this.#enter(count, count, depth);
    const array: Decoded[] = [];
    for (let index = 0; index < count; index++) array.push(this.value(depth + 1));
    return array;
  }

  #map(count: number, depth: number): DecodedMap {
    this.#enter(count, count * 2, depth);
    const map = Object.create(null) as DecodedMap;
    for (let index = 0; index < count; index++) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new FrameError('a key that is no text');
      map[key] = this.value(depth + 1);
    }
    return map;
  }
}
