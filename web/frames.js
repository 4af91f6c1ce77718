/** The protocol's numbers and errors. See PROTOCOL.md. */

export const FRAME = {
	HELLO: 1, WELCOME: 2, PING: 3, PONG: 4, ERROR: 5, GOAWAY: 6, SUBSCRIBE: 12, DELIVER: 14, UNSUBSCRIBE: 15,
	GAP: 16, PROGRESS: 17, VOTE: 22, GET: 24, WATCH: 26, UPDATE: 28,
};

/** What this client reads; ROUNDS cannot be watched. */
export const KIND = { COUNTER: 1, TALLY: 2, ROUNDS: 6 };

export const START = { latest: [0], earliest: [1], offset: (epoch, offset) => [2, epoch, offset], last: (count) => [4, count] };

const RETRYABLE = [15, 16, 17, 22, 31, 34, 35, 36];

/**
 * `kind` is `refused`, with the `code` of the protocol, or one of the client's own: `disconnected`
 * (never sent), `connection_lost` or `timeout` (sent, and nobody knows whether it was applied), and
 * `protocol_fault`. If `retryable`, the same request can succeed later.
 */
export class TidewireError extends Error {
	constructor(kind, message, code = 0, retryAfterMs = null) {
		super(message || `${kind} (${code})`);
		Object.assign(this, { kind, code, retryAfterMs, retryable: RETRYABLE.includes(code) });
	}
}
