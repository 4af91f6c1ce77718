// The states that a healthy demo never shows. The page's files come from the folder, and the
// daemon is played by the test, frame by frame.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { decodeAll, encode } from '../../web/msgpack.js';
import { assertAccessible, assertClean, assertFits, launch, mood, openPage, screenshot } from './browser.mjs';

const ORIGIN = 'http://tidewire.test';
const WELCOME = [2, 1, [], 'c-1', { server: 'tidewire/0', heartbeat_ms: 10_000 }];
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };

let browser;

before(async () => { browser = await launch(); });
after(() => browser?.close());

/** Opens the page; `answer(frame, send, socket)` is the daemon. */
async function open(answer, options) {
  const page = await openPage(browser, options);
  await page.route(`${ORIGIN}/**`, async (route) => {
    const path = new URL(route.request().url()).pathname.replace(/\/$/, '/index.html');
    const body = await readFile(new URL(`../../web${path}`, import.meta.url));
    const headers = { 'content-security-policy': "default-src 'self'" };
    await route.fulfill({ body, headers, contentType: TYPES[path.split('.').pop()] });
  });
  await page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    const send = (...frames) => socket.send(Buffer.from(encode(...frames)));
    socket.onMessage((data) => {
      for (const frame of decodeAll(new Uint8Array(data))) {
        if (frame[0] === 1) answer.hello ? answer.hello(send, socket) : send(WELCOME);
        else if (frame[0] === 3) send([4, frame[1]]);
        else answer[frame[0]]?.(frame, send, socket);
      }
    });
  });
  await page.goto(`${ORIGIN}/`);
  return page;
}

/** A tally that is being counted; the numbers are given. */
const tallyOf = (options, counts, state = 'open', kind = 'ranked') => ([, req, sub], send) => send(
  [27, req, sub, 1, 1, { options, rules: { kind, options, choices_max: 3 } }],
  [28, sub, 1, 1, { counts, ballots: counts.reduce((a, b) => a + b, 0), blank: 0, overvotes: 0, state }],
);

async function assertSound(page, name) {
  await assertFits(page);
  await assertAccessible(page);
  await assertClean(page);
  await screenshot(page, name);
  await page.close();
}

describe('without numbers', () => {
  test('no election: the page says how to start one, and finds it when it is there', async () => {
    let asked = 0;
    const page = await open({
      26: (frame, send) => {
        asked += 1;
        if (asked === 1) send([5, frame[1], 9, 'no tally named demo.election']);
        else tallyOf(['YES', 'NO'], [2, 1])(frame, send);
      },
    }, { width: 360, height: 640 });
    await mood(page, 'empty');
    assert.match(await page.locator('#notice-text').textContent(), /tidewire demo/);
    await screenshot(page, 'empty-360-light');
    await assertAccessible(page);
    await page.waitForSelector('[data-name="YES"]');
    await assertSound(page, 'two-options-360-light');
  });

  test('refused: the reason is shown, and nothing is tried again unasked', async () => {
    let hellos = 0;
    const page = await open({
      hello: (send, socket) => {
        hellos += 1;
        send([5, 0, 12, 'this daemon wants a token']);
        socket.close({ code: 4012 });
      },
    }, { colorScheme: 'dark' });
    await mood(page, 'refused');
    assert.equal(await page.locator('#notice-text').textContent(), 'this daemon wants a token (error 12)');
    assert.equal(hellos, 1);
    await page.click('#notice-retry');
    await page.waitForFunction(() => document.body.dataset.mood === 'refused');
    await assertSound(page, 'refused-1280-dark');
    assert.equal(hellos, 2);
  });

  test('loading: the places of the bars are already there', async () => {
    const page = await open({});
    await page.waitForSelector('.ghost');
    assert.equal(await page.evaluate(() => document.body.dataset.mood), 'loading');
    await assertSound(page, 'loading-1280-light');
  });

  test('unreachable: it says when it tries again', async () => {
    const page = await open({ hello: (_, socket) => socket.close({ code: 4017 }) });
    await mood(page, 'unreachable');
    assert.match(await page.locator('#notice-text').textContent(), /^Trying (again in \d+ s|now)\.$/);
    await assertSound(page, 'unreachable-1280-light');
  });
});

describe('with numbers of any kind', () => {
  test('numbers that no longer come look stale', async () => {
    const page = await open({ 26: tallyOf(['YES', 'NO'], [20, 10]) });
    await mood(page, 'stale');
    assert.equal(await page.locator('#pill').textContent(), 'Stale');
    await assertSound(page, 'stale-1280-light');
  });

  test('a thousand options with long names and markup in them', async () => {
    const options = Array.from({ length: 1000 }, (_, at) => `<img src=x onerror=alert(${at})> ${'LONG NAME '.repeat(20)}${at}`);
    const page = await open({ 26: tallyOf(options, options.map((_, at) => at * at)) }, { width: 320, height: 640 });
    await page.click('#more');
    await page.waitForFunction(() => document.querySelector('#rows').rows.length === 1000);
    assert.equal(await page.locator('#board .row').count(), 1000);
    assert.equal(await page.locator('#board img').count(), 0);
    await assertSound(page, 'thousand-options-320-light');
  });

  test('a single-choice tally that is closed has a leader and no runoff', async () => {
    const page = await open({ 26: tallyOf(['YES', 'NO'], [20, 10], 'closed', 'single') });
    await mood(page, 'final');
    await page.waitForSelector('[data-name="YES"].lead');
    assert.equal(await page.locator('#switch').isVisible(), false);
    await assertSound(page, 'single-1280-light');
  });

  test('a tally that is deleted leaves the empty state', async () => {
    const page = await open({
      26: (frame, send) => {
        tallyOf(['YES', 'NO'], [2, 1])(frame, send);
        send([28, frame[2], 2, 2, null]);
      },
    });
    await mood(page, 'empty');
    await page.close();
  });
});
