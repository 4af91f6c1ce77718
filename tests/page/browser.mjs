// The browser, and what every page that it opens is held to: nothing on the console, no breach of
// the content security policy, nothing wider than the window, no finding by axe.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const SCREENSHOT_DIR = process.env.SCREENSHOT_DIR
  ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url));
export const WAIT_MS_MAX = 30_000;

export function launch() {
  mkdirSync(SCREENSHOT_DIR, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // A page whose body was replaced counts as foreign, and may not speak to the daemon next door.
      ...(process.env.PAGE_FROM_FOLDER ? ['--disable-features=LocalNetworkAccessChecks'] : [])],
  });
}

/** Opens a page that keeps a list of everything that went wrong on it. `home`: the file of web/ that stands at `/`. */
export async function openPage(browser, { width = 1280, height = 900, home = '/index.html', ...options } = {}) {
  const page = await browser.newPage({ viewport: { width, height }, ...options });
  page.setDefaultTimeout(WAIT_MS_MAX);
  if (process.env.PAGE_FROM_FOLDER) await page.route(/\.(js|css|svg)$|\/$/, (route) => fromFolder(route, home));
  page.problems = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.problems.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => page.problems.push(`uncaught: ${error.stack}`));
  await page.addInitScript(() => {
    globalThis.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => {
      globalThis.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}`);
    });
  });
  return page;
}

/** The daemon's answer with the body of web/: for work on the page between two builds. */
async function fromFolder(route, home) {
  const path = new URL(route.request().url()).pathname.replace(/\/$/, home).replace('/console/format.js', '/format.js');
  const response = await route.fetch();
  await route.fulfill({ response, body: readFileSync(new URL(`../../web${path}`, import.meta.url)) });
}

export const mood = (page, wanted) => page.waitForFunction((name) => document.body.dataset.mood === name, wanted);

/** The votes that the board shows for a candidate, by the name on the ballot. */
const DRAWN_WITHIN_MS = 5000;

const votes = (page, name) => page.evaluate(
  (wanted) => Number([...document.querySelectorAll('#board .row')].find((row) => row.dataset.name === wanted)?.dataset.votes),
  name,
);

// The rows are drawn with the next picture of the browser, so they may be a moment behind.
export async function assertVotes(page, name, wanted) {
  const deadlineMs = Date.now() + DRAWN_WITHIN_MS;
  while (await votes(page, name) !== wanted && Date.now() < deadlineMs) {
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  assert.equal(await votes(page, name), wanted);
}

export async function assertClean(page) {
  assert.deepEqual(page.problems, []);
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
}

export async function assertFits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(excess <= 0, `${excess} px wider than the window`);
}

/** axe runs in the page without a script element, which the policy would refuse. */
export async function assertAccessible(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => (await globalThis.axe.run()).violations.map(
    ({ id, help, nodes }) => `${id}: ${help} at ${nodes.map(({ target }) => target.join(' ')).join(', ')}`,
  ));
  assert.deepEqual(found, []);
}

export const screenshot = (page, name, options = {}) => page.screenshot({
  path: join(SCREENSHOT_DIR, `${name}.png`), animations: 'disabled', ...options,
});
