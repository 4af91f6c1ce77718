import { GET } from './codes.js';
import { isMap, type ServerFrame } from './frames.js';
import { FrameError, type Decoded } from './msgpack-reader.js';
import type { Session } from './session.js';


/** A value that was read. */
export interface ReadValue<T> {
  readonly value: T;
  readonly epoch: number;
  /** Every operation that was answered with a version up to this one is in the value. */
  readonly version: number;
  /** Unix time before which everything is in the value; `null`: it is as of now. */
  readonly asOfMs: number | null;
  /** Whether it may lack what was done since then. */
  readonly stale: boolean;
}

/** How a value is read. */
export interface GetOptions {
  /** Refuse with `unavailable` rather than answer from a copy. */
  linearizable?: boolean;
  /** Eventual counters: only where it is known what these had counted; as an increment's `asOf` says. */
  atLeast?: readonly (readonly [node: number, incarnation: number, version: number])[];
}

/** Reads a cell, and makes a value of what the wire brings. */
export async function read<T>(
  session: Session,
  kind: number,
  name: string,
  key: string | null,
  options: GetOptions,
  convert: (value: Decoded) => T,
): Promise<ReadValue<T>> {
  const { linearizable, atLeast } = options;
  const wire = linearizable || atLeast ? { linearizable, at_least: atLeast } : null;
  const reply: ServerFrame = await session.ask([GET, 0, kind, name, key, wire], { repeatable: true });
  const [, , , epoch, version, value, asOfMs, stale] = reply;
  return { value: convert(value), epoch, version, asOfMs, stale: stale === true };
}

/** A number of 64 bits; beyond 2^53 - 1 it is the nearest that a number can be. */
export function asNumber(value: Decoded): number {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw new FrameError('a number is expected');
  return Number(value);
}

/** A value that has to be a map. */
export function asMap(value: Decoded): { [key: string]: Decoded } {
  if (!isMap(value)) throw new FrameError('a map is expected');
  return value;
}
