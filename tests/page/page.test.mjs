// The election-night page in a real browser, on a real daemon that counts real ballots. The exact
// numbers are those of the 2013 Minneapolis mayoral election.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  assertAccessible, assertClean, assertFits, assertVotes, launch, mood, openPage, screenshot, WAIT_MS_MAX,
} from './browser.mjs';
import { startDemo } from './daemon.mjs';

const HODGES = 'BETSY HODGES';
const ANDREW = 'MARK ANDREW';
const BALLOTS = 80_101;
const ROUNDS = 35;

let browser;
let demo;
let page;

before(async () => {
  browser = await launch();
  demo = await startDemo();
  page = await openPage(browser);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const text = (id, on = page) => on.locator(`#${id}`).textContent();
const isRound = (number, on = page) => on.waitForFunction(
  (wanted) => document.querySelector('#round').textContent === wanted,
  `Round ${number} of ${ROUNDS}`,
);

/** A second visitor who comes when all is decided. */
async function visit(options) {
  const visitor = await openPage(browser, options);
  await visitor.goto(demo.url);
  await mood(visitor, 'final');
  await isRound(ROUNDS, visitor);
  return visitor;
}

describe('while the votes come in', () => {
  test('the page comes with a policy that allows nothing inline', async () => {
    const response = await page.goto(demo.url);
    const policy = response.headers()['content-security-policy'] ?? '';
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe/);
  });

  test('bars grow and figures move', async () => {
    await mood(page, 'live');
    const readBar = () => page.evaluate((name) => {
      const row = [...document.querySelectorAll('#board .row')].find((one) => one.dataset.name === name);
      return row && { votes: Number(row.dataset.votes), transform: getComputedStyle(row.querySelector('.bar')).transform };
    }, HODGES);
    await page.waitForFunction((name) => document.querySelector(`[data-name="${name}"]`), HODGES);
    const first = await readBar();
    await page.waitForFunction(({ name, than }) => {
      const row = document.querySelector(`[data-name="${name}"]`);
      return Number(row.dataset.votes) > than.votes && getComputedStyle(row.querySelector('.bar')).transform !== than.transform;
    }, { name: HODGES, than: first });
    await page.waitForFunction(() => /\d/.test(document.querySelector('#rate').textContent));
    await page.waitForFunction(() => /\d/.test(document.querySelector('#p50').textContent));
    await screenshot(page, 'voting-1280-light');
    await assertFits(page);
  });
});

describe('when every ballot is counted', () => {
  test('the runoff is shown from the first round on', async () => {
    await mood(page, 'final');
    await page.waitForFunction(() => !document.querySelector('#player').hidden);
    assert.equal(await page.locator('#play').textContent(), 'Pause');
    await isRound(2);
  });

  test('the first preferences are exact', async () => {
    await page.click('#view-race');
    await page.waitForFunction((wanted) => document.querySelector('#ballots').textContent === wanted, BALLOTS.toLocaleString('en-US'));
    await assertVotes(page, HODGES, 28_935);
    await assertVotes(page, ANDREW, 19_584);
    await screenshot(page, 'first-preferences-1280-light');
  });

  test('all candidates can be shown, and a table holds them for screen readers', async () => {
    await page.click('#more');
    assert.equal(await page.locator('#board .row:not(.off)').count(), 36);
    // The table follows at a pace that can be listened to.
    await page.waitForFunction(() => {
      const { rows } = document.querySelector('#rows');
      return rows.length === 36 && [...rows[0].cells].map((cell) => cell.textContent).join('|') === '1|BETSY HODGES|28,935|36.1%|';
    });
    await assertFits(page);
    await page.click('#more');
  });

  test('the last of 35 rounds is exact', async () => {
    await page.click('#view-runoff');
    await page.focus('#scrub');
    await page.keyboard.press('End');
    await isRound(ROUNDS);
    await assertVotes(page, HODGES, 38_870);
    await assertVotes(page, ANDREW, 24_972);
    assert.match(await text('exhausted'), /^16,259 /);
    assert.equal(await text('continuing'), '63,842');
    assert.equal(await text('half'), '31,921');
    assert.match(await text('headline'), /^Betsy Hodges wins with 38,870 votes, 60\.9%/);
    await screenshot(page, 'runoff-last-1280-light');
  });

  test('rounds are stepped and played with the keyboard alone', async () => {
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    await isRound(1);
    await assertVotes(page, HODGES, 28_962);
    await page.keyboard.press('ArrowRight');
    await isRound(2);
    await page.keyboard.press('ArrowLeft');
    await isRound(1);
    await page.focus('#play');
    await page.keyboard.press('Space');
    await isRound(2);
    await page.keyboard.press('Space');
    assert.equal(await text('play'), 'Play');
    await page.focus('#next');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('#prev').disabled === false);
    assert.match(await text('story'), /is eliminated; [\d,]+ ballots? moves? on\.$/);
  });
});

describe('on any screen', () => {
  for (const [width, height] of [[1280, 900], [768, 1024], [360, 740], [320, 640]]) {
    for (const colorScheme of ['light', 'dark']) {
      test(`${width} px ${colorScheme}: it fits and axe finds nothing`, async () => {
        const visitor = await visit({ width, height, colorScheme });
        await assertFits(visitor);
        await screenshot(visitor, `runoff-${width}-${colorScheme}`, { fullPage: true });
        await assertAccessible(visitor);
        await visitor.click('#view-race');
        await visitor.click('#more');
        await assertFits(visitor);
        await screenshot(visitor, `first-preferences-${width}-${colorScheme}`, { fullPage: true });
        await assertAccessible(visitor);
        await assertClean(visitor);
        await visitor.close();
      });
    }
  }

  test('nothing plays by itself for those who prefer less motion', async () => {
    const visitor = await visit({ reducedMotion: 'reduce' });
    assert.equal(await text('play', visitor), 'Play');
    const durations = await visitor.evaluate(() => [...document.querySelectorAll('#board .row, #board .bar')]
      .map((node) => getComputedStyle(node).transitionDuration));
    assert.ok(durations.every((duration) => duration === '0s'), durations.join(' '));
    await visitor.close();
  });
});

describe('when the daemon goes', () => {
  test('the page says so and keeps the old numbers, without colour', async () => {
    await assertClean(page);
    await page.click('#view-race');
    await demo.stop();
    await mood(page, 'disconnected');
    assert.equal(await text('notice-title'), 'Disconnected');
    assert.match(await text('notice-text'), /numbers are [\d.,]+ (s|min) old/);
    await assertVotes(page, HODGES, 28_935);
    await assertFits(page);
    await assertAccessible(page);
    await screenshot(page, 'disconnected-1280-light');
  });

  test('it finds the next daemon at the same address and counts anew', async () => {
    const { host } = new URL(demo.url);
    demo = await startDemo({ listen: host });
    const deadlineMs = Date.now() + WAIT_MS_MAX;
    // The button may go away between the question and the click: then it has connected by itself.
    while (Date.now() < deadlineMs && await page.locator('#notice-retry').isVisible()) {
      await page.click('#notice-retry', { timeout: 1000 }).catch(() => {});
    }
    await page.waitForFunction(() => ['live', 'final'].includes(document.body.dataset.mood));
    await mood(page, 'final');
    await page.waitForFunction((wanted) => document.querySelector('#ballots').textContent === wanted, BALLOTS.toLocaleString('en-US'));
    await page.click('#view-race');
    await assertVotes(page, HODGES, 28_935);
  });
});
