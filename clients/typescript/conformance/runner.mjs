#!/usr/bin/env node
// `runner.mjs WS-URL`: commands on standard input, one JSON object per line; what the client says on standard output,
// likewise. It decides nothing: a command is a call of the client, and an event of the client is a line.

import { createInterface } from 'node:readline';
import { Client } from '../dist/index.js';

const url = process.argv[2];
if (!url) {
  console.error('usage: runner.mjs WS-URL');
  process.exit(2);
}

let client;
const subscriptions = new Map();

function say(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** A map of the wire has no number beyond 2^53; JSON has none either. */
function number(value) {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** The tokens one after the other; the last one again and again. */
function tokens(first, later) {
  if (!later) return first ?? undefined;
  const left = [first, ...later].filter((token) => token !== null && token !== undefined);
  return () => (left.length > 1 ? left.shift() : left[0]);
}

function connect(command) {
  client = new Client(url, {
    clientName: command.client ?? 'runner',
    token: tokens(command.token, command.tokens),
    backoffMinMs: command.backoff_min_ms,
    backoffMaxMs: command.backoff_max_ms,
    offlineQueue: command.offline_queue,
  });
  client.on('state', ({ state, code }) => say({ event: 'state', state, code }));
  client.on('error', ({ code, message }) => say({ event: 'error', code, message }));
  // The state says how it ends.
  client.connect().catch(() => {});
}

function start(given) {
  if (given === undefined || typeof given === 'string') return given ?? 'latest';
  if ('time_ms' in given) return { timeMs: given.time_ms };
  return given;
}

function subscribe({ as, topic, start: given, credit, on_gap: onGap }) {
  const options = { start: start(given) };
  if (credit !== undefined) options.windowBytes = credit;
  if (onGap !== undefined) options.onGap = onGap;
  const subscription = client.subscribe(topic, options);
  subscriptions.set(as, subscription);
  let hasStarted = false;
  subscription.on('started', ({ epoch, offset }) => {
    say({ event: 'subscribed', as, epoch, offset, ...(hasStarted && { resumed: true }) });
    hasStarted = true;
  });
  subscription.on('gap', ({ topic: of, epoch, from, next, reason }) => {
    say({ event: 'gap', as, reason, from, to: next, epoch, topic: of });
  });
  subscription.on('ended', (error) => say({ event: 'unsubscribed', as, code: error?.code ?? null }));
  subscription.on('record', (record) => say({ event: 'record', as, offset: record.offset, payload: record.text(), key: record.key ?? undefined }));
}

function watch({ as, counter, tally }) {
  const watching = counter ? client.counter(counter).watch() : client.tally(tally).watch();
  watching.on('value', ({ value, version }) => {
    say({ event: 'value', as, value: tally ? (value?.counts ?? null) : value, version });
  });
  watching.on('ended', (error) => say({ event: 'unsubscribed', as, code: error?.code ?? null }));
}

function report(as, outcome, describe) {
  outcome.then(
    (result) => say({ event: 'done', as, ...describe(result) }),
    (error) => say({ event: 'failed', as, code: error.code ?? String(error), retryable: error.retryable ?? false }),
  );
}

const commands = {
  connect,
  subscribe,
  watch,
  unsubscribe: ({ as }) => subscriptions.get(as)?.close(),
  publish: ({ as, topic, payload, ack, key }) => {
    report(as, client.topic(topic).publish(payload, { ack, key }), ({ offset, duplicate }) => ({ offset, ...(duplicate && { duplicate }) }));
  },
  incr: ({ as, counter, delta, id }) => {
    report(as, client.counter(counter).incr(delta ?? 1, { id }), ({ value, duplicate }) => ({ value: number(value), ...(duplicate && { duplicate }) }));
  },
  get: ({ as, counter }) => {
    client.counter(counter).read().then(
      ({ value, version }) => say({ event: 'value', as, value, version }),
      (error) => say({ event: 'failed', as, code: error.code, retryable: error.retryable }),
    );
  },
  vote: ({ as, tally, choice, voter }) => {
    report(as, client.tally(tally).vote(choice, { voter }), ({ status }) => (status === 'duplicate' ? { duplicate: true } : {}));
  },
  presence_join: ({ as, presence, data, member }) => report(as, client.presence(presence).join(member ?? as, data ?? null), () => ({})),
  close: () => client.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  const command = JSON.parse(line);
  if (command.op === 'exit') break;
  try {
    commands[command.op](command);
  } catch (error) {
    say({ event: 'failed', as: command.as, code: error.code ?? String(error), retryable: error.retryable ?? false });
  }
}
process.exit(0);
