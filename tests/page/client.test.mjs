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
  mock.method(Math, 'random', () => 0.5);
  globalThis.WebSocket = FakeSocket;
  client = new Tidewire('ws://host/v1/ws', { name: 'test/1' });
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
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

test('replies find their requests in any order', async () => {
  connected();
  const read = client.get(KIND.COUNTER, 'a');
  const voted = client.vote('poll', 'me', ['yes', null]);
  const [, getReq, ...get] = socket().last(24);
  const [, voteReq, ...vote] = socket().last(22);
  assert.deepEqual(get, [KIND.COUNTER, 'a']);
  assert.deepEqual(vote, ['poll', 'me', ['yes', null], null]);
  socket().receive([23, voteReq, EPOCH, 9, 1, 2], [25, getReq, 1, EPOCH, 3, 5]);
  assert.deepEqual(await voted, { epoch: EPOCH, version: 9, status: 1, revision: 2 });
  assert.deepEqual(await read, { epoch: EPOCH, version: 3, value: 5 });
});

test('a request without a connection is refused at once, and never sent', async () => {
  await assert.rejects(client.vote('poll', 'me', [0]), { kind: 'disconnected' });
  assert.equal(connected().last(22), undefined);
});

test('requests under way are bounded', async () => {
  connected();
  const reads = Array.from({ length: 1025 }, () => client.get(KIND.COUNTER, 'a'));
  await assert.rejects(reads.pop(), { code: 16 });
  const ended = Promise.allSettled(reads);
  socket().fail();
  assert.ok((await ended).every(({ reason }) => reason.kind === 'connection_lost'));
});

test('a refusal is an error with its code, its reason and its delay', async () => {
  connected();
  const read = client.get(KIND.TALLY, 'none');
  socket().receive([5, socket().last(24)[1], 16, 'the queue is full', 250]);
  await assert.rejects(read, (error) => error instanceof TidewireError && error.kind === 'refused'
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
  assert.deepEqual(statuses, [0, 3]);
});

test('an offset that the server no longer has begins again at the first start', async () => {
  connected();
  const news = client.subscribe('news', { start: START.last(1) });
  const [, req, sub] = socket().last(12);
  socket().receive([13, req, sub, 0, EPOCH, 7]);
  const next = await reconnected();
  const errors = [];
  news.on('error', (error) => errors.push(error.code));
  next.receive([5, next.last(12)[1], 26, 'beyond the end']);
  await settled();
  assert.deepEqual(next.last(12)[4], [4, 1]);
  assert.deepEqual(errors, [26]);
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

test('a watch that is refused ends with the reason', async () => {
  connected();
  const watch = client.watch(KIND.TALLY, 'none');
  const ended = new Promise((resolve) => { watch.on('ended', resolve); });
  socket().receive([5, socket().last(26)[1], 9, 'no such tally']);
  assert.equal((await ended).code, 9);
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
  client.on('state', ({ state, error }) => states.push([state, error?.code]));
  socket().open();
  socket().receive([5, 0, 4, 'version 1 is not spoken here']);
  socket().fail(4004);
  assert.deepEqual(states, [['failed', 4]]);
  mock.timers.tick(60_000);
  assert.equal(FakeSocket.all.length, 1);
});

test('pings of the server are answered', () => {
  connected().receive([3, 42]);
  assert.deepEqual(socket().last(4), [4, 42]);
});

test('after GOAWAY it leaves, and what is followed goes on with the next connection', async () => {
  const first = connected();
  client.watch(KIND.COUNTER, 'likes');
  first.receive([6, 35, 'restart', 500]);
  assert.equal(first.readyState, 3);
  await assert.rejects(client.get(KIND.COUNTER, 'a'), { kind: 'disconnected' });
  await settled();
  mock.timers.tick(1000);
  assert.equal(connected().last(26)[4], 'likes');
});

test('a listener that throws does not cost the connection', () => {
  const watch = client.watch(KIND.COUNTER, 'likes');
  watch.on('update', () => { throw new Error('of the page'); });
  connected();
  const [, req, sub] = socket().last(26);
  socket().receive([27, req, sub, EPOCH, 0]);
  assert.throws(() => socket().receive([28, sub, 1, 1, 1]), /of the page/);
  assert.equal(client.state, 'connected');
});

test('a server that falls silent is asked, and given up after three heartbeats', () => {
  const now = mock.method(performance, 'now', () => 0);
  connected();
  for (let ms = 5000; ms <= 35_000; ms += 5000) {
    assert.equal(client.state, 'connected');
    now.mock.mockImplementation(() => ms);
    mock.timers.tick(5000);
  }
  assert.equal(client.state, 'disconnected');
  assert.ok(FakeSocket.all[0].sent.filter(([type]) => type === 3).length > 2);
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
