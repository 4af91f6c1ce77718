import type { ErrorCode, TidewireError } from './error.js';
import type { TransportName } from './socket.js';

/** Where the connection stands. */
export type ConnectionState =
  /** A connection is being made, or one to another node is about to take the place of this one. */
  | { readonly state: 'connecting' }
  /**
   * Requests are answered. `session`: the server's name for this connection, as it stands in its log. `fallback`: why
   * the transport is not the one that was wanted first.
   */
  | {
      readonly state: 'connected';
      readonly session: string;
      readonly url: string;
      readonly transport: TransportName;
      readonly fallback: string | undefined;
    }
  /** There is none: not yet, not at the moment (the next attempt comes by itself), or closed by the application. */
  | { readonly state: 'disconnected'; readonly code?: ErrorCode; readonly reason?: string }
  /** Connecting again makes no sense; `connect` tries anew if something has changed. */
  | { readonly state: 'failed'; readonly code: ErrorCode; readonly reason: string; readonly error: TidewireError };

/** Where a subscription, watch or consumer stands. */
export type RouteState = 'opening' | 'running' | 'ended';
