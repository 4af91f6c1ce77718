import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, TidewireError, type Gap, type Started } from '../dist/index.js';
import { Server } from './server.js';
import { soon, take, until } from './waiting.js';

const CONFIG = `
[[policy]]
names = "safe.>"
durability = "disk"

[[policy]]
names = "small.>"
retention_records = 100

[[policy]]
names = "parted.>"
partitions = 4
`;

let server: Server;
let client: Client;

before(async () => {
  server = await Server.start(CONFIG);
  client = await new Client(server.url, { backoffMinMs: 20, backoffMaxMs: 100 }).connect();
});
after(async () => {
  await client.close();
  await server.stop();
});

test('a published record reaches its subscriber once, with key, headers and place', async () => {
  const topic = client.topic('news.a');
  const subscription = topic.subscribe();
  const started = await subscription.ready();
  const published = await topic.publish({ text: 'hi' }, { key: 'k', headers: { by: 'ann' } });
  assert.equal(published.offset, started.offset);
  const [record] = await take(subscription, 1);
  assert.deepEqual(record!.json(), { text: 'hi' });
  assert.equal(record!.key, 'k');
  assert.equal(record!.headers.by, 'ann');
  assert.equal(record!.offset, published.offset);
  assert.equal(record!.epoch, published.epoch);
  assert.ok(Math.abs(record!.timeMs - Date.now()) < 60_000);
});

test('a publish with ack none needs no answer, and what is refused of it is told', async () => {
  const subscription = client.topic('news.none').subscribe();
  await subscription.ready();
  // More than may be unanswered: none of them waits for an answer.
  for (let n = 0; n < 2_000; n++) await client.topic('news.none').publish(`${n}`, { ack: 'none' });
  assert.equal((await take(subscription, 2_000)).at(-1)!.text(), '1999');
  const told = new Promise<TidewireError>((resolve) => client.on('error', resolve));
  await client.topic('$sys.not').publish('a', { ack: 'none' });
  assert.equal((await soon(told, 'the refusal is told')).code, 'forbidden');
});

test('many publishes at once arrive in the order in which they were made', async () => {
  const topic = client.topic('news.order');
  const subscription = topic.subscribe({ start: 'earliest' });
  const acknowledged = await Promise.all(Array.from({ length: 3_000 }, (_, n) => topic.publish(String(n))));
  assert.deepEqual(acknowledged.map(({ offset }) => offset), acknowledged.map((_, n) => n));
  const records = await take(subscription, 3_000);
  assert.deepEqual(records.map((record) => record.text()), acknowledged.map((_, n) => String(n)));
});

test('a batch is appended together, and a filter selects of it', async () => {
  const topic = client.topic('news.batch');
  const filtered = topic.subscribe({ start: 'earliest', filter: [['key', 'eq', 'b']] });
  await filtered.ready();
  const { offset } = await topic.publishBatch([{ key: 'a', payload: '1' }, { key: 'b', payload: '2' }, { key: 'b', payload: null }]);
  const records = await take(filtered, 2);
  assert.deepEqual(records.map((record) => [record.offset, record.payload && record.text()]), [[offset! + 1, '2'], [offset! + 2, null]]);
});

test('a pattern follows topics that are made later', async () => {
  const subscription = client.subscribe('room.*.chat');
  await subscription.ready();
  await client.topic('room.1.chat').publish('one');
  await client.topic('room.2.other').publish('no');
  await client.topic('room.3.chat').publish('two');
  const records = await take(subscription, 2);
  assert.deepEqual(records.map((record) => [record.topic, record.text()]), [['room.1.chat', 'one'], ['room.3.chat', 'two']]);
});

test('a refusal says its code, and the client goes on', async () => {
  await assert.rejects(client.topic('news.a').publish('x', { ack: 'quorum' }), { code: 'ack_unsupported' });
  await assert.rejects(client.topic('news.a').publish('x', { expectedOffset: 0 }), (error: TidewireError) => {
    assert.equal(error.code, 'conflict');
    assert.equal(typeof error.actual, 'number');
    return !error.retryable;
  });
  await assert.rejects(client.topic('a b').publish('x'), { code: 'invalid_name' });
  await assert.rejects(client.subscribe('a.>.b').ready(), { code: 'invalid_pattern' });
  const refused = client.topic('news.a').subscribe({ start: { epoch: 0, offset: 1_000_000 } });
  await assert.rejects(refused.ready(), { code: 'out_of_range' });
  assert.equal(refused.state, 'ended');
  assert.equal((await client.topic('news.a').info()).first, 0);
});

test('a topic with partitions hands over all of them', async () => {
  const topic = client.topic('parted.a');
  const subscription = topic.subscribe({ start: 'earliest' });
  await subscription.ready();
  await Promise.all(Array.from({ length: 40 }, (_, n) => topic.publish(String(n), { key: `k${n}` })));
  const texts = (await take(subscription, 40)).map((record) => record.text());
  assert.deepEqual(texts.map(Number).sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n));
});

test('history comes in pages, forwards and backwards', async () => {
  const topic = client.topic('news.history');
  await topic.publishBatch(Array.from({ length: 25 }, (_, n) => ({ payload: String(n) })));
  const first = await topic.history({ limit: 10 });
  assert.deepEqual([first.records.length, first.next, first.atEnd, first.previous], [10, 10, false, undefined]);
  const second = await topic.history({ from: first.next, limit: 20 });
  assert.deepEqual([second.records.length, second.records[0]!.text(), second.atEnd], [15, '10', true]);
  const newest = await topic.history({ before: Infinity, limit: 5 });
  assert.deepEqual(newest.records.map((record) => record.text()), ['20', '21', '22', '23', '24']);
  const older = await topic.history({ before: newest.previous!, limit: 100 });
  assert.deepEqual([older.records.length, older.previous], [20, undefined]);
  assert.equal((await topic.history({ from: 25 })).records.length, 0);
  await assert.rejects(client.topic('parted.a').history(), { code: 'unsupported' });
});

test('what retention removed is told as a gap', async () => {
  const topic = client.topic('small.a');
  for (let n = 0; n < 30; n++) await topic.publishBatch(Array.from({ length: 10 }, () => ({ payload: 'x'.repeat(100) })));
  const { first, next } = await topic.info();
  assert.ok(first > 0);
  const subscription = topic.subscribe({ start: { epoch: 0, offset: 0 } });
  const gaps: Gap[] = [];
  subscription.on('gap', (gap) => gaps.push(gap));
  const records = await take(subscription, next - first);
  assert.equal(records[0]!.offset, first);
  assert.deepEqual(gaps.map(({ topic: name, from, next: to, reason }) => [name, from, to, reason]), [['small.a', 0, first, 'retention']]);
});

test('a subscription that is not read holds its window, and loses nothing', async () => {
  const topic = client.topic('news.slow');
  const slow = topic.subscribe({ start: 'earliest', windowBytes: 10_000 });
  await slow.ready();
  const payload = 'x'.repeat(1_000);
  await Promise.all(Array.from({ length: 200 }, () => topic.publish(payload)));
  const records = await take(slow, 200);
  assert.deepEqual(records.map((record) => record.offset), Array.from({ length: 200 }, (_, n) => n));
});

test('leaving the loop ends the subscription', async () => {
  const topic = client.topic('news.loop');
  await topic.publish('1');
  const subscription = topic.subscribe({ start: 'earliest' });
  for await (const record of subscription) {
    assert.equal(record.text(), '1');
    break;
  }
  assert.equal(subscription.state, 'ended');
});

test('a server that is restarted says so first, and no request fails', async () => {
  const topic = client.topic('safe.restarted');
  const subscription = topic.subscribe({ start: 'earliest' });
  await subscription.ready();
  const codes: unknown[] = [];
  const off = client.on('state', (state) => codes.push('code' in state ? state.code : state.state));
  const restarting = server.restart();
  const acknowledged: Promise<{ offset: number | null }>[] = [];
  let isOver = false;
  void restarting.finally(() => (isOver = true));
  while (!isOver) {
    acknowledged.push(topic.publish(String(acknowledged.length)));
    await acknowledged[acknowledged.length - 1]!;
  }
  server = await restarting;
  const offsets = (await Promise.all(acknowledged)).map(({ offset }) => offset);
  assert.deepEqual(offsets, offsets.map((_, n) => n));
  const records = await take(subscription, offsets.length);
  assert.deepEqual(records.map((record) => record.text()), offsets.map((_, n) => String(n)));
  assert.equal(codes[0], 'shutting_down');
  off();
  subscription.close();
});

test('after kill -9 and a restart a subscription goes on where it was, and publishing counts once', async () => {
  const states: string[] = [];
  const off = client.on('state', ({ state }) => states.push(state));
  const safe = client.topic('safe.a');
  const memory = client.topic('news.lost');
  const subscription = safe.subscribe({ start: 'earliest' });
  const started: Started[] = [];
  subscription.on('started', (event) => started.push(event));
  const gaps: Gap[] = [];
  const forgotten = memory.subscribe({ start: 'earliest' });
  forgotten.on('gap', (gap) => gaps.push(gap));
  const iterator = subscription[Symbol.asyncIterator]();
  const others: string[] = [];
  forgotten.on('record', (record) => others.push(record.text()));
  await memory.publish('before');
  const before = await Promise.all(Array.from({ length: 50 }, (_, n) => safe.publish(`a${n}`)));
  const outstanding = Array.from({ length: 200 }, (_, n) => safe.publish(`b${n}`));
  await server.kill();
  server = await server.again();
  const after = await Promise.all(outstanding);
  await memory.publish('after');
  const texts: string[] = [];
  while (texts.length < 250) texts.push((await iterator.next()).value.text());
  assert.deepEqual(texts, [...before.map((_, n) => `a${n}`), ...after.map((_, n) => `b${n}`)]);
  assert.deepEqual(after.map(({ offset }) => offset), after.map((_, n) => 50 + n));
  assert.deepEqual(started.map(({ status }) => status), ['fresh', 'resumed']);
  await until(() => others.length === 2, 'the record after the restart');
  assert.deepEqual(others, ['before', 'after']);
  assert.deepEqual(gaps.map(({ reason }) => reason), ['new_epoch']);
  assert.deepEqual(states.filter((state, n) => state !== states[n - 1]).slice(-2), ['connecting', 'connected']);
  assert.equal(states[0], 'disconnected');
  off();
  subscription.close();
  forgotten.close();
});
