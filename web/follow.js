/**
 * What a client follows. Subscriptions and watches outlive their connection: they hold the
 * position they have reached and make the frame that goes on from there.
 */

import { decodeBody, FRAME, START, TidewireError } from './frames.js';

/** @template {Record<string, unknown>} Events  what each type of event carries */
export class Emitter {
  #listeners = {};

  /**
   * @template {keyof Events} T
   * @param {T} type
   * @param {(event: Events[T]) => void} listener
   */
  on(type, listener) {
    (this.#listeners[type] ??= []).push(listener);
    return this;
  }

  emit(type, event) {
    for (const listener of this.#listeners[type] ?? []) listener(event);
  }
}

const STATUS = ['fresh', 'resumed', 'gap', 'new_epoch'];
const GAP_REASON = ['retention', 'new_epoch', 'jumped'];
const OUT_OF_RANGE = 26;
const UPDATE_FULL = 1;
const UPDATE_DELETED = 2;

/**
 * A cursor in a topic, or in all topics that match a pattern. `ended` carries null when it was
 * stopped; after `error` it goes on by itself.
 * @extends {Emitter<{subscribed: object, records: object, gap: object, ended: TidewireError|null, error: TidewireError}>}
 */
export class Subscription extends Emitter {
  epoch = null;
  next = null;
  #positions = new Map();

  /** @param {{start?: Array}} options `start`, and the protocol's own: mode, interval_ms, filter, on_gap */
  constructor(sub, pattern, { start = START.latest, ...options }) {
    super();
    Object.assign(this, { sub, name: pattern, start, options });
    this.isPattern = /(^|\.)[*>](\.|$)/.test(pattern);
  }

  request(req) {
    let { start } = this;
    if (this.#positions.size) start = [5, [...this.#positions.values()]];
    else if (this.next !== null) start = START.offset(this.epoch, this.next);
    return [FRAME.SUBSCRIBE, req, this.sub, this.name, start, this.options];
  }

  /** Whether a refused resumption should begin again at the first start. */
  refused(error) {
    if (error.code !== OUT_OF_RANGE || this.next === null) return false;
    this.next = null;
    this.emit('error', error);
    return true;
  }

  accepted([, , , status, epoch, offset, missing = null, positions]) {
    this.#advance(epoch, offset, positions);
    this.emit('subscribed', { status: STATUS[status], epoch, offset, missing });
  }

  frame(frame, receivedAtMs) {
    if (frame[0] === FRAME.DELIVER) this.#deliver(frame, receivedAtMs);
    else if (frame[0] === FRAME.PROGRESS) this.#advance(frame[3], frame[4], [frame[5]]);
    else if (frame[0] === FRAME.GAP) {
      const [, , topic, epoch, from, next, reason] = frame;
      this.#advance(epoch, next);
      this.emit('gap', { topic, epoch, from, next, reason: GAP_REASON[reason] });
    }
  }

  #deliver([, , topic, epoch, from, next, timeMs, position, offsets, body], receivedAtMs) {
    if (!this.isPattern && (epoch !== this.epoch || from !== this.next)) {
      this.emit('error', new TidewireError('protocol_fault', `${topic}: expected ${this.next}, got ${from}`));
    }
    this.#advance(epoch, next, [position]);
    this.emit('records', { topic, epoch, records: decodeBody(body, from, offsets), timeMs, receivedAtMs });
  }

  #advance(epoch, next, positions) {
    if (!this.isPattern) Object.assign(this, { epoch, next });
    else for (const position of positions ?? []) if (position) this.#positions.set(position[0], position);
  }
}

/**
 * The newest version of a cell. The value of a map or a presence set is a Map from key to
 * {version, value}; of other kinds it is what the server sent.
 * @extends {Emitter<{watching: object, update: object, ended: TidewireError|null}>}
 */
export class Watch extends Emitter {
  epoch = null;
  version = 0;
  value = null;

  /** @param {object} options the protocol's own: interval_ms, key */
  constructor(sub, kind, name, options) {
    super();
    Object.assign(this, { sub, kind, name, options });
  }

  request(req) {
    const held = this.version ? { epoch: this.epoch, version: this.version } : {};
    return [FRAME.WATCH, req, this.sub, this.kind, this.name, { ...this.options, ...held }];
  }

  refused() {
    return false;
  }

  accepted([, , , epoch, version, info = null]) {
    const sameEpoch = this.epoch === null || this.epoch === epoch;
    // In a new epoch versions begin again, and the held value is of another history.
    if (!sameEpoch) Object.assign(this, { version: 0, value: null });
    this.epoch = epoch;
    this.emit('watching', { epoch, version, info, sameEpoch });
  }

  frame([type, , version, flags, value = null], receivedAtMs) {
    if (type !== FRAME.UPDATE || version <= this.version) return;
    const deleted = (flags & UPDATE_DELETED) !== 0;
    this.version = version;
    if (Array.isArray(value)) this.#merge(value, flags & UPDATE_FULL);
    else this.value = value;
    this.emit('update', { value: this.value, version, deleted, receivedAtMs });
  }

  #merge(entries, full) {
    if (full || !this.value) this.value = new Map();
    for (const [key, version, value = null] of entries) {
      if (value === null) this.value.delete(key);
      else this.value.set(key, { version, value });
    }
  }
}
