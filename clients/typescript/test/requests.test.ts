import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FakeSocket } from './fake.js';
import { settled } from './fake.js';
import { connected, setup } from './scene.js';

const PRODUCER = 31;
const PUBLISH = 10;

function issue(socket: FakeSocket, producer: number): void {
  socket.say([7, socket.of(PRODUCER).at(-1)![1]!, { producer, window: 1_024, idle_ms: 3_600_000 }]);
}

function numbers(socket: FakeSocket): unknown[] {
  return socket.of(PUBLISH).map(([, , , , , options]) => {
    const { producer, sequence } = options as { producer: number; sequence: number };
    return [producer, sequence];
  });
}

test('publishes wait for a producer id, and go out in order under its numbers', async () => {
  const { client, socket } = await connected();
  const topic = client.topic('t');
  const published = [topic.publish('a'), topic.publish('b')];
  await settled();
  assert.equal(socket.of(PUBLISH).length, 0);
  issue(socket, 9);
  await settled();
  assert.deepEqual(numbers(socket), [[9, 1], [9, 2]]);
  for (const [index, frame] of socket.of(PUBLISH).entries()) socket.say([11, frame[1]!, 5, index, 1]);
  assert.deepEqual((await Promise.all(published)).map(({ offset }) => offset), [0, 1]);
});

test('after a cut a publish is sent again under the same number, before what waited', async () => {
  const { client, socket, clock, network } = await connected();
  const topic = client.topic('t');
  const first = topic.publish('a');
  await settled();
  issue(socket, 9);
  await settled();
  await socket.end();
  const second = topic.publish('b');
  await clock.advance(1_000);
  const next = await network.last.welcome();
  await settled();
  assert.deepEqual(numbers(next), [[9, 1], [9, 2]]);
  next.say([11, next.of(PUBLISH)[0]![1]!, 5, 0, 1, null, true], [11, next.of(PUBLISH)[1]![1]!, 5, 1, 1]);
  assert.equal((await first).duplicate, true);
  assert.equal((await second).duplicate, false);
  assert.equal(client.repeated, 1);
});

test('a producer that the server has forgotten is replaced if nothing can have been appended', async () => {
  const { client, socket, clock, network } = await connected();
  const topic = client.topic('t');
  const first = topic.publish('a');
  await settled();
  issue(socket, 9);
  await settled();
  socket.say([5, socket.of(PUBLISH)[0]![1]!, 29, 'who is 9?']);
  await settled();
  issue(socket, 10);
  await settled();
  assert.deepEqual(numbers(socket).at(-1), [10, 2]);
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  next.say([5, next.of(PUBLISH)[0]![1]!, 29, 'who is 10?']);
  await assert.rejects(first, { code: 'producer_unknown', retryable: false });
});

test('where no ids are issued, a publish is sent once', async () => {
  const { client, socket } = await connected();
  const lost = client.topic('t').publish('a');
  await settled();
  socket.say([5, socket.of(PRODUCER)[0]![1]!, 20, 'none']);
  await settled();
  assert.equal(socket.of(PUBLISH).length, 1);
  const told = assert.rejects(lost, { code: 'connection_lost', retryable: true });
  await socket.end();
  await told;
});

test('an increment is sent once, unless it has an id', async () => {
  const { client, socket, clock, network } = await connected();
  const lost = client.counter('c').incr();
  const told = assert.rejects(lost, { code: 'connection_lost', message: /may or may not have been applied/ });
  const kept = client.counter('c').incr(2, { id: 'x' });
  await settled();
  assert.equal(socket.of(20).length, 2);
  await socket.end();
  await told;
  await clock.advance(1_000);
  const next = await network.last.welcome();
  assert.deepEqual(next.of(20).map((frame) => frame.slice(2, 5)), [['c', 0, 2]]);
  next.say([21, next.of(20)[0]![1]!, 1, 1, 2, 2, true]);
  assert.equal((await kept).duplicate, true);
});

test('a numbered increment says who may have counted it already', async () => {
  const { client, socket, clock, network } = await connected({}, 'ws://a', { actor: [1, 4] });
  const beginning = client.increments();
  await settled();
  issue(socket, 7);
  const increments = await beginning;
  const counted = increments.add('likes', 3);
  await settled();
  const options = (from: FakeSocket) => JSON.parse(JSON.stringify(from.of(20)[0]![5])) as unknown;
  assert.deepEqual(options(socket), { producer: 7, sequence: 1, tried: [] });
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome({ actor: [2, 1] });
  assert.deepEqual(options(next), { producer: 7, sequence: 1, tried: [[1, 4]] });
  next.say([21, next.of(20)[0]![1]!, 1, 1, 3, 3, false, [2, 1, 9]]);
  assert.deepEqual((await counted).asOf, [2, 1, 9]);
});

test('ballots and reads are sent again after a cut', async () => {
  const { client, socket, clock, network } = await connected();
  const voted = client.tally('t').vote('a', { voter: 'v' });
  const read = client.counter('c').get();
  await settled();
  await socket.end();
  await clock.advance(1_000);
  const next = await network.last.welcome();
  next.say([23, next.of(22)[0]![1]!, 1, 2, 2, 1], [25, next.of(24)[0]![1]!, 1, 1, 1, 5]);
  assert.equal((await voted).status, 'duplicate');
  assert.equal(await read, 5);
});

test('the queue is bounded, and says so', async () => {
  const { client } = setup({ offlineQueue: 2 });
  const counter = client.counter('c');
  const waiting = [counter.get(), counter.get()];
  await assert.rejects(counter.get(), { code: 'queue_full', retryable: true, message: /offlineQueue/ });
  const ended = Promise.allSettled(waiting);
  await client.close();
  assert.deepEqual((await ended).map((one) => (one as PromiseRejectedResult).reason.code), ['client_closed', 'client_closed']);
  await assert.rejects(counter.get(), { code: 'client_closed' });
});

test('bodies that wait are bounded by their bytes', async () => {
  const { client } = setup();
  const topic = client.topic('t');
  const payload = new Uint8Array(1_000_000);
  const outcomes = Array.from({ length: 20 }, () => topic.publish(payload).catch((error) => error.code));
  assert.equal(await outcomes[19], 'queue_full');
  await client.close();
  assert.equal(await outcomes[0], 'client_closed');
});

test('a request waits for a connection only so long', async () => {
  const { client, socket, clock } = await connected({ offlineWaitMs: 3_000, random: () => 1, backoffMinMs: 60_000, backoffMaxMs: 60_000 });
  const sent = client.counter('c').get();
  const gone = assert.rejects(sent, { code: 'connection_lost' });
  await settled();
  await socket.end();
  await clock.advance(2_000);
  const late = client.counter('d').get();
  const refused = assert.rejects(late, { code: 'not_connected', message: /nothing was sent/ });
  await clock.advance(1_000);
  await gone;
  await clock.advance(2_000);
  await refused;
});

test('no more requests are in flight than the server allows', async () => {
  const { client, socket } = await connected({}, 'ws://a', { in_flight_max: 2 });
  const reads = [1, 2, 3].map(() => client.counter('c').get());
  await settled();
  assert.equal(socket.of(24).length, 2);
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 5]);
  await settled();
  assert.equal(socket.of(24).length, 3);
  for (const frame of socket.of(24).slice(1)) socket.say([25, frame[1]!, 1, 1, 1, 5]);
  assert.deepEqual(await Promise.all(reads), [5, 5, 5]);
});

test('requests wait while the socket has too much to write', async () => {
  const { client, socket, clock } = await connected();
  socket.bufferedAmount = 100_000_000;
  const read = client.counter('c').get();
  await settled();
  assert.equal(socket.of(24).length, 0);
  socket.bufferedAmount = 0;
  await clock.advance(20);
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 5]);
  assert.equal(await read, 5);
});

test('what is unavailable for the moment is asked again, in order, for a limited time', async () => {
  const { client, socket, clock } = await connected({ repeatForMs: 1_000 }, 'ws://a', { heartbeat_ms: 1_000_000 });
  const topic = client.topic('t');
  const first = topic.publish('a');
  await settled();
  issue(socket, 9);
  await settled();
  socket.say([5, socket.of(PUBLISH)[0]![1]!, 17, 'no leader']);
  const second = topic.publish('b');
  await settled();
  assert.equal(socket.of(PUBLISH).length, 1, 'the second one waits behind the first');
  await clock.advance(100);
  assert.deepEqual(numbers(socket), [[9, 1], [9, 1], [9, 2]]);
  socket.say([11, socket.of(PUBLISH)[1]![1]!, 5, 0, 1]);
  await first;
  const refused = assert.rejects(second, { code: 'unavailable', retryable: true });
  for (let n = 0; n < 20; n++) {
    socket.say([5, socket.of(PUBLISH).at(-1)![1]!, 17, 'no leader']);
    await clock.advance(300);
  }
  await refused;
  const asksForLong = client.counter('c').get();
  await settled();
  socket.say([5, socket.of(24)[0]![1]!, 17, 'in a minute', 60_000]);
  await assert.rejects(asksForLong, { code: 'unavailable', retryAfterMs: 60_000 });
});

test('a frame that is too large is refused here, and others go on', async () => {
  const { client, socket } = await connected({}, 'ws://a', { max_frame_bytes: 1_000 });
  const large = client.topic('t').publish(new Uint8Array(2_000), { ack: 'none' });
  const read = client.counter('c').get();
  await assert.rejects(large, { code: 'frame_too_large' });
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 5]);
  assert.equal(await read, 5);
});

test('with ack none a publish is done when it is sent, without a number, and its refusal is told', async () => {
  const { client, socket } = await connected();
  const told: string[] = [];
  client.on('error', ({ code, message }) => told.push(`${code}: ${message}`));
  assert.equal((await client.topic('t').publish('a', { ack: 'none' })).level, 'none');
  await settled();
  const [frame] = socket.of(PUBLISH);
  assert.deepEqual([frame![3], Object.keys(frame![5] as object)], [0, []]);
  socket.say([5, frame![1]!, 13, 'not for you']);
  assert.deepEqual(told, ['forbidden: not for you']);
});

test('closing waits for what was sent', async () => {
  const { client, socket } = await connected();
  const read = client.counter('c').get();
  await settled();
  const closing = client.close();
  await settled();
  assert.ok(!socket.isClosed);
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 5]);
  assert.equal(await read, 5);
  await closing;
  assert.ok(socket.isClosed);
});
