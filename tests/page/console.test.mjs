// The console of the admin listener: what the server does, lists of what there is, and a connection as applications
// have it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { assertAccessible, assertClean, assertFits, launch, mood, openPage, screenshot } from './browser.mjs';
import { startServer } from './daemon.mjs';

const PHONE = { width: 320, height: 700, colorScheme: 'dark' };

let browser;

before(async () => { browser = await launch(); });
after(() => browser?.close());

async function openConsole(server, { view = 'topic', ...options } = {}) {
  const page = await openPage(browser, { home: '/console/index.html', ...options });
  await page.goto(`http://${server.admin}/#${view}`);
  await mood(page, 'live');
  return page;
}

const tab = (page, name) => page.getByRole('tab', { name }).click();
const play = (page, name) => page.locator(`section[aria-label="${name}"]`);
const says = (page, name, text) => play(page, name).locator('.answer', { hasText: text }).waitFor();
/** The table of a view has a row with these texts. */
const row = (page, ...texts) => texts.reduce((rows, text) => rows.filter({ hasText: text }), page.locator('#panel tbody tr')).first().waitFor();
const refusal = (page, text) => page.locator('#refusals-list li', { hasText: text }).first().waitFor();

async function assertSound(page, name) {
  await assertFits(page);
  await assertAccessible(page);
  await screenshot(page, name, { fullPage: true });
}

describe('a server without accounts', () => {
  let server;
  before(async () => { server = await startServer('[[policy]]\nnames = "likes"\nconsistency = "eventual"\n'); });
  after(() => server?.stop());

  test('a newcomer publishes, counts and votes, and sees it in every list', async () => {
    const page = await openConsole(server);
    await page.locator('.empty').waitFor();
    await tab(page, 'Playground');
    await page.getByText('Connected as any client is.').waitFor();

    const topic = play(page, 'Topic');
    await topic.getByRole('button', { name: 'Subscribe' }).click();
    await says(page, 'Topic', 'Subscribed to news.');
    await topic.getByLabel('Key').fill('greeting');
    await topic.getByLabel('Payload').fill('<b>hello</b>');
    await topic.getByRole('button', { name: 'Publish' }).click();
    await says(page, 'Topic', 'Published at offset 0.');
    await topic.locator('.log li', { hasText: 'news 0 greeting  <b>hello</b>' }).waitFor();

    const counter = play(page, 'Counter');
    for (const expected of [1, 2]) {
      await counter.getByRole('button', { name: 'Add 1' }).click();
      await says(page, 'Counter', `It is ${expected} now.`);
    }
    await counter.getByRole('button', { name: 'Subtract 1' }).click();
    await counter.locator('.value', { hasText: /^1$/ }).waitFor();

    const tally = play(page, 'Tally');
    await tally.getByRole('button', { name: 'Create' }).click();
    await says(page, 'Tally', 'Created.');
    await tally.getByLabel('Options').fill('tea, milk');
    await tally.getByRole('button', { name: 'Create' }).click();
    await says(page, 'Tally', 'already_exists');
    await tally.locator('option', { hasText: 'salad' }).waitFor({ state: 'attached' });
    await tally.getByLabel('Vote for').selectOption('salad');
    await tally.getByRole('button', { name: 'Vote' }).click();
    await says(page, 'Tally', 'The vote counts.');
    await tally.getByRole('button', { name: 'Vote' }).click();
    await says(page, 'Tally', 'nothing has changed');
    await tally.locator('.option', { hasText: 'salad' }).locator('b', { hasText: /^1$/ }).waitFor();
    await assertSound(page, 'console-playground-light');

    for (const [name, ...texts] of [
      ['Topics', 'news', 'memory'], ['Counters', 'likes', 'eventual'], ['Tallies', 'snack', 'open', 'salad 1'],
      ['Connections', 'console', '127.0.0.1'],
    ]) {
      await tab(page, name);
      await row(page, ...texts);
      await assertSound(page, `console-${name.toLowerCase()}-light`);
    }
    await tab(page, 'Tallies');
    await page.getByRole('button', { name: 'snack' }).click();
    await play(page, 'Tally').locator('.option', { hasText: 'salad' }).waitFor();
    await assertClean(page);
    await page.close();
  });

  test('what is refused is shown as it happens, to everyone who looks', async () => {
    const [page, other] = [await openConsole(server, { view: 'playground' }), await openConsole(server, PHONE)];
    await page.getByText('Connected as any client is.').waitFor();
    const tally = play(page, 'Tally');
    await tally.getByLabel('Name').fill('no.such.poll');
    await tally.getByRole('button', { name: 'Watch' }).click();
    await says(page, 'Tally', 'not_found');
    for (const one of [page, other]) await refusal(one, "there is no tally 'no.such.poll'");
    await assertSound(page, 'console-refusals-light');
    await assertSound(other, 'console-refusals-320-dark');
    for (const one of [page, other]) {
      await assertClean(one);
      await one.close();
    }
  });

  test('every view fits a phone in the dark, and the keyboard goes through the tabs', async () => {
    const page = await openConsole(server, PHONE);
    for (const view of ['topic', 'tally', 'counter', 'group', 'presence', 'connections', 'playground']) {
      await page.locator(`[role=tab][data-view=${view}][aria-selected=true]`).waitFor();
      await page.locator('#panel :is(tbody tr, .empty, .play)').first().waitFor();
      await assertSound(page, `console-${view}-320-dark`);
      await page.locator(`[data-view=${view}]`).focus();
      await page.keyboard.press('ArrowRight');
    }
    await page.locator('[data-view=topic][aria-selected=true]').waitFor();
    await assertClean(page);
    await page.close();
  });

  test('names are found by patterns, and a wrong one is explained', async () => {
    const page = await openConsole(server);
    await row(page, 'news');
    await page.getByLabel('Matching').fill('other.>');
    await page.getByText('Nothing matches.').waitFor();
    await page.getByLabel('Matching').fill('new*');
    await page.locator('#panel .note', { hasText: 'new*' }).waitFor();
    await page.getByLabel('Matching').fill('*');
    await row(page, 'news');
    // The browser itself puts the refused request on record.
    assert.ok(page.problems.every((problem) => problem.includes('400')), page.problems.join('\n'));
    await page.close();
  });
});

test('a server that goes away is said to, and found again', async () => {
  const server = await startServer('');
  const page = await openConsole(server);
  await server.end();
  await mood(page, 'disconnected');
  await screenshot(page, 'console-disconnected-light');
  await assertFits(page);
  await assertAccessible(page);
  await server.again();
  await mood(page, 'live');
  await tab(page, 'Playground');
  await page.getByText('Connected as any client is.').waitFor();
  await page.close();
  await server.stop();
});

test('with accounts it shows what is, and lets only those do something who show a token', async () => {
  const made = JSON.parse(execFileSync(process.env.TIDEWIRE_BIN, ['auth', 'key', 'shop', '--role', 'backend', '--json'], { encoding: 'utf8' }));
  const key = `[[auth.api_key]]\nname = "shop"\nsha256 = "${made.sha256}"\nroles = ["backend"]\n`;
  const role = '[[auth.role]]\nname = "backend"\nrules = [{ names = "shop.>", allow = ["publish", "subscribe", "history"] }]\n';
  const server = await startServer(`${key}${role}`);
  try {
    const page = await openConsole(server, { view: 'playground' });
    await page.getByText('Refused: ').waitFor();
    await refusal(page, 'unauthenticated');
    await page.getByLabel('Token or API key').fill(made.key);
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByText('Connected as any client is.').waitFor();
    const topic = play(page, 'Topic');
    await topic.getByRole('button', { name: 'Publish' }).click();
    await says(page, 'Topic', 'forbidden');
    await refusal(page, 'forbidden');
    await topic.getByLabel('Name').fill('shop.orders');
    await topic.getByRole('button', { name: 'Publish' }).click();
    await says(page, 'Topic', 'Published at offset 0.');
    await assertSound(page, 'console-accounts-light');
    await assertClean(page);
    await page.close();
  } finally {
    await server.stop();
  }
});
