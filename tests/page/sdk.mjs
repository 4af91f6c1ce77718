// The client for browsers as a page loads it: bundled with what the page does, which is called from here.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const CLIENT = new URL('../../clients/typescript/', import.meta.url);
const PAGE = '<!doctype html><title>a page</title><link rel="icon" href="data:,"><main></main>';

/** The files of a page that can `import('/sdk.js')`, the functions of this module with the client in it. */
export async function sdkPage(module) {
  const { build } = createRequire(CLIENT)('esbuild');
  const { outputFiles } = await build({
    // Within the package its own name leads to what it exports.
    stdin: { contents: readFileSync(new URL(module, import.meta.url), 'utf8'), resolveDir: fileURLToPath(CLIENT) },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  return { '/': ['text/html', PAGE], '/sdk.js': ['text/javascript', outputFiles[0].contents] };
}

/** Calls functions of a page's `/sdk.js`; what is not there within `msMax` has failed. */
export function caller(page, msMax) {
  return async (name, ...args) => {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${name}(${args.join(', ')}): not within ${msMax} ms`)), msMax);
    });
    const called = page.evaluate(async ([wanted, given]) => {
      const module = await import('/sdk.js');
      return module[wanted](...given);
    }, [name, args]);
    try {
      return await Promise.race([called, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}
