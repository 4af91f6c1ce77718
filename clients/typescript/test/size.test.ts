import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** What a page loads of the whole client, at most. */
const BYTES_MAX = 15 * 1024;
/** What WebTransport takes, at most, with what it shares with the client. */
const WEBTRANSPORT_BYTES_MAX = 4 * 1024;

async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: new URL('../dist', import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  return outputFiles[0]!.text;
}

async function assertFits(module: string, bytesMax: number): Promise<void> {
  const code = await bundle(`export * from '${module}'`);
  const bytes = gzipSync(code, { level: 9 }).length;
  assert.ok(bytes <= bytesMax, `${bytes} bytes; ${bytesMax} are allowed`);
  assert.doesNotMatch(code, /\bimport\b|\brequire\b/);
}

test('the whole client fits 15 KB, minified and compressed, and needs nothing else in a browser', () =>
  assertFits('./index.js', BYTES_MAX));

test('WebTransport fits 4 KB, and the client does without it', async () => {
  await assertFits('./webtransport.js', WEBTRANSPORT_BYTES_MAX);
  assert.doesNotMatch(await bundle(`export * from './index.js'`), /WebTransport/);
});

test('what is not used is left out', async () => {
  const code = await bundle(`import { TidewireError } from './index.js'; console.log(new TidewireError('not_found', ''))`);
  assert.ok(code.length < 2_500, `${code.length} bytes`);
});
