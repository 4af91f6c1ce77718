/** The protocol's numbers and errors. See PROTOCOL.md. */

/** Frame types. */
export const FRAME = {
  HELLO: 1, WELCOME: 2, PING: 3, PONG: 4, ERROR: 5, GOAWAY: 6, SUBSCRIBE: 12, DELIVER: 14, UNSUBSCRIBE: 15,
  GAP: 16, PROGRESS: 17, VOTE: 22, GET: 24, WATCH: 26, UPDATE: 28,
};

/** What this client reads; ROUNDS cannot be watched. */
export const KIND = { COUNTER: 1, TALLY: 2, ROUNDS: 6 };

/** Where a subscription starts. */
export const START = { latest: [0], earliest: [1], offset: (epoch, offset) => [2, epoch, offset], last: (count) => [4, count] };

const ERRORS = ('ok malformed frame_too_large unknown_frame version_unsupported hello_required invalid_name '
  + 'invalid_pattern invalid_argument not_found already_exists conflict unauthenticated forbidden limit_exceeded '
  + 'rate_limited overloaded unavailable record_too_large ack_unsupported unsupported tally_closed tally_not_open '
  + 'unknown_option already_voted stale_revision out_of_range subscription_exists subscription_unknown '
  + 'producer_unknown sequence_too_old storage_full storage_failed too_slow idle_timeout shutting_down internal '
  + 'outcome_unknown').split(' ');
const RETRYABLE = [15, 16, 17, 22, 31, 34, 35, 36];

/**
 * A refusal by the server, with its name and number in the protocol. The client's own have the
 * code 0: `disconnected` (never sent), `connection_lost` and `timeout` (sent, and nobody knows
 * whether it was applied), `protocol_fault`.
 */
export class TidewireError extends Error {
  constructor(kind, message, { code = 0, retryAfterMs = null } = {}) {
    super(message || kind);
    /** `retryable`: whether the same request can succeed later. */
    Object.assign(this, { name: 'TidewireError', kind, code, retryAfterMs, retryable: RETRYABLE.includes(code) });
  }

  static fromCode(code, message, retryAfterMs) {
    return new TidewireError(ERRORS[code] ?? `error_${code}`, message, { code, retryAfterMs });
  }
}
