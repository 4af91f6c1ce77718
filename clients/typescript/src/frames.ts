import { FrameError, type Decoded, type DecodedMap } from './msgpack-reader.js';
import type { Encodable } from './msgpack-writer.js';

/** A frame that this client sends; its first element is the type. */
export type Frame = Encodable[];
/** A frame of the server whose fields have the types that PROTOCOL.md gives them. */
export type ServerFrame = [type: number, ...fields: any[]];


/**
 * The fields of the server's frames. u, i: integers; s: text; n: a name; b: bytes; B: true or false; m: a map;
 * x: anything; S, U: lists of s and u; R, P: two and three u; K, L: lists of R and P. `?` may be nil.
 */
const FIELDS: { readonly [type: number]: string } = {
  2: 'uSsm', 3: 'u', 4: 'u', 5: 'uusu?u?u?', 6: 'usuS?', 7: 'um?', 11: 'uuu?uL?B?', 13: 'uuuuuR?L?',
  14: 'unuuuuP?U?b', 16: 'un?uuuuP?', 17: 'un?uuP?', 21: 'uuuiiBP?', 23: 'uuuuuu?', 25: 'uuuux?u?B?',
  27: 'uuuum?', 28: 'uuux?', 34: 'unuuu?Kb',
};

/**
 * Checks a frame's form and makes missing fields nil. A type that only a later version has gives nothing.
 * A frame with a wrong form is the server's fault.
 */
export function checkServerFrame(frame: Decoded): ServerFrame | undefined {
  if (!Array.isArray(frame) || !isUint(frame[0])) throw new FrameError('no frame');
  const fields = FIELDS[Number(frame[0])];
  if (!fields) return undefined;
  let index = 1;
  for (let at = 0; at < fields.length; at++, index++) {
    const optional = fields[at + 1] === '?';
    const value = (frame[index] ??= null);
    if (!(optional && value === null) && !fits(fields[at]!, value)) {
      throw new FrameError(`frame ${frame[0]}: bad field ${index}`);
    }
    if (optional) at++;
  }
  frame.length = index;
  return frame as unknown as ServerFrame;
}

function isUint(value: Decoded): boolean {
  return fits('i', value) && (value as number) >= 0;
}

/** What a list holds, and of how many. */
const LISTS: { readonly [kind: string]: readonly [kind: string, count?: number] } = {
  S: ['s'], U: ['u'], K: ['R'], L: ['P'], R: ['u', 2], P: ['u', 3],
};
const TYPES: { readonly [kind: string]: string } = { s: 'string', n: 'string', B: 'boolean' };

function fits(kind: string, value: Decoded): boolean {
  const [inner, count] = LISTS[kind] ?? [];
  if (inner) return Array.isArray(value) && value.length === (count ?? value.length) && value.every((element) => fits(inner, element));
  if (kind === 'u') return isUint(value);
  if (kind === 'i') return typeof value === 'bigint' || typeof value === 'number';
  if (kind === 'b') return value instanceof Uint8Array;
  if (kind === 'm') return isMap(value);
  return kind === 'x' || (typeof value === TYPES[kind] && !(kind === 'n' && isWildcard(value as string)));
}

/** Whether a pattern has wildcards, so that it may match several topics. */
export function isWildcard(pattern: string): boolean {
  return /[*>]/.test(pattern);
}

/** Whether a value is a map. */
export function isMap(value: Decoded | undefined): value is DecodedMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function renamed(map: object | null, pattern: RegExp, name: (found: string) => string): object {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key.replace(pattern, name), value]));
}

/** Options under the wire's names: `ackTimeoutMs` is `ack_timeout_ms` there. What is `undefined` is left out. */
export function toWire(options: object): { [key: string]: Encodable } {
  return renamed(options, /[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) as { [key: string]: Encodable };
}

/** A map of the wire with this language's names of its keys. */
export function fromWire<T>(map: DecodedMap | null): T {
  return renamed(map, /_[a-z]/g, (found) => found[1]!.toUpperCase()) as T;
}
