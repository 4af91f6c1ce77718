// WebTransport in a real browser: the certificate is pinned by its hash, frames are those of PROTOCOL.md.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, openPage } from './browser.mjs';
import { startServer } from './daemon.mjs';
import { servePages } from './pages.mjs';

const FILES = {
  '/': ['text/html', '<!doctype html><title>a page</title><link rel="icon" href="data:,">'],
  '/msgpack.js': ['text/javascript', readFileSync(new URL('../../web/msgpack.js', import.meta.url))],
  '/session.js': ['text/javascript', readFileSync(new URL('session.js', import.meta.url))],
};

let browser, server, allowed, foreign;
const pages = [];

before(async () => {
  pages.push(await servePages(FILES), await servePages(FILES));
  [allowed, foreign] = pages.map(({ origin }) => origin);
  browser = await launch();
  server = await startServer(`[http]\nallowed_origins = ["${allowed}"]\n`);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  for (const page of pages) page.close();
});

/** Runs a function of session.js in a page of this origin. */
async function inPage(origin, name, path = '/v1/webtransport') {
  const page = await openPage(browser);
  await page.goto(origin);
  try {
    return await page.evaluate(async ([wanted, url, fingerprint]) => {
      const session = await import('/session.js');
      return session[wanted](url, fingerprint);
    }, [name, `https://${server.address}${path}`, server.fingerprint]);
  } finally {
    await page.close();
  }
}

test('subscriptions have streams of their own, and values come as datagrams', async () => {
  const seen = await inPage(allowed, 'publishAndCount');
  assert.equal(seen.version, 1);
  assert.deepEqual(seen.capabilities, ['datagrams']);
  assert.deepEqual(seen.records, ['one', 'two', 'three']);
  // The reply to a request comes on its stream, what is subscribed to on others.
  assert.deepEqual(seen.onRequests, [11, 11, 11]);
  assert.deepEqual(seen.onSubscription, [13, 14, 14, 14]);
  assert.equal(seen.value, 200);
  assert.ok(seen.datagrams > 0, 'some values come as datagrams');
});

test('a page is told why its session ends', async () => {
  const { closeCode, reason, said } = await inPage(allowed, 'breakTheRules');
  assert.equal(said, closeCode, 'the last frame has the same code');
  assert.ok(closeCode > 0);
  assert.match(reason, /HELLO/);
});

test('a page is told why a session ends that has gone on for a while', async () => {
  const { closeCode, reason } = await inPage(allowed, 'breakTheRulesLater');
  assert.equal(closeCode, 1);
  assert.match(reason, /MessagePack|c1/);
});

test('a page that has ended its requests gets a clean end', async () => {
  assert.equal(await inPage(allowed, 'finish'), 0);
});

test('a session ends when the page closes it, and another one begins', async () => {
  assert.deepEqual(await inPage(allowed, 'comeAndGo'), ['welcome', 'welcome']);
});

test('a page of another origin, and another path, are refused', async () => {
  assert.equal(await inPage(foreign, 'isRefused'), true);
  assert.equal(await inPage(allowed, 'isRefused', '/v1/elsewhere'), true);
  assert.equal(await inPage(allowed, 'isRefused'), false);
});
