import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Client, type ClientOptions, type ConnectionState } from '../dist/index.js';
import { encodeBody } from '../dist/record.js';
import { webTransport, type WebTransportSettings } from '../dist/webtransport.js';
import { FakeClock, FakeNetwork, settled } from './fake.js';
import { FakeWebTransport, onStream } from './fake-webtransport.js';
import { take } from './waiting.js';

const HELLO = 1, PUBLISH = 10, SUBSCRIBE = 12, GET = 24, WATCH = 26;

const platform = globalThis as { WebTransport?: unknown };
before(() => void (platform.WebTransport = FakeWebTransport));
after(() => void delete platform.WebTransport);
beforeEach(() => void (FakeWebTransport.sessions = []));

/** A client that has begun to connect. */
async function connecting(settings: WebTransportSettings = {}, options: ClientOptions = {}, url = 'wss://a') {
  const clock = new FakeClock();
  const network = new FakeNetwork();
  const transport = webTransport({ webSocket: network.transport, clock, ...settings });
  const client = new Client(url, { clock, random: () => 0.5, transport, ...options });
  const states: ConnectionState[] = [];
  client.on('state', (state) => states.push(state));
  const connected = client.connect();
  connected.catch(() => {});
  await settled();
  return { clock, network, client, states, connected };
}

/** A client over a session. */
async function connected(settings: WebTransportSettings = {}, options: ClientOptions = {}, info = {}) {
  const all = await connecting(settings, options);
  const session = await FakeWebTransport.last.welcome(info);
  await all.connected;
  return { ...all, session };
}

/** The transport in use, and why it is not the other one. */
function used(client: Client): [string, string | undefined] {
  const { connectionState: state } = client;
  assert.equal(state.state, 'connected');
  return state.state === 'connected' ? [state.transport, state.fallback] : ['none', undefined];
}

function deliver(sub: unknown, from: number, texts: string[]) {
  return [14, sub as number, 'news', 5, from, from + texts.length, 1, null, null, encodeBody(texts.map((payload) => ({ payload })))];
}

// ---- which transport ----

test('a session that opens in time is the connection, and no WebSocket is made', async () => {
  const hash = 'ab'.repeat(32);
  const { client, session, network, clock } = await connected({ serverCertificateHashes: [hash] });
  assert.equal(session.url, 'https://a:7171/v1/webtransport');
  assert.deepEqual(session.options.serverCertificateHashes, [{ algorithm: 'sha-256', value: new Uint8Array(32).fill(0xab) }]);
  assert.deepEqual(session.sent.map((frame) => frame[0]), [HELLO]);
  await clock.advance(5_000);
  assert.equal(network.sockets.length, 0);
  assert.deepEqual(used(client), ['webtransport', undefined]);
});

test('a session that is refused is replaced by a WebSocket at once, and the reason is told', async () => {
  const { client, network, connected: done } = await connecting();
  await FakeWebTransport.last.refuse('Opening handshake failed.');
  assert.deepEqual([network.last.url, network.last.protocol], ['wss://a:7171/v1/ws', 'tidewire.v1']);
  await network.last.welcome();
  await done;
  assert.deepEqual(network.last.of(HELLO).length, 1);
  assert.deepEqual(used(client), ['websocket', 'Opening handshake failed.']);
});

test('a session that is not open in time has a WebSocket beside it, and is closed when that is open first', async () => {
  const { client, network, clock, connected: done } = await connecting();
  const session = FakeWebTransport.last;
  await clock.advance(499);
  assert.equal(network.sockets.length, 0);
  await clock.advance(1);
  await network.last.welcome();
  await done;
  assert.ok(session.closedWith);
  await session.accept();
  assert.deepEqual([session.streamsOpened, session.sent], [0, []], 'nothing is said over the one that comes late');
  assert.deepEqual(used(client), ['websocket', 'no answer within 500 ms']);
});

test('a session that opens before the WebSocket beside it is the connection, and that is closed', async () => {
  const { client, network, clock, connected: done } = await connecting({ headStartMs: 100 });
  await clock.advance(100);
  await FakeWebTransport.last.welcome();
  await done;
  assert.ok(network.last.isClosed);
  assert.equal(network.last.onopen, null);
  assert.deepEqual([network.last.sent, FakeWebTransport.last.of(HELLO).length], [[], 1]);
  assert.deepEqual(used(client), ['webtransport', undefined]);
});

test('a failure is remembered for a while, longer after each, and forgotten when a session works', async () => {
  const { client, network, clock, connected: done } = await connecting({}, { backoffMinMs: 2, backoffMaxMs: 2 });
  await FakeWebTransport.last.refuse('blocked');
  await network.last.welcome();
  await done;
  /** Loses the WebSocket; whether the client tries a session next. */
  const triesAgain = async () => {
    const tried = FakeWebTransport.sessions.length;
    await network.last.end();
    await clock.advance(2);
    return FakeWebTransport.sessions.length > tried;
  };
  assert.equal(await triesAgain(), false);
  await network.last.welcome();
  assert.deepEqual(used(client), ['websocket', 'blocked (tried again after 60 s)']);
  await clock.advance(60_000);
  assert.equal(await triesAgain(), true);
  await FakeWebTransport.last.refuse('still blocked');
  await network.last.welcome();
  await clock.advance(100_000);
  assert.equal(await triesAgain(), false, 'twice as long after the second one');
  await network.last.welcome();
  await clock.advance(20_000);
  assert.equal(await triesAgain(), true);
  await FakeWebTransport.last.welcome();
  assert.deepEqual(used(client), ['webtransport', undefined]);
  await FakeWebTransport.last.lose('gone');
  await clock.advance(2);
  await FakeWebTransport.last.refuse('blocked again');
  await network.last.welcome();
  await clock.advance(60_000);
  assert.equal(await triesAgain(), true, 'as short as at first');
});

test('where neither is reached both reasons are told, and nothing is remembered', async () => {
  const { client, network, clock, connected: done } = await connecting({}, { backoffMinMs: 2, backoffMaxMs: 2 });
  await FakeWebTransport.last.refuse('Opening handshake failed.');
  await network.last.end();
  await assert.rejects(done, { code: 'cannot_connect', message: /WebTransport: Opening handshake failed\.; WebSocket: closed with status 1006/ });
  assert.equal(clock.pending, 0);
  const again = client.connect();
  await settled();
  assert.equal(FakeWebTransport.sessions.length, 2);
  await FakeWebTransport.last.welcome();
  await again;
});

test('a session that opens and then says nothing is not tried again soon', async () => {
  const { client, network, clock, connected: done } = await connecting({}, { connectTimeoutMs: 3_000, failFast: false });
  await FakeWebTransport.last.accept();
  await clock.advance(3_000);
  assert.equal(FakeWebTransport.last.isFinished, true);
  await clock.advance(1_000);
  assert.equal(FakeWebTransport.sessions.length, 1);
  await network.last.welcome();
  await done;
  assert.match(used(client)[1]!, /no answer within 1000 ms of its opening \(tried again after 60 s\)/);
});

test('a client that is closed while it connects leaves nothing open, and remembers nothing', async () => {
  const { client, network, clock } = await connecting();
  await clock.advance(500);
  await client.close();
  await clock.advance(5_000);
  assert.ok(network.last.isClosed);
  assert.ok(FakeWebTransport.last.closedWith);
  assert.equal(clock.pending, 0);
  const again = client.connect();
  await settled();
  assert.equal(FakeWebTransport.sessions.length, 2);
  await FakeWebTransport.last.welcome();
  await again;
});

test('without encryption, or where there is no WebTransport, it is a WebSocket and says so', async () => {
  const plain = await connecting({}, {}, 'ws://a');
  await plain.network.last.welcome();
  assert.match(used(plain.client)[1]!, /use wss/);
  delete platform.WebTransport;
  try {
    const old = await connecting();
    await old.network.last.welcome();
    assert.match(used(old.client)[1]!, /no WebTransport here/);
  } finally {
    platform.WebTransport = FakeWebTransport;
  }
  assert.equal(FakeWebTransport.sessions.length, 0);
});

test('a hash that is none is refused when it is given', () => {
  assert.throws(() => webTransport({ serverCertificateHashes: ['ab:cd'] }), { name: 'TypeError', message: /'ab:cd'.*64 hexadecimal digits/ });
});

// ---- what a session carries ----

test('each message is sent as frames behind their lengths', async () => {
  const { client, session } = await connected();
  const read = [client.counter('a').get(), client.counter('b').get()];
  await settled();
  assert.deepEqual(session.of(GET).map((frame) => frame[3]), ['a', 'b']);
  await session.control.say([25, session.of(GET)[0]![1]!, 1, 1, 1, 7], [25, session.of(GET)[1]![1]!, 1, 1, 1, 8]);
  assert.deepEqual(await Promise.all(read), [7, 8]);
});

test('a subscription is read from its stream, wherever that is cut, while another one stands still', async () => {
  const { client, session } = await connected();
  const [fast, slow] = [client.topic('news').subscribe(), client.topic('slow').subscribe()];
  await settled();
  const [first, second] = session.of(SUBSCRIBE);
  const behind = await session.stream();
  await behind.bytes(onStream([13, second![1]!, second![2]!, 0, 5, 0]).subarray(0, 9));
  const stream = await session.stream();
  const bytes = onStream([13, first![1]!, first![2]!, 0, 5, 0], deliver(first![2], 0, ['a', 'b']), deliver(first![2], 2, ['c']));
  for (const byte of bytes) await stream.bytes(Uint8Array.of(byte));
  assert.deepEqual((await take(fast, 3)).map((record) => record.text()), ['a', 'b', 'c']);
  assert.equal(slow.state, 'opening');
  await stream.finish();
  assert.equal(client.state, 'connected', 'a subscription may end');
});

test('a stream that is cut, or ends within a frame, ends the connection, and what it carried goes on', async () => {
  for (const [how, code] of [['cut', 'connection_lost'], ['finish', 'malformed']] as const) {
    const { client, session, clock, states } = await connected({}, { backoffMinMs: 2, backoffMaxMs: 2 });
    const subscription = client.topic('news').subscribe();
    await settled();
    const [, req, sub] = session.of(SUBSCRIBE)[0]!;
    const stream = await session.stream();
    await stream.say([13, req!, sub!, 0, 5, 0], deliver(sub, 0, ['a']));
    await stream.bytes(onStream(deliver(sub, 1, ['b'])).subarray(0, 20));
    await stream[how]('reset');
    await clock.advance(2_002);
    assert.equal(states.map((state) => 'code' in state && state.code).find(Boolean), code);
    assert.ok(session.closedWith);
    const next = await FakeWebTransport.last.welcome();
    assert.notEqual(next, session);
    const [again] = next.of(SUBSCRIBE);
    assert.deepEqual(again![4], [2, 5, 1]);
    await (await next.stream()).say([13, again![1]!, again![2]!, 1, 5, 1], deliver(again![2], 1, ['b']));
    assert.deepEqual((await take(subscription, 2)).map((record) => record.text()), ['a', 'b']);
  }
});

test('a frame over the limit of the server ends the connection, before its bytes are here', async () => {
  const { client, session, states } = await connected({}, {}, { max_frame_bytes: 5_000 });
  await session.control.bytes(Uint8Array.of(0, 0, 0x17, 0x88));
  assert.equal(client.state, 'connected', '1,024 bytes more are allowed for heads');
  const stream = await session.stream();
  await stream.bytes(Uint8Array.of(0, 0, 0x17, 0x89));
  assert.deepEqual(session.closedWith, { closeCode: 2, reason: 'a frame of 6025 bytes: at most 6024 are allowed' });
  assert.equal((states.at(-1) as { code: string }).code, 'frame_too_large');
});

test('a watch takes newer values only, whether they come late, twice or before it is answered', async () => {
  const { client, session } = await connected();
  const watch = client.counter('c').watch();
  const seen: unknown[] = [];
  watch.on('value', ({ version, value }) => seen.push([version, value]));
  await settled();
  const [, req, sub] = session.of(WATCH)[0]!;
  const update = (version: number) => [28, sub as number, version, 1, version * 10];
  await session.datagram(update(9));
  const stream = await session.stream();
  await stream.say([27, req!, sub!, 3, 4], update(4));
  for (const version of [6, 5, 6, 7, 7, 3]) await session.datagram(update(version));
  await stream.say(update(7));
  await stream.say(update(8));
  assert.deepEqual(seen, [[4, 40], [6, 60], [7, 70], [8, 80]]);
  await stream.finish();
  await session.datagram(update(11));
  assert.equal(watch.current!.version, 8, 'what comes behind the end of its stream is not for it');
});

test('a datagram that is no frame ends the connection, and one of another type is passed over', async () => {
  const { session, states } = await connected();
  await session.datagram([4, 1]);
  assert.equal(states.at(-1)!.state, 'connected');
  await session.datagram([28, 'x']);
  assert.equal((states.at(-1) as { code: string }).code, 'malformed');
});

test('the code with which a session is closed is the error, and a loss is one', async () => {
  for (const [code, name] of [[12, 'unauthenticated'], [34, 'idle_timeout'], [35, 'shutting_down'], [0, 'connection_lost']] as const) {
    const { session, states } = await connected();
    await session.end(code, 'because');
    const { code: told, reason } = states.at(-1) as { code: string; reason: string };
    assert.deepEqual([told, /because/.test(reason)], [name, true]);
  }
  const { session, states } = await connected();
  await session.lose('Connection lost.');
  assert.deepEqual((states.at(-1) as { code: string }).code, 'connection_lost');
});

test('when streams end before the session does, its code is waited for, but not for ever', async () => {
  const told = await connected();
  await told.session.control.finish();
  await told.clock.advance(1_000);
  assert.equal(told.client.state, 'connected');
  await told.session.end(35, 'restart');
  assert.equal((told.states.at(-1) as { code: string }).code, 'shutting_down');
  const untold = await connected();
  await untold.session.control.finish();
  await untold.clock.advance(2_000);
  assert.equal((untold.states.find(({ state }) => state === 'disconnected') as { code: string }).code, 'connection_lost');
});

test('what the control stream has not taken counts as unsent, and requests wait for room', async () => {
  const { client, session, clock } = await connected();
  let open!: () => void;
  session.gate = new Promise((resolve) => (open = resolve));
  const large = new Uint8Array(1_000_000);
  for (let n = 0; n < 8; n++) void client.topic('t').publish(large, { ack: 'none' });
  await clock.advance(100);
  open();
  session.gate = undefined;
  await settled();
  const before = session.of(PUBLISH).length;
  assert.ok(before >= 4 && before < 8, `${before} publishes fill what may be unsent`);
  await clock.advance(100);
  assert.equal(session.of(PUBLISH).length, 8);
});

test('closing ends the control stream first, so that what was sent arrives, and the session later', async () => {
  const { client, session, clock } = await connected();
  let open!: () => void;
  session.gate = new Promise((resolve) => (open = resolve));
  await client.topic('t').publish('last words', { ack: 'none' });
  await client.close();
  assert.equal(session.closedWith, undefined);
  open();
  await settled();
  assert.deepEqual([session.of(PUBLISH).length, session.isFinished], [1, true]);
  await clock.advance(2_000);
  assert.ok(session.closedWith, 'a server that does not end it is not waited for');
  assert.equal(clock.pending, 0);
});
