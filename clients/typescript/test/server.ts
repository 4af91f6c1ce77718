/** A server of a test's own: the binary under test on free ports, stopped by its own process. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const START_MS_MAX = 20_000;
const STOP_MS_MAX = 10_000;

/** The binary under test. Its absence is a failure: a skipped check has checked nothing. */
export function binary(): string {
  const path = process.env.TIDEWIRE_BIN;
  if (!path) throw new Error('TIDEWIRE_BIN is not set: it must name the tidewire binary under test');
  return path;
}

/** A running server. */
export class Server {
  readonly url: string;
  /** Where it is administered. */
  readonly admin: string;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #config: string;
  readonly #listen: string;

  private constructor(child: ChildProcess, directory: string, config: string, address: string, admin: string) {
    this.admin = admin;
    this.#child = child;
    this.#directory = directory;
    this.#config = config;
    this.#listen = address;
    this.url = `ws://${address}`;
  }

  /** `DIRECTORY` in the configuration is where the files are. */
  static async start(config = '', files: Record<string, string> = {}, listen = '127.0.0.1:0'): Promise<Server> {
    const directory = await mkdtemp(join(tmpdir(), 'tidewire-ts-'));
    for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content, { mode: 0o600 });
    return Server.#launch(directory, config.replaceAll('DIRECTORY', directory), listen);
  }

  static async #launch(directory: string, config: string, listen: string): Promise<Server> {
    const file = join(directory, 'tidewire.toml');
    await writeFile(file, config);
    const args = ['serve', '--json', '--listen', listen, '--admin-listen', '127.0.0.1:0', '--config', file, '--data-dir', join(directory, 'data')];
    const child = spawn(binary(), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stderr!.on('data', (chunk) => (said = (said + chunk).slice(-4_000)));
    const timer = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX);
    try {
      for await (const line of createInterface({ input: child.stdout! })) {
        const { listening } = JSON.parse(line) as { listening: { address: string; admin: string } };
        return new Server(child, directory, config, listening.address, listening.admin);
      }
      throw new Error(`the server did not start:\n${said}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Kills it as a power cut of the process would: it gets no chance to do anything. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Starts another one over what this one has left, at the same address. */
  again(): Promise<Server> {
    return Server.#launch(this.#directory, this.#config, this.#listen);
  }

  /** Ends it as a service manager does, and starts another one over what it has left. */
  async restart(): Promise<Server> {
    await this.#end('SIGTERM');
    return this.again();
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    await exited;
    clearTimeout(timer);
  }
}
