import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '../dist/index.js';
import { settled } from './fake.js';
import { connected, setup } from './scene.js';

test('the handshake says HELLO and takes WELCOME', async () => {
  const { client, socket, names } = await connected({ token: 't', clientName: 'acme/1' });
  assert.deepEqual([socket.url, socket.protocol], ['ws://a:7171/v1/ws', 'tidewire.v1']);
  assert.deepEqual(socket.sent[0], [1, 1, ['move', 'datagrams'], 't', 'acme/1']);
  assert.deepEqual(names(), ['connecting', 'connected']);
  assert.equal(client.state, 'connected');
  assert.equal(client.serverInfo!.server, 'fake');
  await client.close();
  assert.ok(socket.isClosed);
  assert.deepEqual(names(), ['connecting', 'connected', 'disconnected']);
});

test('the first connect fails with the reason, and may be tried again', async () => {
  const { client, network, names, clock } = setup();
  const failed = assert.rejects(client.connect(), { code: 'cannot_connect', message: /cannot connect to ws:\/\/a:7171/ });
  await settled();
  await network.last.end();
  await failed;
  assert.deepEqual(names(), ['connecting', 'failed']);
  assert.equal(clock.pending, 0, 'nothing runs on');
  const again = client.connect();
  await settled();
  await network.last.welcome();
  await again;
  assert.equal(client.state, 'connected');
});

test('a server that says nothing is given up in time', async () => {
  const { client, clock, network } = setup({ connectTimeoutMs: 3_000 });
  const failed = assert.rejects(client.connect(), { code: 'cannot_connect', message: /3000 ms/ });
  await clock.advance(3_000);
  await failed;
  assert.ok(network.last.isClosed);
});

test('with failFast false the first connection is tried on', async () => {
  const { client, clock, network, names } = setup({ failFast: false });
  const connecting = client.connect();
  await settled();
  await network.last.end();
  await clock.advance(750);
  assert.equal(network.sockets.length, 2);
  await network.last.welcome();
  await connecting;
  assert.deepEqual(names().at(-1), 'connected');
});

test('delays spread up to 20 s, and attempts go on for ever', async () => {
  const { clock, network, socket, client } = await connected({ random: () => 1 });
  await socket.end();
  const delays: number[] = [];
  for (let n = 0; n < 40; n++) {
    const before = clock.now();
    const count = network.sockets.length;
    while (network.sockets.length === count) await clock.advance(clock.nextMs);
    delays.push(clock.now() - before);
    await network.last.end();
  }
  assert.deepEqual(delays.slice(0, 7), [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
  assert.ok(delays.slice(5).every((delay) => delay === 20_000));
  assert.equal(client.state, 'disconnected');
});

test('a refusal for good ends it, with the code', async () => {
  const { clock, network, socket, states } = await connected({ token: 'static' });
  socket.say([5, 0, 12, 'the token has expired']);
  await socket.end(4012);
  assert.deepEqual(states.at(-1), { state: 'disconnected', code: 'unauthenticated', reason: 'the token has expired' });
  await clock.advance(10_000);
  network.last.onopen?.({});
  network.last.say([5, 0, 12, 'the token has expired']);
  await settled();
  assert.equal(states.at(-1)!.state, 'failed');
  assert.equal((states.at(-1) as { code: string }).code, 'unauthenticated');
  assert.equal(clock.pending, 0);
});

test('a close status alone says the code as well', async () => {
  const { socket, states } = await connected();
  await socket.end(4034);
  assert.equal((states.at(-1) as { code: string }).code, 'idle_timeout');
});

test('a token comes from a callback, anew when the one in use is refused', async () => {
  const tokens = ['t1', 't2'];
  const { clock, network, socket, client } = await connected({ token: () => tokens.shift()! });
  assert.equal(socket.sent[0]![3], 't1');
  await socket.end(4012);
  await clock.advance(1_000);
  await network.last.welcome();
  assert.equal(network.last.sent[0]![3], 't2');
  await network.last.end();
  await clock.advance(2_000);
  await network.last.welcome();
  assert.equal(network.last.sent[0]![3], 't2', 'one that was not refused is shown again');
  assert.equal(client.state, 'connected');
});

test('a token is refreshed before it expires', async () => {
  const identity = { issuer: 'i', subject: 's', expires_at_ms: 1_700_000_100_000 };
  let made = 0;
  const { clock, socket } = await connected({ token: async () => `t${++made}` }, 'ws://a', { identity, heartbeat_ms: 1_000_000 });
  await clock.advance(79_000);
  assert.equal(socket.of(38).length, 0);
  await clock.advance(2_000);
  const [auth] = socket.of(38);
  assert.deepEqual([auth![0], auth![2]], [38, 't2']);
  socket.say([7, auth![1]!, { identity: { ...identity, expires_at_ms: 1_700_000_180_000 } }]);
  await clock.advance(60_000);
  assert.equal(socket.of(38).length, 1);
  await clock.advance(25_000);
  assert.equal(socket.of(38).length, 2);
});

test('a callback that fails is told, and tried again', async () => {
  let isBroken = true;
  const { client, network } = setup({ token: () => (isBroken ? Promise.reject(new Error('no network')) : 't') });
  await assert.rejects(client.connect(), { code: 'token_failed', message: /no network/ });
  assert.equal(network.sockets.length, 0);
  isBroken = false;
  const again = client.connect();
  await settled();
  await network.last.welcome();
  await again;
});

test('a quiet server is asked for a sign of life, and given up after three times as long', async () => {
  const { clock, socket, states } = await connected();
  await clock.advance(15_000);
  assert.deepEqual(socket.of(3), [[3, 0]]);
  socket.say([4, 0]);
  await clock.advance(44_000);
  assert.equal(states.at(-1)!.state, 'connected');
  await clock.advance(16_000);
  assert.equal((states.find(({ state }) => state === 'disconnected') as { code: string }).code, 'idle_timeout');
  assert.ok(socket.isClosed);
});

test('a PING is answered with its nonce', async () => {
  const { socket } = await connected();
  socket.say([3, 77]);
  await settled();
  assert.deepEqual(socket.of(4), [[4, 77]]);
});

test('a bad frame ends the connection, and one of a later version does not', async () => {
  const { socket, client, states } = await connected();
  socket.say([60, 1, 2]);
  assert.equal(client.state, 'connected');
  socket.onmessage!({ data: new Uint8Array([0x93, 0x05, 0x01, 0x09]).buffer });
  assert.deepEqual((states.at(-1) as { code: string }).code, 'bad_reply');
});

test('a node that asks to move is left for another one, whose connection is there first', async () => {
  const { clock, network, socket, client, names } = await connected({}, 'ws://a', { actor: [1, 1] });
  const slow = client.counter('c').incr();
  await settled();
  socket.say([6, 38, 'drained', 10_000, ['ws://b']]);
  await clock.advance(600);
  const next = network.last;
  assert.equal(next.url, 'ws://b:7171/v1/ws');
  assert.equal(client.state, 'connected', 'it is served meanwhile');
  const served = client.counter('c').get();
  await settled();
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 7]);
  assert.equal(await served, 7);
  await next.welcome({ actor: [2, 1] });
  assert.equal(client.state, 'connecting');
  const later = client.counter('c').get();
  await settled();
  assert.equal(socket.of(24).length, 1, 'new requests wait');
  socket.say([21, socket.of(20)[0]![1]!, 1, 2, 8, 1, false]);
  assert.equal((await slow).value, 8);
  await settled();
  assert.ok(socket.isClosed);
  assert.equal(client.state, 'connected');
  next.say([25, next.of(24)[0]![1]!, 1, 1, 2, 8]);
  assert.equal(await later, 8);
  assert.deepEqual(names(), ['connecting', 'connected', 'connecting', 'connected']);
});

test('a node that asks to move keeps who reaches no other one', async () => {
  const { clock, network, socket, client } = await connected({}, 'ws://a', { actor: [1, 1] });
  socket.say([6, 38, 'too full', 4_000, ['ws://b']]);
  await clock.advance(600);
  await network.last.end();
  assert.equal(network.last.url, 'ws://a:7171/v1/ws', 'behind the own address there may be another node');
  await network.last.welcome({ actor: [1, 1] });
  assert.ok(network.last.isClosed, 'it was the same');
  assert.ok(!socket.isClosed);
  assert.equal(client.state, 'connected');
});

test('a server that shuts down is left once it has answered, and requests wait for the next one', async () => {
  const { clock, network, socket, client, states } = await connected();
  const asked = client.counter('c').get();
  await settled();
  socket.say([6, 35, 'restart', 5_000]);
  await settled();
  assert.equal((states.at(-1) as { code: string }).code, 'shutting_down');
  const waits = client.counter('d').get();
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 3]);
  assert.equal(await asked, 3);
  await clock.advance(1_000);
  await network.last.welcome();
  const next = network.last;
  next.say([25, next.of(24)[0]![1]!, 1, 1, 1, 4]);
  assert.equal(await waits, 4);
});

test('other nodes that a server names are tried when the connection is lost, soon', async () => {
  const { clock, network, socket } = await connected({}, 'ws://a', { nodes: ['ws://b', 'wss://c'] });
  await socket.end();
  await clock.advance(300);
  assert.equal(network.last.url, 'ws://b:7171/v1/ws');
  assert.equal(network.sockets.length, 2);
});

test('a client that is closed while it connects can be connected at once again', async () => {
  const { client, network } = setup();
  const first = client.connect();
  const closed = assert.rejects(first, { code: 'client_closed' });
  await settled();
  const closing = client.close();
  const second = client.connect();
  await closing;
  await settled();
  await network.sockets[0]!.welcome();
  await closed;
  assert.ok(network.sockets[0]!.isClosed);
  await network.sockets[1]!.welcome();
  await second;
  assert.equal(client.state, 'connected');
  assert.equal(network.sockets.length, 2);
});

test('connecting while it is being closed is a new connection, and loops end without an error', async () => {
  const { client, socket, network, clock } = await connected();
  const subscription = client.topic('t').subscribe();
  const reading = (async () => {
    for await (const record of subscription) assert.fail(record.topic);
  })();
  const asked = client.counter('c').get();
  await settled();
  const closing = client.close();
  const again = client.connect();
  socket.say([25, socket.of(24)[0]![1]!, 1, 1, 1, 5]);
  assert.equal(await asked, 5);
  // The subscription is not answered, so the time for that runs out.
  await clock.advance(5_000);
  await closing;
  await reading;
  assert.equal(subscription.error, undefined);
  await settled();
  await network.last.welcome();
  await again;
  assert.deepEqual([client.state, network.sockets.length], ['connected', 2]);
});

test('settings that cannot work are refused', () => {
  for (const urls of ['http://a', 'ws://u:p@a', [], ['ws://a', 'wss://b']]) {
    assert.throws(() => new Client(urls), { code: 'invalid_configuration' }, String(urls));
  }
  assert.throws(() => new Client('ws://a', { offlineQueue: -1 }), { code: 'invalid_configuration' });
});
