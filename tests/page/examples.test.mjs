// The examples of the TypeScript client as a person sees them: served by their own script, in a browser.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertClean, assertFits, launch, openPage, screenshot, WAIT_MS_MAX } from './browser.mjs';
import { startExamples, startServer } from './daemon.mjs';

const NARROW = { width: 320, height: 640 };
const POINTS_EACH = 15;
const UPDATES_MIN = 20_000;

let browser, examples, server;

before(async () => {
  browser = await launch();
  examples = await startExamples();
  server = await startServer(`[http]\nallowed_origins = ["${examples.origin}"]\n`);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await examples?.stop();
});

async function open(name, { address = server.address, state = 'connected', ...options } = {}) {
  const page = await openPage(browser, options);
  await page.addInitScript(() => {
    globalThis.animated = [];
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (frames, options) {
      globalThis.animated.push(Object.keys(frames[0]).join());
      return animate.call(this, frames, options);
    };
  });
  await page.goto(`${examples.origin}/${name}/?server=ws://${address}`);
  await page.waitForSelector(`#state[data-state=${state}]`);
  return page;
}

/** A page as it is now: in light, in dark and narrow, with nothing to complain about. */
async function assertGood(page, name) {
  const { width, height } = page.viewportSize();
  for (const [label, colorScheme, size] of [
    ['light', 'light', { width, height }], ['dark', 'dark', { width, height }], ['320-light', 'light', NARROW], ['320-dark', 'dark', NARROW],
  ]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(size);
    await assertFits(page);
    await assertAccessible(page);
    await screenshot(page, `example-${name}-${label}`, { fullPage: true });
  }
  await page.setViewportSize({ width, height });
  await assertClean(page);
}

const says = (page, selector, text) => page.waitForFunction(
  ([where, wanted]) => document.querySelector(where)?.textContent.includes(wanted), [selector, text],
);

test('live poll: a vote is seen by everyone, may be changed, and is remembered', async () => {
  const [first, second] = [await open('live-poll'), await open('live-poll', NARROW)];
  const vote = (page, option) => page.getByRole('button', { name: option }).click();
  const shows = (page, counts) => page.waitForFunction(
    (wanted) => [...document.querySelectorAll('.options strong')].map(({ textContent }) => textContent).join() === wanted, counts.join(),
  );
  await vote(first, 'Noodles');
  await vote(second, 'Noodles');
  for (const page of [first, second]) await shows(page, [0, 2, 0]);
  await vote(first, 'Salad');
  await says(first, 'main [role=status]', 'Your vote is for Salad now');
  for (const page of [first, second]) {
    await shows(page, [0, 1, 1]);
    await says(page, 'footer', '2 votes, 2 here');
  }
  await first.reload();
  await shows(first, [0, 1, 1]);
  assert.equal(await first.getByRole('button', { name: 'Salad' }).getAttribute('aria-pressed'), 'true');
  await assertGood(first, 'live-poll');
  await second.close();
  await says(first, 'footer', '1 here');
  await first.close();
});

const ranking = (page) => page.evaluate(() => [...document.querySelectorAll('#board li')].map(
  (row) => [row.querySelector('.team').textContent, Number(row.querySelector('.points').textContent)],
));
const hasPoints = (page, team, points) => page.waitForFunction(([name, wanted]) => [...document.querySelectorAll('#board li')].some(
  (row) => row.querySelector('.team').textContent === name && row.querySelector('.points').textContent === String(wanted),
), [team, points]);
const award = (page, team) => page.evaluate((name) => document.querySelector(`#board [aria-label="+1 for ${name}"]`).click(), team);

test('scoreboard: points that two pages give at once all count, and rows move to their places', async () => {
  const [first, second] = [await open('scoreboard'), await open('scoreboard', { reducedMotion: 'reduce' })];
  for (const page of [first, second]) await page.waitForFunction(() => document.querySelectorAll('#board li').length === 5);
  assert.deepEqual((await ranking(first)).map(([team]) => team), ['Badgers', 'Falcons', 'Herons', 'Lynxes', 'Otters']);
  for (let given = 0; given < POINTS_EACH; given++) await Promise.all([award(first, 'Otters'), award(second, 'Otters')]);
  await award(first, 'Herons');
  for (const page of [first, second]) {
    await hasPoints(page, 'Otters', 2 * POINTS_EACH);
    await hasPoints(page, 'Herons', 1);
    assert.deepEqual((await ranking(page)).map(([team]) => team), ['Otters', 'Herons', 'Badgers', 'Falcons', 'Lynxes']);
  }
  const animated = (page) => page.evaluate(() => [...new Set(globalThis.animated)]);
  assert.deepEqual(await animated(first), ['transform']);
  assert.deepEqual(await animated(second), [], 'who wants little motion gets none');
  await second.getByRole('button', { name: 'Let them play' }).click();
  await first.waitForFunction((before) => [...document.querySelectorAll('.points')]
    .reduce((sum, { textContent }) => sum + Number(textContent), 0) > before, 2 * POINTS_EACH + 1);
  await second.getByRole('button', { name: 'Stop' }).click();
  await assertGood(first, 'scoreboard');
  for (const page of [first, second]) {
    await assertClean(page);
    await page.close();
  }
});

test('scoreboard: the button that was pressed keeps the focus when its row moves', async () => {
  const page = await open('scoreboard', { reducedMotion: 'reduce' });
  await page.waitForFunction(() => document.querySelectorAll('#board li').length === 5);
  const [[, most]] = await ranking(page);
  await page.locator('#board [aria-label="+1 for Lynxes"]').focus();
  for (let given = 0; given <= most; given++) await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#board .team').textContent === 'Lynxes');
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), '+1 for Lynxes');
  await page.close();
});

test('ticker: every update is counted, few are shown, and the last ones are', async () => {
  const page = await open('ticker');
  await page.getByRole('button', { name: 'Open the market' }).click();
  const figures = () => page.evaluate(() => ['published', 'shown', 'conflated', 'oldest'].map(
    (id) => Number(document.getElementById(id).textContent.replaceAll(',', '')),
  ));
  await page.waitForFunction((wanted) => Number(document.querySelector('#published').textContent.replaceAll(',', '')) >= wanted, UPDATES_MIN);
  await assertGood(page, 'ticker');
  await page.getByRole('button', { name: 'Close the market' }).click();
  // What is in the topic when nobody publishes any more is what the page has to show.
  const { next, prices } = await settled();
  await page.waitForFunction((wanted) => document.querySelector('#published').textContent === wanted, next.toLocaleString('en'));
  const [published, shown, conflated, oldestMs] = await figures();
  assert.equal(published, shown + conflated);
  assert.ok(oldestMs < WAIT_MS_MAX, `an update that was shown was ${oldestMs} ms old`);
  assert.ok(shown < published / 20, `${shown} of ${published} updates were shown`);
  const seen = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll('#prices tr')].map(
    ({ cells }) => [cells[0].textContent, cells[1].textContent],
  )));
  assert.deepEqual(seen, prices);
  await assertClean(page);
  await page.close();
});

/** The topic of the ticker, once it grows no more: its next offset, and the newest price of each symbol. */
async function settled() {
  const { Client } = await import('../../clients/typescript/dist/index.js');
  const client = await new Client(`ws://${server.address}`).connect();
  try {
    const topic = client.topic('ticker.prices');
    for (let before; ;) {
      const { records } = await topic.history({ before: Infinity, limit: 1_000 });
      const next = records.at(-1).offset + 1;
      if (next === before) {
        return { next, prices: Object.fromEntries(records.map((record) => [record.key, record.json().price.toFixed(2)])) };
      }
      before = next;
      await client.ping();
    }
  } finally {
    await client.close();
  }
}

test('presence: who joins, changes the name, leaves, or closes the page is seen at once', async () => {
  const [first, second] = [await open('presence'), await open('presence')];
  const join = async (page, name) => {
    await page.locator('#name').fill(name);
    await page.locator('#join').click();
  };
  for (const page of [first, second]) await says(page, '#here', 'Nobody is here');
  await join(first, 'Left window');
  await says(second, '#log', 'Left window has joined');
  await join(second, 'Right window');
  for (const page of [first, second]) await says(page, '#here', '2 are here');
  await says(first, '#members .me', 'Left window (you)');
  await join(second, 'A window with a rather long name for one');
  await says(first, '#log', 'Right window is A window with a rather long name for one now');
  await assertGood(first, 'presence');
  await first.getByRole('button', { name: 'Leave' }).click();
  await says(second, '#log', 'Left window has left');
  await join(first, 'Left window');
  await says(second, '#here', '2 are here');
  await first.close();
  await says(second, '#here', '1 is here');
  await assertClean(second);
  await second.close();
});

test('a page whose origin is not allowed says what to do', async () => {
  const other = await startServer('');
  try {
    for (const name of ['live-poll', 'scoreboard', 'ticker', 'presence']) {
      const page = await open(name, { address: other.address, state: 'disconnected', ...NARROW });
      await says(page, '#state', `does its http.allowed_origins have ${examples.origin}?`);
      await assertFits(page);
      await assertAccessible(page);
      await screenshot(page, `example-${name}-refused`);
      await page.close();
    }
  } finally {
    await other.stop();
  }
});
