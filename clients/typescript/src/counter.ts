import { asNumber, read, type GetOptions, type ReadValue } from './cells.js';
import { ADD, COUNTER, INCR, RESET, SET } from './codes.js';
import { toWire, type ServerFrame } from './frames.js';
import type { Decoded } from './msgpack-reader.js';
import type { Encodable } from './msgpack-writer.js';
import type { Session } from './session.js';
import type { CellReader } from './watch-slot.js';
import { Watch, type WatchOptions } from './watch.js';


/** How a counter is changed. */
export interface CounterOptions {
  /** Bounds for this operation: the result is clamped. */
  min?: number | bigint;
  max?: number | bigint;
  /** Refuse with `out_of_range` rather than clamp. */
  strict?: boolean;
  /** The counter is deleted this long after this operation; 0: an earlier time to live is removed. */
  ttlMs?: number;
  /** Counts once, however often it is sent with this id (1 to 64 bytes), and is sent again after a cut. */
  id?: string;
}

/** What became of an operation on a counter. */
export interface Counted {
  /** The counter's number; beyond 2^53 - 1 the nearest that a number can be, and `exact` is exact. */
  readonly value: number;
  readonly exact: bigint;
  /** By how much it really changed. */
  readonly applied: number;
  readonly duplicate: boolean;
  readonly epoch: number;
  readonly version: number;
  /** Eventual counters: who has counted it. A read passes it on in `atLeast`. */
  readonly asOf: readonly [node: number, incarnation: number, version: number] | null;
}

/** A counter. */
export class Counter {
  readonly name: string;
  readonly #session: Session;

  /** @internal */
  constructor(session: Session, name: string) {
    this.#session = session;
    this.name = name;
  }

  /**
   * Adds to it; one that does not exist counts from 0. When the connection is lost before the answer it fails with
   * `connection_lost`, unless it has an `id`: then it is sent again and counts once.
   */
  incr(delta: number | bigint = 1, options: CounterOptions = {}): Promise<Counted> {
    return this.#change(ADD, delta, options);
  }

  set(value: number | bigint, options: CounterOptions = {}): Promise<Counted> {
    return this.#change(SET, value, options);
  }

  /** Deletes it. */
  reset(options: CounterOptions = {}): Promise<Counted> {
    return this.#change(RESET, 0, options);
  }

  /** Its number; `null` if it does not exist. */
  async get(options: GetOptions = {}): Promise<number | null> {
    return (await this.read(options)).value;
  }

  /** Its number, its version, and how old both may be. */
  read(options: GetOptions = {}): Promise<ReadValue<number | null> & { readonly exact: bigint | null }> {
    let exact: bigint | null = null;
    const convert = (value: Decoded) => {
      if (value === null) return null;
      exact = BigInt(value as number);
      return asNumber(value);
    };
    return read(this.#session, COUNTER, this.name, null, options, convert).then((value) => ({ ...value, exact }));
  }

  /** Follows its number; `null` as long as it does not exist. */
  watch(options: WatchOptions = {}): Watch<number | null> {
    return new Watch(this.#session, COUNTER, this.name, options, new NumberCell());
  }

  async #change(op: number, operand: number | bigint, options: CounterOptions): Promise<Counted> {
    const frame = [INCR, 0, this.name, op, operand, toWire(options)];
    return counted(await this.#session.ask(frame, { repeatable: options.id !== undefined }));
  }
}

/** What COUNTED says. */
export function counted([, , epoch, version, value, applied, duplicate, asOf]: ServerFrame): Counted {
  return { value: Number(value), exact: BigInt(value), applied: Number(applied), duplicate, epoch, version, asOf };
}

/** A counter's value in a watch. */
class NumberCell implements CellReader<number | null> {
  readonly hasEntries = false;
  #value: Encodable = null;

  update(_full: boolean, parts: Decoded[]): void {
    this.#value = parts[0]!;
  }

  snapshot(): number | null {
    return this.#value === null ? null : asNumber(this.#value as Decoded);
  }
}
