// Builds the one file of this client that the server's console uses: web/console/client.js.
// With --check it only says whether that file is what the source gives.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const target = fileURLToPath(new URL('../../web/console/client.js', import.meta.url));
const { outputFiles: [{ text }] } = await build({
  absWorkingDir: fileURLToPath(new URL('.', import.meta.url)),
  stdin: { contents: "export { Client } from './src/index.ts';", resolveDir: fileURLToPath(new URL('.', import.meta.url)), loader: 'ts' },
  bundle: true,
  write: false,
  minify: true,
  format: 'esm',
  target: 'es2022',
  conditions: ['browser'],
  alias: { '#socket': './src/socket-browser.ts' },
  banner: { js: '// Made of clients/typescript by its bundle.mjs; change that, and run it.' },
});
if (!process.argv.includes('--check')) writeFileSync(target, text);
else if (readFileSync(target, 'utf8') !== text) {
  console.error('web/console/client.js is not what the client gives: run `node clients/typescript/bundle.mjs`');
  process.exitCode = 1;
}
