// Builds examples and serves them on loopback:
//
//   node examples/serve.mjs [NAME ...] [--server ws://127.0.0.1:7171] [--port 7180]
//
// Without a name it serves all of them. What is changed is built again when the page is loaded again.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const folder = fileURLToPath(new URL('.', import.meta.url));
const client = join(folder, '..');
const known = readdirSync(folder).filter((name) => existsSync(join(folder, name, 'index.html')));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: 'string', default: 'ws://127.0.0.1:7171' },
    port: { type: 'string', default: '7180' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  console.log(`node examples/serve.mjs [NAME ...] [--server ws://127.0.0.1:7171] [--port 7180]\nThere are: ${known.join(', ')}`);
  process.exit(0);
}
const names = positionals.length > 0 ? positionals : known;
for (const name of names) {
  if (!known.includes(name)) {
    console.error(`There is no example '${name}'. There are: ${known.join(', ')}`);
    process.exit(2);
  }
}

const inClient = (program, ...args) => execFileSync(program, args, { cwd: client, stdio: ['ignore', 'ignore', 'inherit'] });
if (!existsSync(join(client, 'node_modules/esbuild'))) inClient('npm', 'ci', '--no-audit', '--no-fund');
inClient('npm', 'run', 'build');

const { context } = await import('esbuild');
const scripts = (name) => readdirSync(join(folder, name)).filter((file) => /\.tsx?$/.test(file)).map((file) => join(folder, name, file));
const builder = await context({
  entryPoints: names.flatMap(scripts),
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  outbase: folder,
  outdir: folder,
  write: false,
});
const { hosts, port } = await builder.serve({ host: '127.0.0.1', port: Number(values.port), servedir: folder }).catch((error) => {
  console.error(`Port ${values.port} cannot be had (${error.message}); another one: --port N`);
  process.exit(1);
});
const origin = `http://${hosts[0]}:${port}`;
for (const name of names) console.log(`${origin}/${name}/?server=${values.server}`);
console.log(`The server has to allow pages of ${origin}: TIDEWIRE_HTTP_ALLOWED_ORIGINS=${origin} tidewire serve`);
