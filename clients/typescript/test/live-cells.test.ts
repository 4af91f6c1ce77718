import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Client, type Entries, type WatchUpdate } from '../dist/index.js';
import { Server } from './server.js';
import { soon, take, until } from './waiting.js';

const CONFIG = `
[[policy]]
names = "safe.>"
durability = "disk"

[[policy]]
names = "board.>"
map_keys_max = 100
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

test('a counter counts, is bounded, and is read', async () => {
  const likes = client.counter('likes.a');
  assert.equal(await likes.get(), null);
  assert.equal((await likes.incr()).value, 1);
  assert.deepEqual([(await likes.incr(5, { max: 4 })).value, (await likes.get())], [4, 4]);
  await assert.rejects(likes.incr(5, { max: 4, strict: true }), { code: 'out_of_range' });
  const large = await likes.set(9_007_199_254_740_993n);
  assert.equal(large.exact, 9_007_199_254_740_993n);
  assert.equal((await likes.read()).exact, 9_007_199_254_740_993n);
  assert.equal((await likes.incr(-1, { id: 'one' })).duplicate, false);
  assert.equal((await likes.incr(-1, { id: 'one' })).duplicate, true);
  await likes.reset();
  assert.equal(await likes.get(), null);
});

test('a watch of a counter comes to the newest value, not to every one', async () => {
  const hits = client.counter('hits.a');
  const watch = hits.watch();
  await watch.ready();
  const counted = await Promise.all(Array.from({ length: 500 }, () => hits.incr()));
  const last = counted.at(-1)!;
  assert.equal(last.value, 500);
  let seen = 0;
  let newest: WatchUpdate<number | null> | undefined;
  for await (const update of watch) {
    newest = update;
    seen++;
    if (update.version >= last.version) break;
  }
  assert.equal(newest!.value, 500);
  assert.ok(seen < 500, `${seen} updates`);
  assert.equal(watch.state, 'ended');
});

test('a voter has one ballot, which may be changed', async () => {
  const tally = client.tally('poll.a');
  await assert.rejects(tally.get(), { code: 'not_found' });
  const rules = { kind: 'single', options: ['tea', 'coffee'] } as const;
  assert.equal((await tally.create(rules)).created, true);
  assert.equal((await tally.create(rules)).created, false);
  await assert.rejects(tally.create({ ...rules, options: ['water'] }), { code: 'already_exists' });
  const watch = tally.watch();
  assert.equal((await tally.vote('tea', { voter: 'ann' })).status, 'accepted');
  assert.equal((await tally.vote('tea', { voter: 'ann' })).status, 'duplicate');
  const changed = await tally.vote('coffee', { voter: 'ann' });
  assert.equal(changed.status, 'changed');
  await assert.rejects(tally.vote('milk', { voter: 'bob' }), { code: 'unknown_option' });
  for await (const { version, value } of watch) {
    if (version < changed.version) continue;
    assert.deepEqual([value!.options, value!.counts, value!.ballots, value!.state], [['tea', 'coffee'], [0, 1], 1, 'open']);
    break;
  }
  assert.deepEqual((await tally.get()).rules.kind, 'single');
  assert.equal(await tally.invalidate(['ann']), 1);
  await tally.close();
  await assert.rejects(tally.vote('tea', { voter: 'ann' }), { code: 'tally_closed' });
  assert.equal((await tally.get()).state, 'closed');
});

test('a ranked tally is counted in rounds', async () => {
  const tally = client.tally('poll.ranked');
  await tally.create({ kind: 'ranked', options: ['a', 'b', 'c'] });
  const ballots = [['a', 'b'], ['a', 'b'], ['a', 'b'], ['b'], ['b'], ['c', 'b'], ['c', 'b']];
  await Promise.all(ballots.map((choices, n) => tally.vote(choices, { voter: `v${n}` })));
  const { rounds } = await tally.rounds();
  assert.deepEqual(rounds.map(({ votes }) => votes), [[3, 2, 2], [3, 4, 0]]);
  assert.equal(rounds[1]!.winner, 1);
});

test('a live map holds the newest value per key', async () => {
  const board = client.map('board.a');
  const watch = board.watch();
  await watch.ready();
  await board.set('ann', { points: 1 });
  await board.set('ann', { points: 2 });
  await board.set('bob', { points: 3 });
  assert.deepEqual((await board.get('ann'))!.json(), { points: 2 });
  await board.delete('bob');
  assert.equal(await board.get('bob'), null);
  assert.deepEqual([...(await board.entries()).keys()], ['ann']);
  const changed = new Set<string>();
  let all: Entries['all'] = new Map();
  for await (const { value } of watch) {
    for (const key of value.changed) changed.add(key);
    all = value.all;
    if (all.get('ann')?.text() === '{"points":2}' && all.size === 1) break;
  }
  assert.ok(changed.has('ann'));
});

test('presence shows who is there, and forgets who is gone', async () => {
  const other = await new Client(server.url).connect();
  const room = client.presence('room.a');
  const watch = room.watch();
  await other.presence('room.a').join('ann', { since: 1 });
  await room.join('bob');
  assert.deepEqual([...(await room.members()).keys()].sort(), ['ann', 'bob']);
  assert.deepEqual((await room.members()).get('ann')!.json(), { since: 1 });
  await until(() => watch.current?.value.all.size === 2, 'both are there');
  await other.close();
  await until(() => watch.current?.value.all.size === 1, 'ann has gone');
  await room.leave('bob');
  await until(() => watch.current?.value.all.size === 0, 'bob has gone');
  watch.close();
});

test('a group shares records, delivers again what was refused, and keeps dead letters', async () => {
  const topic = client.topic('jobs.a');
  await topic.publishBatch(Array.from({ length: 6 }, (_, n) => ({ payload: String(n) })));
  const group = topic.group('mailers');
  const rules = { deliveriesMax: 2, deadLetter: 'jobs.dead', backoffMs: 1, backoffMaxMs: 1 };
  assert.equal((await group.create(rules)).created, true);
  const dead = client.topic('jobs.dead').subscribe({ start: 'earliest' });
  const [one, two] = [group.consume({ inFlight: 2 }), group.consume({ inFlight: 2 })];
  const done: string[] = [];
  const work = async (consumer: typeof one) => {
    for await (const job of consumer) {
      const text = job.record.text();
      if (text === '3') await job.nack({ delayMs: 1, reason: 'not now' });
      else if (text === '4') await job.reject('never');
      else if (await job.ack()) done.push(text);
    }
  };
  const working = [work(one), work(two)];
  const letters = await take(dead, 2);
  assert.deepEqual(letters.map((record) => record.text()).sort(), ['3', '4']);
  assert.ok(letters.some((record) => record.headers['dead-reason'] === 'never'));
  await until(() => done.length === 4, 'all others are done');
  assert.deepEqual(done.sort(), ['0', '1', '2', '5']);
  one.close();
  two.close();
  await soon(Promise.all(working), 'the loops end');
  const status = await group.status();
  assert.deepEqual([status.lag, status.dead], [0, 2]);
  await group.reset({ offset: 5 });
  assert.equal((await group.status()).lag, 1);
  await group.delete();
  await assert.rejects(group.status(), { code: 'not_found' });
});

test('after kill -9 watches, presence and consumers go on, and votes and increments count once', async () => {
  const counter = client.counter('safe.count');
  const tally = client.tally('safe.poll');
  const group = client.topic('safe.jobs').group('g');
  await tally.create({ kind: 'single', options: ['x', 'y'] });
  await client.topic('safe.jobs').publishBatch([{ payload: 'a' }, { payload: 'b' }]);
  await group.create();
  await counter.incr(10);
  await client.presence('room.b').join('ann');
  const watch = counter.watch();
  const standings = tally.watch();
  const consumer = group.consume();
  const iterator = consumer[Symbol.asyncIterator]();
  const first = (await soon(iterator.next(), 'a job')).value;
  assert.equal(first.record.text(), 'a');
  const votes = Array.from({ length: 100 }, (_, n) => tally.vote(n % 4 === 0 ? 'x' : 'y', { voter: `v${n}` }));
  const increments = Array.from({ length: 100 }, (_, n) => counter.incr(1, { id: `i${n}` }));
  await server.kill();
  server = await server.again();
  await soon(Promise.all([...votes, ...increments]), 'all are answered');
  assert.equal(await counter.get(), 110);
  assert.deepEqual((await tally.get()).counts, [25, 75]);
  await until(() => watch.current?.value === 110, 'the watch goes on');
  await until(() => standings.current?.value?.ballots === 100, 'the standings go on');
  await until(() => client.state === 'connected', 'connected');
  assert.deepEqual([...(await client.presence('room.b').members()).keys()], ['ann']);
  const seen = new Set<string>();
  while (seen.size < 2) {
    const job = (await soon(iterator.next(), 'a job after the restart')).value;
    if (await job.ack()) seen.add(job.record.text());
  }
  assert.deepEqual([...seen].sort(), ['a', 'b']);
  consumer.close();
});

test('a watch of what was in memory learns that it is gone with its server', async () => {
  const counter = client.counter('hits.forgotten');
  await counter.incr(5);
  const watch = counter.watch();
  await until(() => watch.current?.value === 5, 'the value');
  await server.kill();
  server = await server.again();
  await until(() => client.state === 'connected', 'connected');
  await counter.incr(2);
  await until(() => watch.current?.value === 2, 'the value of the new server');
  watch.close();
});

const SECRET = 'a secret of thirty-two bytes at least';
const ACCOUNTS = `
[[auth.token_key]]
algorithm = "HS256"
file = "DIRECTORY/secret"
issuer = "https://id.test"
may_bring_rules = true
`;

function token(subject: string, seconds: number): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: subject, iss: 'https://id.test', exp: Math.floor(Date.now() / 1000) + seconds, permissions: [{ names: '>', allow: ['publish', 'subscribe', 'history', 'vote', 'admin', 'presence'] }] };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

test('tokens are shown, refreshed before they expire, and refused for good when they are none', async () => {
  const guarded = await Server.start(ACCOUNTS, { secret: SECRET });
  try {
    const nobody = new Client(guarded.url);
    await assert.rejects(nobody.connect(), { code: 'unauthenticated' });
    assert.equal(nobody.state, 'failed');
    let made = 0;
    const states: string[] = [];
    const ann = new Client(guarded.url, { token: async () => (made++, token('ann', 3)) });
    ann.on('state', ({ state }) => states.push(state));
    await ann.connect();
    assert.equal(ann.serverInfo!.identity!.subject, 'ann');
    assert.equal(made, 1);
    const tally = ann.tally('poll.t');
    await tally.create({ kind: 'single', options: ['a', 'b'] });
    await tally.vote('a');
    await until(() => made >= 2, 'the token was refreshed');
    await ann.ping();
    await assert.rejects(ann.counter('c').incr(), { code: 'forbidden' });
    assert.deepEqual(states, ['connecting', 'connected']);
    await ann.close();
  } finally {
    await guarded.stop();
  }
});
