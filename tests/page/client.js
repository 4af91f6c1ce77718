// What the pages of sdk.test.mjs do with the client. The page keeps it from one call to the next.

import { Client } from '@tidewire/client';
import { webTransport } from '@tidewire/client/webtransport';

let client;
const states = [], subscriptions = new Map();
let datagrams = 0;

/** The platform's class, which counts the datagrams that come. */
class Counting extends WebTransport {
  get datagrams() {
    const inner = super.datagrams;
    const counting = new TransformStream({
      transform(datagram, controller) {
        datagrams += 1;
        controller.enqueue(datagram);
      },
    });
    return {
      readable: inner.readable.pipeThrough(counting),
      set incomingHighWaterMark(datagramsMax) { inner.incomingHighWaterMark = datagramsMax; },
    };
  }
}

/** Connects; `hash`: over WebTransport, with this certificate. */
export async function connect(url, { hash, headStartMs, ...options } = {}) {
  globalThis.WebTransport = Counting;
  const transport = hash && webTransport({ serverCertificateHashes: [hash], headStartMs });
  client = new Client(url, { transport, ...options });
  client.on('state', (state) => states.push(state));
  const begun = performance.now();
  await client.connect();
  return { ...way(), tookMs: performance.now() - begun };
}

/** The code with which connecting fails. */
export const isRefused = (url, options) => connect(url, options).then(() => null, ({ code }) => code);

function way() {
  const { transport, fallback = null } = client.connectionState;
  return { transport, fallback };
}

export const close = () => client.close();

/** Resolves when the client is in this state, with how it got there. */
export async function reaches(wanted) {
  while (client.state !== wanted) await new Promise((resolve) => { client.on('state', resolve); });
  return { ...way(), states: states.splice(0).map(({ state }) => state) };
}

export async function publish(topic, texts, options) {
  for (const text of texts) await client.topic(topic).publish(text, options);
}

/** Begins a subscription that nobody reads yet. */
export async function subscribe(topic, options) {
  const subscription = client.topic(topic).subscribe(options);
  const seen = [];
  subscriptions.set(topic, { subscription, seen });
  subscription.on('gap', ({ from, next, reason }) => seen.push(`gap ${from} to ${next}: ${reason}`));
  const { status } = await subscription.ready();
  return status;
}

/** Reads so many records of a subscription: their offsets and texts, and what was missing. */
export async function read(topic, count) {
  const { subscription, seen } = subscriptions.get(topic);
  const records = subscription[Symbol.asyncIterator]();
  for (let at = 0; at < count; at += 1) {
    const { value } = await records.next();
    seen.push(`${value.offset} ${value.text().slice(0, 20)}`);
  }
  return seen.splice(0);
}

/** Follows so many topics, and publishes to each; those whose record does not come as it should. */
export async function followMany(prefix, count) {
  const names = Array.from({ length: count }, (_, at) => `${prefix}.${at}`);
  const followed = names.map((name) => client.topic(name).subscribe());
  await Promise.all(followed.map((subscription) => subscription.ready()));
  await Promise.all(names.map((name) => client.topic(name).publish(name)));
  const first = await Promise.all(followed.map(async (records) => (await records[Symbol.asyncIterator]().next()).value));
  return names.filter((name, at) => first[at].text() !== name || first[at].offset !== 0);
}

/** Votes in a tally that it makes, and resolves when a watch shows it. */
export async function vote(name, options, ballots) {
  const tally = client.tally(name);
  await tally.create({ kind: 'single', options });
  const watch = tally.watch();
  for (const [voter, choice] of Object.entries(ballots)) await tally.vote(choice, { voter });
  for await (const { value } of watch) {
    if (value.ballots === Object.keys(ballots).length) return Object.fromEntries(value.options.map((option, at) => [option, value.counts[at]]));
  }
}

/** Counts up to a number, watched; resolves with what the watch saw, and how much of it came as datagrams. */
export async function count(name, upTo) {
  const counter = client.counter(name);
  const watch = counter.watch();
  const versions = [];
  watch.on('value', ({ version }) => versions.push(version));
  await watch.ready();
  for (let at = 0; at < upTo; at += 1) await counter.incr();
  for await (const { value } of watch) if (value === upTo) break;
  return { rises: versions.every((version, at) => at === 0 || version > versions[at - 1]), datagrams };
}
