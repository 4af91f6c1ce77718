/** What a client follows outlives its connections: it holds its position and goes on from there. */

import { FRAME, START, TidewireError } from './frames.js';
import { decodeAll } from './msgpack.js';

export class Emitter {
	#listeners = {};

	on(type, listener) {
		(this.#listeners[type] ??= []).push(listener);
		return this;
	}

	emit(type, event) {
		for (const listener of this.#listeners[type] ?? []) listener(event);
	}
}

const OUT_OF_RANGE = 26;
const UPDATE_DELETED = 2;
const UPDATE_STALE = 4;

/**
 * A cursor in a topic: emits `subscribed`, `records` and `gap` with the protocol's numbers. After
 * `error` it goes on by itself; `ended` carries the refusal, or null when it was stopped.
 */
export class Subscription extends Emitter {
	epoch = null;
	next = null;

	/** @param {object} options `start`, and the protocol's own */
	constructor(sub, topic, { start = START.latest, ...options }) {
		super();
		Object.assign(this, { sub, topic, start, options });
	}

	request() {
		const start = this.next === null ? this.start : START.offset(this.epoch, this.next);
		return [FRAME.SUBSCRIBE, this.sub, this.topic, start, this.options];
	}

	/** Whether a refused resumption begins again at the first start. */
	refused(error) {
		if (error.code !== OUT_OF_RANGE || this.next === null) return false;
		this.next = null;
		this.emit('error', error);
		return true;
	}

	accepted([, , , status, epoch, next]) {
		Object.assign(this, { epoch, next });
		this.emit('subscribed', { status, epoch, offset: next });
	}

	frame(frame, receivedAtMs) {
		const [type, , , epoch, from, next] = frame;
		if (type === FRAME.PROGRESS) Object.assign(this, { epoch, next: from });
		else if (type === FRAME.GAP) {
			Object.assign(this, { epoch, next });
			this.emit('gap', { epoch, from, next, reason: frame[6] });
		} else if (type === FRAME.DELIVER) this.#deliver(frame, receivedAtMs);
	}

	#deliver([, , topic, epoch, from, next, timeMs, , offsets, body], receivedAtMs) {
		if (epoch !== this.epoch || from !== this.next) {
			this.emit('error', new TidewireError('protocol_fault', `${topic}: expected ${this.next}, got ${from}`));
		}
		Object.assign(this, { epoch, next });
		const records = decodeAll(body).map(([key, headers, payload], at) => ({ offset: from + (offsets?.[at] ?? at), key, headers, payload }));
		this.emit('records', { epoch, records, timeMs, receivedAtMs });
	}
}

/** The newest version of a counter or tally: emits `watching`, `update` and `ended`. */
export class Watch extends Emitter {
	epoch = null;
	version = 0;

	constructor(sub, kind, name, options) {
		super();
		Object.assign(this, { sub, kind, name, options });
	}

	request() {
		const held = this.version ? { epoch: this.epoch, version: this.version } : {};
		return [FRAME.WATCH, this.sub, this.kind, this.name, { ...this.options, ...held }];
	}

	accepted([, , , epoch, version, info = null]) {
		const sameEpoch = this.epoch === null || this.epoch === epoch;
		// In a new epoch versions begin again.
		if (!sameEpoch) this.version = 0;
		this.epoch = epoch;
		this.emit('watching', { epoch, version, info, sameEpoch });
	}

	frame([type, , version, flags, value = null], receivedAtMs) {
		if (type !== FRAME.UPDATE || version <= this.version) return;
		this.version = version;
		// How old a value may get because the daemon is loaded; above the bits, so no bit operation.
		const staleMs = flags & UPDATE_STALE ? Math.floor(flags / 256) : 0;
		this.emit('update', { value, version, deleted: (flags & UPDATE_DELETED) !== 0, staleMs, receivedAtMs });
	}
}
