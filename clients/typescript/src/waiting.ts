import { TidewireError } from './error.js';
import type { Frame, ServerFrame } from './frames.js';
import { ASKED_MS_MAX } from './limits.js';

/** Why a request that waited fails. */
export const NO_CONNECTION = 'there was no connection for too long';

/** How a request behaves beyond being sent once. */
export interface Asking {
  /** Whether doing it twice is the same as doing it once, so that it is sent again when its reply was lost. */
  repeatable?: boolean;
  /** A publish that gets a number of this client's own. */
  numbered?: boolean;
  /** No reply comes when it succeeds: it is done when it is sent. */
  silent?: boolean;
  /** Brings the frame up to date before it is sent. */
  refresh?: (frame: Frame) => void;
  /** Whether a refusal with `subscription_unknown` is for the moment only. */
  mayReturn?: () => boolean;
  /** Bytes that it holds, beyond a few. */
  bytes?: number;
}

/** A request that is not answered yet. */
export interface Waiting extends Asking {
  readonly order: number;
  readonly frame: Frame;
  readonly settle: (frame: ServerFrame) => void;
  readonly fail: (error: TidewireError) => void;
  /** Of the connection itself: it needs no room, and is not sent again. */
  readonly internal: boolean;
  since: number;
  req: number;
  attempts: number;
  renumbered: number;
  refusedAt: number | undefined;
  postponed: boolean;
}

/** Whether a refusal asks for a longer pause than a change of leaders takes. */
export function asksForLong(retryAfterMs: number | null | undefined): boolean {
  return (retryAfterMs ?? 0) > ASKED_MS_MAX;
}

/** A publish without a number would be appended twice. */
export function isRepeatable({ repeatable, numbered, frame }: Waiting): boolean {
  return repeatable === true || (numbered === true && (frame[5] as { producer?: number }).producer !== undefined);
}

/** A request that was sent and not answered. */
export function lost(reason: string): TidewireError {
  return new TidewireError(
    'connection_lost',
    `the connection was lost before the answer (${reason}): the request may or may not have been applied`,
  );
}
