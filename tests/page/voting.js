// What the pages of vote-latency.mjs do: one votes, others show the count.

import { Client } from '@tidewire/client';
import { webTransport } from '@tidewire/client/webtransport';

/** Longer than a session takes on a busy machine: another transport than the one to be measured is a failure. */
const HEAD_START_MS = 10_000;

let client;
const shown = [];

/** The same time on every page of this machine, in milliseconds. */
const now = () => performance.timeOrigin + performance.now();

/** Connects, and says over what. `hash`: over WebTransport, with this certificate. */
export async function connect(url, hash) {
  const transport = hash ? webTransport({ serverCertificateHashes: [hash], headStartMs: HEAD_START_MS }) : undefined;
  client = await new Client(url, { transport }).connect();
  return client.connectionState.transport;
}

export const create = (tally, options) => client.tally(tally).create({ kind: 'single', options });

/** Shows the number of ballots, and notes when each number stood in the document. */
export async function watch(tally) {
  const element = document.querySelector('main');
  new MutationObserver(() => shown.push([Number(element.textContent), now()])).observe(element, { childList: true });
  const watching = client.tally(tally).watch();
  watching.on('value', ({ value }) => { element.textContent = value.ballots; });
  await watching.ready();
}

/** Casts so many ballots, one each interval whatever becomes of those before; when each was, and how long its reply took. */
export async function vote(tally, options, count, intervalMs) {
  const poll = client.tally(tally), begun = performance.now(), replies = [], times = [];
  for (let at = 0; at < count; at += 1) {
    const dueMs = begun + at * intervalMs - performance.now();
    if (dueMs > 0) await new Promise((resolve) => { setTimeout(resolve, dueMs); });
    const called = performance.now();
    times.push(now());
    replies.push(poll.vote(options[at % options.length], { voter: `v${at}` }).then(() => performance.now() - called));
  }
  return { times, replyMs: await Promise.all(replies) };
}

/** When each number of ballots stood in the document, as soon as the last one does. */
export async function seen(count) {
  while ((shown.at(-1)?.[0] ?? 0) < count) await new Promise(requestAnimationFrame);
  return shown;
}

export const close = () => client.close();
