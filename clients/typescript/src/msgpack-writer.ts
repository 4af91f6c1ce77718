import { TidewireError } from './error.js';

const encoder = new TextEncoder();

function unfit(value: number | bigint): TidewireError {
  return new TidewireError('invalid_argument', `${value} is no integer of 64 bits`);
}

/** What the wire's subset of MessagePack can hold. `undefined` is nil in arrays; in maps its key is left out. */
export type Encodable =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Encodable[]
  | { readonly [key: string]: Encodable };

/** Writes MessagePack into one growing buffer, each number and length in its shortest encoding. */
export class Writer {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  /** How many bytes are written. */
  length = 0;

  /** Takes what was written, as bytes of its own, and begins anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.length);
    this.length = 0;
    return taken;
  }

  /** Takes back what was written behind this length. */
  rewind(length: number): void {
    this.length = length;
  }

  value(value: Encodable): void {
    switch (typeof value) {
      case 'number':
        return this.number(value);
      case 'string':
        return this.text(value);
      case 'boolean':
        return this.#byte(value ? 0xc3 : 0xc2);
      case 'bigint':
        return this.#bigint(value);
      case 'undefined':
        return this.nil();
    }
    if (value === null) this.nil();
    else if (value instanceof Uint8Array) this.bin(value);
    else if (Array.isArray(value)) {
      this.array(value.length);
      for (const element of value) this.value(element);
    } else this.#map(value as { readonly [key: string]: Encodable });
  }

  nil(): void {
    this.#byte(0xc0);
  }

  array(count: number): void {
    this.#head(count, 0x90, 15, 0, 0xdc);
  }

  map(count: number): void {
    this.#head(count, 0x80, 15, 0, 0xde);
  }

  bin(bytes: Uint8Array): void {
    this.#head(bytes.length, 0, -1, 0xc4, 0xc5);
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  text(text: string): void {
    const bytes = encoder.encode(text);
    this.#head(bytes.length, 0xa0, 31, 0xd9, 0xda);
    this.#append(bytes);
  }

  number(value: number): void {
    if (!Number.isSafeInteger(value)) throw unfit(value);
    if (value < -0x8000_0000 || value >= 0x1_0000_0000) this.#wide(BigInt(value));
    else if (value >= 0) this.#head(value, 0, 0x7f, 0xcc, 0xcd);
    else if (value >= -0x20) this.#byte(value);
    else if (value >= -0x80) this.#tagged(0xd0, value, 1);
    else if (value >= -0x8000) this.#tagged(0xd1, value, 2);
    else this.#tagged(0xd2, value, 4);
  }

  #bigint(value: bigint): void {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return this.number(number);
    if (BigInt.asIntN(64, value) !== value && BigInt.asUintN(64, value) !== value) throw unfit(value);
    this.#wide(value);
  }

  #wide(value: bigint): void {
    this.#reserve(9);
    this.#bytes[this.length] = value < 0n ? 0xd3 : 0xcf;
    this.#view.setBigUint64(this.length + 1, BigInt.asUintN(64, value));
    this.length += 9;
  }

  #map(map: { readonly [key: string]: Encodable }): void {
    const keys = Object.keys(map).filter((key) => map[key] !== undefined);
    this.map(keys.length);
    for (const key of keys) {
      this.text(key);
      this.value(map[key]);
    }
  }

  /** A length or number: in the tag itself, in one byte where the kind has that, in two, or in four. */
  #head(count: number, fixed: number, fixedMax: number, tag8: number, tag16: number): void {
    if (count <= fixedMax) this.#byte(fixed | count);
    else if (tag8 && count < 0x100) this.#tagged(tag8, count, 1);
    else if (count < 0x1_0000) this.#tagged(tag16, count, 2);
    else this.#tagged(tag16 + 1, count, 4);
  }

  #tagged(tag: number, value: number, size: number): void {
    this.#reserve(5);
    this.#bytes[this.length++] = tag;
    if (size === 1) this.#bytes[this.length] = value;
    else if (size === 2) this.#view.setUint16(this.length, value);
    else this.#view.setUint32(this.length, value);
    this.length += size;
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.length++] = byte;
  }

  #reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
