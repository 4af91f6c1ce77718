import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Server } from './server.js';
import { soon } from './waiting.js';

const RUNNER = fileURLToPath(new URL('../conformance/runner.mjs', import.meta.url));

let server: Server;

before(async () => {
  server = await Server.start();
});
after(() => server.stop());

test('the runner of the conformance suite maps commands to calls, and events to lines', async (t) => {
  const child = spawn(process.execPath, [RUNNER, server.url], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const told: Record<string, unknown>[] = [];
  const tell = (command: object) => child.stdin.write(`${JSON.stringify(command)}\n`);
  const hear = async (wanted: Record<string, unknown>) => {
    for (;;) {
      const found = told.findIndex((event) => Object.entries(wanted).every(([key, value]) => event[key] === value));
      if (found >= 0) return told.splice(found, 1)[0]!;
      told.push(JSON.parse((await soon(lines.next(), JSON.stringify(wanted))).value as string));
    }
  };
  tell({ op: 'connect', client: 'runner', token: null });
  await hear({ event: 'state', state: 'connecting' });
  await hear({ event: 'state', state: 'connected' });
  tell({ op: 'subscribe', as: 's', topic: 'a.b', start: 'latest' });
  const subscribed = await hear({ event: 'subscribed', as: 's' });
  tell({ op: 'publish', as: 'p1', topic: 'a.b', payload: 'text' });
  assert.equal((await hear({ event: 'done', as: 'p1' })).offset, subscribed.offset);
  assert.equal((await hear({ event: 'record', as: 's' })).payload, 'text');
  tell({ op: 'publish', as: 'p2', topic: 'a.b', payload: 'text', ack: 'quorum' });
  assert.deepEqual(await hear({ event: 'failed', as: 'p2' }), { event: 'failed', as: 'p2', code: 'ack_unsupported', retryable: false, retry_after_ms: null });
  tell({ op: 'watch', as: 'w', counter: 'c' });
  tell({ op: 'incr', as: 'i1', counter: 'c', delta: 4 });
  assert.equal((await hear({ event: 'done', as: 'i1' })).value, 4);
  await hear({ event: 'value', as: 'w', value: 4 });
  tell({ op: 'get', as: 'g1', counter: 'c' });
  await hear({ event: 'value', as: 'g1', value: 4 });
  tell({ op: 'vote', as: 'v1', tally: 't', choice: 'x', voter: 'w' });
  await hear({ event: 'failed', as: 'v1', code: 'not_found' });
  tell({ op: 'presence_join', as: 'm', presence: 'room', data: 'text' });
  await hear({ event: 'done', as: 'm' });
  tell({ op: 'unsubscribe', as: 's' });
  assert.deepEqual(await hear({ event: 'unsubscribed', as: 's' }), { event: 'unsubscribed', as: 's', code: null });
  tell({ op: 'close' });
  await hear({ event: 'state', state: 'disconnected' });
  const exited = once(child, 'exit');
  tell({ op: 'exit' });
  assert.equal((await soon(exited, 'the end'))[0], 0);
});
