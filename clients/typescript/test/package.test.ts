import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { Server } from './server.js';

const run = promisify(execFile);
const project = fileURLToPath(new URL('..', import.meta.url));
const LIMITS = { timeout: 120_000 };

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tidewire-ts-package-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An empty project with nothing but the packed client. */
async function install(folder: string): Promise<void> {
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: project, ...LIMITS });
  const [tarball] = await readdir(folder);
  await writeFile(join(folder, 'package.json'), '{"name":"empty","private":true,"type":"module"}');
  await run('npm', ['install', '--no-audit', '--no-fund', `./${tarball}`], { cwd: folder, ...LIMITS });
}

/** The first line that a program prints; the program is ended then. */
async function firstLine(file: string, cwd: string): Promise<string> {
  const child = spawn(process.execPath, [file], { cwd, stdio: ['ignore', 'pipe', 'inherit'], ...LIMITS });
  try {
    for await (const line of createInterface({ input: child.stdout })) return line;
    return '';
  } finally {
    child.kill();
  }
}

test('the first program of the README shows a tally, with the packed client', () =>
  inFolder(async (folder) => {
    await install(folder);
    const readme = await readFile(join(project, 'README.md'), 'utf8');
    const program = readme.split('```js\n')[1]!.split('```')[0]!;
    assert.ok(program.trim().split('\n').length < 10);
    const server = await Server.start();
    try {
      await writeFile(join(folder, 'main.js'), program.replace('ws://127.0.0.1:7171', server.url));
      assert.equal(await firstLine('main.js', folder), "[ 'pizza', 'salad' ] [ 1, 0 ]");
    } finally {
      await server.stop();
    }
  }));

test('what is packed can be installed into an empty folder, and imported', () =>
  inFolder(async (folder) => {
    await install(folder);
    const script = `
      import { Client, TidewireError } from '@tidewire/client';
      import { webTransport } from '@tidewire/client/webtransport';
      const client = new Client('ws://127.0.0.1:1', { connectTimeoutMs: 5000, transport: webTransport() });
      try { await client.connect(); } catch (error) { console.log(error instanceof TidewireError, error.code); }
    `;
    await writeFile(join(folder, 'main.js'), script);
    const { stdout } = await run(process.execPath, ['main.js'], { cwd: folder, ...LIMITS });
    assert.equal(stdout, 'true cannot_connect\n');
    const packed = await readdir(join(folder, 'node_modules', '@tidewire', 'client'));
    assert.deepEqual(packed.sort(), ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'dist', 'package.json']);
  }));

test('what a page with React loads has nothing of Node in it', () =>
  inFolder(async (folder) => {
    const entryPoints = [join(project, 'examples/live-poll/app.tsx')];
    await build({ entryPoints, bundle: true, format: 'esm', jsx: 'automatic', outdir: folder });
    const code = await readFile(join(folder, 'app.js'), 'utf8');
    assert.ok(code.includes('Lunch today'));
    assert.ok(!code.includes('perMessageDeflate'));
  }));
