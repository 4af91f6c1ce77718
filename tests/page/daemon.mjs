// One `tidewire demo` of our own: started, asked for its address, and stopped by its process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const START_MS_MAX = 20_000;
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
  const child = spawn(binary(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const said = [];
  const address = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no address within ${START_MS_MAX} ms:\n${said.join('\n')}`)), START_MS_MAX);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the demo ended with ${code}:\n${said.join('\n')}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      const found = wanted.exec(line);
      if (!found) return;
      clearTimeout(timer);
      resolve(found[0]);
    });
  });
  try {
    return { url: await address, stop: () => stop(child, exited) };
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
