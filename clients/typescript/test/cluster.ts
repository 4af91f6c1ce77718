/** Three nodes of a cluster of a test's own, on loopback. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { binary, Server } from './server.js';

const run = promisify(execFile);
const JOIN_MS_MAX = 60_000;

async function tidewire(...args: string[]): Promise<string> {
  return (await run(binary(), args, { timeout: JOIN_MS_MAX })).stdout;
}

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export class Cluster {
  private constructor(
    readonly nodes: readonly Server[],
    private readonly folder: string,
  ) {}

  /** Three nodes that keep names under `log.` together, and tell clients of each other. */
  static async ofThree(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'tidewire-ts-cluster-'));
    await tidewire('admin', 'cluster', 'ca', 'init', folder);
    const ports = await Promise.all([1, 2, 3].map(freePort));
    const nodes: Server[] = [];
    for (const [index, port] of ports.entries()) {
      const id = index + 1;
      await tidewire('admin', 'cluster', 'ca', 'issue', '--ca', folder, '--node', String(id));
      const listen = `127.0.0.1:${await freePort()}`;
      const seeds = index === 0 ? '[]' : `["127.0.0.1:${ports[0]}"]`;
      const config = `
node = "node-${id}"
cores = 1
[cluster]
listen = "127.0.0.1:${port}"
client_url = "ws://${listen}"
seeds = ${seeds}
ca = "${folder}/cluster-ca.pem"
certificate = "${folder}/node-${id}.pem"
key = "${folder}/node-${id}.key"
[storage]
master_key_file = "${folder}/cluster-master.key"
[[policy]]
names = "log.>"
durability = "disk"
`;
      nodes.push(await Server.start(config, {}, listen));
    }
    const cluster = new Cluster(nodes, folder);
    await cluster.control(0, 'init');
    await cluster.control(1, 'join');
    await cluster.control(2, 'join');
    return cluster;
  }

  /** Asks a node to do something of the cluster's. */
  control(index: number, ...what: string[]): Promise<string> {
    return tidewire('admin', '--admin', this.nodes[index]!.admin, 'cluster', ...what);
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }
}
