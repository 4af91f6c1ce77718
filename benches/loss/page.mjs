// Follows topics over WebTransport in a page of a real browser, and prints how long their records took.
//
// node page.mjs ADDRESS FINGERPRINT PORT '{"topics": [...], "stalled": null, "settleMs": 1000, "seconds": 10}'

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { launch, openPage } from '../../tests/page/browser.mjs';

const [address, fingerprint, port, options] = process.argv.slice(2);
const read = (path) => readFileSync(new URL(path, import.meta.url));
const FILES = {
  '/': ['text/html', '<!doctype html><title>a page</title><link rel="icon" href="data:,">'],
  '/msgpack.js': ['text/javascript', read('../../web/msgpack.js')],
  '/session.js': ['text/javascript', read('../../tests/page/session.js')],
};

const pages = createServer(({ url }, response) => {
  const [type, body] = FILES[url] ?? [];
  response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(body);
});
pages.listen(Number(port), '127.0.0.1');
await once(pages, 'listening');
const browser = await launch();
try {
  const page = await openPage(browser);
  page.setDefaultTimeout(0);
  await page.goto(`http://127.0.0.1:${port}`);
  const delaysUs = await page.evaluate(async ([url, pinned, wanted]) => {
    const session = await import('/session.js');
    return session.timeDeliveries(url, pinned, wanted);
  }, [`https://${address}/v1/webtransport`, fingerprint, JSON.parse(options)]);
  process.stdout.write(`${JSON.stringify(delaysUs)}\n`);
} finally {
  await browser.close();
  pages.close();
}
