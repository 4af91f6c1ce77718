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
const running = new Map();
/** Records that were leased last, by consumer and offset. */
const jobs = new Map();

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
    connectTimeoutMs: command.connect_timeout_ms,
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

function subscribe({ as, topic, start: given, credit, hold, on_gap: onGap }) {
  const options = { start: start(given) };
  if (credit !== undefined) options.windowBytes = credit;
  if (onGap !== undefined) options.onGap = onGap;
  const subscription = client.subscribe(topic, options);
  running.set(as, subscription);
  let hasStarted = false;
  subscription.on('started', ({ epoch, offset }) => {
    say({ event: 'subscribed', as, epoch, offset, ...(hasStarted && { resumed: true }) });
    hasStarted = true;
  });
  subscription.on('gap', ({ topic: of, epoch, from, next, reason }) => {
    say({ event: 'gap', as, reason, from, to: next, epoch, topic: of });
  });
  subscription.on('ended', (error) => say({ event: 'unsubscribed', as, code: error?.code ?? null }));
  if (!hold) read({ as });
}

/** Who listens to records takes them. */
function read({ as }) {
  running.get(as).on('record', (record) => say({ event: 'record', as, offset: record.offset, payload: record.text(), key: record.key ?? undefined }));
}

function watched({ counter, tally, presence }) {
  if (counter) return [client.counter(counter).watch(), (value) => value];
  if (tally) return [client.tally(tally).watch(), (value) => value?.counts ?? null];
  return [client.presence(presence).watch(), ({ all }) => texts(all)];
}

function texts(entries) {
  return Object.fromEntries([...entries].map(([key, entry]) => [key, entry.text()]));
}

function watch({ as, ...cell }) {
  const [watching, read] = watched(cell);
  running.set(as, watching);
  watching.on('value', ({ value, version }) => say({ event: 'value', as, value: read(value), version }));
  watching.on('ended', (error) => say({ event: 'unsubscribed', as, code: error?.code ?? null }));
}

async function consume({ as, topic, group, in_flight: inFlight }) {
  const consumer = client.topic(topic).group(group).consume({ inFlight });
  running.set(as, consumer);
  consumer.on('ended', (error) => say({ event: 'unsubscribed', as, code: error?.code ?? null }));
  try {
    for await (const job of consumer) {
      jobs.set(`${as} ${job.record.offset}`, job);
      say({ event: 'job', as, offset: job.record.offset, payload: job.record.text(), deliveries: job.deliveries });
    }
  } catch {
    // Said already.
  }
}

function settle({ as, consumer, offset }, how) {
  report(as, how(jobs.get(`${consumer} ${offset}`)), (counts) => ({ counts }));
}

function report(as, outcome, describe) {
  outcome.then(
    (result) => say({ event: 'done', as, ...describe(result) }),
    (error) => failed(as, error),
  );
}

function failed(as, error) {
  say({ event: 'failed', as, code: error.code ?? String(error), retryable: error.retryable ?? false, retry_after_ms: error.retryAfterMs });
}

/** The application waits for an answer for so long. */
function within(timeoutMs, outcome) {
  if (timeoutMs === undefined) return outcome;
  const elapsed = new Promise((_, reject) => setTimeout(() => reject({ code: 'timeout', retryable: true }), timeoutMs));
  return Promise.race([outcome, elapsed]);
}

const commands = {
  connect,
  subscribe,
  watch,
  consume: (command) => void consume(command),
  read,
  unsubscribe: ({ as }) => running.get(as)?.close(),
  publish: ({ as, topic, payload, ack, key, timeout_ms: timeoutMs }) => {
    report(as, within(timeoutMs, client.topic(topic).publish(payload, { ack, key })), ({ offset, duplicate }) => ({ offset, ...(duplicate && { duplicate }) }));
  },
  incr: ({ as, counter, delta, id }) => {
    report(as, client.counter(counter).incr(delta ?? 1, { id }), ({ value, duplicate }) => ({ value: number(value), ...(duplicate && { duplicate }) }));
  },
  get: ({ as, counter }) => {
    client.counter(counter).read().then(
      ({ value, version }) => say({ event: 'value', as, value, version }),
      (error) => failed(as, error),
    );
  },
  vote: ({ as, tally, choice, voter }) => {
    report(as, client.tally(tally).vote(choice, { voter }), ({ status }) => (status === 'duplicate' ? { duplicate: true } : {}));
  },
  presence_join: ({ as, presence, data, member }) => report(as, client.presence(presence).join(member ?? as, data ?? null), () => ({})),
  presence_leave: ({ as, presence, member }) => report(as, client.presence(presence).leave(member ?? as), () => ({})),
  presence_members: ({ as, presence }) => report(as, client.presence(presence).members(), (members) => ({ value: texts(members) })),
  add_eventual: ({ as, counter }) => {
    report(as, client.increments().then((increments) => increments.add(counter)), ({ value }) => ({ value: number(value) }));
  },
  ack: (command) => settle(command, (job) => job.ack()),
  nack: (command) => settle(command, (job) => job.nack({ delayMs: command.delay_ms })),
  reject: (command) => settle(command, (job) => job.reject(command.reason)),
  extend: (command) => settle(command, (job) => job.extend()),
  close: () => client.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === '') continue;
  const command = JSON.parse(line);
  if (command.op === 'exit') break;
  try {
    commands[command.op](command);
  } catch (error) {
    failed(command.as, error);
  }
}
process.exit(0);
