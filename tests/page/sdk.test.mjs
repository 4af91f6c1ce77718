// The client for browsers in a real one, over both of its transports.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { assertClean, launch, openPage, WAIT_MS_MAX } from './browser.mjs';
import { startServer } from './daemon.mjs';
import { servePages } from './pages.mjs';
import { caller, sdkPage } from './sdk.mjs';
import { tcpOnly } from './tcp.mjs';

/** Attempts to connect again come so late that it is the page's own events that bring them. */
const LATE_MS = 10 * WAIT_MS_MAX;
const WRONG_HASH = '00'.repeat(32);

let browser, server, pages;
const opened = [];

before(async () => {
  pages = await servePages(await sdkPage('client.js'));
  browser = await launch();
  server = await startServer(`
[http]
allowed_origins = ["${pages.origin}"]
[[policy]]
names = "safe.>"
durability = "disk"
`);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  pages?.close();
});
afterEach(async () => {
  for (const page of opened.splice(0)) {
    // A connection that is refused stands on the console; nothing may come of it that nobody has caught.
    assert.deepEqual(page.problems.filter((problem) => problem.startsWith('uncaught')), []);
    // A context that is closed takes its connections away without a word to the server; a page that is left does not.
    await page.goto('about:blank');
    await page.context().close();
  }
});

/** A page in which the functions of client.js can be called. The certificate counts for its WebSockets. */
async function open() {
  const page = await openPage(browser, { ignoreHTTPSErrors: true });
  opened.push(page);
  await page.goto(pages.origin);
  return { page, call: caller(page, WAIT_MS_MAX) };
}

for (const transport of ['websocket', 'webtransport']) {
  describe(`over ${transport}`, () => {
    const hash = () => (transport === 'webtransport' ? server.fingerprint : undefined);
    // A machine that is busy is no reason to fall back here.
    const connect = ({ call }, options = {}) => call('connect', `wss://${server.address}`, { hash: hash(), headStartMs: WAIT_MS_MAX, ...options });

    test('records come in order, ballots and increments are seen', async () => {
      const page = await open();
      const { transport: used, fallback } = await connect(page);
      assert.deepEqual([used, fallback], [transport, null]);
      const topic = `page.${transport}`;
      assert.equal(await page.call('subscribe', topic), 'fresh');
      await page.call('publish', topic, ['one', 'two', 'three']);
      assert.deepEqual(await page.call('read', topic, 3), ['0 one', '1 two', '2 three']);
      const ballots = { ann: 'tea', bob: 'coffee', cid: 'tea' };
      assert.deepEqual(await page.call('vote', `poll.${transport}`, ['tea', 'coffee'], ballots), { tea: 2, coffee: 1 });
      const { rises, datagrams } = await page.call('count', `hits.${transport}`, 200);
      assert.ok(rises, 'a watch sees newer values only');
      assert.equal(datagrams > 0, transport === 'webtransport', `${datagrams} datagrams`);
      await page.call('close');
      await assertClean(page.page);
    });

    test('after a restart it goes on without a gap, as soon as the network is back', async () => {
      const page = await open();
      await connect(page, { backoffMinMs: LATE_MS, backoffMaxMs: LATE_MS });
      const topic = `safe.${transport}`;
      await page.call('subscribe', topic);
      await page.call('publish', topic, ['one', 'two']);
      await page.call('reaches', 'connected');
      await server.end();
      await page.call('reaches', 'disconnected');
      await page.page.context().setOffline(true);
      await server.again();
      await page.page.context().setOffline(false);
      const { transport: used, states } = await page.call('reaches', 'connected');
      assert.deepEqual([used, states.slice(-2)], [transport, ['connecting', 'connected']]);
      await page.call('publish', topic, ['three']);
      assert.deepEqual(await page.call('read', topic, 3), ['0 one', '1 two', '2 three']);
    });

    test('a page that is looked at again connects at once', async () => {
      const page = await open();
      await connect(page, { backoffMinMs: LATE_MS, backoffMaxMs: LATE_MS });
      await server.end();
      await page.call('reaches', 'disconnected');
      await server.again();
      await page.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
      assert.equal((await page.call('reaches', 'connected')).transport, transport);
    });

    test('more subscriptions than a connection has streams each get their records', async () => {
      const page = await open();
      await connect(page);
      assert.deepEqual(await page.call('followMany', `many.${transport}`, 300), []);
      await assertClean(page.page);
    });

    test('a subscription that nobody reads does not delay another one, and loses nothing', async () => {
      const page = await open();
      await connect(page);
      const [slow, quick] = [`slow.${transport}`, `quick.${transport}`];
      await page.call('subscribe', slow, { windowBytes: 65_536 });
      await page.call('subscribe', quick);
      const large = Array.from({ length: 64 }, (_, at) => `${at} `.padEnd(65_536, '.'));
      await page.call('publish', slow, large);
      await page.call('publish', quick, ['through']);
      assert.deepEqual(await page.call('read', quick, 1), ['0 through']);
      assert.deepEqual(await page.call('read', slow, 64), large.map((text, at) => `${at} ${text.slice(0, 20)}`));
    });
  });
}

test('where WebTransport is refused a WebSocket is there soon, and why is told', async () => {
  const { call } = await open();
  const { transport, fallback, tookMs } = await call('connect', `wss://${server.address}`, { hash: WRONG_HASH });
  assert.equal(transport, 'websocket');
  assert.match(fallback, /handshake/i);
  assert.ok(tookMs < WAIT_MS_MAX, `${tookMs} ms`);
  await call('subscribe', 'page.fallback');
  await call('publish', 'page.fallback', ['as ever']);
  assert.deepEqual(await call('read', 'page.fallback', 1), ['0 as ever']);
});

test('where no packet of UDP comes through a WebSocket is there soon, and why is told', async () => {
  const way = await tcpOnly(server.address);
  try {
    const { call } = await open();
    const { transport, fallback, tookMs } = await call('connect', `wss://${way.address}`, { hash: server.fingerprint });
    assert.deepEqual([transport, fallback], ['websocket', 'no answer within 500 ms']);
    assert.ok(tookMs < WAIT_MS_MAX, `${tookMs} ms`);
    await call('publish', 'page.fallback', ['as ever']);
    await call('close');
  } finally {
    way.close();
  }
});

test('who is nobody is told so over either', async () => {
  const guarded = await startServer(`
[http]
allowed_origins = ["${pages.origin}"]
[[auth.role]]
name = "viewer"
rules = [{ names = ">", allow = ["subscribe"] }]
[[auth.api_key]]
name = "shop"
sha256 = "${'0'.repeat(64)}"
roles = ["viewer"]
`);
  try {
    for (const hash of [undefined, guarded.fingerprint]) {
      const { call } = await open();
      assert.equal(await call('isRefused', `wss://${guarded.address}`, { hash, headStartMs: WAIT_MS_MAX }), 'unauthenticated');
    }
  } finally {
    await guarded.stop();
  }
});

test('without encryption it is a WebSocket, and says so', async () => {
  const { call } = await open();
  const { transport, fallback } = await call('connect', `ws://${server.address}`, { hash: server.fingerprint });
  assert.equal(transport, 'websocket');
  assert.match(fallback, /wss/);
});
