import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeBody } from '../dist/record.js';
import type { Gap } from '../dist/index.js';
import { settled, type FakeSocket } from './fake.js';
import { connected, setup } from './scene.js';
import { take } from './waiting.js';

const SUBSCRIBE = 12;
const WATCH = 26;

function started(socket: FakeSocket, status = 0, epoch = 5, offset = 0, missing: [number, number] | null = null): void {
  const [, req, sub] = socket.of(SUBSCRIBE).at(-1)!;
  socket.say([13, req!, sub!, status, epoch, offset, missing, null]);
}

function deliver(socket: FakeSocket, from: number, texts: string[], epoch = 5): void {
  const sub = socket.of(SUBSCRIBE).at(-1)![2]!;
  socket.say([14, sub, 'news', epoch, from, from + texts.length, 1, null, null, encodeBody(texts.map((payload) => ({ payload })))]);
}

test('a subscription that was made before the connection starts with it', async () => {
  const { client, network } = setup();
  const subscription = client.topic('news').subscribe({ start: { last: 3 } });
  const connecting = client.connect();
  await settled();
  const socket = await network.last.welcome();
  await connecting;
  assert.deepEqual(socket.of(SUBSCRIBE)[0]!.slice(3, 5), ['news', [4, 3]]);
  started(socket);
  assert.equal((await subscription.ready()).status, 'fresh');
});

test('it goes on by epoch and offset, behind what has arrived', async () => {
  const { client, socket, clock, network } = await connected();
  const subscription = client.topic('news').subscribe();
  const states: string[] = [];
  subscription.on('state', (state) => states.push(state));
  await settled();
  started(socket, 0, 5, 40);
  deliver(socket, 40, ['a', 'b']);
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  assert.deepEqual(next.of(SUBSCRIBE)[0]![4], [2, 5, 42]);
  started(next, 1, 5, 42);
  deliver(next, 42, ['c']);
  assert.deepEqual((await take(subscription, 3)).map((record) => [record.offset, record.text()]), [[40, 'a'], [41, 'b'], [42, 'c']]);
  assert.deepEqual(states, ['running']);
});

test('a pattern goes on at one position per shard', async () => {
  const { client, socket, clock, network } = await connected();
  client.subscribe('a.*');
  await settled();
  const [, req, sub] = socket.of(SUBSCRIBE)[0]!;
  socket.say([13, req!, sub!, 0, 0, 0, null, [[0, 7, 1], [1, 7, 5]]]);
  socket.say([14, sub!, 'a.x', 9, 3, 4, 1, [1, 7, 6], null, encodeBody([{ payload: 'x' }])], [17, sub!, null, 0, 0, [0, 7, 2]]);
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  assert.deepEqual(next.of(SUBSCRIBE)[0]![4], [5, [[0, 7, 2], [1, 7, 6]]]);
});

test('gaps are told in their place: what retention took, another epoch, and what the server left out', async () => {
  const { client, socket } = await connected();
  const subscription = client.topic('news').subscribe({ start: { epoch: 5, offset: 0 } });
  await settled();
  started(socket, 2, 5, 10, [0, 10]);
  deliver(socket, 10, ['a']);
  const sub = socket.of(SUBSCRIBE)[0]![2]!;
  socket.say([16, sub, 'news', 5, 11, 20, 0]);
  deliver(socket, 22, ['b']);
  socket.say([16, sub, 'news', 6, 0, 3, 1]);
  deliver(socket, 3, ['c'], 6);
  const seen: string[] = [];
  const events = subscription.events();
  while (seen.length < 8) {
    const { value } = await events.next();
    seen.push(value.type === 'gap' ? `${value.reason} ${value.from}-${value.next}` : value.type);
  }
  assert.deepEqual(seen, ['started', 'retention 0-10', 'delivery', 'retention 11-20', 'unexplained 20-22', 'delivery', 'new_epoch 0-3', 'delivery']);
});

test('a new epoch after a reconnect is a gap', async () => {
  const { client, socket, clock, network } = await connected();
  const gaps: Gap[] = [];
  const subscription = client.topic('news').subscribe();
  subscription.on('gap', (gap) => gaps.push(gap));
  subscription.on('record', () => {});
  await settled();
  started(socket, 0, 5, 40);
  await socket.end();
  await clock.advance(1_000);
  started(await network.last.welcome(), 3, 6, 0);
  assert.deepEqual(gaps.map(({ reason, epoch }) => [reason, epoch]), [['new_epoch', 6]]);
});

test('credit is given as records are taken', async () => {
  const { client, socket } = await connected();
  const subscription = client.topic('news').subscribe({ windowBytes: 1_000 });
  await settled();
  assert.equal((socket.of(SUBSCRIBE)[0]![5] as { credit: number }).credit, 1_000);
  started(socket);
  deliver(socket, 0, ['x'.repeat(400)]);
  await settled();
  assert.equal(socket.of(18).length, 0, 'nothing was taken yet');
  await take(subscription, 1);
  await settled();
  assert.equal(socket.of(18).length, 1);
  assert.ok((socket.of(18)[0]![2] as number) >= 400);
});

test('one that is read too slowly for its bounds starts again where it stopped', async () => {
  const { client, socket } = await connected();
  const subscription = client.topic('news').subscribe();
  await settled();
  started(socket);
  for (let n = 0; n < 33_000; n++) deliver(socket, n, ['x']);
  const records = await take(subscription, 32_000);
  assert.equal(records.length, 32_000);
  assert.equal(socket.of(SUBSCRIBE).length, 1);
  const rest = subscription[Symbol.asyncIterator]();
  let last = records.at(-1)!.offset;
  const reading = (async () => {
    for (;;) {
      const { value } = await rest.next();
      assert.equal(value.offset, last + 1);
      last = value.offset;
      if (value.text() === 'end') return;
    }
  })();
  while (socket.of(SUBSCRIBE).length === 1) await settled();
  const again = socket.of(SUBSCRIBE)[1]!;
  assert.notEqual(again[2], socket.of(SUBSCRIBE)[0]![2], 'under another number');
  assert.equal(socket.of(15).length, 1, 'the old one was ended');
  assert.deepEqual(again[4], [2, 5, last + 1]);
  started(socket, 1, 5, last + 1);
  deliver(socket, last + 1, ['end']);
  await reading;
});

test('a subscription that the server ends throws behind what has arrived', async () => {
  const { client, socket } = await connected();
  const subscription = client.topic('news').subscribe();
  await settled();
  started(socket);
  deliver(socket, 0, ['a']);
  socket.say([5, 0, 33, 'too slow', null, socket.of(SUBSCRIBE)[0]![2]!]);
  const iterator = subscription[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value.text(), 'a');
  await assert.rejects(iterator.next(), { code: 'too_slow' });
  assert.equal(subscription.state, 'ended');
});

test('one that is unavailable for the moment is opened again', async () => {
  const { client, socket, clock } = await connected();
  const subscription = client.topic('news').subscribe();
  await settled();
  socket.say([5, socket.of(SUBSCRIBE)[0]![1]!, 17, 'no leader']);
  await clock.advance(200);
  started(socket);
  assert.equal((await subscription.ready()).epoch, 5);
  assert.equal(socket.of(SUBSCRIBE).length, 2);
});

test('what comes late of one that the server has ended is not taken for the one that goes on', async () => {
  const { client, socket, clock } = await connected();
  const subscription = client.topic('news').subscribe();
  await settled();
  started(socket);
  deliver(socket, 0, ['a']);
  const [first] = socket.of(SUBSCRIBE);
  socket.say([5, 0, 17, 'another leads now', null, first![2]!]);
  await clock.advance(200);
  const [, again] = socket.of(SUBSCRIBE);
  assert.deepEqual([again![4], again![2] === first![2]], [[2, 5, 1], false]);
  // Streams are not ordered: this was on its way on that of the first.
  socket.say([14, first![2]!, 'news', 5, 1, 2, 1, null, null, encodeBody([{ payload: 'b' }])]);
  started(socket, 1, 5, 1);
  deliver(socket, 1, ['b', 'c']);
  assert.deepEqual((await take(subscription, 3)).map((record) => record.text()), ['a', 'b', 'c']);
});

test('a watch holds the newest version, and goes on from it', async () => {
  const { client, socket, clock, network } = await connected();
  const watch = client.counter('c').watch({ intervalMs: 50 });
  await settled();
  const [, req, sub, kind, name, options] = socket.of(WATCH)[0]!;
  assert.deepEqual([kind, name, { ...(options as object) }], [1, 'c', { interval_ms: 50 }]);
  socket.say([27, req!, sub!, 3, 10], [28, sub!, 10, 1, 7], [28, sub!, 12, 1 | 4 | (2_000 << 8), 9], [28, sub!, 11, 1, 8]);
  const [update] = await take(watch, 1);
  assert.deepEqual([update!.value, update!.version, update!.staleMs], [9, 12, 2_000]);
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  assert.deepEqual({ ...(next.of(WATCH)[0]![5] as object) }, { interval_ms: 50, epoch: 3, version: 12 });
});

test('an update in parts is taken over at once, and one that was cut short is dropped', async () => {
  const { client, socket } = await connected();
  const watch = client.presence('room').watch();
  await settled();
  const [, req, sub] = socket.of(WATCH)[0]!;
  const entry = (name: string, version: number) => [name, version, new Uint8Array()];
  socket.say([27, req!, sub!, 3, 10], [28, sub!, 4, 1 | 16, [entry('x', 4)]]);
  assert.equal(watch.current, undefined);
  socket.say([28, sub!, 5, 1 | 16, [entry('a', 5)]]);
  assert.equal(watch.current, undefined);
  socket.say([28, sub!, 5, 1, [entry('b', 5)]]);
  assert.deepEqual([...watch.current!.value.all.keys()], ['a', 'b']);
  socket.say([28, sub!, 6, 0, [['a', 6, null], entry('c', 6)]]);
  assert.deepEqual([...watch.current!.value.all.keys()], ['b', 'c']);
  assert.deepEqual([...watch.current!.value.changed].sort(), ['a', 'c']);
  assert.equal(watch.current, watch.current, 'one object per version');
});

test('whoever is present is so again after a cut', async () => {
  const { client, socket, clock, network } = await connected();
  const joined = client.presence('room').join('ann', 'hi');
  await settled();
  socket.say([7, socket.of(29)[0]![1]!]);
  await joined;
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  assert.deepEqual(next.of(29).map((frame) => frame.slice(2, 5)), [[0, 'room', 'ann']]);
  const failed: string[] = [];
  client.on('error', ({ code }) => failed.push(code));
  next.say([5, next.of(29)[0]![1]!, 13, 'not you']);
  assert.deepEqual(failed, ['forbidden']);
});
