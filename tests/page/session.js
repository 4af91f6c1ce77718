// What the pages of webtransport.test.mjs do: frames over a session, without a client library.

import { decodeAll, encode } from './msgpack.js';

const HELLO = 1, WELCOME = 2, ERROR = 5, PUBLISH = 10, SUBSCRIBE = 12, DELIVER = 14, INCR = 20, WATCH = 26, UPDATE = 28;
const COUNTER = 1, MEMORY = 1, ADD = 0, LATEST = [0];
const PREFIX_BYTES = 4;
const texts = new TextEncoder(), utf8 = new TextDecoder();

const open = (url, fingerprint) => new WebTransport(url, {
  serverCertificateHashes: [{ algorithm: 'sha-256', value: Uint8Array.from(fingerprint.match(/../g), (hex) => parseInt(hex, 16)) }],
});

/** A stream of requests: writes frames with their lengths. */
class Requests {
  constructor({ readable, writable }) {
    this.writer = writable.getWriter();
    this.frames = frames(readable);
  }

  async send(frame) {
    const bytes = encode(frame), message = new Uint8Array(PREFIX_BYTES + bytes.length);
    new DataView(message.buffer).setUint32(0, bytes.length);
    message.set(bytes, PREFIX_BYTES);
    await this.writer.write(message);
  }

  async next() {
    return (await this.frames.next()).value;
  }

  async ask(frame) {
    await this.send(frame);
    return this.next();
  }
}

/** The frames of a stream. */
async function* frames(readable) {
  let rest = new Uint8Array();
  const reader = readable.getReader();
  for (;;) {
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + new DataView(rest.buffer, rest.byteOffset).getUint32(0);
      if (rest.length < end) break;
      yield decodeAll(rest.slice(PREFIX_BYTES, end))[0];
      rest = rest.slice(end);
    }
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(rest.length + value.length);
    joined.set(rest);
    joined.set(value, rest.length);
    rest = joined;
  }
}

async function begin(url, fingerprint) {
  const session = open(url, fingerprint);
  await session.ready;
  const control = new Requests(await session.createBidirectionalStream());
  const welcome = await control.ask([HELLO, 1, ['datagrams'], null, 'page-test']);
  return { session, control, welcome };
}

async function subscriptionStream(session) {
  const streams = session.incomingUnidirectionalStreams.getReader();
  const { value } = await streams.read();
  streams.releaseLock();
  return frames(value);
}

export async function publishAndCount(url, fingerprint) {
  const { session, control, welcome } = await begin(url, fingerprint);
  const [, version, capabilities] = welcome;
  await control.send([SUBSCRIBE, 1, 7, 'page.records', LATEST]);
  const subscription = await subscriptionStream(session);
  const onSubscription = [(await subscription.next()).value[0]];
  const publishing = new Requests(await session.createBidirectionalStream());
  const onRequests = [], records = [];
  for (const [at, text] of ['one', 'two', 'three'].entries()) {
    const body = encode([null, null, texts.encode(text)]);
    onRequests.push((await publishing.ask([PUBLISH, 10 + at, 'page.records', MEMORY, body]))[0]);
    const { value: frame } = await subscription.next();
    onSubscription.push(frame[0]);
    if (frame[0] === DELIVER) records.push(utf8.decode(decodeAll(frame.at(-1))[0][2]));
  }
  const counted = await count(session, control);
  session.close();
  return { version, capabilities, records, onRequests, onSubscription, ...counted };
}

/** Counts up to 200, and looks on: by datagrams, and by the stream of the watch. */
async function count(session, control) {
  await control.send([WATCH, 20, 8, COUNTER, 'page.count']);
  const watch = await subscriptionStream(session);
  await watch.next();
  let datagrams = 0, value = 0;
  const take = (frame) => {
    if (frame?.[0] === UPDATE) value = Math.max(value, Number(frame[4]));
  };
  const reader = session.datagrams.readable.getReader();
  const byDatagram = (async () => {
    for (;;) {
      const { value: bytes, done } = await reader.read();
      if (done) return;
      datagrams += 1;
      take(decodeAll(bytes)[0]);
    }
  })();
  byDatagram.catch(() => {});
  for (let at = 0; at < 200; at += 1) await control.ask([INCR, 100 + at, 'page.count', ADD, 1]);
  // The newest value follows on the stream when the counter rests.
  while (value < 200) take((await watch.next()).value);
  return { datagrams, value };
}

export async function breakTheRules(url, fingerprint) {
  const session = open(url, fingerprint);
  await session.ready;
  const control = new Requests(await session.createBidirectionalStream());
  // The end of the session takes with it what the page has not read of the stream.
  const last = await control.ask([SUBSCRIBE, 1, 1, 'too.early', LATEST]).catch(() => null);
  const { closeCode, reason } = await session.closed;
  return { closeCode, reason, said: last?.[0] === ERROR ? last[2] : closeCode };
}

/** Shakes hands, and then sends a frame of the reserved byte c1. */
export async function breakTheRulesLater(url, fingerprint) {
  const { session, control } = await begin(url, fingerprint);
  await control.writer.write(Uint8Array.of(0, 0, 0, 1, 0xc1));
  const { closeCode, reason } = await session.closed;
  return { closeCode, reason };
}

/** Ends its requests, and waits until the server ends the session. */
export async function finish(url, fingerprint) {
  const { session, control } = await begin(url, fingerprint);
  // The end of the session may come before the stream is acknowledged.
  control.writer.close().catch(() => {});
  return (await session.closed).closeCode;
}

export async function comeAndGo(url, fingerprint) {
  const seen = [];
  for (let turn = 0; turn < 2; turn += 1) {
    const { session, welcome } = await begin(url, fingerprint);
    seen.push(welcome[0] === WELCOME ? 'welcome' : welcome);
    session.close();
    await session.closed;
  }
  return seen;
}

export async function isRefused(url, fingerprint) {
  const session = open(url, fingerprint);
  session.closed.catch(() => {});
  return session.ready.then(() => false, () => true);
}

/**
 * Follows topics, each on a stream of its own, and returns how long each record took in microseconds: its payload
 * begins with the Unix time in nanoseconds at which it was sent. Nobody reads the stream of `stalled`.
 */
export async function timeDeliveries(url, fingerprint, { topics, stalled, settleMs, seconds }) {
  const { session, control } = await begin(url, fingerprint);
  const follow = async (sub, topic) => {
    await control.send([SUBSCRIBE, sub, sub, topic, LATEST]);
    return subscriptionStream(session);
  };
  if (stalled) await follow(1, stalled);
  const streams = [];
  for (const [at, topic] of topics.entries()) streams.push(await follow(2 + at, topic));
  const beginMs = performance.now() + settleMs, delaysUs = [];
  const listen = async (stream) => {
    let next = null;
    for await (const frame of stream) {
      if (frame[0] !== DELIVER) continue;
      const nowMs = performance.now(), [from, end] = frame.slice(4, 6);
      if (next !== null && from !== next) throw new Error(`behind record ${next} came ${from}`);
      next = end;
      if (nowMs < beginMs) continue;
      for (const [, , payload] of decodeAll(frame.at(-1))) {
        const sentNs = new DataView(payload.buffer, payload.byteOffset).getBigUint64(0);
        const sentMs = Number(sentNs / 1000n) / 1000;
        delaysUs.push(Math.max(0, Math.round((performance.timeOrigin + nowMs - sentMs) * 1000)));
      }
    }
    throw new Error('a subscription has ended');
  };
  const over = new Promise((resolve) => setTimeout(resolve, settleMs + seconds * 1000));
  await Promise.race([over, ...streams.map(listen)]);
  session.close();
  return delaysUs;
}
