/**
 * A Tidewire client over WebSocket, for pages that watch and vote. It connects by itself and stays
 * connected: after a loss it waits 0.5 to 20 s at random, then takes up each subscription at its
 * offset and each watch at its version.
 */

import { Emitter, Subscription, Watch } from './follow.js';
import { FRAME, TidewireError } from './frames.js';
import { decodeAll, encode } from './msgpack.js';

export { KIND, START, TidewireError } from './frames.js';

const DELAY_MS_MIN = 500;
const DELAY_MS_MAX = 20_000;
/** A connection that lived so long was a good one: delays begin short again. */
const SETTLED_MS = 10_000;
const REPLY_MS_MAX = 10_000;
const IN_FLIGHT_MAX = 1024;

/** Emits `state` with {state, error, retryInMs}, and `roundtrip` with milliseconds. */
export class Tidewire extends Emitter {
	/** disconnected, connecting, connected or, when the server refuses this client, failed */
	state = 'disconnected';
	#socket = null;
	#followed = new Map();
	#pending = new Map();
	#id = 0;
	#attempt = 0;
	#heartbeatMs = 15_000;
	#ping;
	#error;
	#connectedAtMs;
	#receivedAtMs;
	#timer;

	constructor(url, { token, name = 'tidewire-js/0.1' } = {}) {
		super();
		Object.assign(this, { url: String(url), token, name });
		this.connect();
	}

	/** Connects now: instead of after the delay, or again after a refusal. */
	connect() {
		if (this.#socket) return;
		clearTimeout(this.#timer);
		const socket = new WebSocket(this.url, 'tidewire.v1');
		socket.binaryType = 'arraybuffer';
		this.#socket = socket;
		this.#error = null;
		// A socket that was given up may still report.
		const current = (handle) => (event) => { if (this.#socket === socket) handle(event); };
		socket.onopen = current(() => this.#send([FRAME.HELLO, 1, [], this.token, this.name]));
		socket.onmessage = current(({ data }) => this.#receive(data));
		socket.onclose = current(({ code, reason }) => this.#closed(code, reason));
		this.#timer = setTimeout(current(() => this.#closed(1006, 'no answer to HELLO')), REPLY_MS_MAX);
		this.#setState('connecting');
	}

	/** @param {object} options of Subscription */
	subscribe(topic, options = {}) {
		return this.#follow(new Subscription(++this.#id, topic, options));
	}

	/** @param {number} kind of KIND @param {object} options the protocol's own */
	watch(kind, name, options = {}) {
		return this.#follow(new Watch(++this.#id, kind, name, options));
	}

	async stop(followed) {
		if (!this.#followed.delete(followed.sub)) return;
		followed.emit('ended', null);
		// Another connection would not know it.
		if (this.state === 'connected') await this.#request([FRAME.UNSUBSCRIBE, followed.sub]);
	}

	/** Casts or changes a ballot. `choices` has one element per rank; status 0: accepted, 1: changed, 2: duplicate. */
	async vote(tally, voter, choices, revisionWanted) {
		const [, , epoch, version, status, revision] = await this.#request([FRAME.VOTE, tally, voter, choices, revisionWanted]);
		return { epoch, version, status, revision };
	}

	async get(kind, name) {
		const [, , , epoch, version, value = null] = await this.#request([FRAME.GET, kind, name]);
		return { epoch, version, value };
	}

	ping() {
		this.#ping = { nonce: ++this.#id, sentAtMs: performance.now() };
		this.#send([FRAME.PING, this.#id]);
	}

	#follow(followed) {
		this.#followed.set(followed.sub, followed);
		if (this.state === 'connected') this.#begin(followed);
		return followed;
	}

	async #begin(followed) {
		try {
			await this.#request(followed.request(), (reply) => followed.accepted(reply));
		} catch (error) {
			// A lost connection is no refusal: the next one begins again.
			if (['connection_lost', 'disconnected'].includes(error.kind)) return;
			if (followed.refused?.(error)) this.#begin(followed);
			else if (this.#followed.delete(followed.sub)) followed.emit('ended', error);
		}
	}

	/**
	 * Sends a frame with a request id after its type. `onReply` runs before the next frame is read:
	 * a promise's reaction would come too late for a delivery in the same message.
	 */
	#request([type, ...fields], onReply) {
		return new Promise((resolve, reject) => {
			if (this.state !== 'connected') throw new TidewireError('disconnected', 'there is no connection');
			if (this.#pending.size >= IN_FLIGHT_MAX) throw new TidewireError('refused', 'too many requests in flight', 16);
			const req = ++this.#id;
			this.#send([type, req, ...fields]);
			const timer = setTimeout(() => this.#settle(req, new TidewireError('timeout', 'no reply in time')), REPLY_MS_MAX);
			this.#pending.set(req, (error, reply) => {
				clearTimeout(timer);
				if (error) return reject(error);
				onReply?.(reply);
				return resolve(reply);
			});
		});
	}

	#settle(req, error, reply) {
		const settle = this.#pending.get(req);
		this.#pending.delete(req);
		settle?.(error, reply);
	}

	#send(frame) {
		const bytes = encode(frame);
		if (this.#socket?.readyState === 1) this.#socket.send(bytes);
	}

	#receive(data) {
		this.#receivedAtMs = performance.now();
		let frames;
		try {
			frames = decodeAll(new Uint8Array(data));
		} catch (error) {
			return this.#closed(1006, `broken bytes from the server: ${error.message}`);
		}
		return frames.forEach((frame) => this.#frame(frame));
	}

	#frame(frame) {
		const [type, id] = frame;
		switch (type) {
			case FRAME.WELCOME: return this.#welcome(frame[4]);
			case FRAME.PING: return this.#send([FRAME.PONG, id]);
			case FRAME.PONG: return this.#ping?.nonce === id && this.emit('roundtrip', this.#receivedAtMs - this.#ping.sentAtMs);
			case FRAME.ERROR: return this.#refusal(frame);
			case FRAME.GOAWAY: return this.#closed(4000 + id, frame[2]);
			// These may still be in flight for what was stopped a moment ago.
			case FRAME.DELIVER: case FRAME.GAP: case FRAME.PROGRESS: case FRAME.UPDATE:
				return this.#followed.get(id)?.frame(frame, this.#receivedAtMs);
			default: return this.#settle(id, null, frame);
		}
	}

	#welcome(info) {
		this.#connectedAtMs = performance.now();
		this.#heartbeatMs = info.heartbeat_ms ?? this.#heartbeatMs;
		this.#setState('connected');
		this.#followed.forEach((followed) => this.#begin(followed));
		this.ping();
		this.#listen();
	}

	/** Asks a silent server for a sign of life, and gives it up after three heartbeats. */
	#listen() {
		clearTimeout(this.#timer);
		const silentMs = performance.now() - this.#receivedAtMs;
		if (silentMs > 3 * this.#heartbeatMs) {
			this.#closed(1006, 'the server has fallen silent');
			return;
		}
		if (silentMs > this.#heartbeatMs / 2) this.ping();
		this.#timer = setTimeout(() => this.#listen(), this.#heartbeatMs / 2);
	}

	#refusal([, req, code, message, retryAfterMs, sub]) {
		const error = new TidewireError('refused', message, code, retryAfterMs);
		const followed = this.#followed.get(sub);
		if (req) this.#settle(req, error);
		else if (followed) {
			this.#followed.delete(sub);
			followed.emit('ended', error);
		} else this.#error = error;
	}

	/** The server's own reasons close with 4000 + the code of the error. */
	#closed(code, reason) {
		const welcomed = this.state === 'connected';
		const lost = new TidewireError('connection_lost', reason || `the connection closed (${code})`);
		const error = this.#error ?? (code > 4000 ? new TidewireError('refused', reason, code - 4000) : lost);
		const socket = this.#socket;
		this.#socket = null;
		clearTimeout(this.#timer);
		socket.close();
		for (const req of [...this.#pending.keys()]) this.#settle(req, lost);
		// Before WELCOME an error speaks about this client, not about one of its requests.
		if (!welcomed && error.code > 0 && !error.retryable) this.#setState('failed', error);
		else this.#reconnectLater(welcomed, error);
	}

	#reconnectLater(welcomed, error) {
		if (welcomed && performance.now() - this.#connectedAtMs > SETTLED_MS) this.#attempt = 0;
		this.#attempt += 1;
		const ceilingMs = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** this.#attempt);
		const delayMs = DELAY_MS_MIN + Math.random() * (ceilingMs - DELAY_MS_MIN);
		const retryInMs = Math.max(delayMs, error.retryAfterMs ?? 0);
		this.#timer = setTimeout(() => this.connect(), retryInMs);
		this.#setState('disconnected', error, retryInMs);
	}

	#setState(state, error = null, retryInMs = null) {
		this.state = state;
		this.emit('state', { state, error, retryInMs });
	}
}
