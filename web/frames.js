/** The protocol's numbers, errors and records. See PROTOCOL.md. */

import { decodeAll, encode } from './msgpack.js';

/** Frame types. */
export const FRAME = {
  HELLO: 1, WELCOME: 2, PING: 3, PONG: 4, ERROR: 5, GOAWAY: 6, PUBLISH: 10, SUBSCRIBE: 12, DELIVER: 14,
  UNSUBSCRIBE: 15, GAP: 16, PROGRESS: 17, INCR: 20, VOTE: 22, GET: 24, WATCH: 26, UPDATE: 28,
};

/** What GET and WATCH can read; TOPIC and ROUNDS cannot be watched. */
export const KIND = { COUNTER: 1, TALLY: 2, MAP: 3, PRESENCE: 4, TOPIC: 5, ROUNDS: 6 };

/** Where a subscription starts. */
export const START = {
  latest: [0],
  earliest: [1],
  offset: (epoch, offset) => [2, epoch, offset],
  time: (timeMs) => [3, timeMs],
  last: (count) => [4, count],
};

const ERRORS = ('ok malformed frame_too_large unknown_frame version_unsupported hello_required invalid_name '
  + 'invalid_pattern invalid_argument not_found already_exists conflict unauthenticated forbidden limit_exceeded '
  + 'rate_limited overloaded unavailable record_too_large ack_unsupported unsupported tally_closed tally_not_open '
  + 'unknown_option already_voted stale_revision out_of_range subscription_exists subscription_unknown '
  + 'producer_unknown sequence_too_old storage_full storage_failed too_slow idle_timeout shutting_down internal '
  + 'outcome_unknown').split(' ');
const RETRYABLE = [15, 16, 17, 22, 31, 34, 35, 36];

/**
 * A refusal by the server: `kind` is its name in the protocol, `code` its number. The client's own
 * have the code 0: `disconnected` (never sent), `connection_lost` (sent, and nobody knows whether
 * it was applied), `timeout`, `closed` and `protocol_fault`.
 */
export class TidewireError extends Error {
  constructor(kind, message, { code = 0, retryAfterMs = null } = {}) {
    super(message || kind);
    Object.assign(this, { name: 'TidewireError', kind, code, retryAfterMs });
    /** Whether the same request can succeed later. */
    this.retryable = RETRYABLE.includes(code);
  }

  static fromCode(code, message, retryAfterMs) {
    return new TidewireError(ERRORS[code] ?? `error_${code}`, message, { code, retryAfterMs });
  }
}

/**
 * @typedef {{key?: string|null, headers?: {[name: string]: string}|null, payload?: Uint8Array|string|null}} Outgoing
 *   text is sent as UTF-8; without payload the record is a tombstone
 * @param {Outgoing[]} records
 */
export function encodeBody(records) {
  const bytes = (payload) => (typeof payload === 'string' ? new TextEncoder().encode(payload) : payload);
  return encode(...records.map(({ key, headers, payload }) => [key, headers, bytes(payload)]));
}

/** The records of a delivery, each with its offset; `offsets` are relative, null: dense. */
export function decodeBody(body, from, offsets) {
  return decodeAll(body).map(([key = null, headers = null, payload = null], index) => (
    { offset: from + (offsets?.[index] ?? index), key, headers, payload }
  ));
}
