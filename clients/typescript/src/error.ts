/** The protocol's errors in the order of their numbers, from 1 on; `+`: it can succeed when it is asked again. */
const NAMES = (
  'malformed frame_too_large unknown_frame version_unsupported hello_required invalid_name invalid_pattern ' +
  'invalid_argument not_found already_exists conflict unauthenticated forbidden limit_exceeded rate_limited+ ' +
  'overloaded+ unavailable+ record_too_large ack_unsupported unsupported tally_closed tally_not_open+ ' +
  'unknown_option already_voted stale_revision out_of_range subscription_exists subscription_unknown ' +
  'producer_unknown sequence_too_old storage_full+ storage_failed too_slow idle_timeout+ shutting_down+ ' +
  'internal+ outcome_unknown moved+ '
).split(' ');

/** Those of this client that can succeed later. */
const RETRYABLE = ['cannot_connect', 'connection_lost', 'not_connected', 'queue_full', 'token_failed'];

/** Codes that the server sends. */
export type ServerErrorCode =
  | 'malformed' | 'frame_too_large' | 'unknown_frame' | 'version_unsupported' | 'hello_required'
  | 'invalid_name' | 'invalid_pattern' | 'invalid_argument' | 'not_found' | 'already_exists' | 'conflict'
  | 'unauthenticated' | 'forbidden' | 'limit_exceeded' | 'rate_limited' | 'overloaded' | 'unavailable'
  | 'record_too_large' | 'ack_unsupported' | 'unsupported' | 'tally_closed' | 'tally_not_open'
  | 'unknown_option' | 'already_voted' | 'stale_revision' | 'out_of_range' | 'subscription_exists'
  | 'subscription_unknown' | 'producer_unknown' | 'sequence_too_old' | 'storage_full'
  | 'storage_failed' | 'too_slow' | 'idle_timeout' | 'shutting_down' | 'internal' | 'outcome_unknown'
  | 'moved';

/** Codes of this client's own. */
export type ClientErrorCode =
  | 'cannot_connect'
  | 'connection_lost'
  | 'not_connected'
  | 'queue_full'
  | 'connection_failed'
  | 'client_closed'
  | 'bad_reply'
  | 'invalid_configuration'
  | 'token_failed'
  | 'unknown_error';

/** The stable name of what went wrong: the protocol's names for what the server refused. */
export type ErrorCode = ServerErrorCode | ClientErrorCode;

/** Why a request, a subscription, a watch or the connection failed. */
export class TidewireError extends Error {
  override readonly name = 'TidewireError';
  /** For programs; its meaning never changes. */
  readonly code: ErrorCode;
  /** How long the server asks to wait before the same is asked again. */
  readonly retryAfterMs: number | null;
  /** What holds instead, for the codes of which PROTOCOL.md says so. */
  readonly actual: number | null;

  constructor(code: ErrorCode, message: string, retryAfterMs: number | null = null, actual: number | null = null) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.actual = actual;
  }

  /** Whether the same request can succeed later. After `connection_lost` it may have been carried out already. */
  get retryable(): boolean {
    return NAMES.includes(`${this.code}+`) || RETRYABLE.includes(this.code);
  }
}

/** The name of a code on the wire, or nothing if this client does not know it. */
export function errorName(code: number): ErrorCode | undefined {
  return (NAMES[code - 1]?.replace('+', '') || undefined) as ErrorCode | undefined;
}

/** The error that the fields of an ERROR frame, from its code on, stand for. */
export function refusal(code: number, message: string, retryAfterMs?: number | null, actual?: number | null): TidewireError {
  const name = errorName(code);
  const told = name ? message : `${message} (error code ${code})`;
  return new TidewireError(name ?? 'unknown_error', told, retryAfterMs, actual);
}
