// One `tidewire demo` or `tidewire serve` of our own, or what serves the examples: started, asked for its address, and
// stopped by its process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const START_MS_MAX = 20_000;
/** The client may have to be installed and built first. */
const EXAMPLES_START_MS_MAX = 180_000;
const STOP_MS_MAX = 10_000;

/** The binary under test. Its absence is a failure: a skipped check has checked nothing. */
function binary() {
  const path = process.env.TIDEWIRE_BIN;
  if (!path) throw new Error('TIDEWIRE_BIN is not set: it must name the tidewire binary under test');
  return path;
}

/**
 * Starts the demo and resolves when it has said where its page is.
 * @param {{rate?: number, listen?: string, lan?: boolean}} [options] `lan`: with TLS and accounts, as on a
 *   network but on loopback; the address is the one that guests vote at
 */
export async function startDemo({ rate = 20_000, listen = '127.0.0.1:0', lan = false } = {}) {
  const args = ['demo', '--rate', String(rate), '--listen', listen, '--admin-listen', '127.0.0.1:0', ...(lan ? ['--lan=127.0.0.1'] : [])];
  const wanted = lan ? /^https:\/\/127\.0\.0\.1:\d+\/vote\.html#token=\S+$/ : /http:\/\/127\.0\.0\.1:\d+\//;
  const { found, stop } = await start(args, [wanted]);
  return { url: found[0][0], stop };
}

/**
 * Starts a server with this configuration (TOML); says where it listens, where its console is, and its certificate's hash.
 * `end` ends its process, `again` starts another one over what it has left, at the same addresses.
 */
export async function startServer(config) {
  const folder = mkdtempSync(join(tmpdir(), 'tidewire-page-'));
  const file = join(folder, 'tidewire.toml');
  writeFileSync(file, config);
  const launch = (listen, admin) => {
    const args = ['serve', '--config', file, '--data-dir', join(folder, 'data'), '--listen', listen, '--admin-listen', admin];
    return start(args, [/quic:\/\/(\S+)/, /SHA-256 ([0-9a-f]{64})/, /^console +http:\/\/(\S+)\//]);
  };
  let running = await launch('127.0.0.1:0', '127.0.0.1:0');
  const { found: [[, address], [, fingerprint], [, admin]] } = running;
  return {
    address,
    admin,
    fingerprint,
    end: () => running.stop(),
    again: async () => { running = await launch(address, admin); },
    stop: () => running.stop().finally(() => rmSync(folder, { recursive: true })),
  };
}

/** Builds and serves all pages of clients/typescript/examples; says at which origin. */
export async function startExamples() {
  const script = fileURLToPath(new URL('../../clients/typescript/examples/serve.mjs', import.meta.url));
  const { found: [[, origin]], stop } = await start([script, '--port', '0'], [/ALLOWED_ORIGINS=(\S+)/], process.execPath, EXAMPLES_START_MS_MAX);
  return { origin, stop };
}

/** Starts a program, and resolves with what these expressions find in what it says first. */
async function start(args, wanted, program = binary(), startMsMax = START_MS_MAX) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const said = [], found = wanted.map(() => null);
  const all = new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${why}:\n${said.join('\n')}`));
    const timer = setTimeout(() => fail(`not all was said within ${startMsMax} ms`), startMsMax);
    child.once('error', reject);
    child.once('exit', (code) => fail(`it ended with ${code}`));
    const hear = (line) => {
      said.push(line);
      wanted.forEach((expression, at) => { found[at] ??= expression.exec(line); });
      if (found.includes(null)) return;
      clearTimeout(timer);
      resolve();
    };
    for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', hear);
  });
  try {
    await all;
    return { found, stop: () => stop(child, exited) };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/** Ends this process and no other; the signal is the one that a service manager sends. */
async function stop(child, exited) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await exited;
  clearTimeout(timer);
}
