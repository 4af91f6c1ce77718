import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, type Gap } from '../dist/index.js';
import { Cluster } from './cluster.js';
import { soon, take, until } from './waiting.js';

let cluster: Cluster;

before(async () => {
  cluster = await Cluster.ofThree();
});
after(() => cluster.stop());

test('a client of a node that is drained goes on at another one, and nothing is noticed', { timeout: 120_000 }, async (t) => {
  const [, second] = cluster.nodes;
  const client = await new Client(second!.url).connect();
  t.after(() => client.close());
  await until(() => client.state === 'connected', 'connected');
  const topic = client.topic('log.moving');
  const first = await soon(topic.publish('0'), 'a leader');
  assert.equal(first.offset, 0);
  const states: string[] = [];
  client.on('state', ({ state }) => states.push(state));
  const gaps: Gap[] = [];
  const subscription = topic.subscribe({ start: 'earliest' });
  subscription.on('gap', (gap) => gaps.push(gap));
  await subscription.ready();
  const before = client.serverInfo!.node;
  await cluster.control(1, 'drain', '2');
  let count = 1;
  const end = Date.now() + 60_000;
  while (client.serverInfo?.node === before && Date.now() < end) {
    const { offset } = await topic.publish(String(count));
    assert.equal(offset, count++);
  }
  assert.notEqual(client.serverInfo!.node, before, 'it has moved');
  await topic.publish(String(count++));
  const records = await take(subscription, count);
  assert.deepEqual(records.map((record) => record.text()), records.map((_, n) => String(n)));
  assert.deepEqual(gaps, []);
  assert.deepEqual([...new Set(states)].sort(), ['connected', 'connecting'], 'it never was without a connection');
});

test('when a node is killed its clients go on at another one', { timeout: 120_000 }, async (t) => {
  const client = await new Client(cluster.nodes[2]!.url).connect();
  t.after(() => client.close());
  const topic = client.topic('log.killed');
  await topic.publish('0');
  const subscription = topic.subscribe({ start: 'earliest' });
  await subscription.ready();
  const outstanding = Array.from({ length: 50 }, (_, n) => topic.publish(String(n + 1)));
  await cluster.nodes[2]!.kill();
  const published = await soon(Promise.all(outstanding), 'all are answered elsewhere');
  assert.deepEqual(published.map(({ offset }) => offset), published.map((_, n) => n + 1));
  const records = await take(subscription, 51);
  assert.deepEqual(records.map((record) => record.text()), records.map((_, n) => String(n)));
});
