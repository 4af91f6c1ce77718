/**
 * A Tidewire client over WebSocket.
 *
 *     const client = new Tidewire('wss://example.org/v1/ws');
 *     client.watch(KIND.COUNTER, 'likes').on('update', ({ value }) => show(value));
 *     await client.incr('likes', 1);
 *
 * It connects by itself and stays connected: after a loss it waits 0.5 to 20 s at random, then
 * takes up each subscription at its offset and each watch at its version.
 */

import { decodeAll, encode } from './msgpack.js';
import { encodeBody, FRAME, TidewireError } from './frames.js';
import { Emitter, Subscription, Watch } from './follow.js';

export { KIND, START, TidewireError } from './frames.js';

const DELAY_MS_MIN = 500;
const DELAY_MS_MAX = 20_000;
/** A connection that lived so long was a good one: delays begin short again. */
const SETTLED_MS = 10_000;
const HANDSHAKE_MS_MAX = 10_000;
const IN_FLIGHT_MAX = 1024;

/**
 * @typedef {'disconnected'|'connecting'|'connected'|'failed'} State  `failed` is final: the server
 *   refuses this client
 * @extends {Emitter<{state: {state: State, error: TidewireError|null, retryInMs: number|null},
 *   welcome: object, goaway: {message: string, graceMs: number}, roundtrip: number, error: TidewireError}>}
 */
export class Tidewire extends Emitter {
  /** @type {State} */
  state = 'disconnected';
  #socket = null;
  #followed = new Map();
  #pending = new Map();
  #waiting = new Set();
  #id = 0;
  #attempt = 0;
  #connectedAtMs = 0;
  #receivedAtMs = 0;
  #heartbeatMs = 15_000;
  #ping = null;
  #error = null;
  #draining = false;
  #timer;

  /**
   * @param {string|URL} url of the daemon's `/v1/ws`
   * @param {{token?: string, name?: string, requestMsMax?: number, WebSocket?: typeof WebSocket, random?: () => number}} options
   */
  constructor(url, options = {}) {
    super();
    this.url = String(url);
    this.options = { name: 'tidewire-js/0.1', requestMsMax: 10_000, random: Math.random, WebSocket: globalThis.WebSocket, ...options };
    this.connect();
  }

  /** Connects now: instead of after the delay, or again after `close` or a failure. */
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    const socket = new this.options.WebSocket(this.url, 'tidewire.v1');
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#error = null;
    this.#draining = false;
    // A socket that was given up may still report.
    const current = (handle) => (event) => { if (this.#socket === socket) handle(event); };
    socket.onopen = current(() => this.#send([FRAME.HELLO, 1, [], this.options.token, this.options.name]));
    socket.onmessage = current(({ data }) => this.#receive(data));
    socket.onclose = current(({ code, reason }) => this.#closed(code, reason));
    this.#timer = setTimeout(current(() => this.#abandon('no answer to HELLO')), HANDSHAKE_MS_MAX);
    this.#setState('connecting');
  }

  /** Ends the connection and everything that is followed. */
  close() {
    for (const followed of this.#followed.values()) followed.emit('ended', null);
    this.#followed.clear();
    this.#drop(new TidewireError('closed', 'the client was closed'), true);
    this.#setState('disconnected');
  }

  /** Follows a topic, or all topics that match a pattern. See Subscription for the options. */
  subscribe(pattern, options = {}) {
    return this.#follow(new Subscription(++this.#id, pattern, options));
  }

  /** Follows the newest version of a cell. See Watch for the options. @param {number} kind of KIND */
  watch(kind, name, options = {}) {
    return this.#follow(new Watch(++this.#id, kind, name, options));
  }

  /** Ends a subscription or a watch. */
  async stop(followed) {
    if (!this.#followed.delete(followed.sub)) return;
    followed.emit('ended', null);
    // Another connection would not know it.
    if (this.state === 'connected') await this.#request((req) => [FRAME.UNSUBSCRIBE, req, followed.sub]);
  }

  /**
   * Appends records, all or none. @param {string} topic
   * @param {import('./frames.js').Outgoing[]} records @param {{ack?: 1|2|3, ttl_ms?: number}} options
   */
  async publish(topic, records, { ack = 1, ...options } = {}) {
    const body = encodeBody(records);
    const [, , epoch, offset, level] = await this.#request((req) => [FRAME.PUBLISH, req, topic, ack, body, options]);
    return { epoch, offset, level };
  }

  /** Adds to a counter; with the option `id` a repeated call counts once. */
  async incr(counter, operand = 1, options = {}) {
    const reply = await this.#request((req) => [FRAME.INCR, req, counter, 0, operand, options]);
    const [, , epoch, version, value, applied, duplicate] = reply;
    return { epoch, version, value, applied, duplicate };
  }

  /** Casts a ballot, or changes it. `choices` has one element per rank. */
  async vote(tally, voter, choices, revisionWanted) {
    const reply = await this.#request((req) => [FRAME.VOTE, req, tally, voter, choices, revisionWanted]);
    const [, , epoch, version, status, revision] = reply;
    return { epoch, version, status: ['accepted', 'changed', 'duplicate'][status], revision };
  }

  /** Reads a value once. @param {number} kind of KIND */
  async get(kind, name, key) {
    const reply = await this.#request((req) => [FRAME.GET, req, kind, name, key]);
    const [, , , epoch, version, value = null] = reply;
    return { epoch, version, value };
  }

  /** Measures the round trip, which comes as an event. */
  ping() {
    this.#ping = { nonce: ++this.#id, sentAtMs: performance.now() };
    this.#send([FRAME.PING, this.#id]);
  }

  #follow(followed) {
    this.#followed.set(followed.sub, followed);
    if (this.#isReady()) this.#begin(followed);
    return followed;
  }

  async #begin(followed) {
    try {
      await this.#request((req) => followed.request(req), (reply) => followed.accepted(reply));
    } catch (error) {
      // A lost connection is no refusal: the next one begins again.
      if (error.kind === 'connection_lost' || error.kind === 'closed') return;
      if (followed.refused(error)) this.#begin(followed);
      else if (this.#followed.delete(followed.sub)) followed.emit('ended', error);
    }
  }

  #isReady() {
    return this.state === 'connected' && !this.#draining;
  }

  /**
   * Sends a request now, or when there is a connection. `onReply` runs before the next frame is
   * read: a promise's reaction would come too late for a delivery in the same message.
   */
  #request(frameFor, onReply = null) {
    return new Promise((resolve, reject) => {
      if (this.state === 'failed') throw this.#error;
      if (this.#pending.size + this.#waiting.size >= IN_FLIGHT_MAX) throw TidewireError.fromCode(16, 'too many requests in flight');
      const call = { frameFor };
      const expire = () => this.#finish(call, new TidewireError(call.req ? 'timeout' : 'disconnected', 'no reply in time'));
      const timer = setTimeout(expire, this.options.requestMsMax);
      call.settle = (error, reply) => {
        clearTimeout(timer);
        if (error) return reject(error);
        onReply?.(reply);
        return resolve(reply);
      };
      if (this.#isReady()) this.#dispatch(call);
      else this.#waiting.add(call);
    });
  }

  #dispatch(call) {
    call.req = ++this.#id;
    this.#pending.set(call.req, call);
    try {
      this.#send(call.frameFor(call.req));
    } catch (error) {
      this.#finish(call, error);
    }
  }

  #finish(call, error, reply) {
    this.#waiting.delete(call);
    if (call) this.#pending.delete(call.req);
    call?.settle(error, reply);
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
      this.#abandon(`broken bytes from the server: ${error.message}`);
      return;
    }
    for (const frame of frames) this.#frame(frame);
  }

  #frame(frame) {
    const [type, id] = frame;
    if (type === FRAME.WELCOME) this.#welcome(frame[4]);
    else if (type === FRAME.PING) this.#send([FRAME.PONG, id]);
    else if (type === FRAME.PONG) {
      if (this.#ping?.nonce === id) this.emit('roundtrip', this.#receivedAtMs - this.#ping.sentAtMs);
    } else if (type === FRAME.ERROR) this.#refusal(frame);
    else if (type === FRAME.GOAWAY) {
      this.#draining = true;
      this.emit('goaway', { message: frame[2], graceMs: frame[3] });
    } else if ([FRAME.DELIVER, FRAME.GAP, FRAME.PROGRESS, FRAME.UPDATE].includes(type)) {
      // Frames may still be in flight for what was stopped a moment ago.
      this.#followed.get(id)?.frame(frame, this.#receivedAtMs);
    } else this.#finish(this.#pending.get(id), null, frame);
  }

  #welcome(info) {
    this.#connectedAtMs = performance.now();
    this.#heartbeatMs = info.heartbeat_ms ?? this.#heartbeatMs;
    this.#setState('connected');
    this.emit('welcome', info);
    for (const followed of this.#followed.values()) this.#begin(followed);
    const calls = [...this.#waiting];
    this.#waiting.clear();
    for (const call of calls) this.#dispatch(call);
    this.ping();
    this.#listen();
  }

  /** Asks a silent server for a sign of life, and gives it up after three heartbeats. */
  #listen() {
    clearTimeout(this.#timer);
    const silentMs = performance.now() - this.#receivedAtMs;
    if (silentMs > 3 * this.#heartbeatMs) return this.#abandon('the server has fallen silent');
    if (silentMs > this.#heartbeatMs / 2) this.ping();
    this.#timer = setTimeout(() => this.#listen(), this.#heartbeatMs / 2);
    return undefined;
  }

  #refusal([, req, code, message, retryAfterMs, sub]) {
    const error = TidewireError.fromCode(code, message, retryAfterMs);
    const followed = this.#followed.get(sub);
    if (req) this.#finish(this.#pending.get(req), error);
    else if (followed) {
      this.#followed.delete(sub);
      followed.emit('ended', error);
    } else {
      this.#error = error;
      this.emit('error', error);
    }
  }

  #abandon(reason) {
    this.#closed(1006, reason);
  }

  /** The server's own reasons close with 4000 + the code of the error. */
  #closed(code, reason) {
    const welcomed = this.state === 'connected';
    const lost = new TidewireError('connection_lost', reason || `the connection closed (${code})`);
    const error = this.#error ?? (code > 4000 ? TidewireError.fromCode(code - 4000, reason) : lost);
    this.#error = error;
    // Before WELCOME an error speaks about this client, not about one of its requests.
    const isFinal = !welcomed && error.code > 0 && !error.retryable;
    this.#drop(isFinal ? error : lost, isFinal);
    if (isFinal) this.#setState('failed', error);
    else this.#reconnectLater(welcomed, error);
  }

  #drop(error, withWaiting) {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timer);
    socket?.close();
    const calls = [...this.#pending.values(), ...(withWaiting ? this.#waiting : [])];
    for (const call of calls) this.#finish(call, error);
  }

  #reconnectLater(welcomed, error) {
    if (welcomed && performance.now() - this.#connectedAtMs > SETTLED_MS) this.#attempt = 0;
    this.#attempt += 1;
    const ceilingMs = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** this.#attempt);
    const jitterMs = this.options.random() * (ceilingMs - DELAY_MS_MIN);
    const retryInMs = Math.max(DELAY_MS_MIN + jitterMs, error.retryAfterMs ?? 0);
    this.#timer = setTimeout(() => this.connect(), retryInMs);
    this.#setState('disconnected', error, retryInMs);
  }

  #setState(state, error = null, retryInMs = null) {
    this.state = state;
    this.emit('state', { state, error, retryInMs });
  }
}
