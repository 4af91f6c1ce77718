import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { Server } from './server.js';

const SCRIPT = `
const client = await new Client(process.argv[2]).connect();
const topic = client.topic('news');
const subscription = topic.subscribe();
await subscription.ready();
await topic.publish('hi');
for await (const record of subscription) {
  console.log(record.text());
  break;
}
await client.close();
const nowhere = new Client('ws://127.0.0.1:1');
await nowhere.connect().catch(({ code }) => console.log(code));
`;

test('what a page loads works over the platform\'s own WebSocket', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidewire-ts-browser-'));
  const server = await Server.start();
  try {
    const file = join(folder, 'page.mjs');
    const resolveDir = new URL('../dist', import.meta.url).pathname;
    const contents = `import { Client } from './index.js';${SCRIPT}`;
    await build({ stdin: { contents, resolveDir }, bundle: true, format: 'esm', platform: 'browser', target: 'es2022', outfile: file });
    await writeFile(join(folder, 'package.json'), '{}');
    // Node 20 has the browser's WebSocket behind a flag.
    const { stdout } = await promisify(execFile)(process.execPath, ['--experimental-websocket', file, server.url], { timeout: 30_000 });
    assert.equal(stdout, 'hi\ncannot_connect\n');
  } finally {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
