import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../dist/backoff.js';
import { Cursor, encodeStart } from '../dist/cursor.js';
import { Targets } from '../dist/targets.js';

test('delays stay between their bounds, spread wider with each attempt, and begin anew', () => {
  const widest = new Backoff(500, 20_000, () => 1);
  assert.deepEqual(Array.from({ length: 8 }, () => widest.next()), [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]);
  widest.reset();
  assert.equal(widest.next(), 1_000);
  const shortest = new Backoff(500, 20_000, () => 0);
  assert.deepEqual([shortest.next(), shortest.next()], [500, 500]);
});

test('another server is tried soon, but only once in a row', () => {
  const backoff = new Backoff(500, 20_000, () => 1);
  assert.deepEqual([backoff.hurry(), backoff.hurry(), backoff.hurry()], [500, 1_000, 2_000]);
});

test('what servers tell is bounded, of the same kind, and the newest comes first', () => {
  const targets = new Targets(['ws://a'], () => 0);
  assert.equal(targets.several, false);
  targets.learn(['ws://b', 'ws://a', 'wss://c', 'http://d', 'ws://b']);
  assert.deepEqual(targets.others([], 'ws://a:7171/v1/ws'), ['ws://b:7171/v1/ws']);
  targets.learn(Array.from({ length: 100 }, (_, n) => `ws://n${n}`));
  assert.equal(targets.round('ws://a:7171/v1/ws').length, 17);
  assert.equal(targets.round('ws://a:7171/v1/ws').at(-1), 'ws://a:7171/v1/ws', 'the one that was lost comes last');
  assert.deepEqual(targets.others(['ws://z', 'ws://n5'], 'ws://a:7171/v1/ws').slice(0, 2), ['ws://z:7171/v1/ws', 'ws://n5:7171/v1/ws']);
});

test('port and path have defaults', () => {
  const given = (url: string) => new Targets([url], () => 0).given[0];
  assert.equal(given('wss://example.org:443/gate?x=1'), 'wss://example.org:443/gate?x=1');
  assert.equal(given('ws://[::1]/'), 'ws://[::1]:7171/v1/ws');
  assert.equal(given('ws://[::1]:9'), 'ws://[::1]:9/v1/ws');
});

test('one topic goes on behind what was taken, and a hole in it is seen', () => {
  const cursor = new Cursor({ last: 3 }, true);
  assert.deepEqual(encodeStart(cursor.resume()), [4, 3]);
  cursor.started(7, 100, []);
  assert.equal(cursor.holeBefore(7, 100, null), undefined);
  cursor.advance(7, 110, null);
  assert.deepEqual(encodeStart(cursor.resume()), [2, 7, 110]);
  assert.equal(cursor.holeBefore(7, 112, null), 110);
  assert.equal(cursor.holeBefore(8, 112, null), undefined);
});

test('a topic with partitions goes on in each of them', () => {
  const cursor = new Cursor('latest', true);
  cursor.started(0, 0, [[0, 7, 10], [1, 8, 20]]);
  assert.equal(cursor.holeBefore(8, 22, [1, 8, 25]), 20);
  cursor.advance(8, 25, [1, 8, 25]);
  assert.deepEqual(encodeStart(cursor.resume()), [5, [[0, 7, 10], [1, 8, 25]]]);
});
