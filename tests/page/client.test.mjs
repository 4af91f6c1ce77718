// The page's client, driven through a socket of our own: what it sends, and what it makes of
// the answers.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { decodeAll, encode } from '../../web/msgpack.js';
import { KIND, START, Tidewire, TidewireError } from '../../web/tidewire.js';

const EPOCH = 1_764_000_000_000;
const WELCOME = [2, 1, [], 'c-1', { server: 'tidewire/0.1.0', heartbeat_ms: 10_000 }];

class FakeSocket {
  static all = [];
  readyState = 0;
  sent = [];

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    FakeSocket.all.push(this);
  }

  send(data) {
    this.sent.push(...decodeAll(data));
  }

  close() {
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen({});
  }

  receive(...frames) {
    this.onmessage({ data: encode(...frames).buffer });
  }

  fail(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  /** The last frame of a type that the client sent. */
  last(type) {
    return this.sent.findLast((frame) => frame[0] === type);
  }
}

let client;

beforeEach(() => {
  FakeSocket.all = [];
  mock.timers.enable({ apis: ['setTimeout'] });
  client = new Tidewire('ws://host/v1/ws', { WebSocket: FakeSocket, random: () => 0.5, name: 'test/1' });
});

afterEach(() => {
  client.close();
  mock.timers.reset();
});

const socket = () => FakeSocket.all.at(-1);
const settled = () => new Promise((resolve) => { setImmediate(resolve); });

function connected() {
  socket().open();
  socket().receive(WELCOME);
  return socket();
}

async function reconnected() {
  socket().fail();
  await settled();
  mock.timers.tick(1000);
  return connected();
}

function deliver(sub, from, payloads, offsets = null) {
  const body = encode(...payloads.map((text) => [null, null, new TextEncoder().encode(text)]));
  return [14, sub, 'news', EPOCH, from, from + payloads.length, 1, null, offsets, body];
}

test('it says hello with the subprotocol and becomes connected at the welcome', () => {
  const states = [];
  client.on('state', ({ state }) => states.push(state));
  assert.equal(socket().protocol, 'tidewire.v1');
  socket().open();
  assert.deepEqual(socket().sent[0], [1, 1, [], null, 'test/1']);
  assert.equal(client.state, 'connecting');
  socket().receive(WELCOME);
  assert.deepEqual(states, ['connected']);
});

test('requests wait for the connection, and replies find them in any order', async () => {
  const one = client.incr('a', 5, { strict: true });
  const two = client.vote('poll', 'me', ['yes', null]);
  connected();
  const [, incrReq, ...incr] = socket().last(20);
  const [, voteReq, ...vote] = socket().last(22);
  assert.deepEqual(incr, ['a', 0, 5, { strict: true }]);
  assert.deepEqual(vote, ['poll', 'me', ['yes', null], null]);
  socket().receive([23, voteReq, EPOCH, 9, 1, 2], [21, incrReq, EPOCH, 3, 5, 5, false]);
  assert.deepEqual(await two, { epoch: EPOCH, version: 9, status: 'changed', revision: 2 });
  assert.deepEqual(await one, { epoch: EPOCH, version: 3, value: 5, applied: 5, duplicate: false });
});

test('the example of the specification publishes the same bytes', async () => {
  connected();
  const published = client.publish('news', [{ payload: 'hi' }]);
  const [, req, topic, ack, body] = socket().last(10);
  assert.deepEqual([topic, ack, Buffer.from(body).toString('hex')], ['news', 1, '93c0c0c4026869']);
  socket().receive([11, req, EPOCH, 0, 1]);
  assert.deepEqual(await published, { epoch: EPOCH, offset: 0, level: 1 });
});

test('a refusal is an error with its name, its code and its delay', async () => {
  connected();
  const read = client.get(KIND.TALLY, 'none');
  socket().receive([5, socket().last(24)[1], 16, 'the queue is full', 250]);
  await assert.rejects(read, (error) => error instanceof TidewireError && error.kind === 'overloaded'
    && error.code === 16 && error.retryable && error.retryAfterMs === 250 && error.message === 'the queue is full');
});

test('a request that was under way when the connection went is not said to have failed', async () => {
  connected();
  const vote = client.vote('poll', 'me', [0]);
  socket().fail();
  await assert.rejects(vote, { kind: 'connection_lost' });
});

test('a request without an answer ends in time', async () => {
  connected();
  const read = client.get(KIND.COUNTER, 'a');
  mock.timers.tick(10_000);
  await assert.rejects(read, { kind: 'timeout' });
});

test('deliveries in the message of the reply are not lost, and each record has its offset', () => {
  connected();
  const seen = [];
  const news = client.subscribe('news', { start: START.last(2) });
  news.on('records', ({ records }) => seen.push(...records.map(({ offset, payload }) => [offset, Buffer.from(payload).toString()])));
  const [, req, sub, , start] = socket().last(12);
  assert.deepEqual(start, [4, 2]);
  socket().receive([13, req, sub, 0, EPOCH, 7], deliver(sub, 7, ['a', 'b']));
  assert.deepEqual(seen, [[7, 'a'], [8, 'b']]);
});

test('a subscription goes on at its offset after a loss, and says when history changed', async () => {
  connected();
  const statuses = [];
  const news = client.subscribe('news');
  news.on('subscribed', ({ status }) => statuses.push(status));
  const [, req, sub] = socket().last(12);
  socket().receive([13, req, sub, 0, EPOCH, 7], deliver(sub, 7, ['a']));
  const next = await reconnected();
  assert.deepEqual(next.last(12)[4], [2, EPOCH, 8]);
  next.receive([13, next.last(12)[1], sub, 3, EPOCH + 1, 0]);
  assert.deepEqual(statuses, ['fresh', 'new_epoch']);
});

test('an offset that the server no longer has begins again at the first start', async () => {
  connected();
  const news = client.subscribe('news', { start: START.last(1) });
  const [, req, sub] = socket().last(12);
  socket().receive([13, req, sub, 0, EPOCH, 7]);
  const next = await reconnected();
  const errors = [];
  news.on('error', (error) => errors.push(error.kind));
  next.receive([5, next.last(12)[1], 26, 'beyond the end']);
  await settled();
  assert.deepEqual(next.last(12)[4], [4, 1]);
  assert.deepEqual(errors, ['out_of_range']);
});

test('a hole between deliveries is reported', () => {
  connected();
  const news = client.subscribe('news');
  const faults = [];
  news.on('error', (error) => faults.push(error.kind));
  const [, req, sub] = socket().last(12);
  socket().receive([13, req, sub, 0, EPOCH, 0], deliver(sub, 1, ['b']));
  assert.deepEqual(faults, ['protocol_fault']);
});

test('a watch goes on at its version, and begins again in a new epoch', async () => {
  connected();
  const values = [];
  const watch = client.watch(KIND.COUNTER, 'likes', { interval_ms: 33 });
  watch.on('update', ({ value }) => values.push(value));
  const [, req, sub, kind, name, options] = socket().last(26);
  assert.deepEqual([kind, name, options], [1, 'likes', { interval_ms: 33 }]);
  socket().receive([27, req, sub, EPOCH, 5], [28, sub, 5, 1, 100], [28, sub, 4, 1, 99]);
  const next = await reconnected();
  assert.deepEqual(next.last(26)[5], { interval_ms: 33, epoch: EPOCH, version: 5 });
  next.receive([27, next.last(26)[1], sub, EPOCH + 1, 1], [28, sub, 1, 1, 7]);
  assert.deepEqual(values, [100, 7]);
});

test('changes of a map are merged, and a full value replaces all', () => {
  connected();
  const watch = client.watch(KIND.MAP, 'prices');
  const [, req, sub] = socket().last(26);
  const value = new Uint8Array([1]);
  socket().receive([27, req, sub, EPOCH, 2], [28, sub, 2, 1, [['a', 1, value], ['b', 2, value]]]);
  socket().receive([28, sub, 4, 0, [['a', 3, null], ['c', 4, value]]]);
  assert.deepEqual([...watch.value.keys()], ['b', 'c']);
  socket().receive([28, sub, 5, 1, [['d', 5, value]]]);
  assert.deepEqual([...watch.value.keys()], ['d']);
  socket().receive([28, sub, 6, 2, null]);
  assert.equal(watch.value, null);
});

test('a watch that is refused ends with the reason', async () => {
  connected();
  const watch = client.watch(KIND.TALLY, 'none');
  const ended = new Promise((resolve) => { watch.on('ended', resolve); });
  socket().receive([5, socket().last(26)[1], 9, 'no such tally']);
  assert.equal((await ended).kind, 'not_found');
});

test('reconnects wait 0.5 to 20 s, longer each time', () => {
  const delays = [];
  client.on('state', ({ retryInMs }) => { if (retryInMs !== null) delays.push(retryInMs); });
  for (let attempt = 0; attempt < 8; attempt += 1) {
    socket().fail();
    mock.timers.tick(20_000);
  }
  assert.deepEqual(delays, [750, 1250, 2250, 4250, 8250, 10_250, 10_250, 10_250]);
});

test('a refusal before the welcome is final', () => {
  const states = [];
  client.on('state', ({ state, error }) => states.push([state, error?.kind]));
  socket().open();
  socket().receive([5, 0, 4, 'version 1 is not spoken here']);
  socket().fail(4004);
  assert.deepEqual(states, [['failed', 'version_unsupported']]);
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test('pings of the server are answered', () => {
  connected().receive([3, 42]);
  assert.deepEqual(socket().last(4), [4, 42]);
});

test('GOAWAY is announced, and new requests wait for the next connection', async () => {
  const first = connected();
  const reasons = [];
  client.on('goaway', ({ message, graceMs }) => reasons.push([message, graceMs]));
  first.receive([6, 35, 'restart', 500]);
  const read = client.get(KIND.COUNTER, 'a');
  assert.equal(first.last(24), undefined);
  assert.deepEqual(reasons, [['restart', 500]]);
  const next = await reconnected();
  next.receive([25, next.last(24)[1], 1, EPOCH, 1, 3]);
  assert.equal((await read).value, 3);
});

test('broken bytes from the server end the connection, and it comes back', () => {
  connected().onmessage({ data: new Uint8Array([0xc1]).buffer });
  assert.equal(client.state, 'disconnected');
  mock.timers.tick(20_000);
  assert.equal(FakeSocket.all.length, 2);
});

test('after stop nothing more is reported', async () => {
  connected();
  const values = [];
  const watch = client.watch(KIND.COUNTER, 'likes');
  watch.on('update', ({ value }) => values.push(value));
  const [, req, sub] = socket().last(26);
  socket().receive([27, req, sub, EPOCH, 0]);
  const stopped = client.stop(watch);
  socket().receive([28, sub, 1, 1, 1], [7, socket().last(15)[1]]);
  await stopped;
  assert.deepEqual(values, []);
});
