// A guest of `tidewire demo --lan` votes: over TLS, with the token of the address that it prints.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertClean, assertFits, launch, mood, openPage, screenshot } from './browser.mjs';
import { startDemo } from './daemon.mjs';

const PHONE = { width: 360, height: 640, ignoreHTTPSErrors: true };

let browser, demo;

before(async () => {
  browser = await launch();
  demo = await startDemo({ lan: true });
});
after(async () => {
  await browser?.close();
  await demo?.stop();
});

const button = (page, option) => page.locator('#options button', { hasText: option });
const shows = (page, option, votes) => page.waitForFunction(([name, count]) => [...document.querySelectorAll('#options button')]
  .some((found) => found.querySelector('.option').textContent === name && found.dataset.votes === count), [option, String(votes)]);
const said = (page, text) => page.waitForFunction((wanted) => document.querySelector('#said').textContent.includes(wanted), text);

/** Presses the button, also one that goes away meanwhile: the page tries by itself, too. */
const tryNow = (page) => page.locator('#notice-retry').dispatchEvent('click');

test('a phone votes, changes its vote, is remembered, and others see it', async () => {
  const [first, second] = [await openPage(browser, PHONE), await openPage(browser, { ...PHONE, colorScheme: 'dark' })];
  for (const page of [first, second]) {
    await page.goto(demo.url);
    await said(page, 'Touch a name');
  }
  await button(first, 'Cherry').click();
  await said(first, 'Your vote for Cherry is counted');
  await button(second, 'Cherry').click();
  for (const page of [first, second]) await shows(page, 'Cherry', 2);
  await button(first, 'Mango').click();
  for (const page of [first, second]) {
    await shows(page, 'Cherry', 1);
    await shows(page, 'Mango', 1);
  }
  await first.reload();
  await said(first, 'Your vote for Mango is counted');
  assert.equal(await button(first, 'Mango').getAttribute('aria-pressed'), 'true');
  await shows(first, 'Mango', 1);
  assert.equal(await first.locator('#ballots').textContent(), '2 votes in all');
  for (const [page, name] of [[first, 'vote-360-light'], [second, 'vote-360-dark']]) {
    await assertFits(page);
    await assertAccessible(page);
    await assertClean(page);
    await screenshot(page, name);
    await page.close();
  }
});

test('a vote during a cut is sent when the connection is back', async () => {
  const page = await openPage(browser, PHONE);
  const sockets = [];
  let isCut = false;
  await page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    if (isCut) return socket.close({ code: 1001 });
    socket.connectToServer();
    return sockets.push(socket);
  });
  await page.goto(demo.url);
  await said(page, 'Touch a name');
  isCut = true;
  await sockets[0].close({ code: 1001 });
  await mood(page, 'disconnected');
  await button(page, 'Banana').click();
  await said(page, 'will be sent when the connection is back');
  await screenshot(page, 'vote-360-cut');
  const isCovered = await page.evaluate(() => {
    scrollTo(0, document.body.scrollHeight);
    const last = document.querySelector('#options button:last-child').getBoundingClientRect();
    return last.bottom > document.querySelector('#notice').getBoundingClientRect().top;
  });
  assert.equal(isCovered, false, 'the notice covers the last name');
  await assertFits(page);
  await assertAccessible(page);
  isCut = false;
  await tryNow(page);
  await said(page, 'Your vote for Banana is counted');
  await shows(page, 'Banana', 1);
  await page.close();
});

test('a device that refuses every live connection is told why, until one is made', async () => {
  const page = await openPage(browser, PHONE);
  let isRefused = true;
  await page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    if (isRefused) socket.close({ code: 1001 });
    else socket.connectToServer();
  });
  await page.goto(demo.url);
  await page.waitForFunction(() => document.querySelector('#notice-text').textContent.includes('another device'));
  await screenshot(page, 'vote-360-never-connected');
  await assertFits(page);
  await assertAccessible(page);
  isRefused = false;
  await tryNow(page);
  await said(page, 'Touch a name');
  assert.equal(await page.locator('#notice').isVisible(), false);
  await page.close();
});

test('a token that is none is told, and what to do', async () => {
  const page = await openPage(browser, PHONE);
  await page.goto(demo.url.replace(/token=.*/, 'token=broken'));
  await mood(page, 'refused');
  assert.match(await page.locator('#notice').textContent(), /Scan the code again/);
  await assertFits(page);
  await assertAccessible(page);
  await page.close();
});

test('without an invitation the election is seen, and the poll is not', async () => {
  const page = await openPage(browser, { ignoreHTTPSErrors: true });
  await page.goto(new URL('/vote.html', demo.url).href);
  await mood(page, 'refused');
  assert.match(await page.locator('#notice').textContent(), /Scan the code that the demo shows/);
  await page.goto(new URL('/', demo.url).href);
  await page.waitForSelector('#board .row[data-name="BETSY HODGES"]');
  await assertClean(page);
  await page.close();
});
